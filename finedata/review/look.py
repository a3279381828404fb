"""All that the page of one episode shows, but its pictures: motion, words, verdicts.

Numbers are rounded to five decimals, a hundredth of a millimetre: a page is looked at, not
measured. What is not finite becomes null and is a hole in the plot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from finedata.errors import FeatureError
from finedata.store.episode import shown_camera
from finedata.store.motion.arm_columns import arm_columns
from finedata.store.tables.step_order import with_current_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode

_DECIMALS = 5
_MOST_PLAIN = 16  # numbers of an undeclared vector that are drawn
_SIDES = (("state", "observation.state", "observation"), ("action", "action", "action"))


class Newest(Protocol):
    """Where the newest rows of an episode come from."""

    def newest(self, table: str, episode_id: str) -> pl.DataFrame:
        """An episode's rows of a table of annotations."""
        ...


def episode_data(dataset: Dataset, episode: Episode, rows: Newest) -> dict[str, Any]:
    """What an episode's page shows.

    Args:
        dataset: The dataset.
        episode: The episode.
        rows: Where its annotations are.

    Returns:
        `length`, `fps`, `cameras`, `arms` (arm -> side -> position in metres, quaternion xyzw,
        gripper as open fraction, joints in radians, each a list over frames), `plain` (numbers
        of other vectors), `steps`, `facts`, `traces`, `instructions`, `unsaid`, and the rows of
        `gate`, `receipts` and `clusters`, null where there is none.

    Raises:
        ConformError: A file is damaged.
    """
    found: dict[str, Any] = {
        "id": episode.episode_id,
        "length": len(episode),
        "fps": episode.fps,
        "task": episode.task,
        "part": episode.part,
        "cameras": cameras_of(episode),
        "arms": {},
        "plain": {},
        "motion_error": None,
    }
    try:
        found["arms"], found["plain"] = _motion(episode)
    except FeatureError as error:
        found["motion_error"] = str(error)
    facts = rows.newest("facts", episode.episode_id)
    steps = rows.newest("steps", episode.episode_id)
    if facts.height:
        facts = with_current_steps(facts.lazy(), steps.lazy()).collect()
    found["steps"] = (
        steps.filter(pl.col("merged_into").is_null()).sort("start_frame", "step_index").to_dicts()
    )
    found["facts"] = facts.sort("start_frame", "end_frame", maintain_order=True).to_dicts()
    traces = rows.newest("traces", episode.episode_id)
    found["traces"] = traces.sort("frame_index").to_dicts()
    found["instructions"] = rows.newest("instructions", episode.episode_id).to_dicts()
    for name in ("gate", "receipts", "clusters"):
        own = dataset.table(name).filter(pl.col("episode_id") == episode.episode_id).collect()
        found[name] = own.to_dicts()[0] if own.height else None
    found["unsaid"] = unsaid(found["facts"])
    return found


def cameras_of(episode: Episode) -> list[dict[str, Any]]:
    """Cameras by number, as addresses have them: name, whether a video, whether absent."""
    missing: list[str] = episode.row.get("cameras_missing") or []
    return [
        {
            "name": name,
            "shown": shown_camera(name),
            "video": name in episode.videos,
            "missing": name in missing or shown_camera(name) in missing,
        }
        for name in episode.cameras
    ]


def unsaid(facts: Sequence[dict[str, Any]]) -> list[str]:
    """Ids of facts measured from motion of which nobody else says anything at that time.

    Of an episode of which nobody has said anything, nothing is unsaid: there is nobody to tell.
    """
    said = [fact for fact in facts if fact["origin"] != "kinematic"]
    if not said:
        return []
    return [
        fact["fact_id"]
        for fact in facts
        if fact["origin"] == "kinematic"
        and not any(
            other["slot"] == fact["slot"]
            and other["start_frame"] < fact["end_frame"]
            and fact["start_frame"] < other["end_frame"]
            for other in said
        )
    ]


def _motion(episode: Episode) -> tuple[dict[str, Any], dict[str, Any]]:
    arms: dict[str, dict[str, dict[str, Any]]] = {}
    plain: dict[str, Any] = {}
    names = episode.names
    pairs: list[tuple[str, str]] = []
    for side, packed, prefix in _SIDES:
        more = (f"{prefix}.ee_pose", f"{prefix}.joint_position")
        pairs += [(side, name) for name in (packed, *more) if name in names]
    values = episode.rows([name for _, name in pairs]) if pairs else {}
    for side, column in pairs:
        of_arms = arm_columns(names[column])
        if not of_arms:
            listed = names[column][:_MOST_PLAIN]
            plain[column] = {name: _numbers(values[column][:, k]) for k, name in enumerate(listed)}
        for arm, columns in of_arms.items():
            held = arms.setdefault(arm, {}).setdefault(side, {})
            for what in ("position", "quaternion", "joints", "gripper"):
                place = getattr(columns, what)
                if place is not None and what not in held:
                    held[what] = _numbers(values[column][:, place])
    return arms, plain


def _numbers(values: np.ndarray) -> list[Any]:
    rounded = np.round(values.astype(np.float64), _DECIMALS)
    if np.isfinite(rounded).all():
        return rounded.tolist()
    with_holes = rounded.astype(object)
    with_holes[~np.isfinite(rounded)] = None
    return with_holes.tolist()
