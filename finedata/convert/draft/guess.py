"""Which features are an arm's state and which its action, and in which space both are told.

Joints are preferred, because they need no reading of rotations; else poses. Where actions are not
understood, the state that follows is taken for the action, but not in a LeRobot dataset: there
every feature can be kept as it is, which loses nothing. Where the state cannot be told either,
there are no arms.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.convert.draft.numbers import ActionKind, action_kind
from finedata.convert.draft.roles import (
    Piece,
    is_action,
    pieces_of,
    pose_pieces,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.convert.draft.look import Look, NumberFeature
    from finedata.convert.draft.roles import Kind

ArmName = Literal["right", "left"]
_KINDS: tuple[Kind, ...] = ("position", "rotation", "joints", "gripper", "hand")
_PLAIN = frozenset({"state", "states", "action", "actions", "observation", "observations", "steps"})


@dataclass(frozen=True, slots=True)
class ArmGuess:
    """One arm: the pieces of its state and of its action, by kind."""

    name: ArmName
    state: Mapping[Kind, Piece]
    action: Mapping[Kind, Piece]


@dataclass(frozen=True, slots=True)
class Guess:
    """What a source seems to hold.

    Attributes:
        arms: Right, then left; none where nothing can be told.
        space: As in a converter file.
        reference: How the actions refer to the state.
        action: The evidence.
        candidates: Pieces that were seen and not used, in words.
        why: Why there are no arms, or why this space.
    """

    arms: tuple[ArmGuess, ...]
    space: Literal["ee", "joint", "undeclared"]
    reference: Literal["absolute", "delta", "next_state"]
    action: ActionKind
    why: str
    candidates: tuple[str, ...] = field(default=())


def guess_arms(look: Look) -> Guess:
    """Guess the arms of a source."""
    vectors = sorted(look.vectors, key=lambda vector: _plain(vector.feature))
    states = [piece for v in vectors if not is_action(v.feature) for piece in pieces_of(v)]
    actions = [piece for v in vectors if is_action(v.feature) for piece in pieces_of(v)]
    states, actions = _settle_plain(vectors, states, actions)
    candidates = tuple(
        f"{piece.vector.feature}, columns {list(piece.columns)}: {piece.kind} ({piece.why})"
        for piece in states + actions
    )
    arms = _arms(states, actions)
    guess = _joint_guess(arms, look) or _ee_guess(arms, look)
    if guess is not None:
        return replace(guess, candidates=candidates)
    why = "no state of an arm was recognised by its name and its numbers"
    if arms:
        why = "neither joints nor poses of state and action were recognised together"
    nothing = ActionKind("unknown", "no state to compare with")
    return Guess((), "undeclared", "next_state", nothing, why, candidates)


def _plain(feature: str) -> bool:
    """Whether a name says nothing but state or action: the least specific come last."""
    return not set(words_of(feature)) - _PLAIN


def _settle_plain(
    vectors: list[NumberFeature], states: list[Piece], actions: list[Piece]
) -> tuple[list[Piece], list[Piece]]:
    """Read nameless state and action vectors by each other.

    Seven columns whose first three are steps of each other are a position, three angles and a
    gripper (as in OXE). An action as wide as a state that was read is read the same way.
    """
    nameless = [v for v in vectors if v.names is None and v.is_float and _plain(v.feature)]
    unread_states = [v for v in nameless if not is_action(v.feature)]
    unread_actions = [v for v in nameless if is_action(v.feature)]
    for state in unread_states:
        if state.values.shape[1] != 7 or any(piece.vector is state for piece in states):
            continue
        positions = [
            piece.vector.values[:, list(piece.columns)]
            for piece in actions
            if piece.kind == "position"
        ]
        positions += [v.values[:, :3] for v in unread_actions if v.values.shape[1] == 7]
        for steps in positions:
            if action_kind(steps, state.values[:, :3]).reference == "delta":
                states = states + _seven(state)
                break
    for action in unread_actions:
        if any(piece.vector is action for piece in actions):
            continue
        for piece in states:
            if piece.vector.values.shape[1] == action.values.shape[1] and not (
                piece.encoding.startswith("quaternion")
            ):
                why = f"as in {piece.vector.feature}, which has as many columns"
                actions = [*actions, replace(piece, vector=action, why=why)]
    return states, actions


def _seven(vector: NumberFeature) -> list[Piece]:
    whole = Piece(vector, tuple(range(7)), "joints", "", "")
    why = "the actions are steps of its first three columns, so these are a position"
    return [replace(piece, why=why) for piece in pose_pieces(whole)]


def _arms(states: list[Piece], actions: list[Piece]) -> list[ArmGuess]:
    """Pieces by arm; a single arm is the right one."""
    sides = {piece.side for piece in states if piece.side}
    names: list[tuple[ArmName, str]] = [("right", "right"), ("left", "left")]
    if len(sides) == 1:
        (side,) = sides
        names = [("left" if side == "left" else "right", side)]
    if not sides:
        names = [("right", "")]
    arms: list[ArmGuess] = []
    for name, side in names:
        state, action = _first_of_each(states, side), _first_of_each(actions, side)
        if state:
            arms.append(ArmGuess(name, state, action))
    return arms


def _first_of_each(pieces: list[Piece], side: str) -> dict[Kind, Piece]:
    """The first piece of each kind; a rotation must come with its position."""
    found: dict[Kind, Piece] = {}
    for piece in pieces:
        if piece.side == side:
            found.setdefault(piece.kind, piece)
    if "position" in found and "rotation" in found:
        together = [
            piece
            for piece in pieces
            if piece.kind == "rotation"
            and piece.side == side
            and piece.vector.feature == found["position"].vector.feature
        ]
        if together:
            found["rotation"] = together[0]
    if ("position" in found) != ("rotation" in found):
        found.pop("position", None)
        found.pop("rotation", None)
    if "hand" in found:
        found.pop("gripper", None)
    return {kind: found[kind] for kind in _KINDS if kind in found}


def _joint_guess(arms: list[ArmGuess], look: Look) -> Guess | None:
    if not arms or not all("joints" in arm.state for arm in arms):
        return None
    kind = _compare(arms, "joints")
    why = "joints are recorded, and need no reading of rotations"
    if kind.reference == "absolute":
        kept = tuple(_fitting(arm, "joints") for arm in arms)
        return Guess(kept, "joint", "absolute", kind, why)
    return _following(arms, look, kind, "joint", why)


def _ee_guess(arms: list[ArmGuess], look: Look) -> Guess | None:
    if not arms or not all("position" in arm.state for arm in arms):
        return None
    kind = _compare(arms, "position")
    why = "poses are recorded"
    if kind.reference != "unknown" and all("rotation" in arm.action for arm in arms):
        kept = tuple(_fitting(arm, "position") for arm in arms)
        return Guess(kept, "ee", kind.reference, kind, why)
    return _following(arms, look, kind, "ee", why)


def _following(
    arms: list[ArmGuess],
    look: Look,
    kind: ActionKind,
    space: Literal["ee", "joint"],
    why: str,
) -> Guess | None:
    """Take the next state as the action where the recorded one is not understood.

    Not for LeRobot: there every feature can be kept as it is, which loses nothing.
    """
    if look.reader == "lerobot" and any(is_action(v.feature) for v in look.vectors):
        return None
    kept = tuple(ArmGuess(arm.name, arm.state, {}) for arm in arms)
    return Guess(kept, space, "next_state", kind, why)


def _compare(arms: list[ArmGuess], kind: Kind) -> ActionKind:
    """The evidence over all arms together, whose actions must refer to the same thing."""
    if not all(kind in arm.action for arm in arms):
        return ActionKind("unknown", f"no {kind} was recognised among the actions")
    pairs = [(arm.action[kind], arm.state[kind]) for arm in arms]
    if any(len(action.columns) != len(state.columns) for action, state in pairs):
        return ActionKind("unknown", f"the {kind} of action and state have different widths")
    action = np.hstack([a.vector.values[:, list(a.columns)] for a, _ in pairs])
    state = np.hstack([s.vector.values[:, list(s.columns)] for _, s in pairs])
    return action_kind(action, state)


def _fitting(arm: ArmGuess, main: Kind) -> ArmGuess:
    """The arm without what its own action or state would make contradict the other side."""
    action = dict(arm.action)
    if main == "joints" and "position" in action and _pose_kind(arm) != "absolute":
        action.pop("position")
        action.pop("rotation")
    if main == "position":
        joints = arm.action.get("joints")
        if joints is not None and _compare([arm], "joints").reference != "absolute":
            action.pop("joints")
    for kind in ("gripper", "hand"):
        if kind in action and kind not in arm.state:
            action.pop(kind)
    return replace(arm, action=action)


def _pose_kind(arm: ArmGuess) -> str:
    return _compare([arm], "position").reference if "position" in arm.state else "unknown"
