"""Corpora of the ten sources for measuring: a name and a size come in, a folder goes out.

The writers of `tests/sources` make the bytes, as their publishers do; only their small drawn
pictures are replaced by a pool of textured JPEGs of a real size, and their few episodes by as many
as the size asks for, because drawing would take longer than any conversion. Depth pictures are
left out or tiny: they are not converted, and would flatter the rate. The same name and size give
the same bytes (the videos: with the same FFmpeg).
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import simplejpeg

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from sources import (  # noqa: E402  (they lie in tests/)
    bc_z,
    bridge,
    droid,
    encode,
    galaxea,
    galaxea_rlds,
    generic_lerobot,
    lerobot_writer,
    rdt,
    rh20t,
    rlds_writer,
    robocoin,
    robomind_v1,
    robomind_v2,
    rt1,
    video,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CORPORA", "Corpus", "write_long_hdf5", "write_long_rlds"]

Size = tuple[int, int]

# Distinct pictures of each size; a conversion sees them again only after many MB.
POOL = 192
SHARD_BYTES = 75e6
# LeRobot closes a data file at 100 MB.
DATA_FILE_BYTES = 100e6
VIDEO_SIZE = (480, 640)
FULL = (480, 640)


@dataclass(frozen=True)
class Corpus:
    """One form of a source.

    Attributes:
        converter: Which converter reads it.
        carries: `jpeg in RLDS`, `jpeg in HDF5`, `jpeg in Parquet`, `mp4, linked`, `mp4, remuxed`.
        write: Makes about so many bytes of it in a folder and returns (episodes, frames).
    """

    converter: str
    carries: str
    write: Callable[[Path, float], tuple[int, int]]


@cache
def picture_pool(size: Size, *, mean_bytes: int) -> list[bytes]:
    """`POOL` JPEGs (height, width) around `mean_bytes`: slopes under noise like a camera's."""
    height, width = size
    rng = np.random.default_rng([*size, mean_bytes])
    texture = _texture(rng, 2 * height, 2 * width)
    places = list(zip(rng.integers(0, height, POOL), rng.integers(0, width, POOL), strict=True))

    def encoded(strength: float, top: int, left: int) -> bytes:
        part = texture[top : top + height, left : left + width]
        pixels = np.clip(118 + strength * part, 0, 255).astype(np.uint8)
        return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=88)

    low, high = 1.0, 120.0
    for _ in range(10):
        middle = (low + high) / 2
        mean = sum(len(encoded(middle, *place)) for place in places[:8]) / 8
        low, high = (middle, high) if mean < mean_bytes else (low, middle)
    # Scenes differ: a fifth more or less, as in one episode of a real recording.
    strengths = low * rng.uniform(0.7, 1.3, POOL)
    return [encoded(s, *place) for s, place in zip(strengths, places, strict=True)]


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) float32 of unit spread, its spectrum 1/f as that of photographs."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    fall = 1 / np.maximum(np.hypot(rows, columns), 1 / height)
    channels = [
        np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * fall, (height, width))
        for _ in range(3)
    ]
    # Colours of a scene mostly go together.
    grey = channels[0]
    mixed = np.stack([grey, grey + 0.3 * channels[1], grey + 0.3 * channels[2]], axis=-1)
    return (mixed / mixed.std()).astype(np.float32)


@cache
def mp4_file(frames: int, *, fps: int) -> bytes:
    """An h264 file of so many 640x480 frames: a pan over a scene, about 2 Mbit/s."""
    height, width = VIDEO_SIZE
    scene = _texture(np.random.default_rng(5), 2 * height, 2 * width)
    scene = np.clip(118 + 40 * scene, 0, 255).astype(np.uint8)
    walk = np.abs(np.sin(np.arange(frames) / 90))
    parts = [
        scene[top : top + height, left : left + width]
        for top, left in zip((walk * 400).astype(int), (walk[::-1] * 500).astype(int), strict=True)
    ]
    with TemporaryDirectory() as folder:
        path = video.write_video(Path(folder) / "one.mp4", parts, fps=fps, gop=2 * fps)
        return path.read_bytes()


