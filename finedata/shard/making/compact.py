"""Compaction: episodes that have become representatives move from `rest` to `rep`.

A dataset is clustered anew when it grows or is annotated, and then other episodes represent it
than when it was sharded. Their samples are copied out of the tars as they are: no picture is
decoded, and the dataset's pixels are not read. The set that they leave is written anew under a name
of its own, so that until `shards.json` is replaced, which is last, every file that the old one
names is there; the set that they enter grows as by an append. What stood there before is removed
after that, and again by the next call, should this one be killed in between.

Numbers of episodes change in a set that loses some, and with them the places of all words. So the
revisions of text before go, and one that says the same of the same episodes takes their place.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

import finedata
from finedata.engine.local import LocalEngine
from finedata.engine.progress import Progress
from finedata.engine.run_plan import Flow
from finedata.errors import UsageError
from finedata.schema.conform import conform
from finedata.schema.documents import encode_document
from finedata.schema.shards_file import SHARDS_FILE, ShardCamera, ShardSet, shards_identity
from finedata.schema.tables.all import arrow_schema
from finedata.shard.files import (
    episodes_path,
    file_digest,
    frames_path,
    member_crc32c,
    tar_folder,
    tar_name,
    write_arrow,
)
from finedata.shard.making.finish import add_camera, as_listed, first_rows, write_energon_folder
from finedata.shard.making.plan import episode_units
from finedata.shard.making.prepare import lineage_of
from finedata.shard.making.sets import SetKey, set_names
from finedata.shard.making.tasks import TarResult, write_set_tar
from finedata.shard.making.text import alone, write_text
from finedata.shard.shards import Shards
from finedata.shard.statistics import shard_statistics
from finedata.store.atomic import output_errors, write_atomic
from finedata.store.run.ledger import LEDGER_FOLDER, Ledger
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from finedata.engine.progress import OnProgress
    from finedata.schema.shards_file import ShardsFile
    from finedata.store.dataset import Dataset

__all__ = ["CompactSummary", "compact_shards"]


class CompactSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction did.

    Attributes:
        out: The shards.
        identity: Theirs, from now on.
        moved: Set that episodes left -> how many.
        revision: The text revision, from now on the only one.
        revisions_gone: Those that were there before.
    """

    out: str
    identity: str
    moved: dict[str, int]
    revision: str
    revisions_gone: list[str]


class _Piece(msgspec.Struct, frozen=True):
    """A tar to write: runs of samples of old tars.

    Attributes:
        root: The shards.
        source: Set that the samples are in.
        target: Set that the tar is of.
        number: In the tar's name.
        samples: Place of an old tar in its list, places of samples in it, and the numbers that
            their episodes get (both as int32).
    """

    root: str
    source: str
    target: str
    number: int
    samples: list[tuple[int, bytes, bytes]]


class _Part(msgspec.Struct, frozen=True):
    """Samples of a set that go into another, or stay.

    Attributes:
        source: The set that they are in.
        target: Name of the set that gets them.
        number: (episodes of the source) number of each episode in the target; -1: not of them.
        first_tar: Number of the target's first new tar.
    """

    source: ShardSet
    target: str
    number: np.ndarray
    first_tar: int


def compact_shards(
    root: str | Path,
    datasets: Sequence[Dataset],
    *,
    workers: int = 1,
    on_progress: OnProgress = None,
) -> CompactSummary:
    """Move episodes that have become representatives from the tier `rest` to `rep`.

    Args:
        root: Finished shards.
        datasets: Datasets that were sharded, clustered anew.
        workers: Processes; changes no byte.
        on_progress: Called when a tar is written.

    Raises:
        UsageError: There are no finished shards, words are baked into them, another run is writing
            there or has not finished, or a dataset has no representatives.
        ConformError: A file of the shards or of a dataset is damaged.
        OutputError: The disk is full; the same call continues later.
    """
    path = Path(root)
    document = Shards.open(path).document
    name = f"compact-{document.identity[:16]}"
    with alone(path, own=name):
        _refuse(path, document)
        shards = Shards.open(path)
        moving = _moving(shards, datasets)
        if not moving:
            _remove_strangers(path, document)
            revision = document.texts[-1].revision if document.texts else ""
            return CompactSummary(
                out=str(root),
                identity=document.identity,
                moved={},
                revision=revision,
                revisions_gone=[],
            )
        ids = "\n".join(sorted(one for of_set in moving.values() for one in of_set["episode_id"]))
        words = {
            "shards": document.identity,
            "episodes": hashlib.sha256(ids.encode()).hexdigest(),
            "finedata": finedata.__version__,
        }
        key = hashlib.sha256(msgspec.json.encode(words, order="sorted")).hexdigest()
        with (
            Ledger(path, run_key=key, settings=words, name=name) as ledger,
            LocalEngine(workers=workers) as engine,
        ):
            parts, targets = _plan(shards, moving)
            tars = _write_tars(shards, parts, ledger, Flow(engine), on_progress)
            made = _finish(shards, datasets, moving, parts, targets, tars)
        _remove_strangers(path, made)
    return CompactSummary(
        out=str(root),
        identity=made.identity,
        moved={set_name: rows.height for set_name, rows in moving.items()},
        revision=made.texts[-1].revision,
        revisions_gone=[text.revision for text in document.texts],
    )


