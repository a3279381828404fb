"""Every table of the output against what the sources give when they are planned and read again.

The output is a function of its sources and options, so each row of receipts, episodes,
instructions and steps, each statistic, each task and info.json itself can be made again and held
against what lies there. Where a dataset was selected or merged from others, only what does not
depend on its neighbours is compared.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from finedata.convert.account.output import StoredStats, damage_of, stored_tasks
from finedata.convert.commit.rows import episode_row, failed_receipt, written_receipt
from finedata.convert.commit.run import marker_of
from finedata.convert.videos.clips import written_codec
from finedata.convert.videos.stats import VideoStats, count_frames
from finedata.schema.identity import hash16
from finedata.store.dataset_file import DATASET_FILE
from finedata.store.lerobot.layout import (
    EPISODES_PER_META_FILE,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    episodes_path,
    info_json,
    picture_column,
)
from finedata.store.lerobot.stats import StatsMerger
from finedata.store.lerobot.write import stats_columns
from finedata.store.tables.annotation_rows import instruction_rows, step_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from finedata.convert.account.output import Output
    from finedata.convert.planning.assign import Assigner, EpisodeJob, Part
    from finedata.convert.planning.layout import PartLayout
    from finedata.convert.planning.plan import RecordPlan, ShardPlan
    from finedata.convert.prepared import PreparedRun
    from finedata.convert.verify.report import VerifyReport
    from finedata.convert.work import EpisodeResult

# Another version of NumPy may round the last digit of a statistic otherwise.
_RELATIVE = 1e-9
# All else is the same number: seconds since 1970 leave no room for more.
_EXACT = 1e-14
# Another version of FFmpeg may round a colour otherwise, by one or two of 255 levels.
_COLOUR = 2.5 / 255
# What depends on the other episodes of the dataset: a selection or a merge changes it.
_NEIGHBOURS = (
    "part",
    "episode_index",
    "task_index",
    "options_sha256",
    "data/",
    "dataset_",
    "meta/",
    "videos/",
)
_MOVED = (
    "places in the dataset, info.json and finedata.json: not made again, because episodes were "
    "selected, merged, or would be others now"
)
# Told by the check of the record and by that of its pictures.
_ELSEWHERE = ("source_sha256", "reason")
# Columns of receipts.arms that hold rounded numbers.
_FLOAT32 = ("gripper_min", "gripper_max")
# Another version of finedata gives the same rows, and says its own number.
_VERSIONS = ("finedata_version",)


@dataclass(frozen=True, slots=True)
class _Undescribed:
    """An episode of a source without a description: what it lacks, seen by itself."""

    place: str
    identity: str
    layout: PartLayout
    missing: set[str]
    flags: set[str]

    @property
    def kind(self) -> tuple[int, int]:
        return self.layout.source, self.layout.variant

    @property
    def cameras(self) -> set[str]:
        return {camera.name for camera in self.layout.cameras}


class TableChecks:
    """Holds the rows of tables against what they should be, record by record, part by part.

    Attributes:
        moved: Whether episodes lie elsewhere than the sources' order says: in a selection or a
            merge, and after a record whose fate is another one now.
    """

    def __init__(
        self,
        run: PreparedRun,
        output: Output,
        report: VerifyReport,
        *,
        derived: bool,
        decoded: bool,
    ) -> None:
        self._run, self._output, self._report, self._decoded = run, output, report, decoded
        self.moved = derived
        self._receipts = {row["episode_id"]: row for row in output.receipts}
        self._runs = [hash16(file.sha256 + run.context.options.sha256) for file in run.converters]
        self._annotations = {
            table: output.annotations(table) for table in ("instructions", "steps")
        }
        self._stats = {name: StoredStats(path) for name, path in output.paths.items()}
        self._codecs: dict[str, dict[str, str]] = {}
        self._with_videos: list[tuple[Part, EpisodeJob, EpisodeResult]] = []
        self._undescribed: list[_Undescribed] = []

    def failed(self, plan: ShardPlan, record: RecordPlan, place: str) -> None:
        """The receipt of a record that is no episode."""
        self._row(f"{place}: receipt", failed_receipt(self._run, plan, record), self._receipts)

    def written(
        self, part: Part, job: EpisodeJob, result: EpisodeResult, *, number: int, place: str
    ) -> None:
        """The receipt of a written episode, its row, its statistics, its instructions and steps.

        Args:
            part: Its part.
            job: Its place in it.
            result: What converting it again gave.
            number: The number of its data file, as its row says.
            place: The record, in words.
        """
        identity = job.plan.episode_id
        receipt = written_receipt(self._run, part, job, result)
        receipt = {key: value for key, value in receipt.items() if key not in _ELSEWHERE}
        videos = {clip.plan.camera for clip in job.clips}
        # The bytes of pictures are compared themselves, and with what the receipt says of them.
        receipt["arms"] = [
            arm | {key: _as_float32(arm.get(key)) for key in _FLOAT32} for arm in receipt["arms"]
        ]
        receipt["images"] = [
            image if image["camera"] in videos else _Without(image, "sha256")
            for image in receipt["images"]
        ]
        row = episode_row(self._run, part, job, result, number)
        if self._run.context.sources[job.source].reader == "hdf5":
            missing = set(row.pop("cameras_missing"))
            flags = set(receipt.pop("flags"))
            self._undescribed.append(_Undescribed(place, identity, part.layout, missing, flags))
        self._row(f"{place}: receipt", receipt, self._receipts)
        _, chunk, file = episodes_path(job.episode_index // EPISODES_PER_META_FILE)
        row |= {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
        self._row(f"{place}: episode", row, self._episode(identity))
        self._episode_stats(part, identity, result, place)
        run_id, fps = self._runs[job.source], part.layout.fps
        language = job.plan.language
        for table, key, wanted in (
            (
                "instructions",
                "instruction_id",
                instruction_rows(identity, language, run_id=run_id),
            ),
            ("steps", "step_id", step_rows(identity, language, fps=fps, run_id=run_id)),
        ):
            known = self._annotations[table].pop(identity, {})
            self._annotation(table, key, wanted, known, place)
        if job.clips:
            self._with_videos.append((part, job, result))
        codecs = self._codecs.setdefault(part.name, {})
        for clip in job.clips:
            codec = written_codec(clip.plan, self._run.context.options)
            if clip.plan.mode != "black":  # it tells nothing of the others
                codecs.setdefault(picture_column(clip.plan.camera), codec)

    def finish(self, assigner: Assigner) -> None:
        """What is written once a dataset or once a part; rows of nobody."""
        for path, column in self._output.lacking_columns():
            self._report.add(f"{path}", f"no column {column}", "the columns of its schema")
        if not self._decoded and any(self._output.cameras.values()):
            self._report.note(
                "statistics of each episode's pictures: not computed anew, because none was "
                "decoded; --decode does so for pictures in rows, and nothing does for videos"
            )
        self._cameras_missing()
        for what in self._output.repeated:
            self._report.add(what, "two rows of it", "one")
        for table, episodes in self._annotations.items():
            for identity in episodes.keys() - self._output.episodes.keys():
                found = "rows of an episode that is not written"
                self._report.add(f"{table} of {identity}", found, "none")
        for name, path in self._output.paths.items():
            with damage_of(path / STATS_PATH, self._report):
                self._dataset_stats(name, path)
            with damage_of(path / TASKS_PATH, self._report):
                self._tasks(name, path)
        if self.moved:
            self._report.note(_MOVED)
            return
        if self._decoded:
            self._video_stats()
        for part in assigner.parts:
            with damage_of(f"{part.name}: {INFO_PATH}", self._report):
                self._info(part)
        with damage_of(DATASET_FILE, self._report):
            self._marker(assigner)

    def _episode(self, identity: str) -> dict[str, Mapping[str, Any]]:
        known = self._output.episodes.get(identity)
        return {identity: {} if known is None else known.row}

    def _cameras_missing(self) -> None:
        """Which cameras an episode lacks, where only the others of its kind tell."""
        kinds: dict[tuple[int, int], set[str]] = {}
        for one in self._undescribed:
            kinds.setdefault(one.kind, set()).update(one.cameras)
        for one in self._undescribed:
            rows = self._episode(one.identity)
            missing = one.missing | (kinds[one.kind] - one.cameras)
            if self.moved:  # others of its kind may have stayed behind
                missing |= set(rows[one.identity].get("cameras_missing") or ()) - one.cameras
            flags = one.flags | ({"camera_missing"} if missing else set[str]())
            self._row(
                f"{one.place}: episode",
                {"episode_id": one.identity, "cameras_missing": sorted(missing)},
                rows,
            )
            self._row(
                f"{one.place}: receipt",
                {"episode_id": one.identity, "flags": sorted(flags)},
                self._receipts,
            )

    def _row(
        self, place: str, wanted: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]
    ) -> None:
        found = rows.get(wanted["episode_id"])
        if found is None:
            self._report.add(place, "no row", f"one of {wanted['episode_id']}")
            return
        for key, value in wanted.items():
            if key in _VERSIONS or (self.moved and key.startswith(_NEIGHBOURS)):
                continue
            stored = found.get(key)
            if key == "flags" and not self._decoded:
                value, stored = _told_undecoded(value), _told_undecoded(stored)
            if not _alike(value, stored):
                self._report.add(f"{place}: {key}", f"{stored!r}", f"{value!r}")

    def _annotation(
        self,
        table: str,
        key: str,
        wanted: list[dict[str, Any]],
        known: dict[str, dict[str, Any]],
        place: str,
    ) -> None:
        skipped = ("run_id", key) if self.moved else ()
        rows = list(known.values())
        if self.moved:
            pairs = list(zip(wanted, rows, strict=False))
            self._report.expect(f"{place}: rows of {table}", len(rows), len(wanted))
        else:
            pairs = [(row, known.pop(row[key], None)) for row in wanted]
            for identity in known:
                self._report.add(f"{place}: {table} {identity}", "a row", "none: no such text")
        for row, found in pairs:
            if found is None:
                self._report.add(f"{place}: {table}", f"no row {row[key]}", f"{row['text']!r}")
                continue
            for name, value in row.items():
                if name not in skipped and not _alike(value, found.get(name)):
                    where = f"{place}: {table}: {name}"
                    self._report.add(where, f"{found.get(name)!r}", f"{value!r}")

    def _episode_stats(self, part: Part, identity: str, result: EpisodeResult, place: str) -> None:
        stored = self._stats[self._output.episodes[identity].part]
        features = part.layout.features
        measured = {name: features[name] for name in result.stats if name in features}
        for field, values in stats_columns(measured, [result.stats]):
            found = stored.of(identity, field.name)
            if not _alike(cast("list[Any]", values.to_pylist())[0], found, _RELATIVE):
                self._report.add(f"{place}: {field.name}", f"{found}", f"{values[0].as_py()}")

    def _video_stats(self) -> None:
        """The statistics of videos are those of the frames that stand for them, decoded again."""
        measurable = self._output.info.libraries.get("av") != "none"
        wanted = measurable and self._run.context.options.image_stats
        jobs = self._with_videos if wanted else []
        videos = VideoStats(count_frames(job for _, job, _ in jobs))
        for part, job, result in jobs:
            root = self._output.paths[part.name]
            videos.measure(
                job, result, root=root, fps=part.layout.fps, features=part.layout.features
            )
        videos.finish()
        for part, job, _ in self._with_videos:
            identity = job.plan.episode_id
            own = videos.of_episode.get((job.part, job.episode_index), {})
            stats = videos.of_part.get(job.part, {}) | own
            names = {picture_column(clip.plan.camera) for clip in job.clips}
            features = {name: part.layout.features[name] for name in sorted(names)}
            for field, values in stats_columns(features, [stats]):
                found = self._stats[part.name].of(identity, field.name)
                value = values[0].as_py()
                if not _near(value, found):
                    self._report.add(f"{identity}: {field.name}", f"{found}", f"{value}")

    def _dataset_stats(self, name: str, path: Path) -> None:
        """meta/stats.json is what the statistics of the episodes add up to."""
        stored = self._stats[name]
        merger = StatsMerger()
        for stats in stored.episodes():
            merger.add(stats)
        found = json.loads((path / STATS_PATH).read_bytes())
        wanted = merger.result()
        for feature in sorted({*wanted, *found}):
            if feature not in wanted or feature not in found:
                have, lack = ("there", "nothing") if feature in found else ("nothing", "it")
                self._report.add(f"{name}: {STATS_PATH}: {feature}", have, lack)
                continue
            shape = stored.shapes.get(feature, {})
            for key in sorted({*wanted[feature], *found[feature]}):
                value: Any = wanted[feature].get(key)
                if value is not None and key in shape:
                    value = np.asarray(value).reshape(shape[key]).tolist()
                if not _alike(value, found[feature].get(key), _RELATIVE):
                    where = f"{name}: {STATS_PATH}: {feature}/{key}"
                    self._report.add(where, f"{found[feature].get(key)}", f"{value}")

    def _tasks(self, name: str, path: Path) -> None:
        rows = stored_tasks(path)
        found = dict(rows)
        # LeRobot looks a task up by its position.
        places = [index for index, _ in rows]
        self._report.expect(f"{name}: {TASKS_PATH}: task_index", places, list(range(len(rows))))
        wanted = {
            episode.row["task_index"]: episode.row["task"]
            for episode in self._output.episodes.values()
            if episode.part == name
        }
        for index in sorted({*found, *wanted}):
            if found.get(index) != wanted.get(index):
                where = f"{name}: {TASKS_PATH}: task {index}"
                self._report.add(where, f"{found.get(index)!r}", f"{wanted.get(index)!r}")

    def _info(self, part: Part) -> None:
        path = self._output.paths.get(part.name)
        if path is None:
            self._report.add(f"part {part.name}", "not in finedata.json", "a part")
            return
        wanted = json.loads(
            info_json(
                part.layout.features,
                robot_type=part.layout.embodiment,
                fps=part.layout.fps,
                total_episodes=part.episodes,
                total_frames=part.frames,
                total_tasks=len(part.tasks),
                splits=part.splits,
                codecs=self._codecs.get(part.name, {}),
            )
        )
        found = json.loads((path / INFO_PATH).read_bytes())
        self._json(f"{part.name}: {INFO_PATH}", found, wanted)

    def _marker(self, assigner: Assigner) -> None:
        found = json.loads((self._output.root / DATASET_FILE).read_bytes())
        wanted = json.loads(marker_of(self._run, assigner, found.get("counts", {})))
        for key in ("finedata_version", "libraries"):
            found.pop(key, None)
            wanted.pop(key, None)
        self._json(DATASET_FILE, found, wanted)

    def _json(self, place: str, found: Any, wanted: Any) -> None:
        """The first places at which two values of JSON differ."""
        if isinstance(found, dict) and isinstance(wanted, dict):
            mine, other = cast("dict[str, Any]", found), cast("dict[str, Any]", wanted)
            for key in {**other, **mine}:
                if key in mine and key in other:
                    self._json(f"{place}: {key}", mine[key], other[key])
                else:
                    there = ("there", "nothing") if key in mine else ("nothing", "it")
                    self._report.add(f"{place}: {key}", *there)
        elif not _alike(wanted, found):
            self._report.add(place, f"{found!r:.200}", f"{wanted!r:.200}")


@np.errstate(over="ignore")
def _as_float32(value: float | None) -> float | None:
    return None if value is None else float(np.float32(value))


def _told_undecoded(flags: Any) -> list[str] | None:
    """The flags that can be told without decoding a picture."""
    if flags is None:
        return None
    told: list[str] = list(flags)
    return [flag for flag in told if flag != "undecodable_picture"]


class _Without(dict[str, Any]):
    """An object that is compared without one of its keys."""

    def __init__(self, values: Mapping[str, Any], key: str) -> None:
        super().__init__({name: value for name, value in values.items() if name != key})
        self.key = key


@np.errstate(over="ignore")
def _near(wanted: Any, found: Any) -> bool:
    """Whether a stored statistic of a video, lists of lists, is the wanted one."""
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = cast("list[Any]", wanted), cast("list[Any]", found)
        return len(pairs[0]) == len(pairs[1]) and all(map(_near, *pairs))
    if isinstance(wanted, float) and isinstance(found, float):
        return abs(wanted - found) <= _COLOUR
    return bool(wanted == found)


def _alike(wanted: Any, found: Any, relative: float = _EXACT) -> bool:
    """Whether a stored value is the wanted one, numbers up to rounding."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        mine, other = cast("dict[str, Any]", wanted), cast("dict[str, Any]", found)
        if isinstance(wanted, _Without):
            other = {key: value for key, value in other.items() if key != wanted.key}
        return all(_alike(mine.get(key), other.get(key), relative) for key in {**mine, **other})
    if isinstance(wanted, list | tuple) and isinstance(found, list | tuple):
        pairs = list(cast("Any", wanted)), list(cast("Any", found))
        return len(pairs[0]) == len(pairs[1]) and all(
            _alike(mine, other, relative) for mine, other in zip(*pairs, strict=True)
        )
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        same = math.isclose(wanted, found, rel_tol=relative, abs_tol=1e-12)
        return same or (math.isnan(wanted) and math.isnan(found))
    if isinstance(wanted, float) and found is None:
        return math.isnan(wanted)  # JSON has no such number
    return bool(msgspec.to_builtins(wanted) == found)
