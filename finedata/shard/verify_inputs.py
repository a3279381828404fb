"""Shards against the datasets that they were made of.

What is in the tars is known here by fingerprints, taken while they were read. What should be there
is made anew from the dataset, by NumPy's own writer and from what schemas/README.md says: state and
action chunk of every sample, what its meta.json says, and every picture that had to stay as it was:
one of the set's codec and size with right colours. Pictures that were encoded are of the right size
(`verify` looked), but what they show is not compared, and is said not to be.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from msgspec import UNSET

from finedata.store.episode import is_swapped
from finedata.store.pictures import is_deep, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from finedata.schema.shards_file import ShardCamera, ShardOptions, ShardSet
    from finedata.shard.shards import Shards
    from finedata.shard.verify_report import SetTables, ShardReport
    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode

_COLUMNS = {"state.npy": "observation.state", "action.npy": "action"}
# Stands for a member that no tar had.
_NONE = -1


def fingerprint(member: str, content: bytes) -> int:
    """What tells the content of a member from any other: 63 bits of its SHA-256.

    Of meta.json, of what it says, whatever the order of its keys.
    """
    if member == "meta.json":
        try:
            content = json.dumps(json.loads(content), sort_keys=True).encode()
        except ValueError:  # `verify` has named it; it is like no other
            return _NONE - 1
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") >> 1


def check_inputs(
    shards: Shards,
    tables: Mapping[str, SetTables],
    datasets: Sequence[Dataset],
    report: ShardReport,
) -> None:
    """Hold every episode of some datasets against the shards.

    Args:
        shards: The shards.
        tables: Set -> what was read of it, with fingerprints.
        datasets: The datasets.
        report: Where problems go, and what was not compared.
    """
    found: set[str] = set()
    places = {name: (one, k) for one, read in tables.items() for k, name in enumerate(read.ids)}
    prints = {name: _by_frame(shards.sets[name], read) for name, read in tables.items()}
    encoded: dict[tuple[str, str], int] = {}
    for dataset in datasets:
        for episode in dataset.iter_episodes():
            if episode.episode_id not in places or episode.episode_id in found:
                continue
            found.add(episode.episode_id)
            name, number = places[episode.episode_id]
            one, first = shards.sets[name], int(tables[name].first_row[number])
            mine = prints[name][first : first + len(episode)]
            _check_rows(shards, one, episode, first, report)
            _check_members(shards, one, episode, mine, report)
            for camera in one.cameras:
                if camera.depth_of is not UNSET:
                    key = (name, camera.name)
                    encoded[key] = encoded.get(key, 0) + len(episode)
                    continue
                count = _check_pictures(one, camera, episode, mine, report)
                key = (name, camera.name)
                encoded[key] = encoded.get(key, 0) + count
            report.compared += 1
    for (name, camera), count in sorted(encoded.items()):
        if count:
            what = f"set {name}, camera {camera}"
            report.not_checked.append(f"what {count} encoded pictures of {what} show")
    for name in tables:
        baked = [member for member in shards.sets[name].members if member.endswith(".txt")]
        if baked:
            report.not_checked.append(f"baked words of set {name}: {', '.join(baked)}")
    missing = len(places) - len(found)
    if missing:
        report.not_checked.append(f"{missing} episodes against a dataset: none given has them")


def _by_frame(one: ShardSet, read: SetTables) -> np.ndarray:
    """(frames, members) fingerprints, as read from the tars; -1 where there is no sample."""
    found = np.full((int(read.lengths.sum()), len(one.members)), _NONE, np.int64)
    for episodes, frames, prints in zip(read.episodes, read.frames, read.prints, strict=True):
        good = (episodes >= 0) & (frames >= 0) & (frames < read.lengths[np.maximum(episodes, 0)])
        found[(read.first_row[episodes] + frames)[good]] = prints[good]
    return found


def _check_rows(
    shards: Shards, one: ShardSet, episode: Episode, first: int, report: ShardReport
) -> None:
    """Rows of `shard_frames`."""
    rows = shards.frames(one.name).rows(first, first + len(episode))
    names = [name for name in rows.column_names if name not in ("episode", "frame_index")]
    for column, wanted in episode.rows(names).items():
        got = _numbers(rows, column).reshape(wanted.shape)
        same = np.array_equal(got, wanted, equal_nan=got.dtype.kind == "f")
        place = f"{one.frames_file.path}, {episode.episode_id}, {column}"
        report.require(place, holds=same, found="other numbers")


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    flat: Any = table.column(name).combine_chunks()
    while pa.types.is_fixed_size_list(flat.type):
        flat = flat.flatten()
    return np.asarray(flat)


def _check_members(
    shards: Shards, one: ShardSet, episode: Episode, prints: np.ndarray, report: ShardReport
) -> None:
    """State, action and meta.json of every sample."""
    names = [member for member in one.members if member in _COLUMNS]
    asked = [_COLUMNS[member] for member in names]
    rows = episode.rows([*asked, *(["action_valid"] if "action" in asked else [])]) if asked else {}
    options, whole = shards.document.options, shards.document.sample == "episode"
    for member in names:
        values = np.asarray(rows[_COLUMNS[member]], "<f4")
        values = values.reshape(len(episode), *(values.shape[1:] or (1,)))
        wanted = [values] if whole else _chunks(values, member, options)
        _compare(one, member, episode, prints, map(_npy, wanted), report)
    if "meta.json" in one.members:
        metas = _metas(one, episode, rows.get("action_valid"), options, whole=whole)
        _compare(one, "meta.json", episode, prints, metas, report)


def _compare(
    one: ShardSet,
    member: str,
    episode: Episode,
    prints: np.ndarray,
    wanted: Iterator[bytes],
    report: ShardReport,
) -> None:
    column = prints[:, one.members.index(member)]
    for frame, content in enumerate(wanted):
        if column[frame] not in (_NONE, fingerprint(member, content)):
            place = f"set {one.name}, {episode.episode_id}, frame {frame}, {member}"
            report.require(place, holds=False, found="another content", wanted="the dataset's")
            return


def _chunks(values: np.ndarray, member: str, options: ShardOptions) -> Iterator[np.ndarray]:
    last = len(values) - 1
    for frame in range(len(values)):
        if member == "action.npy":
            yield values[[min(frame + step, last) for step in range(options.horizon)]]
        else:
            yield values[frame]


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values))
    return buffer.getvalue()


def _metas(
    one: ShardSet,
    episode: Episode,
    valid: np.ndarray | None,
    options: ShardOptions,
    *,
    whole: bool,
) -> Iterator[bytes]:
    for frame in range(1 if whole else len(episode)):
        steps = len(episode)
        if not whole:
            window = [True] * steps if valid is None else valid.tolist()
            window = window[frame : frame + options.horizon]
            steps = window.index(False) if False in window else len(window)
        meta = {
            "episode_id": episode.episode_id,
            "source": one.source,
            "part": one.part,
            "embodiment": one.embodiment,
            "licence": episode.row["licence"],
            "instruction": episode.task,
            "fps": float(episode.fps),
            "length": len(episode),
            "frame_index": frame,
            "time_s": frame / episode.fps,
            "valid_steps": steps,
        }
        yield json.dumps(meta).encode()


def _check_pictures(
    one: ShardSet, camera: ShardCamera, episode: Episode, prints: np.ndarray, report: ShardReport
) -> int:
    """Hold pictures that had to stay as they were; how many others there are."""
    column = prints[:, one.members.index(camera.member)]
    there = int((column != _NONE).sum())
    if camera.name in episode.videos or camera.codec == "mp4":
        return there
    others = 0
    for slab in episode.slabs(columns=(), cameras=[camera.name]):
        for frame, picture in zip(slab.frames, slab.pictures[camera.name], strict=True):
            if column[frame] == _NONE:
                continue
            head = read_header(picture)
            fits = head is not None and (
                (head.codec, head.height, head.width) == (camera.codec, camera.height, camera.width)
            )
            # Among depths an 8-bit PNG, which stands for none, gets 16.
            other = camera.codec == "png" and camera.encoded > 0 and not is_deep([picture])
            if not fits or other or is_swapped(camera.name):
                others += 1
                continue
            same = int(column[frame]) == fingerprint(camera.member, picture)
            report.pictures += 1
            place = f"set {one.name}, camera {camera.name}, {episode.episode_id}, frame {frame}"
            report.require(place, holds=same, found="other bytes", wanted="the dataset's")
    return others
