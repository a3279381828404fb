"""A tar of samples whose bytes are a function of what is in it, and the places of its members.

USTAR headers with times and owners zero, members of a sample next to each other, two zero blocks at
the end: what `tarfile`, webdataset, energon and `datasets` read, and what two runs write alike. The
place, size and CRC-32C of every member are kept while writing, because finding them again costs a
pass over all bytes and a reader that seeks needs them before its first sample.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import google_crc32c
import numpy as np

from finedata.errors import OutputError
from finedata.store.atomic import atomic_path, write_atomic
from finedata.store.direct import DirectFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

BLOCK_BYTES = 512
_END = bytes(2 * BLOCK_BYTES)
# Bytes of a member's size that a header can write in octal.
_MAX_MEMBER = 0o77777777777
_NAME_BYTES = 100
# Samples are written so many bytes at a time: enough that NumPy makes their headers at once, and
# few enough that joining, hashing and writing them finds them in the processor's cache.
_BATCH_BYTES = 1 << 20
# All of a header but name, size and checksum; the checksum counts its own field as spaces.
_EMPTY_HEADER = struct.pack(
    "100x8s8s8s12x12s8s1s100x6s2s247x",
    b"0000644\0",
    b"0000000\0",
    b"0000000\0",
    b"00000000000\0",
    b"        ",
    b"0",
    b"ustar\0",
    b"00",
)
_EMPTY_SUM = sum(_EMPTY_HEADER)
_PADDINGS = [bytes(count) for count in range(BLOCK_BYTES)]
# The package has no types of its own.
_crc32c = cast(
    "Callable[[bytes], int]",
    google_crc32c.value,  # pyright: ignore[reportUnknownMemberType]
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One time step, or one episode, ready to be written.

    Attributes:
        key: Its name in the tar: digits and lower-case letters, no dot.
        members: The bytes of each member, in the order of the set's suffixes.
    """

    key: str
    members: tuple[bytes, ...]


@dataclass(slots=True)
class TarPlaces:
    """Where everything in a tar is.

    Attributes:
        sample_offset: Where each sample's first header begins, and where the last one ends.
        offset: (samples, members) where each member's bytes begin.
        size: (samples, members) how many bytes it has.
        crc32c: (samples, members) their CRC-32C.
        total_bytes: Of the file.
        sha256: Of the file.
    """

    sample_offset: list[int]
    offset: np.ndarray
    size: np.ndarray
    crc32c: np.ndarray
    total_bytes: int
    sha256: str


def write_tar(path: Path, samples: Iterable[Sample], *, suffixes: tuple[str, ...]) -> TarPlaces:
    """Write a tar at once: it is whole under its name, or not there.

    Args:
        path: The file.
        samples: In the order in which they shall stand; each has one member for each suffix.
        suffixes: What follows the key and a dot, as `main.jpg`.

    Returns:
        The places of all members.

    Raises:
        OutputError: The disk is full, or a name or member is too long for a USTAR header.
    """
    digest = hashlib.sha256()
    at = 0
    crc32c: list[int] = []
    offsets, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    with atomic_path(path) as partial, closing(DirectFile(partial)) as file:
        for batch in _batches(samples):
            names = [f"{one.key}.{suffix}".encode() for one in batch for suffix in suffixes]
            contents = [content for one in batch for content in one.members]
            size = np.fromiter(map(len, contents), np.int64, len(contents))
            headers = member_headers(names, size)
            padding = -size % BLOCK_BYTES
            pieces: list[bytes] = []
            for name, content, count in zip(
                range(0, len(headers), BLOCK_BYTES), contents, padding.tolist(), strict=True
            ):
                pieces += (headers[name : name + BLOCK_BYTES], content, _PADDINGS[count])
            block = b"".join(pieces)
            digest.update(block)
            file.write(block)
            crc32c += map(_crc32c, contents)
            ends = at + np.cumsum(BLOCK_BYTES + size + padding)
            sizes.append(size)
            offsets.append(ends - size - padding)
            at += len(block)
        file.write(_END)
        digest.update(_END)
    offset = np.concatenate(offsets).reshape(-1, len(suffixes))
    return TarPlaces(
        sample_offset=[*(offset[:, 0] - BLOCK_BYTES).tolist(), at],
        offset=offset,
        size=np.concatenate(sizes).reshape(offset.shape),
        crc32c=np.array(crc32c, np.uint32).reshape(offset.shape),
        total_bytes=at + len(_END),
        sha256=digest.hexdigest(),
    )


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Samples of about a megabyte at a time."""
    batch: list[Sample] = []
    held = 0
    for sample in samples:
        batch.append(sample)
        held += sum(map(len, sample.members)) + BLOCK_BYTES
        if held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def member_headers(names: Sequence[bytes], sizes: np.ndarray) -> bytes:
    """The USTAR headers of plain files, one behind the other: mode 0644, no owner, no time.

    Format: POSIX.1-1988, "ustar Interchange Format"; the bytes are those of `tarfile`, which takes
    several times as long for a header as the disk takes for a picture.

    Args:
        names: Of the members.
        sizes: (members,) int64, bytes of their content.

    Raises:
        OutputError: A name has more than 100 bytes, or a member 8 GiB or more.
    """
    for name, size in zip(names, sizes.tolist(), strict=True):
        if len(name) > _NAME_BYTES or size > _MAX_MEMBER:
            raise OutputError(
                place=f"tar member {name.decode()}",
                found=f"a name of {len(name)} bytes, {size} bytes of content",
                wanted=f"at most {_NAME_BYTES} bytes of name and less than 8 GiB",
            )
    headers = np.tile(np.frombuffer(_EMPTY_HEADER, np.uint8), (len(names), 1))
    text = np.array(names, f"S{_NAME_BYTES}").view(np.uint8).reshape(len(names), _NAME_BYTES)
    digits = _octal(sizes, 11)
    checksum = _EMPTY_SUM + text.sum(1, dtype=np.int64) + digits.sum(1, dtype=np.int64)
    headers[:, :_NAME_BYTES] = text
    headers[:, 124:135] = digits
    headers[:, 148:154] = _octal(checksum, 6)
    headers[:, 154:156] = (0, ord(" "))
    return headers.tobytes()


def _octal(numbers: np.ndarray, digits: int) -> np.ndarray:
    """(N, digits) uint8, each number's octal digits in ASCII."""
    shifts = np.arange(3 * (digits - 1), -1, -3)
    return ((numbers[:, None] >> shifts & 7) + ord("0")).astype(np.uint8)


def write_energon_index(tar: Path, sample_offset: list[int]) -> None:
    """Write `<tar>.idx`, energon's own index, so that it opens the folder without preparing it.

    Little-endian uint64: where each sample begins, and at last where the samples end
    (megatron-energon, `energon.flavors.webdataset.itar`).
    """
    write_atomic(tar.with_name(f"{tar.name}.idx"), np.array(sample_offset, "<u8").tobytes())