# ---------------------------------------------------------------------------------------- RLDS


@dataclass(frozen=True)
class _Rlds:
    """How an RLDS fixture is made large.

    Attributes:
        write: The fixture's writer.
        length: Frames of an episode.
        size: Height and width of its pictures, really.
        mean_bytes: Of a picture.
        rename: Gives a record of the flat dictionary the name of episode n.
    """

    write: Callable[..., Any]
    length: int
    size: Size
    mean_bytes: int
    rename: Callable[[dict[str, Any], int], None] = lambda _record, _number: None


def _write_rlds(
    form: _Rlds, folder: Path, size: float, *, shards: int | None = None
) -> tuple[int, int]:
    records: list[dict[str, Any]] = []
    described: dict[str, Any] = {}

    def collect(_folder: Path, *, episodes: list[dict[str, Any]], **rest: Any) -> Path:
        described.update(rest)
        for episode in episodes:
            form.rename(episode, len(records))
            records.append(episode)
        return _folder

    written = 0
    pictures = _real_pictures(form.size, form.mean_bytes)
    with pictures, patch.object(rlds_writer, "write_rlds", collect):
        while written < size:
            seed = len(records)
            form.write(folder, episodes=1, seed=seed, length=form.length, size=form.size)
            written += _record_bytes(records[-1])
    # The splits of the fixture are for a handful of records; these are the publishers' sizes.
    described["shards"] = {"train": shards or max(2, round(written / SHARD_BYTES))}
    rlds_writer.write_rlds(folder, episodes=records, **described)
    return len(records), form.length * len(records)


def _record_bytes(record: dict[str, Any]) -> int:
    return sum(
        value.nbytes if isinstance(value, np.ndarray) else sum(map(len, value))
        for value in record.values()
    )


@contextmanager
def _real_pictures(size: Size, mean_bytes: int) -> Iterator[None]:
    """The RLDS writers' pictures come from the pool; nobody needs their digests."""
    pool = picture_pool(size, mean_bytes=mean_bytes)
    black = rlds_writer.encoded(np.zeros((*size, 3), np.uint8))
    tiny_depth = rlds_writer.encoded(np.full(size, 900, np.uint16), form="PNG")

    def pictures(rng: np.random.Generator, count: int, *_: Any, **__: Any) -> list[bytes]:
        return [pool[index] for index in rng.integers(len(pool), size=count).tolist()]

    with ExitStack() as stack:
        for name, made in (
            ("pictures", pictures),
            ("black_pictures", lambda count, _size: [black] * count),
            ("digests", lambda _frames: ()),
        ):
            stack.enter_context(patch.object(rlds_writer, name, made))
        depth = lambda _rng, count, *_: [tiny_depth] * count  # noqa: E731  (four of a kind)
        stack.enter_context(patch.object(galaxea_rlds, "_depth", depth))
        yield


def _rename_bridge(record: dict[str, Any], number: int) -> None:
    record["episode_metadata/episode_id"] = np.array([number], np.int64)


def _rename_path(record: dict[str, Any], number: int) -> None:
    path = record["episode_metadata/file_path"][0].decode()
    folder, _, name = path.rpartition("/")
    record["episode_metadata/file_path"] = [f"{folder}_{number:05d}/{name}".encode()]


_BRIDGE = _Rlds(bridge.write, 40, (256, 256), 17_000, _rename_bridge)
_BC_Z = _Rlds(bc_z.write, 120, (171, 213), 9_000)
_RT_1 = _Rlds(rt1.write, 45, (256, 320), 20_000)
_DROID = _Rlds(droid.write, 270, (180, 320), 14_000, _rename_path)
_GALAXEA = _Rlds(galaxea_rlds.write, 400, (224, 224), 13_000, _rename_path)


# ---------------------------------------------------------------------------------------- HDF5


