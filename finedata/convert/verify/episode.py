"""What must be true of one written episode: its poses, its pictures and its videos.

Poses are taken back into the source's own encoding, so that an error of the conversion that
repeats itself still shows. Every problem is written down and none stops the checks.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.convert.canonical import written_rotation
from finedata.convert.planning.layout_columns import sorted_arms
from finedata.motion import from_quaternion_xyzw, geodesic_angle_rad, to_quaternion_xyzw
from finedata.readers.files import open_folder
from finedata.readers.mp4.index import read_mp4_index
from finedata.store.pictures import decode_picture

if TYPE_CHECKING:
    from finedata.convert.forms import EpisodeView
    from finedata.convert.pictures import CameraPictures
    from finedata.convert.verify.report import VerifyReport
    from finedata.schema.converter import Variant
    from finedata.store.episode import Episode

# float32 poses, back through a rotation encoding, against float32 source values.
_POSITION_TOLERANCE_M = 1e-6
_ROTATION_TOLERANCE_RAD = 1e-5


@np.errstate(invalid="ignore")
def check_round_trips(
    view: EpisodeView, variant: Variant, episode: Episode, place: str, report: VerifyReport
) -> None:
    """The stored poses, taken back into the source's encoding, are what the source says."""
    name = "observation.state" if variant.space == "ee" else "observation.ee_pose"
    if name not in episode.columns:
        return
    stored = episode.columns[name].astype(np.float64)
    names = episode.names[name]
    for arm in sorted_arms(variant):
        position, rotation = arm.state.position, arm.state.rotation
        if position is None or rotation is None:
            continue
        first = names.index(f"{arm.name}_x")
        pose = stored[:, first : first + 7]
        source_position = np.asarray(view.pick(position)[: len(episode)], np.float64)
        scale = 1000.0 if position.unit == "mm" else 1.0
        # Farther than 8 m float32 keeps a share of a number (2^-23 of it), not a micrometre.
        size = np.maximum(np.abs(source_position) / scale * 0.12, 1.0)
        distance = np.abs(pose[:, :3] * scale - source_position) / scale / size
        _expect_small(
            report, f"{place}: position back in the source", distance, _POSITION_TOLERANCE_M
        )
        written = written_rotation(view, rotation, len(episode))
        fixed = (
            np.eye(3) if rotation.fixed_rotation is None else np.asarray(rotation.fixed_rotation)
        )
        unfixed = _without_fixed_rotation(pose[:, 3:7], fixed)
        back = from_quaternion_xyzw(unfixed, encoding=written.encoding)
        angle = geodesic_angle_rad(
            to_quaternion_xyzw(back, encoding=written.encoding),
            to_quaternion_xyzw(written.values, encoding=written.encoding),
        )
        _expect_small(
            report, f"{place}: rotation back in the source", angle, _ROTATION_TOLERANCE_RAD
        )


def _without_fixed_rotation(quaternion_xyzw: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """R_tool times the inverse of the fixed rotation, by matrices."""
    matrices = from_quaternion_xyzw(quaternion_xyzw, encoding="rotation_matrix").reshape(-1, 3, 3)
    written = matrices @ fixed.T
    return to_quaternion_xyzw(written.reshape(-1, 9), encoding="rotation_matrix")


def _expect_small(report: VerifyReport, place: str, values: np.ndarray, tolerance: float) -> None:
    finite = values[np.isfinite(values)]
    worst = float(finite.max()) if finite.size else 0.0
    if worst > tolerance:
        report.add(place, f"{worst:.3g} away", f"at most {tolerance:g}")


def check_pictures(
    examined: dict[str, CameraPictures],
    episode: Episode,
    receipt: dict[str, Any],
    place: str,
    report: VerifyReport,
    *,
    decode: bool,
) -> None:
    """Pictures are byte for byte those of the source, and the receipt says so."""
    recorded = {image["camera"]: image for image in receipt["images"]}
    for camera, wanted in examined.items():
        stored = episode.stored(camera)
        digest = hashlib.sha256(b"".join(stored)).hexdigest()
        report.expect(f"{place}: sha256 of {camera}'s pictures", digest, wanted.sha256)
        report.expect(f"{place}: receipt's sha256 of {camera}", recorded[camera]["sha256"], digest)
        same = [len(picture) for picture in stored] == wanted.lengths.tolist()
        report.require(f"{place}: sizes of {camera}", holds=same, wanted="the source's")
        report.pictures += len(stored)
        if decode:
            broken = sum(decode_picture(picture) is None for picture in stored)
            if broken and "undecodable_picture" not in receipt["flags"]:
                report.expect(f"{place}: undecodable pictures of {camera}", broken, 0)


def check_videos(
    episode: Episode, receipt: dict[str, Any], place: str, report: VerifyReport
) -> None:
    """Every video of the episode is there, and has a frame where LeRobot looks for it."""
    for camera, span in episode.videos.items():
        with closing(open_folder(span.path.parent).open(span.path.name)) as reader:
            index = read_mp4_index(reader)
        wanted = span.from_s + np.arange(len(episode)) / episode.fps
        nearest = index.time_s[
            np.clip(np.searchsorted(index.time_s, wanted - 1e-4), 0, index.frames - 1)
        ]
        shown = bool((np.abs(nearest - wanted) < 1e-4).all())
        report.require(
            f"{place}: frames of {camera}", holds=shown, wanted="one at from + k / fps for each row"
        )
        report.pictures += len(episode)
    recorded = {image["camera"] for image in receipt["images"]}
    report.expect(f"{place}: cameras", recorded, set(episode.cameras))
