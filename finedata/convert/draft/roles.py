"""What the columns of a feature may be, by the words of their names and by their numbers.

Columns become a `Piece` where they look like a position, a rotation, the joints, the hand or the
gripper of one arm; the reason stands in it. What nothing tells is left out, and so are kinds that
a converter file leaves out knowingly (velocities, forces, ...).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from finedata.convert.draft.numbers import has_unit_norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.convert.draft.look import NumberFeature

Kind = Literal["position", "rotation", "joints", "gripper", "hand"]
Side = Literal["left", "right", ""]

_ACTION = frozenset(
    {"action", "actions", "master", "target", "targets", "command", "commanded", "leader", "goal"}
)
# What is knowingly left out: the words of its name, and the kind a converter file gives it.
LEFT_OUT = {
    "velocity": frozenset(
        {"velocity", "velocities", "vel", "qvel", "speed", "acceleration", "acc"}
    ),
    "force": frozenset({"force", "forces", "torque", "torques", "effort", "wrench", "ft"}),
    "tactile": frozenset({"tactile"}),
    "extrinsics": frozenset({"extrinsics", "extrinsic", "intrinsics"}),
    "other": frozenset(
        {"embedding", "imu", "direction", "mode", "reward", "discount", "timestamp", "last",
         "previous", "torso", "head", "chassis", "leg", "legs", "neck", "base", "box", "bounds",
         "activity", "validity"}
    ),
}  # fmt: skip
_GRIPPER = frozenset({"gripper", "grip", "grippers", "claw", "closedness"})
_HAND = frozenset({"hand", "finger", "fingers", "thumb", "index", "pinky"})
_TOOL = frozenset(
    {"ee", "eef", "effector", "tcp", "cartesian", "endpoint", "pose", "poses", "tool"}
)
_PLACE = _TOOL | {"pos", "position", "positions", "xyz", "translation", "trans"}
_LIMB = frozenset({"joint", "joints", "qpos", "shoulder", "elbow", "wrist", "forearm", "waist"})
_JOINT = _LIMB | {"arm"}
_TURN = frozenset({"rot", "ori", "orientation", "rotation"})
_ANGLES = frozenset({"roll", "pitch", "yaw", "rx", "ry", "rz", "euler", "rpy"})
_QUATERNION = frozenset({"quat", "quaternion", "qx", "qy", "qz", "qw"})
_VECTOR = frozenset({"rotvec", "rvec", "axisangle"})
_GENERIC = frozenset(
    {"state", "states", "action", "actions", "observation", "observations", "steps"}
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Columns of a feature that look like one thing of one arm.

    Attributes:
        vector: The feature.
        columns: Its columns, in order.
        kind: What they look like.
        side: The arm that the names say; empty where they do not.
        why: What told.
        encoding: Of a rotation.
        doubt: What could not be told.
    """

    vector: NumberFeature
    columns: tuple[int, ...]
    kind: Kind
    side: Side
    why: str
    encoding: str = ""
    doubt: str = ""


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: `leftArm.joint_1` is left, arm, joint, 1."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return re.findall(r"[a-z]+|[0-9]+", parted)


def is_action(feature: str) -> bool:
    """Whether a feature is a command, by its name."""
    words = set(words_of(feature))
    if words & {"action", "actions"}:
        return True
    return bool(words & _ACTION) and not words & {"observation", "observations", "puppet"}


def pieces_of(vector: NumberFeature) -> list[Piece]:
    """Every piece that a feature seems to hold."""
    words = set(words_of(vector.feature))
    useful = words & (_TOOL | {"state", "states"})
    unwanted = set[str]().union(*LEFT_OUT.values()) - ({"base", "head"} if useful else set[str]())
    switch = bool(words & _GRIPPER) and vector.values.shape[1] == 1
    if words & unwanted or not (vector.is_float or vector.names or switch):
        return []
    if vector.names is not None:
        return _by_column_names(vector, vector.names)
    return _by_feature_name(vector, words)


def _side(words: Sequence[str] | set[str]) -> Side:
    if "left" in words:
        return "left"
    return "right" if "right" in words else ""


