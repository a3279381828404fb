"""Generated variants of every family's sources: one thing of one episode is damaged, in seven ways.

A family writes so many equal episodes; each of them but the last gets another damage: a feature
dropped, renamed, shifted by a row, one row short, emptied, reversed or of another type. Damage is
done by plain h5py, pyarrow, protobuf and NumPy, on the files as they lie.
"""

from __future__ import annotations

import importlib
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from corpora.tfrecord import frame_record

from finedata.convert.account.rlds import _example

__all__ = ["FAMILIES", "KINDS", "Variants"]

KINDS = ("drop", "rename", "shift", "short", "empty", "reorder", "retype")
_PAPER = Path(__file__).parent / "demonstrations.toml"


@dataclass(frozen=True)
class Variants:
    """A family of sources.

    Attributes:
        converter: Name of the converter, or its file.
        write: Writes so many episodes of a few frames into a folder.
        things: What of an episode can be damaged; each episode has the same.
        damage: (folder, episode, kind, thing); says whether the thing has such a damage.
    """

    converter: str
    write: Callable[[Path, int], None]
    things: Callable[[Path], list[str]]
    damage: Callable[[Path, int, str, str], bool]


def _write(module: str, folder: Path, function: str = "write", **knobs: Any) -> None:
    getattr(importlib.import_module(f"sources.{module}"), function)(folder, **knobs)


def _arranged(values: np.ndarray, kind: str) -> np.ndarray:
    """Rows shifted by one, one fewer, none, or in the other order."""
    if kind == "shift":
        return np.concatenate([values[1:], values[-1:]])
    return {"short": values[1:], "empty": values[:0], "reorder": values[::-1]}[kind]


# HDF5


def _hdf5_things(file: Path, group: str = "") -> list[str]:
    found: list[str] = []
    with h5py.File(file) as opened:
        inside = opened[group] if group else opened
        inside.visititems(
            lambda path, node: found.append(path) if isinstance(node, h5py.Dataset) else None
        )
        found += [f"@{name}" for name in inside.attrs]
    return found


def _damage_hdf5(file: Path, group: str, kind: str, thing: str) -> bool:
    with h5py.File(file, "r+") as opened:
        inside = opened[group] if group else opened
        if thing.startswith("@"):
            return _damage_attribute(inside.attrs, kind, thing[1:])
        if kind == "rename":
            inside.move(thing, f"{thing}_old")
            return True
        node = inside[thing]
        if kind == "drop":
            del inside[thing]
            return True
        if kind == "retype":
            rows, dtype = node.shape[:1], node.dtype
            del inside[thing]
            is_numbers = dtype.kind in "iuf" and dtype != np.uint8
            inside[thing] = np.full(rows, b"seven") if is_numbers else np.full(rows, 7.5)
            return True
        if not node.shape or len(node) < 2:
            return False
        values, dtype = _arranged(node[()], kind), node.dtype
        del inside[thing]
        inside.create_dataset(thing, data=values, dtype=dtype)
    return True


def _damage_attribute(attributes: Any, kind: str, name: str) -> bool:
    value = attributes[name]
    if kind not in ("drop", "rename", "empty", "retype"):
        return False
    del attributes[name]
    if kind == "rename":
        attributes[f"{name}_old"] = value
    elif kind == "empty":
        attributes[name] = ""
    elif kind == "retype":
        attributes[name] = np.zeros((2, 2))
    return True


