"""Recording: demonstrations into a folder of HDF5 files, and those into a canonical dataset.

The recording is a source like any other (one HDF5 file an episode, in `OUT.source`), and goes
through the conversion that every source goes through: `finedata verify` can hold the dataset
against it, and nothing writes a dataset in a second way. Physics knows more than a source: facts
and fine-grained texts are appended as annotations. A file is there or not, so a killed recording
goes on with the scenes that have none; the demonstrations that failed are played again and fail
again.

Only outcomes that are the wished ones are kept. That may shift which manner is seen how often, if
one is harder; the summary tells by how much, and a shift of five points is a note.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from finedata.convert.context import library_versions
from finedata.convert.run import convert
from finedata.engine.local import LocalEngine
from finedata.engine.progress import Progress
from finedata.engine.run_plan import run_jobs
from finedata.errors import OutputError, UsageError, need
from finedata.schema.identity import hash16
from finedata.sim.camera import CAMERAS, Cameras, find_renderer
from finedata.sim.episode import demonstrate
from finedata.sim.factors import COMBINATIONS, MANNERS, Wish
from finedata.sim.outcome import scored
from finedata.sim.scene import scene_of
from finedata.sim.truth import Truth, phases, truth_of, truth_rows
from finedata.sim.wording import goal, say
from finedata.sim.world import MUJOCO, World, check_mujoco
from finedata.store.atomic import atomic_path, write_atomic
from finedata.store.dataset import open_dataset
from finedata.store.summary import Summary
from finedata.store.tables.table import append_rows, undo_unfinished

if TYPE_CHECKING:
    from finedata.engine.progress import OnProgress

__all__ = ["RecordSettings", "RecordSummary", "estimate_recording", "record"]

_MARKER = "recording.json"
_JOB = 20
_SHIFT_TOLD = 0.05
# Demonstrations that a dry run plays; and CPU seconds to write and convert a played one, measured.
_PLAYED, _CONVERTED_S = 16, 0.02


class RecordSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded; every one changes bytes.

    Attributes:
        episodes: Demonstrations that are tried, each in the scene of its own number.
        first: Number of the first scene.
        noise: Scale of what pushes the demonstrator; 0 for none.
        pictures: Width and height of both cameras' pictures in pixels; 0 for none.
        fine: Share of the demonstrations that have a fine-grained text, if so many have a goal that
            such texts speak of: the tray, and no yellow block.
    """

    episodes: int = 2000
    first: int = 0
    noise: float = 0.8
    pictures: int = 128
    fine: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what is no recording.

        Raises:
            UsageError: A number out of its range.
        """
        for name, low, high in (
            ("episodes", 1, 10_000_000), ("first", 0, 2**40), ("noise", 0.0, 5.0),
            ("pictures", 0, 480), ("fine", 0.0, 1.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise UsageError(parameter=name, found=f"{value}", wanted=f"{low} to {high}")

    @property
    def run_id(self) -> str:
        """Name of the recording's facts: hash16 of the settings and of the simulator."""
        return hash16(f"sim/2 {MUJOCO} {msgspec.json.encode(self, order='sorted').decode()}")


class RecordSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What a recording did.

    Attributes:
        out: The dataset.
        source: The folder of its HDF5 files.
        tried: Demonstrations.
        kept: Those whose outcome is the wished one; the dataset's episodes.
        frames: Of the dataset.
        fine_grained: Episodes with a fine-grained text.
        missed: Factor (or `goal`) -> demonstrations that were left out for it.
        usual: Factor -> share of its first value: among all wishes, and among what was kept.
        on_mat: Episodes that end on the mat.
        renderer: `egl` or `osmesa`; empty without pictures.
        notes: What is to be known.
    """

    out: str
    source: str
    tried: int
    kept: int
    frames: int
    fine_grained: int
    missed: dict[str, int]
    usual: dict[str, tuple[float, float]]
    on_mat: int
    renderer: str
    notes: list[str]


class _Job(msgspec.Struct, frozen=True, kw_only=True):
    settings: RecordSettings
    numbers: list[int]
    folder: str
    renderer: str


class _Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A demonstration: its truth where it was kept, else what it missed."""

    number: int
    wish: dict[str, str | None]
    truth: Truth | None
    missed: list[str]


