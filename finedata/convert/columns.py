"""The one way to make an episode's numeric columns, for conversion and for its proof alike.

Conversion writes these columns; `verify` makes them again from the source and compares. What
float32 cannot hold becomes infinite here and is flagged by `checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.convert.canonical import CanonicalMotion, canonical_motion
from finedata.convert.clock import source_time_s
from finedata.errors import FeatureError

if TYPE_CHECKING:
    from finedata.convert.forms import EpisodeView
    from finedata.convert.planning.assign import EpisodeJob
    from finedata.convert.planning.layout import PartLayout
    from finedata.schema.converter import Variant

_MADE_HERE = frozenset(
    {
        "action_valid",
        "timestamp",
        "frame_index",
        "episode_index",
        "index",
        "task_index",
        "source_time_s",
        "is_intervention",
    }
)


@dataclass(frozen=True, slots=True)
class EpisodeNumbers:
    """An episode's numeric columns, and the motion behind them.

    Attributes:
        columns: Name to (T,) or (T, n), in the layout's order.
        motion: The canonical motion; `None` where conventions are undeclared.
    """

    columns: dict[str, np.ndarray]
    motion: CanonicalMotion | None


# What float32 cannot hold becomes infinite and is flagged; nobody wants a warning beside.
@np.errstate(over="ignore", invalid="ignore")
def episode_numbers(
    view: EpisodeView, variant: Variant, layout: PartLayout, job: EpisodeJob
) -> EpisodeNumbers:
    """Make an episode's numeric columns.

    Raises:
        FeatureError: A feature is not as the converter says.
    """
    frames = job.plan.frames
    motion = None
    if variant.space != "undeclared":
        motion = canonical_motion(view, variant, frames=frames)
    columns = _standard(job, layout.fps)
    columns["action_valid"] = np.ones(frames, np.bool_) if motion is None else motion.action_valid
    if "source_time_s" in layout.features:
        clock = source_time_s(view, variant.time, frames=frames)
        columns["source_time_s"] = np.full(frames, np.nan) if clock is None else clock
    if "is_intervention" in layout.features and variant.intervention is not None:
        marks = view.table(variant.intervention.feature)[:frames, 0]
        columns["is_intervention"] = marks == variant.intervention.value
    for name, feature in layout.features.items():
        if feature.dtype in ("image", "video") or name in _MADE_HERE:
            continue
        source = layout.kept_from.get(name, name)
        columns[name] = _vector(view, variant, motion, source, feature.dtype, frames)
    ordered = {name: columns[name] for name in layout.features if name in columns}
    return EpisodeNumbers(ordered, motion)


def _standard(job: EpisodeJob, fps: float) -> dict[str, np.ndarray]:
    frames = job.plan.frames
    frame_index = np.arange(frames, dtype=np.int64)
    return {
        # LeRobot looks frames up by this very quotient.
        "timestamp": (frame_index / fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.full(frames, job.episode_index, np.int64),
        "index": job.first_index + frame_index,
        "task_index": np.full(frames, job.task_index, np.int64),
    }


def _vector(
    view: EpisodeView,
    variant: Variant,
    motion: CanonicalMotion | None,
    name: str,
    dtype: str,
    frames: int,
) -> np.ndarray:
    if motion is None and dtype == "string":
        return np.array(view.texts(name)[:frames], np.object_)
    if motion is None:
        values = np.asarray(view.numbers(name)[:frames], dtype)
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if name == "observation.state":
        return _flat(motion.state())
    if name == "action":
        return _flat(motion.action())
    for vector in variant.vectors:
        if vector.name == name:
            pieces = [
                np.deg2rad(values) if piece.unit == "deg" else values
                for piece in vector.pieces
                for values in [np.asarray(view.pick(piece)[:frames], np.float64)]
            ]
            return _flat(np.concatenate(pieces, axis=1).astype(np.float32))
    values = motion.vector(name)
    if values is None:
        raise FeatureError(place=f"column {name}", found="nothing", wanted="a vector a step")
    return _flat(values)


def _flat(values: np.ndarray) -> np.ndarray:
    """LeRobot stores a vector of one number as a plain column."""
    return values[:, 0] if values.shape[1] == 1 else values