def _copied_hdf5(module: str, converter: str, *, at: int, **knobs: Any) -> Variants:
    """One recording, copied below as many folders; segment `at` of its path tells them apart."""

    def write(folder: Path, copies: int) -> None:
        _write(module, folder / "one", episodes=1, size=(9, 13), **knobs)
        for path in sorted((folder / "one").rglob("*")):
            if not path.is_file():
                continue
            for number in range(copies):
                parts = list(path.relative_to(folder / "one").parts)
                if len(parts) > at:
                    parts[at] = f"{parts[at]}_{number:03d}"
                place = folder.joinpath(*parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
        shutil.rmtree(folder / "one")

    def file(folder: Path, number: int) -> Path:
        recordings = sorted(p for p in folder.rglob("*") if p.suffix in (".hdf5", ".h5"))
        return recordings[number]

    return Variants(
        converter,
        write,
        lambda folder: _hdf5_things(file(folder, 0)),
        lambda folder, number, kind, thing: _damage_hdf5(file(folder, number), "", kind, thing),
    )


def _demonstrations() -> Variants:
    """All in one file: no damage may reach the next one."""

    def write(folder: Path, copies: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _write("robomimic", folder, lengths=(4,) * copies)

    def file(folder: Path) -> Path:
        return next(folder.glob("*.hdf5"))

    return Variants(
        str(_PAPER),
        write,
        lambda folder: _hdf5_things(file(folder), "data/demo_0"),
        lambda folder, number, kind, thing: _damage_hdf5(
            file(folder), f"data/demo_{number}", kind, thing
        ),
    )


# RLDS


def _records(file: Path) -> list[Any]:
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        found.append(_example().FromString(data[at + 12 : at + 12 + length]))
        at += length + 16
    return found


def _rlds(module: str, converter: str, function: str = "write", **knobs: Any) -> Variants:
    """One record, as many times in one shard; where it has a path, that tells them apart."""

    def shard(folder: Path) -> Path:
        return next(p for p in sorted(folder.rglob("*.tfrecord-*")) if p.stat().st_size)

    def put(folder: Path, records: list[Any]) -> None:
        data = [frame_record(record.SerializeToString()) for record in records]
        shard(folder).write_bytes(b"".join(data))

    def write(folder: Path, copies: int) -> None:
        _write(module, folder, function, episodes=1, length=4, **knobs)
        record = _records(shard(folder))[0]
        texts = []
        for number in range(copies):
            copy = _example().FromString(record.SerializeToString())
            for name, feature in copy.features.feature.items():
                if name.startswith("episode_metadata/") and feature.WhichOneof("kind"):
                    own = feature.bytes_list.value if name.endswith("path") else []
                    own[:] = [f"{text.decode()}_{number}".encode() for text in own]
                if name.endswith("episode_id"):
                    own = feature.int64_list.value
                    own[:] = [1000 + number] * len(own)
            texts.append(copy)
        put(folder, texts)
        _say_lengths(shard(folder), copies)

    def damage(folder: Path, number: int, kind: str, thing: str) -> bool:
        records = _records(shard(folder))
        steps = len(records[number].features.feature["steps/is_first"].int64_list.value)
        done = _damage_record(records[number].features.feature, steps, kind, thing)
        put(folder, records)
        return done

    return Variants(
        converter,
        write,
        lambda folder: sorted(_records(shard(folder))[0].features.feature),
        damage,
    )


def _say_lengths(shard: Path, copies: int) -> None:
    """Say in dataset_info.json how many records each shard has."""
    path = shard.parent / "dataset_info.json"
    info = json.loads(path.read_text())
    split, place = shard.name.split("-")[1].split(".")[0], int(shard.name.split("-")[2])
    for entry in info["splits"]:
        if entry["name"] == split:
            entry["shardLengths"][place] = str(copies)
    path.write_text(json.dumps(info))


def _damage_record(features: Any, steps: int, kind: str, thing: str) -> bool:
    feature = features[thing]
    field = feature.WhichOneof("kind")
    if kind in ("drop", "rename"):
        if kind == "rename":
            features[f"{thing}_old"].CopyFrom(feature)
        del features[thing]
        return True
    if field is None:
        return False
    values = list(getattr(feature, field).value)
    if kind == "retype":
        feature.ClearField(field)
        if field == "bytes_list":
            feature.float_list.value[:] = [7.5] * len(values)
        else:
            feature.bytes_list.value[:] = [b"seven"] * len(values)
        return True
    if kind == "empty":
        getattr(feature, field).value[:] = []
        return True
    if not thing.startswith("steps/") or not values or len(values) % steps:
        return False
    width = len(values) // steps
    rows = [values[k * width : (k + 1) * width] for k in range(steps)]
    order = {"shift": [*range(1, steps), steps - 1], "short": range(1, steps)}
    chosen = order.get(kind, range(steps - 1, -1, -1))
    getattr(feature, field).value[:] = [value for k in chosen for value in rows[k]]
    return True


# LeRobot with a file an episode


def _lerobot(module: str, converter: str, function: str = "write", **knobs: Any) -> Variants:
    def write(folder: Path, copies: int) -> None:
        _write(module, folder, function, episodes=copies, length=4, **knobs)

    def rows(folder: Path, number: int) -> Path:
        return sorted(folder.rglob("data/*/episode_*.parquet"))[number]

    def things(folder: Path) -> list[str]:
        name = rows(folder, 0).stem
        videos = [path.parent.name for path in sorted(folder.rglob(f"{name}.mp4"))]
        return [*pq.read_schema(rows(folder, 0)).names, *(f"video {one}" for one in videos)]

    def damage(folder: Path, number: int, kind: str, thing: str) -> bool:
        path = rows(folder, number)
        if thing.startswith("video "):
            (video,) = folder.rglob(f"{thing[6:]}/{path.stem}.mp4")
            return _damage_file(video, kind)
        table = pq.read_table(path)
        pq.write_table(_damaged_column(table, kind, thing), path)
        return True

    return Variants(converter, write, things, damage)


def _damaged_column(table: pa.Table, kind: str, name: str) -> pa.Table:
    at, column = table.column_names.index(name), table.column(name)
    if kind == "drop":
        return table.drop_columns([name])
    if kind == "rename":
        names = [f"{one}_old" if one == name else one for one in table.column_names]
        return table.rename_columns(names)
    values, field = column.to_pylist(), table.schema.field(name)
    if kind == "retype":
        return table.set_column(at, name, pa.array(["seven"] * len(values)))
    changed = {
        "shift": [*values[1:], values[-1]],
        "short": [*values[:-1], None],
        "empty": [None] * len(values),
        "reorder": values[::-1],
    }[kind]
    field = pa.field(name, field.type, nullable=True)
    return table.set_column(at, field, pa.array(changed, field.type))


def _damage_file(path: Path, kind: str) -> bool:
    if kind == "drop":
        path.unlink()
    elif kind == "rename":
        path.rename(path.with_name(f"{path.stem}_old{path.suffix}"))
    elif kind == "short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "retype":
        path.write_bytes(b"<!DOCTYPE html><html>Sign in</html>")
    else:
        return False
    return True


# RH20T


def _rh20t() -> Variants:
    def write(folder: Path, copies: int) -> None:
        _write("rh20t", folder, episodes=1, frames=4, cameras=2, cfgs=(5,))
        (scene,) = folder.glob("RH20T_cfg5/*")
        for number in range(copies):
            place = scene.with_name(scene.name.replace("_scene_0001_", f"_scene_{number + 2:04d}_"))
            shutil.copytree(scene, place)
        shutil.rmtree(scene)

    def scene(folder: Path, number: int) -> Path:
        return sorted(folder.glob("RH20T_cfg5/*"))[number]

    def things(folder: Path) -> list[str]:
        first = scene(folder, 0)
        return [p.relative_to(first).as_posix() for p in sorted(first.rglob("*")) if p.is_file()]

    def damage(folder: Path, number: int, kind: str, thing: str) -> bool:
        path = scene(folder, number) / thing
        if path.suffix != ".npy" or kind in ("drop", "rename", "empty", "retype"):
            return _damage_file(path, kind)
        tree = np.load(path, allow_pickle=True).item()
        rows = {key: values for key, values in tree.items() if isinstance(values, list)}
        if not rows:
            return False
        chosen = {
            "shift": lambda one: [*one[1:], one[-1]],
            "short": lambda one: one[1:],
            "reorder": lambda one: one[::-1],
        }[kind]
        np.save(path, tree | {key: chosen(values) for key, values in rows.items()})
        return True

    return Variants("rh20t", write, things, damage)


def _families() -> Iterator[tuple[str, Variants]]:
    yield "rdt", _copied_hdf5("rdt", "rdt", at=1, frames=4, still=1)
    for kind in ("franka_1rgb", "agilex_3rgb", "simulation"):
        knobs = {"frames": 4, "embodiments": (kind,)}
        yield f"robomind_v1 {kind}", _copied_hdf5("robomind_v1", "robomind_v1", at=5, **knobs)
    knobs = {"frames": 4, "robots": ("franka",)}
    yield "robomind_v2", _copied_hdf5("robomind_v2", "robomind_v2", at=4, **knobs)
    yield "demonstrations", _demonstrations()
    yield "bridge", _rlds("bridge", "bridge_v2", size=(16, 16), real_cameras=4)
    yield "droid", _rlds("droid", "droid", size=(16, 16))
    yield "rt_1", _rlds("rt1", "rt_1", size=(16, 16))
    yield "bc_z", _rlds("bc_z", "bc_z", size=(16, 16))
    yield "galaxea rlds", _rlds("galaxea_rlds", "galaxea", size=(16, 16))
    yield "galaxea", _lerobot("galaxea", "galaxea", datasets=1)
    yield "robocoin", _lerobot("robocoin", "robocoin")
    yield "robocoin early", _lerobot("robocoin", "robocoin", "write_early")
    yield "rh20t", _rh20t()


FAMILIES: dict[str, Variants] = dict(_families())