@contextmanager
def _real_scenes(mean_bytes: int) -> Iterator[None]:
    """The HDF5 writers' pictures come from the pool of their size."""

    def scene(number: int, *, size: Size, camera: int = 0) -> tuple[Size, int]:
        return size, (31 * number + 57 * camera) % POOL

    def jpeg(token: tuple[Size, int], **_: Any) -> bytes:
        return picture_pool(token[0], mean_bytes=mean_bytes)[token[1]]

    with ExitStack() as stack:
        for name, made in (("scene", scene), ("jpeg", jpeg), ("digests", lambda _pictures: ())):
            stack.enter_context(patch.object(encode, name, made))
        yield


def _write_rdt(folder: Path, size: float, *, frames: int = 260) -> tuple[int, int]:
    return _write_hdf5(
        lambda n: rdt.write(folder, episodes=n, frames=frames, size=FULL),
        size / (3 * frames * 60_000),
    )


def _write_robomind_v1(folder: Path, size: float, *, frames: int = 220) -> tuple[int, int]:
    """The three real embodiments of most episodes; raw pictures and the simulation are not here."""
    names = ("franka_3rgb", "ur_1rgb", "agilex_3rgb")
    count = size / (7 * frames * 45_000)
    stamps = tuple(f"1014_{144602 + k:06d}" for k in range(max(1, round(count)) + 1))
    more = {name: replace(robomind_v1.EMBODIMENTS[name], names=stamps) for name in names}
    with patch.dict(robomind_v1.EMBODIMENTS, more):
        return _write_hdf5(
            lambda n: robomind_v1.write(
                folder, episodes=n, frames=frames, size=FULL, embodiments=names, depth=False
            ),
            count,
        )


def _write_robomind_v2(folder: Path, size: float, *, frames: int = 300) -> tuple[int, int]:
    robots = ("franka", "ur", "agilex")
    return _write_hdf5(
        lambda n: robomind_v2.write(
            folder, episodes=n, frames=frames, size=FULL, robots=robots, depth=False
        ),
        size / (10 * frames * 45_000),
    )


def _write_hdf5(write: Callable[[int], list[Any]], episodes: float) -> tuple[int, int]:
    with _real_scenes(45_000):
        truths = write(max(1, round(episodes)))
    return len(truths), sum(truth.length for truth in truths)


# ------------------------------------------------------------------------------- LeRobot, RH20T


@dataclass(frozen=True)
class _Lerobot:
    """How a LeRobot fixture is made large: `module.write` into one folder, an episode a call."""

    module: Any
    length: int
    fps: int
    episode_bytes: Callable[[], float]
    knobs: tuple[tuple[str, Any], ...] = ()
    subfolder: str = ""


def _write_lerobot(form: _Lerobot, folder: Path, size: float) -> tuple[int, int]:
    episodes: list[lerobot_writer.WrittenEpisode] = []
    described: dict[str, Any] = {}
    real_write = lerobot_writer.write_lerobot

    def collect(_folder: Path, written: list[lerobot_writer.WrittenEpisode], **rest: Any) -> None:
        described.update(rest)
        episodes.extend(written)
        _folder.mkdir(parents=True, exist_ok=True)

    def copied(path: Path, frames: list[Any], **_: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mp4_file(len(frames), fps=form.fps))
        return path

    pool = picture_pool(FULL, mean_bytes=45_000)
    with ExitStack() as stack, TemporaryDirectory() as beside:
        enter = stack.enter_context
        enter(patch.object(form.module, "write_lerobot", collect))
        enter(patch.object(lerobot_writer, "write_video", copied))
        enter(patch.object(lerobot_writer, "_frames", lambda _episode, length: [None] * length))
        enter(patch.object(generic_lerobot, "encoded_picture", lambda n, **_: pool[31 * n % POOL]))
        for number in range(max(1, round(size / form.episode_bytes()))):
            place = Path(beside) / str(number)
            form.module.write(
                place, episodes=1, seed=number, length=form.length, **dict(form.knobs)
            )
        if "splits" in described:
            described |= {"splits": {"train": f"0:{len(episodes)}"}, "chunks_size": 1000}
        target = folder / form.subfolder
        shutil.copytree(Path(beside) / "0", target, dirs_exist_ok=True)
        _drop_empty_folders(target)
        real_write(target, episodes, **described)
    _declare_size(target / "meta/info.json")
    return len(episodes), form.length * len(episodes)


