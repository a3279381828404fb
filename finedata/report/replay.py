"""What a policy said along recorded episodes, drawn beside what was done.

Beside its mean error stands that of holding still, the state of the frame at which it was asked
taken for the action: a policy that is no better has learnt nothing that shows here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.motion.quaternion import geodesic_angle_rad
from finedata.report.drawing.plots import Line, line_chart
from finedata.report.drawing.svg import counted, escape
from finedata.report.html import Cell, note, page, said, table
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.train.recorded import Replayed

__all__ = ["ReplayError", "replay_errors", "write_replay_report"]

_STYLE = (
    "svg .line.recorded { stroke: var(--c0); } "
    "svg .line.predicted { stroke: var(--c1); stroke-dasharray: 6 3; }"
)


@dataclass(frozen=True, kw_only=True)
class ReplayError:
    """A mean error over all predicted steps that were commanded.

    Attributes:
        name: Of the number; `..._rotation_deg` for rotations.
        predicted: Of the policy.
        still: Of holding still; None where the state is of other numbers.
    """

    name: str
    predicted: float
    still: float | None


def replay_errors(replayed: Sequence[Replayed]) -> list[ReplayError]:
    """Mean errors over episodes, each step alike; in metres, degrees, radians and openings."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray | None]]] = {}
    for one in replayed:
        counts = one.valid[one.frames]
        truth, told = one.recorded[one.frames][counts], one.predicted[counts]
        still = None if one.states is None else one.states[one.asked][counts]
        for place, name in enumerate(one.names):
            if name.endswith(("qy", "qz", "qw")):
                continue
            if name.endswith("qx"):
                whole = slice(place, place + 4)
                name = name.removesuffix("qx") + "rotation_deg"
                errors = _angle(told[:, whole], truth[:, whole])
                rest = None if still is None else _angle(still[:, whole], truth[:, whole])
            else:
                errors = np.abs(told[:, place] - truth[:, place])
                rest = None if still is None else np.abs(still[:, place] - truth[:, place])
            found.setdefault(name, []).append((errors, rest))
    return [
        ReplayError(
            name=name,
            predicted=float(np.concatenate([e for e, _ in pairs]).mean()),
            still=None
            if any(r is None for _, r in pairs)
            else float(np.concatenate([r for _, r in pairs if r is not None]).mean()),
        )
        for name, pairs in found.items()
    ]


def write_replay_report(
    replayed: Sequence[Replayed], out: Path, *, title: str, held_out: bool
) -> Path:
    """Write the page.

    Args:
        replayed: The episodes.
        out: The file; replaced.
        title: Of what policy.
        held_out: Whether they are known to have been held out.

    Raises:
        OutputError: It cannot be written.
    """
    sections = [("errors", "Mean error", _table(replay_errors(replayed)))]
    sections += [(f"episode-{k}", one.episode_id, _episode(one)) for k, one in enumerate(replayed)]
    lead = f"<style>{_STYLE}</style><p>{counted(len(replayed), 'episode')}, open loop.</p>"
    if not held_out:
        lead += note("Whether these episodes were trained on is not known here.", warn=True)
    write_atomic(out, page(title, sections, lead=lead, foot=""))
    return out


def _table(errors: Sequence[ReplayError]) -> str:
    rows: list[list[Cell]] = [[said(e.name), e.predicted, e.still] for e in errors]
    return table("Over all predicted steps", ["number", "policy", "holding still"], rows)


def _episode(one: Replayed) -> str:
    drawn = [f"<p>{escape(one.task)} ({escape(one.embodiment)})</p>"]
    time_s = np.arange(len(one.recorded)) / one.fps
    for place, name in enumerate(one.names):
        lines = [
            Line(
                name="recorded",
                class_="recorded",
                xs=tuple(time_s.tolist()),
                ys=tuple(one.recorded[:, place].tolist()),
            ),
            Line(
                name="predicted",
                class_="predicted",
                xs=tuple(time_s[one.frames].tolist()),
                ys=tuple(_on_one_side(one)[:, place].tolist()),
            ),
        ]
        label = f"{name} of {one.episode_id}, recorded and predicted"
        chart = line_chart(lines, x_title="s", y_title=name, label=label, from_zero=False)
        drawn.append(f"<figure>{chart}</figure>")
    return "".join(drawn)


def _on_one_side(one: Replayed) -> np.ndarray:
    """Predictions with quaternions on the side of what was recorded: a sign is no error."""
    found = one.predicted.copy()
    for place, name in enumerate(one.names):
        if name.endswith("qx"):
            whole = slice(place, place + 4)
            side = (found[:, whole] * one.recorded[one.frames][:, whole]).sum(-1, keepdims=True)
            found[:, whole] = np.where(side < 0, -found[:, whole], found[:, whole])
    return found


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(geodesic_angle_rad(a, b))
