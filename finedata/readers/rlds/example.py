"""`tf.train.Example` without TensorFlow: where each feature of a record lies.

The map of features is walked by hand and nothing is copied: pictures are the bulk of a robot
record, and a walk over their tags gives their offsets an order of magnitude faster than parsing
them into objects. Numbers and anything in an unusual (but legal) layout go through protobuf. A
record that is left in its file (`LargePayload`) is walked in the same way, and read where needed.

Wire format: https://protobuf.dev/programming-guides/encoding; messages: tensorflow's
`core/example/example.proto`, `feature.proto`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from google.protobuf.message import DecodeError

from finedata.errors import CorruptRecordError
from finedata.readers.byte_slices import BytesSlices
from finedata.store.tf_example import message_classes

if TYPE_CHECKING:
    from finedata.readers.rlds.large_record import LargePayload, LargeSlices

Kind = Literal["bytes", "float", "int64", "empty"]

# Tags: field number << 3 | wire type. Everything in an Example is length-delimited.
_EXAMPLE_FEATURES = _FEATURES_ENTRY = _ENTRY_KEY = _LIST_VALUE = 0x0A
_ENTRY_FEATURE = 0x12
_KINDS: dict[int, Kind] = {0x0A: "bytes", 0x12: "float", 0x1A: "int64"}


class _UnusualLayoutError(Exception):
    """Not the layout that serialisers write; protobuf decides whether it is legal."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of an Example, not yet decoded."""

    kind: Kind
    buffer: bytes | LargePayload
    start: int
    end: int

    def floats(self) -> np.ndarray:
        """The float list as float32 (n,)."""
        body = self.buffer[self.start : self.end]
        packed = _single_packed_field(body)
        if packed is not None and (len(body) - packed) % 4 == 0:
            return np.frombuffer(body, "<f4", offset=packed)
        return np.asarray(_parse("FloatList", body).value, np.float32)

    def ints(self) -> np.ndarray:
        """The integer list as int64 (n,)."""
        body = self.buffer[self.start : self.end]
        return np.asarray(_parse("Int64List", body).value, np.int64)

    def slices(self) -> BytesSlices | LargeSlices:
        """The bytes list as slices of the record.

        Raises:
            CorruptRecordError: It is not a bytes list after all.
        """
        buffer = self.buffer
        try:
            offsets, lengths = _walk_bytes_list(buffer, self.start, self.end)
        except (_UnusualLayoutError, IndexError):
            message = _parse("BytesList", self.buffer[self.start : self.end])
            message.DiscardUnknownFields()
            buffer = cast("bytes", message.SerializeToString())
            offsets, lengths = _walk_bytes_list(buffer, 0, len(buffer))
        spans = np.asarray(offsets, np.int64), np.asarray(lengths, np.int64)
        return BytesSlices(buffer, *spans) if isinstance(buffer, bytes) else buffer.slices(*spans)

    def values(self) -> list[bytes]:
        """The bytes list as Python bytes; for short values such as text."""
        slices = self.slices()
        return [slices[i] for i in range(len(slices))]


def parse_example(payload: bytes | LargePayload) -> dict[str, Feature]:
    """Find the features of a serialised `tf.train.Example`.

    Args:
        payload: The record's bytes. Returned features refer to them.

    Returns:
        Feature name (as on disk, slashes and all) to the undecoded feature.

    Raises:
        CorruptRecordError: The bytes are not an Example.
    """
    try:
        return _walk_example(payload)
    except (_UnusualLayoutError, IndexError, UnicodeDecodeError):
        # Repeated map entries, split messages or unknown fields are legal; protobuf knows.
        # Its own serialisation of what it understood is in the usual layout.
        message = _parse("Example", payload[:])
        message.DiscardUnknownFields()
        return _walk_example(cast("bytes", message.SerializeToString()))


def _walk_example(data: bytes | LargePayload) -> dict[str, Feature]:
    features: dict[str, Feature] = {}
    if not data:
        return features
    position, end = _message(data, 0, len(data), _EXAMPLE_FEATURES)
    if end != len(data):
        raise _UnusualLayoutError
    while position < end:
        position, entry_end = _message(data, position, end, _FEATURES_ENTRY)
        position, key_end = _message(data, position, entry_end, _ENTRY_KEY)
        name = data[position:key_end].decode()
        position, feature_end = _message(data, key_end, entry_end, _ENTRY_FEATURE)
        if feature_end != entry_end or name in features:
            raise _UnusualLayoutError
        features[name] = _walk_feature(data, position, feature_end)
        position = entry_end
    return features


def _walk_feature(data: bytes | LargePayload, position: int, end: int) -> Feature:
    if position == end:
        return Feature("empty", data, position, end)
    kind = _KINDS.get(data[position])
    if kind is None:
        raise _UnusualLayoutError
    start, list_end = _message(data, position, end, data[position])
    if list_end != end:
        raise _UnusualLayoutError
    return Feature(kind, data, start, list_end)


def _message(data: bytes | LargePayload, position: int, end: int, tag: int) -> tuple[int, int]:
    """Step into a length-delimited field: its first byte and one past its last."""
    if position >= end or data[position] != tag:
        raise _UnusualLayoutError
    length, start = _varint(data, position + 1)
    if start + length > end:
        raise _UnusualLayoutError
    return start, start + length


def _varint(data: bytes | LargePayload, position: int) -> tuple[int, int]:
    byte = data[position]
    value, shift = byte & 0x7F, 7
    position += 1
    while byte & 0x80:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise _UnusualLayoutError
    return value, position


def _walk_bytes_list(
    data: bytes | LargePayload, position: int, end: int
) -> tuple[list[int], list[int]]:
    """Offsets and lengths of a bytes list's values; the varint is inlined: this loop is hot."""
    offsets: list[int] = []
    lengths: list[int] = []
    while position < end:
        if data[position] != _LIST_VALUE:
            raise _UnusualLayoutError
        position += 1
        byte = data[position]
        length, shift = byte & 0x7F, 7
        position += 1
        while byte & 0x80:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
        offsets.append(position)
        lengths.append(length)
        position += length
    if position != end:
        raise _UnusualLayoutError
    return offsets, lengths


def _single_packed_field(body: bytes) -> int | None:
    """Where the values start if `body` is one packed field 1 and nothing else."""
    if not body or body[0] != _LIST_VALUE:
        return None
    try:
        length, start = _varint(body, 1)
    except IndexError:
        return None
    return start if start + length == len(body) else None


def _parse(name: str, data: bytes) -> Any:
    try:
        return message_classes()[name].FromString(data)
    except DecodeError as error:
        raise CorruptRecordError(
            place=f"a tf.train.{name} of {len(data)} bytes",
            found=f"bytes that do not parse ({error})",
            wanted=f"a serialised tf.train.{name}",
        ) from error
