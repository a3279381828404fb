"""The proof: source and output read again and held against each other.

A finished dataset and its source come in; a list of problems goes out, empty when every written
episode is in the output what its source record says, every failed one still fails, and the
counts add up. Conversion is repeated in memory and compared number for number; the state is
also taken back into the source's own encoding and compared with the source's bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from finedata.convert.canonical import canonical_motion
from finedata.convert.digest import record_sha256
from finedata.convert.pictures import CameraPictures, examine_cameras
from finedata.convert.plan import EpisodeJob, RecordPlan, ShardJob, plan_shard
from finedata.convert.run import prepare_from_dataset
from finedata.convert.work import episode_columns
from finedata.errors import SourceError
from finedata.motion import from_quaternion_xyzw, geodesic_angle_rad, to_quaternion_xyzw
from finedata.store.dataset import open_dataset
from finedata.store.pictures import decode_rgb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from finedata.convert.plan import PreparedRun
    from finedata.readers.rlds import RldsEpisode
    from finedata.schema.converter import ArmSpec
    from finedata.store.dataset import Dataset, Episode

__all__ = ["Problem", "VerifyReport", "verify"]

# float32 poses, back through a rotation encoding, against float32 source values.
_POSITION_TOLERANCE_M = 1e-6
_ROTATION_TOLERANCE_RAD = 1e-5


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    place: str
    found: str
    wanted: str


@dataclass(slots=True)
class VerifyReport:
    """What was checked, and what was wrong."""

    episodes: int = 0
    failed: int = 0
    frames: int = 0
    pictures: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])

    def expect(self, place: str, found: object, wanted: object) -> None:
        """Record a problem where `found` is not `wanted`."""
        if found != wanted:
            self.problems.append(Problem(place, str(found), str(wanted)))

    def require(self, place: str, *, holds: bool, wanted: str) -> None:
        """Record a problem where something does not hold."""
        if not holds:
            self.problems.append(Problem(place, "something else", wanted))


def verify(root: str | Path, *, input: str | Path, decode: bool = False) -> VerifyReport:
    """Re-read a dataset and its source, and compare them.

    Args:
        root: The dataset.
        input: Folder or address of the source it was converted from.
        decode: Whether to decode every picture as well.

    Raises:
        UsageError: No dataset there, or no such input.
        SourceError: The source cannot be read at all.
    """
    dataset = open_dataset(root)
    run = prepare_from_dataset(dataset.info, address=str(input), out=str(root))
    report = VerifyReport()
    _check_counts(dataset, report)
    _check_indices(dataset, report)
    _check_records(run, dataset, report)
    shards = {shard.file: number for number, shard in enumerate(run.source.shards)}
    for receipt, job in _receipts(dataset, shards):
        if receipt["status"] == "failed":
            report.failed += 1
            continue
        _check_episode(run, dataset, receipt, job, report, decode=decode)
    return report


def _receipts(
    dataset: Dataset, shards: dict[str, int]
) -> Iterator[tuple[dict[str, Any], EpisodeJob]]:
    """Every receipt in order; written ones with the place their rows claim."""
    rows = dataset.episodes.select(
        "episode_id", "episode_index", "dataset_from_index", "task_index", "length"
    )
    joined = dataset.receipts.join(rows, on="episode_id", how="left", maintain_order="left")
    for receipt in joined.collect().iter_rows(named=True):
        plan = RecordPlan(
            record=receipt["source_record"],
            offset=receipt["byte_offset"],
            length=receipt["byte_length"],
            episode_id=receipt["episode_id"],
            frames=receipt["length"] or 0,
        )
        yield (
            receipt,
            EpisodeJob(
                shard=shards.get(receipt["source_file"], -1),
                plan=plan,
                episode_index=receipt["episode_index"] or 0,
                first_index=receipt["dataset_from_index"] or 0,
                task_index=receipt["task_index"] or 0,
            ),
        )


def _check_counts(dataset: Dataset, report: VerifyReport) -> None:
    counts = dataset.info.counts
    statuses = dict(dataset.receipts.group_by("status").len().collect().iter_rows())
    episodes, frames = dataset.episodes.select(pl.len(), pl.col("length").sum()).collect().row(0)
    report.expect("finedata.json found", counts["found"], counts["written"] + counts["failed"])
    report.expect("receipts written", statuses.get("written", 0), counts["written"])
    report.expect("receipts failed", statuses.get("failed", 0), counts["failed"])
    report.expect("rows of episodes", episodes, counts["written"])
    report.expect("sum of episodes.length", frames or 0, counts["frames_written"])
    report.expect(
        "frames read", counts["frames_read"], counts["frames_written"] + counts["frames_dropped"]
    )
    report.expect("rows of frames", dataset.frames.select(pl.len()).collect().item(), frames or 0)


def _check_indices(dataset: Dataset, report: VerifyReport) -> None:
    """LeRobot finds rows by position: any gap shifts every later episode without a word."""
    numbers = dataset.frames.select("index", "episode_index").collect()
    index = numbers["index"].to_numpy()
    gapless = bool((index == np.arange(len(index))).all())
    report.require("frames.index", holds=gapless, wanted="0, 1, 2, ...")
    rows = dataset.episodes.select(
        "episode_index", "dataset_from_index", "dataset_to_index", "length"
    ).collect()
    ends = np.cumsum(rows["length"].to_numpy())
    ordered = (rows["episode_index"].to_numpy() == np.arange(rows.height)).all()
    report.require("episodes.episode_index", holds=bool(ordered), wanted="0, 1, 2, ...")
    adds_up = bool((rows["dataset_to_index"].to_numpy() == ends).all())
    report.require("episodes.dataset_to_index", holds=adds_up, wanted="the sum of lengths so far")


def _check_records(run: PreparedRun, dataset: Dataset, report: VerifyReport) -> None:
    """Plan the source anew: every record has a receipt, and what failed still fails so."""
    rows = dataset.receipts.select("source_file", "source_record", "reason").collect()
    reasons = {(file, number): reason for file, number, reason in rows.iter_rows()}
    complete = run.selection.all and run.selection.most is None
    for number, shard in enumerate(run.source.shards):
        plan = plan_shard(ShardJob(context=run.context, shard=number, most_good=None))
        for record in plan.records:
            key = (shard.file, record.record)
            if key not in reasons:
                if complete:
                    place = f"{shard.file}, record {record.record}"
                    report.problems.append(Problem(place, "no receipt", "one for every record"))
                continue
            reason = reasons[key]
            # That two records share an id is no property of either.
            if reason != "duplicate_id":
                place = f"{shard.file}, record {record.record}: why it failed"
                report.expect(place, reason, record.reason)


def _check_episode(
    run: PreparedRun,
    dataset: Dataset,
    receipt: dict[str, Any],
    job: EpisodeJob,
    report: VerifyReport,
    *,
    decode: bool,
) -> None:
    place = f"{receipt['source_file']}, record {receipt['source_record']}"
    if job.shard < 0:
        report.expect(place, "no such file in the source", receipt["source_file"])
        return
    reader = run.source.folder.open(receipt["source_file"])
    try:
        payload = reader.read(job.plan.offset, job.plan.length)
    finally:
        reader.close()
    try:
        raw = run.source.episode(payload)
        examined = examine_cameras(
            raw, run.cameras, run.features, frames=job.plan.frames, with_stats=False
        )
        digest = record_sha256(payload, raw, run.cameras, examined)
    except SourceError as error:
        report.problems.append(Problem(place, error.found, "the record that was converted"))
        return
    report.expect(f"{place}: sha256 of the record", digest, receipt["source_sha256"])
    if digest != receipt["source_sha256"]:
        return
    episode = dataset.episode(receipt["episode_id"])
    motion = canonical_motion(raw, run.converter.converter, frames=job.plan.frames)
    wanted = episode_columns(motion, job, fps=run.converter.converter.time.fps)
    for name, values in wanted.items():
        same = np.array_equal(episode.columns[name], values, equal_nan=values.dtype.kind == "f")
        report.require(f"{place}: column {name}", holds=same, wanted="the source converted anew")
    for arm_number, arm in enumerate(run.converter.converter.arms):
        _check_round_trip(raw, arm, arm_number, episode, place, report)
    _check_pictures(examined, episode, receipt, place, report, decode=decode)
    report.episodes += 1
    report.frames += len(episode)


def _check_round_trip(
    raw: RldsEpisode,
    arm: ArmSpec,
    arm_number: int,
    episode: Episode,
    place: str,
    report: VerifyReport,
) -> None:
    """The stored state, taken back into the source's encoding, is what the source says."""
    frames = len(episode)
    stored = episode.state[:, 8 * arm_number : 8 * arm_number + 8].astype(np.float64)
    position, rotation = arm.state.position, arm.state.rotation
    source_position = raw.numbers(position.feature)[:frames, slice(*position.columns)]
    scale = 1000.0 if position.unit == "mm" else 1.0
    distance = np.abs(stored[:, :3] * scale - source_position) / scale
    _expect_small(report, f"{place}: position back in the source", distance, _POSITION_TOLERANCE_M)
    source_rotation = np.asarray(
        raw.numbers(rotation.feature)[:frames, slice(*rotation.columns)], np.float64
    )
    if rotation.unit == "deg":
        source_rotation = np.deg2rad(source_rotation)
    fixed = np.eye(3) if rotation.fixed_rotation is None else np.asarray(rotation.fixed_rotation)
    written = _without_fixed_rotation(stored[:, 3:7], fixed)
    back = from_quaternion_xyzw(written, encoding=rotation.encoding)
    angle = geodesic_angle_rad(
        to_quaternion_xyzw(back, encoding=rotation.encoding),
        to_quaternion_xyzw(source_rotation, encoding=rotation.encoding),
    )
    _expect_small(report, f"{place}: rotation back in the source", angle, _ROTATION_TOLERANCE_RAD)


