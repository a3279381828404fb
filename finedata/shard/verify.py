"""Prove shards: every byte is what `shards.json` says, and every file agrees with the others.

Nothing of what wrote them is believed. Tars are read by `tarfile`, and their places, sizes and
CRC-32C are found anew and held against our index and energon's; tables are read by Arrow; which
episode a sample is, is taken from its name in the tar. Where the datasets are given, all is held
against these too (`verify_inputs`). Digests alone would not do: they say that a file is
as it was written, not that it was written right.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import google_crc32c
import msgspec
import numpy as np
import pyarrow as pa

from finedata.schema.shards_file import text_revision
from finedata.schema.tables.all import shard_index_schema
from finedata.schema.tables.shards import BATCH_ROWS
from finedata.shard.files import write_arrow
from finedata.shard.shards import Shards
from finedata.shard.verify_inputs import check_inputs, fingerprint
from finedata.shard.verify_report import SetTables, ShardReport
from finedata.store.pictures import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from finedata.schema.documents import FileDigest
    from finedata.schema.shards_file import Shard, ShardSet, TextRevision
    from finedata.store.dataset import Dataset

__all__ = ["verify_shards"]

_BITS = {"not_contradicted": "fg.bits", "reviewed": "fg_reviewed.bits"}
_CHUNK = 1 << 20
_crc32c = cast(
    "Callable[[bytes], int]",
    google_crc32c.value,  # pyright: ignore[reportUnknownMemberType]
)


def verify_shards(root: str | Path, datasets: Sequence[Dataset] = ()) -> ShardReport:
    """Check finished shards.

    Args:
        root: Their folder.
        datasets: Datasets that were sharded, to be held against them too.

    Raises:
        UsageError: There are no finished shards.
        ConformError: `shards.json` is damaged, of another version, or not of its own sets.
        OutputError: A missing index cannot be written.
    """
    shards = Shards.open(root)
    report = ShardReport()
    print_of = fingerprint if datasets else None
    tables: dict[str, SetTables] = {}
    for one in shards.document.sets:
        read = _check_tables(shards, one, report)
        if read is None:
            continue
        tables[one.name] = read
        for number, shard in enumerate(one.tars):
            _check_tar(shards, one, number, shard, read, report, print_of=print_of)
        _check_energon_folder(shards, one, report)
        _check_samples(shards, one, read, report)
        report.sets += 1
    _check_sides(shards, tables, datasets, report)
    _check_strangers(shards, report)
    for text in shards.document.texts:
        _check_text(shards, text, tables, report)
    if datasets:
        check_inputs(shards, tables, datasets, report)
    else:
        report.not_checked.append("numbers and pictures against the datasets: none was given")
    return report


def _check_file(root: Path, file: FileDigest, report: ShardReport) -> bool:
    """Whether a file is there, byte for byte."""
    path = root / file.path
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        return report.expect(file.path, error.strerror or str(error), f"{file.bytes} bytes")
    size = path.stat().st_size
    return report.expect(file.path, f"{size} bytes, {digest}", f"{file.bytes} bytes, {file.sha256}")


def _read_arrow(root: Path, path: str, report: ShardReport) -> pa.Table | None:
    """A table whose batches are cut as published."""
    try:
        reader: Any = pa.ipc.open_file(pa.memory_map(str(root / path), "r"))
        batches = [reader.get_batch(k) for k in range(reader.num_record_batches)]
        table = pa.Table.from_batches(batches, reader.schema)
        table.validate(full=True)
    except (OSError, pa.ArrowInvalid) as error:
        report.expect(path, str(error).splitlines()[0], "an Arrow file")
        return None
    sizes = [batch.num_rows for batch in batches[:-1]]
    report.expect(path, sizes, [BATCH_ROWS] * len(sizes))
    return table


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    column: Any = table.column(name).combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return column.to_numpy(zero_copy_only=False)


def _check_tables(shards: Shards, one: ShardSet, report: ShardReport) -> SetTables | None:
    for file in (one.episodes_file, one.frames_file):
        _check_file(shards.root, file, report)
    episodes = _read_arrow(shards.root, one.episodes_file.path, report)
    frames = _read_arrow(shards.root, one.frames_file.path, report)
    if episodes is None or frames is None:
        report.not_checked.append(f"tars of set {one.name}: its tables cannot be read")
        return None
    lengths = _numpy(episodes, "length").astype(np.int64)
    first_row = np.cumsum(lengths) - lengths
    place = one.episodes_file.path
    report.expect(place, episodes.num_rows, one.episodes)
    same = np.array_equal(_numpy(episodes, "first_row"), first_row)
    report.require(f"{place}, first_row", holds=same, found="other rows")
    place = one.frames_file.path
    report.expect(place, frames.num_rows, one.frames)
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    inside = np.arange(len(numbers)) - first_row[numbers]
    for name, wanted in (("episode", numbers), ("frame_index", inside)):
        found = _numpy(frames, name)
        same = np.array_equal(found, wanted)
        report.require(f"{place}, {name}", holds=same, found="other rows")
    report.frames += frames.num_rows
    ids: Any = episodes.column("episode_id").to_pylist()
    return SetTables(ids, lengths, first_row)


def _check_tar(
    shards: Shards,
    one: ShardSet,
    number: int,
    shard: Shard,
    read: SetTables,
    report: ShardReport,
    *,
    print_of: Callable[[str, bytes], int] | None,
) -> None:
    """Read a tar from its first byte to its last, and hold it against both indexes."""
    path = shards.tar_path(one.name, number)
    place = path.relative_to(shards.root).as_posix()
    digest = hashlib.sha256()
    rows: list[tuple[str, list[int], list[int], list[int], list[int]]] = []
    by_key = {name.lower(): k for k, name in enumerate(read.ids)}
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        for key, members in _samples(path, place, one, report, print_of=print_of):
            rows.append((key, *(list(values) for values in zip(*members, strict=True))))  # pyright: ignore[reportArgumentType]
    except (OSError, tarfile.TarError) as error:
        report.expect(place, str(error), f"a tar of {shard.samples} samples")
        return
    size = path.stat().st_size
    report.expect(
        place, f"{size} bytes, {digest.hexdigest()}", f"{shard.bytes} bytes, {shard.sha256}"
    )
    report.expect(place, f"{len(rows)} samples", f"{shard.samples} samples")
    episodes, frames = np.full(len(rows), -1), np.zeros(len(rows), np.int64)
    for at, (key, *_) in enumerate(rows):
        name, _, frame = key.rpartition("-") if shards.document.sample == "step" else (key, "", "0")
        episodes[at], frames[at] = by_key.get(name, -1), int(frame) if frame.isdigit() else -1
        if episodes[at] < 0 or frames[at] < 0:
            report.expect(f"{place}, sample {key}", "its name", "an episode of the set and a frame")
    read.episodes.append(episodes)
    read.frames.append(frames)
    width = len(one.members)
    found = {
        name: np.array([row[k] for row in rows], np.int64).reshape(-1, width)
        for k, name in enumerate(("member_offset", "member_size", "member_crc32c"), start=1)
    }
    read.prints.append(np.array([row[4] for row in rows], np.int64).reshape(-1, width))
    report.tars += 1
    report.samples += len(rows)
    starts = found["member_offset"][:, 0] - 512
    last = found["member_offset"][-1:, -1] + found["member_size"][-1:, -1]
    ends = np.concatenate([starts[1:], last + -last % 512])
    wanted = np.concatenate([starts, ends[-1:]]).astype("<u8").tobytes()
    energon = path.with_name(f"{path.name}.idx")
    same = energon.is_file() and energon.read_bytes() == wanted
    report.require(f"{place}.idx", holds=same, found="other offsets, or no file")
    ids: Any = [read.ids[k] if k >= 0 else None for k in episodes]
    found |= {"offset": starts, "size": ends - starts, "episode": episodes, "frame_index": frames}
    index_path = f"{place.removesuffix('.tar')}.index.arrow"
    if not (shards.root / index_path).exists():
        _write_index(shards.root / index_path, found, ids)
        report.rebuilt.append(index_path)
    index = _read_arrow(shards.root, index_path, report)
    if index is None:
        return
    data = (shards.root / index_path).read_bytes()
    report.expect(index_path, hashlib.sha256(data).hexdigest(), shard.index_sha256)
    for name, wanted in found.items():
        same = np.array_equal(_numpy(index, name), wanted)
        report.require(f"{index_path}, {name}", holds=same, found="other values")
    same = index.column("episode_id").to_pylist() == ids
    report.require(f"{index_path}, episode_id", holds=same, found="other ids")


def _write_index(path: Path, found: dict[str, np.ndarray], ids: list[str]) -> None:
    """A lost index from what the tar says; its digest is checked like that of any other."""
    schema = shard_index_schema(found["member_offset"].shape[1])
    number = int(path.name.split(".")[0].rpartition("-")[2])
    columns: dict[str, Any] = {name: values.tolist() for name, values in found.items()}
    columns |= {"episode_id": ids, "tar": [number] * len(ids)}
    rows = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    write_arrow(path, [rows], schema=schema)


def _samples(
    path: Path,
    place: str,
    one: ShardSet,
    report: ShardReport,
    *,
    print_of: Callable[[str, bytes], int] | None,
) -> Iterator[tuple[str, list[tuple[int, int, int, int]]]]:
    """Key of each sample; offset, size, CRC-32C and fingerprint of its members, in order."""
    pictures = {
        camera.member: (camera.codec, camera.height, camera.width)
        for camera in one.cameras
        if camera.codec != "mp4"
    }
    with tarfile.open(path, "r:") as tar:
        key, members = "", list[tuple[int, int, int, int]]()
        for entry in tar:
            head = (entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.isreg())
            report.expect(f"{place}, {entry.name}", head, (0, 0, 0, "", "", True))
            name, _, suffix = entry.name.partition(".")
            opened = tar.extractfile(entry)
            content = opened.read() if opened else b""
            wanted = f"{key if members else name}.{one.members[len(members)]}"
            if not report.expect(f"{place}, member at {entry.offset}", entry.name, wanted):
                raise tarfile.ReadError(f"members in another order, at {entry.offset}")  # noqa: EM102
            if suffix == "meta.json":
                _check_meta(f"{place}, {entry.name}", name, content, report)
            if suffix in pictures:
                head = read_header(content)
                shape = head and (head.codec, head.height, head.width)
                report.expect(f"{place}, {entry.name}", shape, pictures[suffix])
            key = name
            mark = print_of(suffix, content) if print_of else 0
            members.append((entry.offset_data, entry.size, _crc32c(content), mark))
            if len(members) == len(one.members):
                yield key, members
                members = []
        report.expect(place, f"{len(members)} members at the end", "0 members at the end")


def _check_meta(place: str, key: str, content: bytes, report: ShardReport) -> None:
    try:
        meta = msgspec.json.decode(content)
        wanted = meta["episode_id"].lower()
        if "frame_index" in meta and key != wanted:
            wanted += f"-{meta['frame_index']:06d}"
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        report.expect(place, str(error), "flat JSON with episode_id and frame_index")
        return
    report.expect(place, key, wanted)
    flat = all(isinstance(value, str | int | float | bool) for value in meta.values())
    report.expect(place, "flat" if flat else "nulls or lists", "flat")


def _check_energon_folder(shards: Shards, one: ShardSet, report: ShardReport) -> None:
    """`.nv-meta`: the tars with their counts, all on the side that they are on."""
    folder = shards.root / "tars" / one.name / ".nv-meta"
    place = folder.relative_to(shards.root).as_posix()
    try:
        info = msgspec.json.decode((folder / ".info.json").read_bytes(), type=dict[str, Any])
        split = (folder / "split.yaml").read_text("utf-8")
        kind = (folder / "dataset.yaml").read_text("utf-8")
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        report.expect(place, str(error), "energon's .info.json, split.yaml and dataset.yaml")
        return
    counts: Any = info.get("shard_counts")
    report.expect(f"{place}/.info.json", counts, {tar.name: tar.samples for tar in one.tars})
    listed: dict[str, list[str]] = {}
    side = ""
    for line in split.splitlines():
        name, _, rest = line.strip().partition(":")
        if name.startswith("- "):
            listed[side].append(name[2:])
        elif line.startswith("  "):
            side = name
            listed[side] = []
            if rest.strip() not in ("", "[]"):
                listed[side].append(rest)
    mine = "train" if one.side == "train" else "test"
    wanted = {name: [tar.name for tar in one.tars] if name == mine else [] for name in listed}
    report.expect(f"{place}/split.yaml", listed, {"train": [], "val": [], "test": []} | wanted)
    crude = "__class__: CrudeWebdataset" in kind.splitlines()
    report.require(f"{place}/dataset.yaml", holds=crude, found="another class of dataset")


def _check_samples(shards: Shards, one: ShardSet, read: SetTables, report: ShardReport) -> None:
    """Every sample of the set once, none besides."""
    if len(read.episodes) < len(one.tars):
        report.not_checked.append(f"whether set {one.name} has every sample: a tar is damaged")
        return
    episodes = np.concatenate([*read.episodes, np.zeros(0, np.int64)])
    frames = np.concatenate([*read.frames, np.zeros(0, np.int64)])
    every = shards.document.options.every
    wanted = len(read.ids)
    if shards.document.sample == "step":
        wanted = int((-(-read.lengths // every)).sum())
        good = (episodes >= 0) & (frames % every == 0)
        good &= frames < read.lengths[np.maximum(episodes, 0)]
        report.expect(f"set {one.name}", f"{int((~good).sum())} stray samples", "0 stray samples")
    key = episodes * (int(read.lengths.max(initial=0)) + 1) + frames
    report.expect(
        f"set {one.name}",
        f"{len(np.unique(key))} samples, each once",
        f"{wanted} samples, each once",
    )
    report.expect(f"set {one.name}", len(episodes), one.samples)


def _check_sides(
    shards: Shards, tables: dict[str, SetTables], datasets: Sequence[Dataset], report: ShardReport
) -> None:
    """No episode in two sets; where datasets are given, no copy on the other side either."""
    counts = Counter(name.lower() for read in tables.values() for name in read.ids)
    for name, count in counts.items():
        report.expect(f"episode {name}", f"in {count} sets", "in 1 sets")
    side = {
        name: shards.sets[set_name].side for set_name, read in tables.items() for name in read.ids
    }
    for dataset in datasets:
        columns = ("episode_id", "duplicate_of")
        for name, copy_of in dataset.verdicts.select(columns).collect().iter_rows():
            if name in side and copy_of in side:
                report.expect(f"episode {name}, a copy of {copy_of}", side[name], side[copy_of])


def _check_strangers(shards: Shards, report: ShardReport) -> None:
    listed = {
        shards.tar_path(one.name, k) for one in shards.document.sets for k in range(len(one.tars))
    }
    for path in sorted((shards.root / "tars").rglob("*.tar")):
        if path not in listed:
            report.expect(
                path.relative_to(shards.root).as_posix(), "a tar", "none: not in shards.json"
            )


def _check_text(
    shards: Shards, text: TextRevision, tables: dict[str, SetTables], report: ShardReport
) -> None:
    """Files of a revision, its name, its rows' places, and its bits from the words again."""
    folder = f"text/{text.revision}/"
    whole = [_check_file(shards.root, file, report) for file in text.files]
    inside = [
        msgspec.structs.replace(file, path=file.path.removeprefix(folder)) for file in text.files
    ]
    report.expect(f"{folder}, its name", text_revision(inside), text.sha256)
    report.expect(f"{folder}, its name", text.sha256[:16], text.revision)
    report.texts += 1
    newest = text == shards.document.texts[-1]
    for told in text.sets if all(whole) else ():
        read, one = tables.get(told.name), shards.sets.get(told.name)
        words = _read_arrow(shards.root, f"{folder}{told.name}/episodes.arrow", report)
        if read is None or one is None or words is None:
            continue
        place = f"{folder}{told.name}/episodes.arrow"
        ids: Any = words.column("episode_id").to_pylist()
        # Sets may have grown since a revision; numbers of episodes do not change.
        same = ids == (read.ids if newest else read.ids[: len(ids)])
        report.require(place, holds=same, found="other episodes", wanted="those of the set")
        policies = words.column("policy").to_pylist()
        for table in ("instructions", "facts", "traces"):
            rows = _read_arrow(shards.root, f"{folder}{told.name}/{table}.arrow", report)
            counts = _numpy(words, table)
            numbers = np.repeat(np.arange(len(ids)), counts)
            first = _numpy(words, f"first_{table.removesuffix('s')}")
            good = np.array_equal(first, np.cumsum(counts) - counts)
            good &= rows is not None and np.array_equal(_numpy(rows, "episode"), numbers)
            report.require(f"{place}, {table}", holds=good, found="rows elsewhere")
        if len(read.episodes) < len(one.tars):
            continue
        has = np.array([policy is not None for policy in policies], bool)
        seen = np.array([policy == "reviewed" for policy in policies], bool)
        of_tars = read.episodes[: len(told.reviewed)]
        for policy, shown, counts in (
            ("not_contradicted", has, told.not_contradicted),
            ("reviewed", seen, told.reviewed),
        ):
            path = f"{folder}{told.name}/{_BITS[policy]}"
            flags = [shown[np.clip(episodes, 0, None)] for episodes in of_tars]
            bits = np.packbits(np.concatenate([*flags, np.zeros(0, bool)]), bitorder="little")
            same = (shards.root / path).read_bytes() == bits.tobytes()
            report.require(path, holds=same, found="other bits")
            report.expect(f"{path}, counts", counts, [int(one.sum()) for one in flags])
