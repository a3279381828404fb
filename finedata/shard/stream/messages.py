"""What a stream and its workers say to each other: msgpack behind a length, no pickles."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.shard.stream.fill import Bad  # noqa: TC001  (msgspec reads it at run time)

if TYPE_CHECKING:
    import socket

_LENGTH = struct.Struct("<Q")


class Task(msgspec.Struct, frozen=True, array_like=True):
    """Read these samples into that slot.

    Attributes:
        slot: Number of the slot.
        columns: `Samples.columns()` as little-endian int64.
    """

    slot: int
    columns: bytes


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """An error of finedata, to be raised again on the other side."""

    kind: str
    place: str
    found: str
    wanted: str
    next_command: str


class Done(msgspec.Struct, frozen=True, array_like=True):
    """The samples of a task are in its slot.

    Attributes:
        text: Words of each sample.
        trace: Trace of each sample.
        bad: Samples that could not be read.
        refusal: Why nothing of this counts.
    """

    text: list[str]
    trace: list[dict[str, Any] | None]
    bad: list[Bad]
    refusal: Refusal | None = None


def send(connection: socket.socket, message: Any) -> None:
    """Send a message.

    Raises:
        OSError: Nobody listens any more.
    """
    content = msgspec.msgpack.encode(message)
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket) -> bytes | None:
    """Wait for a message; None where the other side has ended."""
    head = _exactly(connection, _LENGTH.size)
    return None if head is None else _exactly(connection, _LENGTH.unpack(head)[0])


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    content = bytearray(count)
    view, at = memoryview(content), 0
    while at < count:
        try:
            got = connection.recv_into(view[at:])
        except ConnectionError:
            return None
        if not got:
            return None
        at += got
    return bytes(content)
