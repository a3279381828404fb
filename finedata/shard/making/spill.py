"""The external shuffle behind `--order step`: every byte is written twice, none is held long.

A set larger than memory is put into a random order in two passes. The first reads episodes in
sequence and writes each unit of them as one spill file, its samples grouped by the tar they belong
to; the second takes one tar at a time, reads its piece of every spill file in one go, puts the
samples at their places and writes the tar. Which place a sample has is a keyed permutation of the
set, known before anything is read, so units and tars can be done by anybody, in any order, and a
unit whose file stands under its name is never read again.

Memory: one unit in the first pass, one tar in the second. Files: as many as units, not units times
tars, and never more than one of them open: a process may have a thousand. Cost: the set is written
twice and read twice (once from the dataset, once from the spills).
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from finedata.errors import OutputError
from finedata.store.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_FOOTER_BYTES = 16


@dataclass(frozen=True, slots=True)
class Spilled:
    """One sample on its way to a tar.

    Attributes:
        tar: Number of the tar.
        position: Its place in that tar.
        number: What the caller knows it by.
        members: The bytes of each member.
    """

    tar: int
    position: int
    number: int
    members: tuple[bytes, ...]


def write_spill(path: Path, samples: Sequence[Spilled], *, num_members: int) -> None:
    """Write a unit's samples, grouped by tar and placed within it.

    Layout: the members' bytes, then one row a sample (`_row_type`), then the offset and number of
    rows as two little-endian uint64.

    Raises:
        OutputError: The disk is full.
    """
    ordered = sorted(samples, key=lambda sample: (sample.tar, sample.position))
    rows = np.zeros(len(ordered), _row_type(num_members))
    rows["tar"] = [sample.tar for sample in ordered]
    rows["position"] = [sample.position for sample in ordered]
    rows["number"] = [sample.number for sample in ordered]
    contents = [content for sample in ordered for content in sample.members]
    size = np.array([len(content) for content in contents], np.int64).reshape(-1, num_members)
    rows["size"] = size
    of_sample = size.sum(1)
    rows["offset"] = np.cumsum(of_sample) - of_sample
    with atomic_path(path) as partial, partial.open("wb", buffering=1 << 20) as file:
        file.writelines(contents)
        file.write(rows.tobytes())
        file.write(np.array([of_sample.sum(), len(rows)], "<u8").tobytes())


def read_tar_samples(
    spills: Sequence[Path], tar: int, *, num_members: int, count: int
) -> tuple[np.ndarray, Iterator[tuple[bytes, ...]]]:
    """The samples of one tar in their order: the numbers they were spilled under, their members.

    Args:
        spills: All spill files of the set.
        tar: Which tar.
        num_members: Members of a sample.
        count: How many samples the tar has.

    Raises:
        OutputError: A place has no sample or two: a spill file is not of this run.
    """
    pieces = [_read_piece(spill, tar, num_members) for spill in spills]
    pieces = [(rows, content) for rows, content in pieces if len(rows)]
    rows = np.concatenate([rows for rows, _ in pieces] or [np.zeros(0, _row_type(num_members))])
    if not np.array_equal(np.sort(rows["position"]), np.arange(count)):
        raise _not_of_this_run(spills[0].parent, f"{len(rows)} samples of tar {tar}, not {count}")
    # Where each member begins and ends in its piece.
    ends = np.cumsum(rows["size"], axis=1)
    first = np.concatenate(
        [of_piece["offset"] - of_piece["offset"][0] for of_piece, _ in pieces] or [ends[:, 0]]
    )
    ends += first[:, None]
    begins = (ends - rows["size"]).tolist()
    owner = np.repeat(np.arange(len(pieces)), [len(of_piece) for of_piece, _ in pieces]).tolist()
    contents = [content for _, content in pieces]
    order = np.argsort(rows["position"])
    ends = ends.tolist()

    def members() -> Iterator[tuple[bytes, ...]]:
        for at in cast("list[int]", order.tolist()):
            content = contents[owner[at]]
            yield tuple([content[a:b] for a, b in zip(begins[at], ends[at], strict=True)])

    return rows["number"][order], members()


def _read_piece(path: Path, tar: int, num_members: int) -> tuple[np.ndarray, bytes]:
    """Rows of one tar in a spill file, and the bytes of their members, which lie together."""
    row_type = _row_type(num_members)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        size = len(mapped)
        start, count = np.frombuffer(mapped[size - _FOOTER_BYTES :], "<u8").tolist()
        if start + count * row_type.itemsize + _FOOTER_BYTES != size:
            raise _not_of_this_run(path, f"{size} bytes with a footer of {count} samples")
        all_rows = np.frombuffer(mapped, row_type, count=count, offset=start)
        first, last = np.searchsorted(all_rows["tar"], [tar, tar + 1]).tolist()
        rows = all_rows[first:last].copy()
        del all_rows  # a mapping that is looked at cannot be closed
        if not len(rows):
            return rows, b""
        end = int(rows["offset"][-1] + rows["size"][-1].sum())
        return rows, mapped[int(rows["offset"][0]) : end]


def _row_type(num_members: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("tar", "<i8"),
            ("position", "<i8"),
            ("number", "<i8"),
            ("offset", "<i8"),
            ("size", "<i8", (num_members,)),
        ]
    )


def _not_of_this_run(place: Path, found: str) -> OutputError:
    return OutputError(
        place=str(place),
        found=found,
        wanted="every sample once, as this run's own plan says",
        next_command="remove the folder .finedata of the shards and run the same command again",
    )