def _refuse(root: Path, document: ShardsFile) -> None:
    if document.options.bake:
        raise UsageError(
            place=str(root),
            found=f"words baked into the tars: {', '.join(document.options.bake)}",
            wanted="shards with words beside the tars; baked ones are of their first revision",
            next_command="finedata shard DIR --out SHARDS  # anew",
        )
    waiting = sorted((root / LEDGER_FOLDER).glob("*-work"))
    if waiting:
        raise UsageError(
            place=str(root),
            found="an append that is not finished",
            wanted="finished shards",
            next_command="finedata shard DIR --out SHARDS --append  # finishes it",
        )


def _moving(shards: Shards, datasets: Sequence[Dataset]) -> dict[str, pl.DataFrame]:
    """Set -> `number`, `episode_id` and new `rank` and `cluster_id` of its episodes that move."""
    now: list[pl.DataFrame] = []
    for dataset in datasets:
        failed = dataset.table("gate").filter(pl.col("verdict") == "fail")
        chosen = dataset.table("representatives").select("episode_id", "rank", "cluster_id")
        rows = chosen.join(failed, on="episode_id", how="anti").collect()
        if not rows.height:
            raise UsageError(
                place=str(dataset.root),
                found="no representatives",
                wanted="a dataset that was clustered",
                next_command=f"finedata cluster {dataset.root}",
            )
        now.append(rows)
    if not now:
        raise UsageError(
            place=str(shards.root),
            found="no dataset",
            wanted="datasets that were sharded, clustered anew",
            next_command=f"finedata shard {shards.root} --compact DIR",
        )
    moving: dict[str, pl.DataFrame] = {}
    for one in shards.document.sets:
        if one.tier == "rest":
            rows = _episodes(shards, one).select("episode_id").with_row_index("number")
            found = rows.join(pl.concat(now), on="episode_id", how="inner", maintain_order="left")
            if found.height:
                moving[one.name] = found
    return moving


def _episodes(shards: Shards, one: ShardSet) -> pl.DataFrame:
    rows = pl.from_arrow(shards.episodes(one.name).rows(0, one.episodes))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    return cast("pl.DataFrame", rows)


def _plan(
    shards: Shards, moving: dict[str, pl.DataFrame]
) -> tuple[list[_Part], dict[str, ShardSet]]:
    """What moves where, and the sets as they are before: those that grow, or get what stays."""
    keys = {SetKey(s.source, s.part, s.tier, s.side): s.name for s in shards.document.sets}
    taken = set(keys.values())
    rep_keys = {
        name: SetKey(one.source, one.part, "rep", one.side)
        for name in moving
        for one in (shards.sets[name],)
    }
    names = set_names(rep_keys.values(), known=keys)
    parts: list[_Part] = []
    targets: dict[str, ShardSet] = {}
    for name, rows in moving.items():
        one = shards.sets[name]
        moved = np.zeros(one.episodes, bool)
        moved[rows["number"].to_numpy()] = True
        rep = names[rep_keys[name]]
        empty = msgspec.structs.replace(
            one, episodes=0, frames=0, samples=0, tars=[], licences=[],
            cameras=[_counted(camera, 0) for camera in one.cameras],
        )  # fmt: skip
        before = shards.sets.get(rep, msgspec.structs.replace(empty, name=rep, tier="rep"))
        if (before.members, before.features) != (one.members, one.features):
            raise UsageError(
                place=f"set {rep}",
                found="other members or columns than those of the set whose episodes would come",
                wanted="the same",
                next_command="finedata shard DIR --out SHARDS  # anew",
            )
        targets[rep] = before
        new = np.where(moved, before.episodes + np.cumsum(moved) - 1, -1)
        parts.append(_Part(one, rep, new, len(before.tars)))
        if not moved.all():
            stem, number = re.sub(r"-[0-9]+$", "", name), 2
            while f"{stem}-{number}" in taken:
                number += 1
            stays = f"{stem}-{number}"
            taken.add(stays)
            targets[stays] = msgspec.structs.replace(empty, name=stays)
            parts.append(_Part(one, stays, np.where(moved, -1, np.cumsum(~moved) - 1), 0))
    return parts, targets


