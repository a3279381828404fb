"""How a guessed arm is written in a drafted file, each line with the reason for it.

All pieces of one kind (positions, say) are read in one unit, for all arms, state and action: an
arm that rests near zero would otherwise be read in another unit than the rest.
"""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING

import numpy as np

from finedata.convert.draft.numbers import gripper_scale, is_large
from finedata.convert.draft.roles import words_of
from finedata.convert.draft.toml import comment, toml_text, toml_texts

if TYPE_CHECKING:
    from finedata.convert.draft.guess import ArmGuess, Guess
    from finedata.convert.draft.look import NumberFeature
    from finedata.convert.draft.roles import Kind, Piece

# A coordinate beyond this is no metre.
_MOST_M = 10.0
# No finger bends further.
_MOST_DEGREES = 200.0


def arm_lines(arm: ArmGuess, guess: Guess, doubts: list[str]) -> list[str]:
    """The tables of one arm.

    Args:
        arm: Its pieces.
        guess: How its actions refer to the state.
        doubts: Gets what could not be told.
    """
    lines = ["[[variants.arms]]", f"name = {toml_text(arm.name)}", 'tool_frame = "unknown"', ""]
    lines.append("[variants.arms.state]")
    for kind, piece in arm.state.items():
        lines += _piece(kind, piece, _alike(guess, kind), doubts)
    lines += ["", "[variants.arms.action]", comment(f"{guess.action.why}.")]
    lines.append(f"reference = {toml_text(guess.reference)}")
    if guess.reference == "delta":
        lines += [
            f"refers_to = {toml_text(guess.action.refers_to)}",
            comment("The usual composition: steps in the axes of the base."),
            'composition = "base_left"',
        ]
    flipped = _flipped(arm)
    for kind, piece in arm.action.items():
        lines += _piece(
            kind, piece, _alike(guess, kind), doubts, flipped=flipped and kind == "gripper"
        )
    return [*lines, ""]


def _alike(guess: Guess, kind: Kind) -> np.ndarray:
    """Every number of one kind, of all arms and of state and action: they share one unit.

    An arm that rests near zero, or small steps, would be read in another unit than the rest.
    """
    pieces = [side[kind] for arm in guess.arms for side in (arm.state, arm.action) if kind in side]
    return np.concatenate([piece.vector.more[:, list(piece.columns)].ravel() for piece in pieces])


def _flipped(arm: ArmGuess) -> bool:
    """Whether the commanded gripper falls where the measured one rises."""
    state, action = arm.state.get("gripper"), arm.action.get("gripper")
    if state is None or action is None:
        return False
    measured, commanded = _column(state), _column(action)
    if not measured.std() or not commanded.std():
        return False
    alike = float(np.corrcoef(measured, commanded)[0, 1])
    scales = [gripper_scale(c, _words(p)) for c, p in ((measured, state), (commanded, action))]
    same_sense = (scales[0].open > scales[0].closed) == (scales[1].open > scales[1].closed)
    return (alike < -0.5) if same_sense else (alike > 0.5)


def _column(piece: Piece) -> np.ndarray:
    return np.nan_to_num(piece.vector.values[:, piece.columns[0]])


def _words(piece: Piece) -> list[str]:
    """The words of a piece's name: its column's, where columns have names."""
    names = piece.vector.names
    return words_of(names[piece.columns[0]] if names else piece.vector.feature)


def _piece(
    kind: Kind, piece: Piece, alike: np.ndarray, doubts: list[str], *, flipped: bool = False
) -> list[str]:
    """One line of an arm, after the reasons for it."""
    comments = [comment(piece.why)] if piece.why else []
    settings = [f"feature = {toml_text(piece.vector.feature)}"]
    if piece.doubt:
        doubts.append(piece.doubt)
        comments.append(comment(f"doubt: {piece.doubt}"))
    if kind == "gripper":
        scale = gripper_scale(piece.vector.more[:, piece.columns[0]], _words(piece))
        ends = (scale.closed, scale.open) if flipped else (scale.open, scale.closed)
        doubts.append(f"{scale.doubt}: {piece.vector.feature}")
        comments.append(comment(scale.why))
        if flipped:
            comments.append(comment("turned round: it falls where the measured one rises"))
        settings += [f"column = {piece.columns[0]}", f"open = {ends[0]}", f"closed = {ends[1]}"]
        if scale.kind != "absolute":
            settings.append(f"kind = {toml_text(scale.kind)}")
    else:
        settings += _picked(piece)
        settings += _unit(kind, piece, alike, comments, doubts)
    return [*comments, f"{kind} = {{ {', '.join(settings)} }}"]


def _picked(piece: Piece) -> list[str]:
    columns, vector = piece.columns, piece.vector
    if columns == tuple(range(columns[0], columns[0] + len(columns))):
        return [f"columns = [{columns[0]}, {columns[-1] + 1}]"]
    names = _names(vector, columns)
    return [f"named = {toml_texts(map(glob.escape, names))}"]


def _names(vector: NumberFeature, columns: tuple[int, ...]) -> list[str]:
    return [vector.names[column] for column in columns] if vector.names else []


def _unit(
    kind: Kind, piece: Piece, values: np.ndarray, comments: list[str], doubts: list[str]
) -> list[str]:
    """The unit of a piece, guessed from the numbers of its kind; what was guessed is a doubt."""
    if kind == "position":
        if not is_large(values, limit=_MOST_M):
            return []
        comments.append(comment("numbers beyond 10: millimetres"))
        return ['unit = "mm"']
    if kind == "rotation":
        encoding = f"encoding = {toml_text(piece.encoding)}"
        if piece.encoding.startswith("quaternion"):
            return [encoding, 'unit = "none"']
        degrees = is_large(values)
        return [encoding, 'unit = "deg"'] if degrees else [encoding]
    if not is_large(values) and kind != "hand":
        return []
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    degrees = is_large(values) and (kind != "hand" or max(-low, high) <= _MOST_DEGREES)
    taken = "as degrees" if degrees else "as they are"
    doubts.append(f"the unit of all {kind}: numbers from {low:.4g} to {high:.4g}, taken {taken}")
    if degrees:
        comments.append(
            comment("numbers beyond one turn in radians: degrees, or a scale of -100 to 100")
        )
        return ['unit = "deg"']
    comments.append(comment("a hand's own scale: nothing says its unit"))
    return []