def record(
    out: str | Path,
    *,
    settings: RecordSettings | None = None,
    workers: int = 1,
    on_progress: OnProgress = None,
) -> RecordSummary:
    """Record demonstrations as a canonical dataset; the same call continues one that was stopped.

    Args:
        out: The dataset; `OUT.source` gets the recording itself.
        settings: What is recorded.
        workers: Processes; they change no byte.
        on_progress: Told after every twenty demonstrations, and while converting.

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another MuJoCo, or no renderer where pictures are wanted.
        UsageError: The folder holds another recording.
        OutputError: It cannot be written.
    """
    wanted = settings or RecordSettings()
    check_mujoco()
    need("h5py", extra="sim", place="recording")
    root = Path(out)
    folder = root.with_name(root.name + ".source")
    _check_ours(root, folder)
    renderer = find_renderer() if wanted.pictures else ""
    _claim(folder, wanted)
    tried = _record_all(folder, wanted, renderer=renderer, workers=workers, on_progress=on_progress)
    kept = [one for one in tried if one.truth is not None]
    if not kept:
        raise OutputError(
            place=str(folder), found=f"none of {len(tried)} demonstrations did as it was wished",
            wanted="less noise", next_command=f"finedata sim record --noise 0.5 --out {root}-2",
        )  # fmt: skip
    converter = Path(__file__).with_name("converter.toml")
    done = convert(str(converter), input=folder, out=root, workers=workers, on_progress=on_progress)
    chosen = _with_fine_text(kept, wanted.fine)
    _append_truth(root, kept, chosen, settings=wanted)
    usual = {name: _shares(name, tried, kept) for name in MANNERS}
    return RecordSummary(
        out=str(root),
        source=str(folder),
        tried=len(tried),
        kept=len(kept),
        frames=done.frames,
        fine_grained=len(chosen),
        missed=dict(sorted(Counter(name for one in tried for name in one.missed).items())),
        usual=usual,
        on_mat=sum(one.wish["place"] == "mat" for one in kept),
        renderer=renderer,
        notes=[
            f"keeping what succeeded shifts {name} from {before:.0%} to {after:.0%} "
            f"{MANNERS[name][0]}"
            for name, (before, after) in usual.items()
            if abs(after - before) > _SHIFT_TOLD
        ]
        + [
            f"fine-grained text on {len(chosen)} of the {wanted_fine} demonstrations that were "
            "asked for: the others have goals that such texts do not speak of"
            for wanted_fine in [math.floor(len(kept) * wanted.fine + 1e-9)]
            if len(chosen) < wanted_fine
        ],
    )


def _check_ours(root: Path, folder: Path) -> None:
    """Refuse a folder of somebody else's before minutes of physics, not behind them."""
    if (folder / _MARKER).is_file() or not root.exists():
        return
    if not root.is_dir() or any(root.iterdir()):
        raise UsageError(
            place=str(root),
            found="something that is no recording of ours",
            wanted="a new or empty folder, or one begun by the same command",
            next_command=f"finedata sim record --out {root}-2",
        )


def estimate_recording(settings: RecordSettings | None = None) -> dict[str, Any]:
    """What a recording would take: demonstrations, frames, CPU seconds, bytes of pictures.

    Its first demonstrations are played, on this machine, and nothing is written.

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another MuJoCo, or no renderer where pictures are wanted.
    """
    wanted = settings or RecordSettings()
    check_mujoco()
    renderer = find_renderer() if wanted.pictures else ""
    world, camera = _stage(wanted.pictures, renderer)
    demonstrate(wanted.first, noise=wanted.noise, camera=camera, world=world)  # loads what is slow
    played = range(wanted.first, wanted.first + min(_PLAYED, wanted.episodes))
    began, frames, sizes = process_time(), 0, 0
    for number in played:
        episode, _, _ = demonstrate(number, noise=wanted.noise, camera=camera, world=world)
        frames += len(episode.states())
        sizes += sum(len(one) for shown in episode.pictures.values() for one in shown)
    took_s, times = process_time() - began, wanted.episodes / len(played)
    return {
        "episodes": wanted.episodes,
        "frames": round(frames * times),
        "cpu_s": round(took_s * times + _CONVERTED_S * wanted.episodes, 1),
        "picture_bytes": round(sizes * times),
        "renderer": renderer,
        "mujoco": version("mujoco"),
    }


def _claim(folder: Path, settings: RecordSettings) -> None:
    """Begin a recording, or know it again.

    Raises:
        UsageError: Another recording is there, or something else.
    """
    ours: dict[str, Any] = {
        "settings": msgspec.to_builtins(settings),
        "mujoco": MUJOCO,
        "libraries": library_versions(),
    }
    marker = folder / _MARKER
    if marker.is_file():
        found: Any = msgspec.json.decode(marker.read_bytes())
        if found != ours:
            raise UsageError(
                place=str(marker), found=f"a recording with {found.get('settings')}",
                wanted=f"{ours['settings']}, MuJoCo {MUJOCO} and the same libraries",
                next_command="another --out, or the settings that the recording was begun with",
            )  # fmt: skip
        return
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            place=str(folder), found="files that are no recording", wanted="a new folder",
            next_command="another --out",
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(marker, msgspec.json.format(msgspec.json.encode(ours), indent=2) + b"\n")


def _record_all(
    folder: Path, settings: RecordSettings, *, renderer: str, workers: int, on_progress: OnProgress
) -> list[_Tried]:
    numbers = range(settings.first, settings.first + settings.episodes)
    jobs = [
        _Job(
            settings=settings, folder=str(folder), renderer=renderer,
            numbers=list(numbers[first : first + _JOB]),
        )
        for first in range(0, len(numbers), _JOB)
    ]  # fmt: skip
    tried: list[_Tried] = []
    with LocalEngine(workers=min(workers, len(jobs))) as engine:
        for _, found in run_jobs(_record_some, jobs, engine=engine):
            tried += found
            if on_progress is not None:
                on_progress(Progress("playing", len(tried), len(numbers)))
    return tried