def _chosen(shards: Shards, part: _Part) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Of each old tar: its place in the list, places of its samples, new numbers of episodes."""
    for tar, shard in enumerate(part.source.tars):
        index = shards.index(part.source.name, tar)
        number = part.number[index.numbers("episode", 0, shard.samples)]
        places = np.flatnonzero(number >= 0)
        if len(places):
            yield tar, places, number[places]


def _edges(shards: Shards, part: _Part) -> list[int]:
    """Where the new tars begin among the samples, and at last their number."""
    total = size = 0
    for tar, places, _ in _chosen(shards, part):
        total += len(places)
        size += int(shards.index(part.source.name, tar).take("size", places).sum())
    options = shards.document.options
    most = max(1, options.shard_bytes * total // size)
    if shards.document.order == "step":
        return [*range(0, total, most), total]
    lengths = shards.episodes(part.source.name).numbers("length", 0, part.source.episodes)
    lengths = lengths[part.number >= 0].astype(np.int64)
    steps = shards.document.sample == "step"
    samples = -(-lengths // options.every) if steps else np.ones(len(lengths), np.int64)
    ends = np.concatenate([[0], np.cumsum(samples)])
    return ends[list(episode_units(samples, most=most))].tolist()


def _pieces(shards: Shards, part: _Part) -> Iterator[_Piece]:
    edges = _edges(shards, part)
    number, at = 0, 0
    held: list[tuple[int, bytes, bytes]] = []
    for tar, places, episodes in _chosen(shards, part):
        begin = 0
        while begin < len(places):
            end = min(len(places), begin + edges[number + 1] - at)
            some = (places[begin:end], episodes[begin:end])
            held.append((tar, *(values.astype("<i4").tobytes() for values in some)))  # pyright: ignore[reportArgumentType]
            at, begin = at + end - begin, end
            if at == edges[number + 1]:
                yield _Piece(
                    str(shards.root), part.source.name, part.target, part.first_tar + number, held
                )
                number, held = number + 1, []


def _write_tars(
    shards: Shards, parts: list[_Part], ledger: Ledger, flow: Flow, on_progress: OnProgress
) -> dict[str, list[TarResult]]:
    """Target -> its new tars, by number."""
    found: dict[str, dict[int, TarResult]] = {part.target: {} for part in parts}
    total = sum(len(_edges(shards, part)) - 1 for part in parts)
    done = 0

    def took(piece: _Piece, result: TarResult) -> None:
        nonlocal done
        found[piece.target][piece.number] = result
        done += 1
        if on_progress is not None:
            on_progress(Progress("compacting", done, total))

    def keep(piece: _Piece, result: TarResult) -> None:
        ledger.put(f"tar:{piece.target}", piece.number, msgspec.msgpack.encode(result))
        took(piece, result)

    for piece in (piece for part in parts for piece in _pieces(shards, part)):
        payload = ledger.get(f"tar:{piece.target}", piece.number)
        known = payload and msgspec.msgpack.decode(payload, type=TarResult)
        if known and known.is_whole(tar_folder(shards.root, piece.target)):
            took(piece, known)
        else:
            flow.submit(_write_piece, piece, keep=partial(keep, piece))
    flow.drain()
    return {name: [tars[number] for number in sorted(tars)] for name, tars in found.items()}


def _write_piece(piece: _Piece) -> TarResult:
    shards = Shards.open(piece.root)
    one = shards.sets[piece.source]
    number = piece.number
    path = tar_folder(shards.root, piece.target) / tar_name(one.side, number)

    def samples() -> Iterator[tuple[int, int, str, tuple[bytes, ...]]]:
        for tar, places, episodes in piece.samples:
            at = np.frombuffer(places, "<i4").astype(np.int64)
            index, content = shards.index(piece.source, tar), shards.tar(piece.source, tar)
            begins = index.take("member_offset", at)
            ends = (begins + index.take("member_size", at)).tolist()
            crc32c = index.take("member_crc32c", at).tolist()
            frames = index.take("frame_index", at).tolist()
            numbers = np.frombuffer(episodes, "<i4").tolist()
            for k, place in enumerate(at.tolist()):
                spans = zip(begins[k].tolist(), ends[k], strict=True)
                members = tuple([bytes(content[a:b]) for a, b in spans])
                if list(map(member_crc32c, members)) != crc32c[k]:
                    found = f"other bytes in sample {place} of {piece.source}, tar {tar}"
                    raise index.damaged(found, wanted="those of its index")
                yield numbers[k], frames[k], index.value("episode_id", place), members

    as_steps = shards.document.sample == "step"
    return write_set_tar(path, number, samples(), tuple(one.members), as_steps=as_steps)


def _finish(
    shards: Shards,
    datasets: Sequence[Dataset],
    moving: dict[str, pl.DataFrame],
    parts: list[_Part],
    targets: dict[str, ShardSet],
    tars: dict[str, list[TarResult]],
) -> ShardsFile:
    """Everything but tars; `shards.json` as the last."""
    root, document = shards.root, shards.document
    sets = {one.name: one for one in document.sets if one.name not in moving}
    for part in parts:
        ranks = moving[part.source.name].select("episode_id", "rank", "cluster_id")
        sets[part.target] = _written(shards, targets[part.target], part, ranks, tars[part.target])
    listed = [sets[name] for name in sorted(sets)]
    for name in targets:
        write_energon_folder(root, sets[name])
    steps = document.sample == "episode"
    text = write_text(root, datasets, listed, before=document.texts, steps=steps)
    lineage = [*document.lineage, *map(lineage_of, datasets)]
    made = msgspec.structs.replace(
        document,
        identity=shards_identity(listed, order=document.order, sample=document.sample),
        finedata_version=finedata.__version__,
        sets=listed,
        statistics=shard_statistics(root, listed),
        texts=[text],
        lineage=lineage,
    )
    write_atomic(root / SHARDS_FILE, encode_document(made))
    return made


def _written(
    shards: Shards, before: ShardSet, part: _Part, ranks: pl.DataFrame, tars: list[TarResult]
) -> ShardSet:
    """Write episodes and frames of a set behind those that it has, and say what it is now."""
    root = shards.root
    path, frames = episodes_path(root, before.name), frames_path(root, before.name)
    added = _episodes(shards, part.source).filter(pl.Series(part.number >= 0))
    if before.tier == "rep":
        added = added.drop("rank", "cluster_id").join(
            ranks, on="episode_id", how="left", maintain_order="left"
        )
    lengths = added["length"].to_numpy().astype(np.int64)
    added = added.with_columns(first_row=np.cumsum(lengths) - lengths + before.frames)
    schema = arrow_schema("shard_episodes")
    rows = conform(added.select(schema.names).to_arrow(), "shard_episodes", cast=True)
    write_arrow(path, chain(first_rows(path, before.episodes), [rows]), schema=schema)
    numbers = chain(first_rows(frames, before.frames), _frames(shards, part))
    write_arrow(frames, numbers, schema=shards.frames(part.source.name).schema)
    samples = sum(tar.samples for tar in tars)
    cameras = [
        add_camera(_counted(new, samples), known if before.samples else None)
        for new, known in zip(part.source.cameras, before.cameras, strict=True)
    ]
    return msgspec.structs.replace(
        before,
        licences=sorted({*before.licences, *added["licence"]}),
        cameras=cameras,
        episodes=before.episodes + added.height,
        frames=before.frames + int(lengths.sum()),
        samples=before.samples + samples,
        tars=[*before.tars, *map(as_listed, tars)],
        episodes_file=file_digest(root, path),
        frames_file=file_digest(root, frames),
    )


def _counted(camera: ShardCamera, samples: int) -> ShardCamera:
    """A camera's counts for some of its samples: which were encoded is not known, so at most."""
    encoded = min(camera.encoded, samples)
    return msgspec.structs.replace(
        camera,
        encoded=encoded,
        untouched=samples - encoded,
        psnr_db=camera.psnr_db if encoded else None,
    )


def _frames(shards: Shards, part: _Part) -> Iterator[pa.Table]:
    """Rows of a part's episodes with their new numbers, a batch at a time."""
    table = shards.frames(part.source.name)
    for begin in range(0, part.source.frames, 1 << 16):
        rows: Any = table.rows(begin, min(begin + (1 << 16), part.source.frames))
        number = part.number[rows.column("episode").to_numpy()]
        rows = rows.set_column(
            rows.schema.get_field_index("episode"),
            rows.schema.field("episode"),
            pa.array(number, pa.int32()),
        )
        yield rows.filter(pa.array(number >= 0))


def _remove_strangers(root: Path, document: ShardsFile) -> None:
    """Remove what no longer belongs to the shards: sets and revisions of before."""
    sets = {one.name for one in document.sets}
    revisions = {text.revision for text in document.texts}
    with output_errors(root):
        for folder in sorted((root / "tars").iterdir()):
            if folder.name not in sets:
                shutil.rmtree(folder)
        for folder in sorted((root / "text").iterdir()):
            if folder.name not in revisions:
                shutil.rmtree(folder)
        for path in (*(root / "episodes").glob("*.arrow"), *(root / "frames").glob("*.arrow")):
            if path.stem not in sets:
                path.unlink()