def _by_column_names(vector: NumberFeature, names: tuple[str, ...]) -> list[Piece]:
    """Group columns of the same arm and the same kind."""
    groups: dict[tuple[Side, str], list[int]] = {}
    for column, name in enumerate(names):
        words = words_of(name)
        side = _side(words) or _side(words_of(vector.feature))
        kind = _column_kind(words)
        if kind == "joints" and _is_hand(set(words) | set(words_of(vector.feature))):
            kind = "hand"
        if kind:
            groups.setdefault((side, kind), []).append(column)
    pieces: list[Piece] = []
    for (side, kind), columns in groups.items():
        called = [names[column] for column in columns]
        why = f"columns {called[0]!r} to {called[-1]!r}" if len(called) > 1 else f"{called[0]!r}"
        pieces += _named_piece(vector, columns, kind, side, why, called)
    return pieces


def _is_hand(words: set[str]) -> bool:
    """Whether joints are those of a hand: `right_hand.joint_1`, not `joint_index_1`."""
    return bool(words & (_HAND - {"index"}))


def _column_kind(words: Sequence[str]) -> str:
    found, last = set(words), words[-1] if words else ""
    if found & (LEFT_OUT["velocity"] | LEFT_OUT["force"]):
        return ""
    if found & _GRIPPER:
        return "gripper"
    # `wrist_roll` is a joint, `wrist_x` is not.
    if found & _LIMB and last not in {"x", "y", "z", "w"} | _QUATERNION:
        return "joints"
    if found & (_QUATERNION | _ANGLES):
        return "turn"
    if found & (_TURN | _VECTOR) and last in {"x", "y", "z", "w"}:
        return "turn"
    if last in {"x", "y", "z"} and (len(words) == 1 or found & _PLACE):
        return "position"
    if found & _HAND:
        return "hand"
    if found & {"torso", "head", "neck", "leg", "hip", "knee", "ankle", "base", "chassis"}:
        return ""
    return "joints" if found & _JOINT else ""


def _named_piece(
    vector: NumberFeature, columns: list[int], kind: str, side: Side, why: str, called: list[str]
) -> list[Piece]:
    piece = Piece(vector, tuple(columns), "joints", side, why)
    if kind == "joints":
        return [piece]
    if kind == "hand":
        return [replace(piece, kind="hand")]
    if kind == "gripper":
        first = replace(piece, columns=piece.columns[:1], kind="gripper")
        several = f"the first of {len(columns)} gripper columns of {vector.feature} is read"
        return [replace(first, doubt=several) if len(columns) > 1 else first]
    if kind == "position":
        return [replace(piece, kind="position")] if len(columns) == 3 else []
    return _turn(piece, [words_of(name) for name in called])


def _turn(piece: Piece, called: list[list[str]]) -> list[Piece]:
    """A rotation, by the names of its columns and their norm."""
    columns = piece.vector.more[:, list(piece.columns)]
    words = {word for name in called for word in name}
    if len(piece.columns) == 4 and has_unit_norm(columns):
        order = "wxyz" if called[0][-1] in {"w", "qw"} else "xyzw"
        by_name = {name[-1] for name in called} & {"w", "qw"}
        why = f"{piece.why}: four numbers of norm 1"
        why += f", ordered {order} by name" if by_name else ""
        doubt = "" if by_name else _order_doubt(piece.vector)
        return [
            replace(piece, kind="rotation", encoding=f"quaternion_{order}", why=why, doubt=doubt)
        ]
    if len(piece.columns) != 3:
        return []
    if words & _VECTOR:
        return [replace(piece, kind="rotation", encoding="rotation_vector")]
    return [_angles(piece, said=bool(words & _ANGLES))]


def _order_doubt(vector: NumberFeature) -> str:
    return f"{vector.feature}: norms cannot tell a quaternion's xyzw from wxyz; xyzw was taken"


def _angles(piece: Piece, *, said: bool) -> Piece:
    doubt = (
        f"{piece.vector.feature}: roll, pitch and yaw are read about fixed axes (extrinsic xyz)"
        if said
        else f"{piece.vector.feature}: three numbers may be Euler angles or a rotation vector"
    )
    return replace(piece, kind="rotation", encoding="euler_xyz_extrinsic", doubt=doubt)


