"""A tar of samples whose bytes are a function of what is in it, and the places of its members.

USTAR headers with times and owners zero, members of a sample next to each other, two zero blocks at
the end: what `tarfile`, webdataset, energon and `datasets` read, and what two runs write alike. The
place, size and CRC-32C of every member are kept while writing, because finding them again costs a
pass over all bytes and a reader that seeks needs them before its first sample.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import google_crc32c
import numpy as np

from finedata.errors import OutputError
from finedata.store.atomic import atomic_path, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = [
    "BLOCK_BYTES",
    "Sample",
    "TarPlaces",
    "member_header",
    "write_energon_index",
    "write_tar",
]

BLOCK_BYTES = 512
_END = bytes(2 * BLOCK_BYTES)
# Bytes of a member's size that a header can write in octal.
_MAX_MEMBER = 0o77777777777
_BUFFER_BYTES = 4 << 20
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
    members: tuple[bytes | memoryview, ...]


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

    sample_offset: list[int] = field(default_factory=list[int])
    offset: list[list[int]] = field(default_factory=list[list[int]])
    size: list[list[int]] = field(default_factory=list[list[int]])
    crc32c: list[list[int]] = field(default_factory=list[list[int]])
    total_bytes: int = 0
    sha256: str = ""


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
    places = TarPlaces()
    digest = hashlib.sha256()
    with atomic_path(path) as partial, partial.open("wb", buffering=_BUFFER_BYTES) as file:
        at = 0
        for sample in samples:
            places.sample_offset.append(at)
            offsets: list[int] = []
            # One write and one update for a sample: for each piece they would cost more than it.
            pieces: list[bytes | memoryview] = []
            for suffix, content in zip(suffixes, sample.members, strict=True):
                size = len(content)
                padding = -size % BLOCK_BYTES
                pieces += (
                    member_header(f"{sample.key}.{suffix}", size),
                    content,
                    _END[:padding],
                )
                offsets.append(at + BLOCK_BYTES)
                at += BLOCK_BYTES + size + padding
            block = b"".join(pieces)
            file.write(block)
            digest.update(block)
            places.offset.append(offsets)
            places.size.append([len(content) for content in sample.members])
            places.crc32c.append([_crc32c(bytes(content)) for content in sample.members])
        places.sample_offset.append(at)
        file.write(_END)
        digest.update(_END)
        places.total_bytes = at + len(_END)
    places.sha256 = digest.hexdigest()
    return places


def member_header(name: str, size: int) -> bytes:
    """The USTAR header of a plain file: mode 0644, no owner, no time.

    Format: POSIX.1-1988, "ustar Interchange Format"; the bytes are those of `tarfile`, which takes
    several times as long for a header as the disk takes for a picture.

    Raises:
        OutputError: The name has more than 100 bytes, or the member 8 GiB or more.
    """
    encoded = name.encode()
    if len(encoded) > 100 or size > _MAX_MEMBER:
        raise OutputError(
            place=f"tar member {name}",
            found=f"a name of {len(encoded)} bytes, {size} bytes of content",
            wanted="at most 100 bytes of name and less than 8 GiB",
        )
    digits = b"%011o" % size
    header = bytearray(_EMPTY_HEADER)
    header[: len(encoded)] = encoded
    header[124:135] = digits
    header[148:156] = b"%06o\0 " % (sum(_EMPTY_HEADER) + sum(encoded) + sum(digits))
    return bytes(header)


def write_energon_index(tar: Path, sample_offset: list[int]) -> None:
    """Write `<tar>.idx`, energon's own index, so that it opens the folder without preparing it.

    Little-endian uint64: where each sample begins, and at last where the samples end
    (megatron-energon, `energon.flavors.webdataset.itar`).
    """
    write_atomic(tar.with_name(f"{tar.name}.idx"), np.array(sample_offset, "<u8").tobytes())