def _drop_empty_folders(folder: Path) -> None:
    for place in sorted(folder.rglob("*"), reverse=True):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _declare_size(path: Path) -> None:
    """The fixtures' info.json says 32x48 of every camera."""
    info = json.loads(path.read_text())
    for feature in info["features"].values():
        if feature["dtype"] in ("video", "image"):
            feature["shape"] = [*FULL, 3]
    path.write_text(json.dumps(info, ensure_ascii=False))


def _video_bytes(cameras: int, frames: int, fps: int) -> Callable[[], float]:
    return lambda: cameras * len(mp4_file(frames, fps=fps))


_GALAXEA_LEROBOT = _Lerobot(
    galaxea, 450, 15, _video_bytes(2, 450, 15), (("datasets", 1),), "Organize_The_Table"
)
_ROBOCOIN = _Lerobot(robocoin, 450, 30, _video_bytes(1, 450, 30))
_LEROBOT_V3 = _Lerobot(
    generic_lerobot,
    300,
    10,
    lambda: 300 * 45_000,
    (
        ("pictures", True),
        ("version", "v3.0"),
        ("episodes_per_file", round(DATA_FILE_BYTES / (300 * 45_000))),
        ("row_group_size", 100),
    ),
)


def _write_rh20t(folder: Path, size: float, *, frames: int = 250) -> tuple[int, int]:
    def copied(path: Path, count: int, *, fps: int, **_: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mp4_file(count, fps=fps))
        return path

    scenes = max(1, round(size / (3 * len(mp4_file(frames, fps=25)))))
    with patch.object(rh20t, "write_video", copied):
        truths = rh20t.write(folder, episodes=scenes, frames=frames)
    return len(truths), sum(truth.length for truth in truths)


CORPORA: dict[str, Corpus] = {
    "bridge_v2": Corpus("bridge_v2", "jpeg in RLDS", partial(_write_rlds, _BRIDGE)),
    "bc_z": Corpus("bc_z", "jpeg in RLDS", partial(_write_rlds, _BC_Z)),
    "rt_1": Corpus("rt_1", "jpeg in RLDS", partial(_write_rlds, _RT_1)),
    "droid": Corpus("droid", "jpeg in RLDS", partial(_write_rlds, _DROID)),
    "galaxea_rlds": Corpus("galaxea", "jpeg in RLDS", partial(_write_rlds, _GALAXEA)),
    "rdt": Corpus("rdt", "jpeg in HDF5, padded", _write_rdt),
    "robomind_v1": Corpus("robomind_v1", "jpeg in HDF5, vlen", _write_robomind_v1),
    "robomind_v2": Corpus("robomind_v2", "jpeg in HDF5, vlen", _write_robomind_v2),
    "lerobot_v3": Corpus("lerobot", "jpeg in Parquet", partial(_write_lerobot, _LEROBOT_V3)),
    "galaxea_lerobot": Corpus("galaxea", "mp4, linked", partial(_write_lerobot, _GALAXEA_LEROBOT)),
    "robocoin": Corpus("robocoin", "mp4, linked", partial(_write_lerobot, _ROBOCOIN)),
    "rh20t": Corpus("rh20t", "mp4, remuxed", _write_rh20t),
}


def write_long_rlds(folder: Path, *, episodes: int = 1) -> tuple[int, int]:
    """DROID episodes of 3,000 frames and three cameras of 50 kB pictures, 450 MB each, one file."""
    form = _Rlds(droid.write, 3000, FULL, 50_000, _rename_path)
    return _write_rlds(form, folder, episodes * 400e6, shards=1)


def write_long_hdf5(folder: Path, *, padded: bool) -> tuple[int, int]:
    """The same as HDF5: RDT's padded pictures, or RoboMIND's of variable length."""
    with _real_scenes(50_000):
        truths = (
            rdt.write(folder, episodes=1, frames=3000, size=FULL)
            if padded
            else robomind_v2.write(
                folder, episodes=1, frames=3000, size=FULL, robots=("ur",), depth=False
            )
        )
    return len(truths), truths[0].length