def _by_feature_name(vector: NumberFeature, words: set[str]) -> list[Piece]:
    """Read a feature without names of columns by its own name and its width."""
    width = vector.values.shape[1]
    whole = Piece(vector, tuple(range(width)), "joints", _side(words), "")
    ends = "effector" in words and not words & {"pose", "cartesian"}
    if words & _GRIPPER or (words & {"close", "closed"} and width == 1) or (ends and width == 1):
        return [replace(whole, kind="gripper", why="its name")] if width == 1 else []
    if words & _HAND and width > 1:
        return [replace(whole, kind="hand", why="its name")]
    if {"axis", "angle"} <= words or words & _VECTOR:
        vectors = replace(whole, kind="rotation", encoding="rotation_vector", why="its name")
        return [vectors] if width == 3 else []
    if width == 4 and words & (_QUATERNION | _TURN) and has_unit_norm(vector.more):
        why = "its name, and four numbers of norm 1"
        turn = replace(whole, kind="rotation", encoding="quaternion_xyzw", why=why)
        return [replace(turn, doubt=_order_doubt(vector))]
    if width == 3 and (words & (_TURN | _ANGLES)):
        return [_angles(replace(whole, why="its name"), said=bool(words & _ANGLES))]
    if width == 3 and (words & {"xyz", "translation"} or {"world", "vector"} <= words):
        return [replace(whole, kind="position", why="its name")]
    if words & _TOOL and not (ends and "position" in words and width == 6):
        return pose_pieces(whole)
    if words & _JOINT:
        return joint_pieces(whole)
    if width in (7, 8) and words & _GENERIC and has_unit_norm(vector.more[:, 3:7]):
        return pose_pieces(whole)
    return []


def pose_pieces(whole: Piece) -> list[Piece]:
    """Position, rotation and perhaps a gripper, one after the other."""
    width, vector = len(whole.columns), whole.vector
    position = replace(whole, columns=(0, 1, 2), kind="position", why="the first three columns")
    if width == 3:
        return [replace(position, why="its name")]
    if width in (7, 8) and has_unit_norm(vector.more[:, 3:7]):
        why = "columns 3 to 6 have norm 1: a quaternion"
        turn = replace(whole, columns=(3, 4, 5, 6), kind="rotation", why=why)
        turn = replace(turn, encoding="quaternion_xyzw", doubt=_order_doubt(vector))
    elif width in (6, 7):
        turn = replace(whole, columns=(3, 4, 5), why="columns 3 to 5, after the position")
        turn = _angles(turn, said=False)
    else:
        return []
    found = [position, turn]
    rest = width - 3 - len(turn.columns)
    if rest == 1:
        found.append(replace(whole, columns=(width - 1,), kind="gripper", why="the last column"))
    return found


def joint_pieces(whole: Piece) -> list[Piece]:
    """Joints of one arm, or of two with their grippers (14 or 16 columns, as ALOHA has them)."""
    width = len(whole.columns)
    if width not in (14, 16) or whole.side:
        last, rest = whole.vector.more[:, -1], whole.vector.more[:, :-1]
        odd = width > 6 and last.min() >= -0.02 and last.max() <= 1.25 and bool((rest < -0.1).any())
        doubt = f"{whole.vector.feature}: the last column may be a gripper" if odd else ""
        return [replace(whole, why="its name", doubt=doubt)]
    half = width // 2
    doubt = (
        f"{whole.vector.feature}: taken as two arms, the left one first, each with its gripper last"
    )
    found: list[Piece] = []
    sides: tuple[Side, Side] = ("left", "right")
    for side, first in zip(sides, (0, half), strict=True):
        joints = tuple(range(first, first + half - 1))
        why = f"{width} columns: two arms of {half - 1} joints and a gripper"
        arm = replace(whole, side=side, why=why, doubt=doubt)
        found.append(replace(arm, columns=joints))
        found.append(replace(arm, columns=(first + half - 1,), kind="gripper"))
    return found