def _without_fixed_rotation(quaternion_xyzw: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """R_tool times the inverse of the fixed rotation, by matrices."""
    matrices = from_quaternion_xyzw(quaternion_xyzw, encoding="rotation_matrix").reshape(-1, 3, 3)
    written = matrices @ fixed.T
    return to_quaternion_xyzw(written.reshape(-1, 9), encoding="rotation_matrix")


def _expect_small(report: VerifyReport, place: str, values: np.ndarray, tolerance: float) -> None:
    finite = values[np.isfinite(values)]
    worst = float(finite.max()) if finite.size else 0.0
    if worst > tolerance:
        report.problems.append(Problem(place, f"{worst:.3g} away", f"at most {tolerance:g}"))


def _check_pictures(
    examined: dict[str, CameraPictures],
    episode: Episode,
    receipt: dict[str, Any],
    place: str,
    report: VerifyReport,
    *,
    decode: bool,
) -> None:
    recorded = {image["camera"]: image for image in receipt["images"]}
    for camera, wanted in examined.items():
        stored = episode.pictures[camera]
        digest = hashlib.sha256(b"".join(stored)).hexdigest()
        report.expect(f"{place}: sha256 of {camera}'s pictures", digest, wanted.sha256)
        report.expect(f"{place}: receipt's sha256 of {camera}", recorded[camera]["sha256"], digest)
        same = [len(picture) for picture in stored] == wanted.lengths.tolist()
        report.require(f"{place}: sizes of {camera}", holds=same, wanted="the source's")
        report.pictures += len(stored)
        if decode:
            broken = sum(decode_rgb(picture) is None for picture in stored)
            if broken and "undecodable_picture" not in receipt["flags"]:
                report.expect(f"{place}: undecodable pictures of {camera}", broken, 0)