def _record_some(job: _Job) -> list[_Tried]:
    """Play the demonstrations of a job that have no file yet, and write those that succeeded."""
    return [_record_one(number, job) for number in job.numbers]


def _record_one(number: int, job: _Job) -> _Tried:
    h5py: Any = import_module("h5py")
    path = Path(job.folder) / f"scene_{number:07d}.hdf5"
    if path.is_file():
        with h5py.File(path, "r") as file:
            truth = msgspec.json.decode(str(file.attrs["truth"]), type=Truth)
        wish = msgspec.to_builtins(truth.wish)
        return _Tried(number=number, wish=wish, truth=truth, missed=[])
    world, camera = _stage(job.settings.pictures, job.renderer)
    episode, wish, good = demonstrate(number, noise=job.settings.noise, camera=camera, world=world)
    if not good:
        missed = [name for name, ok in scored(episode.outcome, wish).items() if not ok]
        return _Tried(
            number=number, wish=msgspec.to_builtins(wish), truth=None,
            missed=[name for name in missed if name != "all"],
        )  # fmt: skip
    truth = truth_of(episode, wish)
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file.attrs["truth"] = msgspec.json.encode(truth).decode()
        file["state"], file["action"] = episode.states(), episode.targets()
        file["objects"] = episode.objects()
        file["phase"] = phases(truth)
        file["success"] = np.ones(1, np.float32)
        texts = [goal(wish), *(say(wish, wording="raw", seed=2 * number + k) for k in (0, 1))]
        for name, text in zip(
            ("instruction", "instruction_2", "instruction_3"), texts, strict=True
        ):
            file[name] = text
        for name, pictures in episode.pictures.items():
            kind = h5py.vlen_dtype(np.uint8)
            rows = file.create_dataset(name, (len(pictures),), dtype=kind)
            for t, data in enumerate(pictures):
                rows[t] = np.frombuffer(data, np.uint8)
    with atomic_path(path) as partial:
        partial.write_bytes(held.getvalue())
    return _Tried(number=number, wish=msgspec.to_builtins(wish), truth=truth, missed=[])


@cache
def _stage(pictures: int, renderer: str) -> tuple[World, Cameras | None]:
    """One world, and what draws it, for all episodes of a process."""
    world = World(scene_of(0))
    return world, Cameras(world, size=pictures, renderer=renderer) if pictures else None


def _with_fine_text(kept: list[_Tried], share: float) -> set[int]:
    """Numbers of the demonstrations with fine-grained text.

    As many as the share is of all, taken evenly from the sixteen manners of those whose goal such
    texts speak of: of each manner the first so many, what is left over of a share being carried to
    the next one.
    """
    chosen: set[int] = set()
    carried = 0.0
    able = [one for one in kept if msgspec.convert(one.wish, Wish).in_fine_texts]
    share = min(1.0, share * len(kept) / max(1, len(able)))
    for combination in COMBINATIONS:
        mine = [
            one.number for one in able if tuple(one.wish[name] for name in MANNERS) == combination
        ]
        wanted = len(mine) * share + carried
        take = min(len(mine), math.floor(wanted + 1e-9))
        carried = wanted - take
        chosen.update(mine[:take])
    return chosen


def _append_truth(
    root: Path, kept: list[_Tried], chosen: set[int], *, settings: RecordSettings
) -> None:
    """Append what the physics knows, once."""
    run_id = settings.run_id
    undo_unfinished(root)
    dataset = open_dataset(root)
    if len(dataset.facts.filter(pl.col("run_id") == run_id).head(1).collect()):
        return
    receipts: dict[str, str] = {
        Path(str(row["source_file"])).stem: str(row["episode_id"])
        for row in dataset.receipts.select("source_file", "episode_id").collect().to_dicts()
    }
    steps: dict[str, list[dict[str, Any]]] = {}
    for row in dataset.steps.sort("episode_id", "step_index").collect().to_dicts():
        steps.setdefault(str(row["episode_id"]), []).append(row)
    cameras = CAMERAS if settings.pictures else ()
    with append_rows(root, ("facts", "instructions", "traces")) as writer:
        for one in kept:
            if one.truth is None:
                continue
            fine = (
                say(one.truth.wish, wording="fine", seed=one.number)
                if one.number in chosen
                else None
            )
            episode_id = receipts[f"scene_{one.number:07d}"]
            rows = truth_rows(
                one.truth, scene=scene_of(one.number), episode_id=episode_id, run_id=run_id,
                steps=steps[episode_id], fine=fine, cameras=cameras,
            )  # fmt: skip
            for table, made in rows.items():
                writer.add(table, made)


def _shares(name: str, tried: list[_Tried], kept: list[_Tried]) -> tuple[float, float]:
    first = MANNERS[name][0]

    def share(of: list[_Tried]) -> float:
        values = [one.wish[name] for one in of if one.wish[name] is not None]
        return sum(value == first for value in values) / max(1, len(values))

    return share(tried), share(kept)
