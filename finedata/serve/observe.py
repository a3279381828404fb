# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# Values that come from a socket have no types.
"""What a client calls things, and what the policy calls them.

Clients name what they see in a dozen ways: `observation/image`, `images: {front: ...}`,
`observation.images.front`, `states`. Nothing is guessed from contents: a name is that of a role
behind one of the known prefixes, or the user said what it means (`--key`), or it is an error. A
policy that is not shown what its client believes it sees moves a robot, and badly.

Depth is of ROS's two kinds, which the type of its numbers tells apart: floats are metres, and what
is no number or infinite is no depth; 16 bits are millimetres, and 0 is none (REP 118).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import UsageError
from finedata.serve.wire import is_map
from finedata.shard.stream.fill import camera_matrices
from finedata.train.robot import MOST_SIDE, Observation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.serve.form import Form
    from finedata.train.robot import Robot

IGNORED = "-"
"""What a key is said to mean that is to be left out."""
_PREFIXES = ("observation", "observations", "images", "image", "pictures", "picture")
_STATES = ("state", "states", "proprio")
_WORDS = ("prompt", "text", "task", "instruction", "task_description", "lang")
_EMBODIMENTS = ("embodiment", "unnorm_key")
_RESERVED = ("prev_chunk", "delay")
SPACE = ("depth", "matrix")
"""What a policy that is told of space may be shown of a camera beside its picture."""
_MILLIMETRE = 0.001
# fx, fy, cx, cy; or a matrix row by row.
_MATRIX_SIZES = (4, 9)
# Of one camera, where there is no other.
_ONLY = ("image", "images")
# How far from 1 the length of a quaternion may be that a client rounded.
_NEARLY = 0.05


@dataclass(kw_only=True)
class Request:
    """What a client asks.

    Attributes:
        pictures: By role.
        states: By role; `""` is all that are needed, side by side.
        text: What to do.
        embodiment: The robot; empty where the client names none.
        reset: An episode begins.
        reasoning: It wants to know why, too.
        noise: Number that the policy's noise is drawn from; None for that of the connection.
        depths: Picture role to (height, width) float32 metres, 0 where there is none.
        matrices: Picture role to the (3, 3) matrix of its pinhole, in pixels of its picture.
    """

    pictures: dict[str, np.ndarray | None] = field(default_factory=dict[str, Any])
    states: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    text: str | None = None
    embodiment: str = ""
    reset: bool = False
    reasoning: bool = False
    noise: int | None = None
    depths: dict[str, np.ndarray | None] = field(default_factory=dict[str, Any])
    matrices: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    def observation(self, robot: Robot, form: Form) -> Observation:
        """For a robot whose client writes numbers in a form.

        Raises:
            UsageError: There are no words, or a state is missing or of another width.
        """
        if self.text is None or not self.text.strip():
            raise UsageError(
                place="prompt",
                found="none" if self.text is None else "an empty text",
                wanted="what the robot is to do, in words",
            )
        states = {role: array for role, array in self.states.items() if role}
        if "" in self.states:
            roles = robot.needed or robot.states
            widths = [len(form.names(robot.names(role))) for role in roles]
            flat = self.states[""]
            _check(flat, [name for role in roles for name in form.names(robot.names(role))], robot)
            states |= dict(zip(roles, np.split(flat, np.cumsum(widths)[:-1]), strict=True))
        for role, array in states.items():
            if role not in robot.states:
                raise UsageError(
                    place=f"state {role} of {robot.name}",
                    found="a state that this robot does not have",
                    wanted=", ".join(robot.states) or "none",
                )
            _check(array, form.names(robot.names(role)), robot)
            states[role] = form.read(array, robot.names(role))
            _check_turns(states[role], robot.names(role), robot)
        return Observation(
            pictures=self.pictures, text=self.text, states=states, depths=self.depths,
            matrices=self.matrices,
        )  # fmt: skip


def _check(found: np.ndarray, names: Sequence[str], robot: Robot) -> None:
    """Refuse a state of another width, or one that is no finite number.

    Raises:
        UsageError: It is.
    """
    if found.shape != (len(names),):
        raise UsageError(
            place=f"state of {robot.name}",
            found=f"an array of shape {found.shape}",
            wanted=f"({len(names)},): {', '.join(names)}",
        )
    wrong = [name for name, x in zip(names, found, strict=True) if not np.isfinite(x)]
    if wrong:
        raise UsageError(
            place=f"state of {robot.name}",
            found=f"no finite number as {', '.join(wrong)}",
            wanted="numbers",
        )


def _check_turns(found: np.ndarray, names: Sequence[str], robot: Robot) -> None:
    """Refuse what is no rotation.

    Raises:
        UsageError: It is.
    """
    for k, name in enumerate(names):
        if name.endswith("qx"):
            length = float(np.linalg.norm(found[k : k + 4]))
            if not abs(length - 1) < _NEARLY:
                raise UsageError(
                    place=f"state of {robot.name}",
                    found=f"a rotation {name.removesuffix('qx')}q of length {length:.3g}",
                    wanted="a unit quaternion",
                )


def read_request(
    payload: Mapping[str, Any],
    *,
    cameras: Sequence[str],
    states: Sequence[str],
    renamed: Mapping[str, str],
    space: bool = False,
) -> Request:
    """Read a flat or nested observation.

    Args:
        payload: As a client sent it.
        cameras: Picture roles of the policy.
        states: State roles of its robots.
        renamed: A client's name to a role, `state`, `prompt`, `depth/ROLE`, or `IGNORED`.
        space: The policy is told where in space its pictures are: depth and matrices of cameras.

    Raises:
        UsageError: A name means nothing here, or a value is of another kind.
    """
    found = Request()
    only = cameras[0] if len(cameras) == 1 else ""
    for path, value in _flat(payload):
        name = renamed.get("/".join(path), "")
        if name == IGNORED:
            continue
        meant = tuple(name.split("/")) if name else _short(path)
        head, last = meant[0], meant[-1]
        if len(meant) == 1 and last in cameras:
            found.pictures[last] = _picture(value, last)
        elif len(meant) == 1 and last in _ONLY and only:
            found.pictures[only] = _picture(value, last)
        elif (
            space
            and head in SPACE
            and len(meant) <= 2
            and (role := last if len(meant) == 2 else only) in cameras
        ):
            if head == "depth":
                found.depths[role] = _depth(value, role)
            elif value is not None:
                found.matrices[role] = _matrix(value, role)
        elif head in _STATES and len(meant) <= 2 and (len(meant) == 1 or last in states):
            found.states[last if len(meant) == 2 else ""] = numbers(value, "/".join(path))
        elif len(meant) == 1 and last in states:
            found.states[last] = numbers(value, "/".join(path))
        elif len(meant) == 1 and last in _WORDS:
            found.text = words(value, last)
        elif len(meant) == 1 and last in _EMBODIMENTS:
            found.embodiment = words(value, last) if value is not None else ""
        elif len(meant) == 1 and last in ("reset", "reasoning"):
            setattr(found, last, _flag(value, last))
        elif len(meant) == 1 and last == "noise":
            found.noise = _number(value, last)
        else:
            raise _unknown("/".join(path), last, cameras, states, space=space)
    return found


def numbers(value: Any, place: str) -> np.ndarray:
    """A vector of finite or other numbers, float32; its leading lengths of 1 are left out.

    Raises:
        UsageError: It is none.
    """
    if isinstance(value, list):
        many: list[Any] = value
        if not all(type(one) in (int, float) for one in many):
            raise UsageError(place=place, found="a list of other things", wanted="numbers")
        value = np.array(many, np.float64)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        kind = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
        raise UsageError(place=place, found=kind, wanted="an array of numbers")
    flat = value
    while flat.ndim > 1 and flat.shape[0] == 1:
        flat = flat[0]
    if flat.ndim != 1:
        raise UsageError(place=place, found=f"shape {value.shape}", wanted="one vector")
    with np.errstate(over="ignore"):
        return flat.astype(np.float32)


def words(value: Any, place: str) -> str:
    """A text; the only one of an array or list.

    Raises:
        UsageError: It is none.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise UsageError(place=place, found=type(value).__name__, wanted="a text")
    return value


def _flat(payload: Mapping[str, Any], before: tuple[str, ...] = ()) -> list[tuple[Any, Any]]:
    """Path of names to value; `a/b` and nested maps are one."""
    found: list[tuple[Any, Any]] = []
    for key, value in payload.items():
        path = (*before, *key.split("/"))
        found += _flat(value, path) if is_map(value) else [(path, value)]
    return found


def _short(path: tuple[str, ...]) -> tuple[str, ...]:
    """A path without the prefixes that say only what kind of thing it is."""
    parts = [part for name in path for part in _dotted(name)]
    while len(parts) > 1 and parts[0] in _PREFIXES:
        parts = parts[1:]
    return tuple(parts)


def _dotted(name: str) -> list[str]:
    """`observation.images.front` as LeRobot names it; other dots are part of a name."""
    for prefix in ("observation.images.", "observation.image.", "observation."):
        if name.startswith(prefix):
            return ["observation", name.removeprefix(prefix)]
    return [name]


def _picture(value: Any, place: str) -> np.ndarray | None:
    if value is not None and not isinstance(value, np.ndarray):
        raise UsageError(
            place=f"picture {place}",
            found=type(value).__name__,
            wanted="an array uint8 (height, width, 3), or nil where there is no such camera",
        )
    return value


def _depth(value: Any, role: str) -> np.ndarray | None:
    if value is None:
        return None
    flat = value[..., 0] if isinstance(value, np.ndarray) and value.shape[2:] == (1,) else value
    known = isinstance(flat, np.ndarray) and (flat.dtype.kind == "f" or flat.dtype == np.uint16)
    if not known or flat.ndim != 2 or not 0 < min(flat.shape) <= max(flat.shape) <= MOST_SIDE:
        told = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else ""
        raise UsageError(
            place=f"depth of {role}",
            found=told or type(value).__name__,
            wanted="(height, width) of floats, in metres, or of uint16, in millimetres; nil where "
            "the robot has none",
        )
    if flat.dtype == np.uint16:
        return flat.astype(np.float32) * np.float32(_MILLIMETRE)
    with np.errstate(over="ignore"):
        metres = flat.astype(np.float32)
    metres = np.where(np.isfinite(metres), metres, np.float32(0))
    if (metres < 0).any():
        raise UsageError(
            place=f"depth of {role}", found=f"{metres.min():.6g} m", wanted="distances of 0 or more"
        )
    return metres


def _matrix(value: Any, role: str) -> np.ndarray:
    rows: list[Any] = value if isinstance(value, list) else []
    if rows and all(isinstance(row, list) for row in rows):
        value = [number for row in rows for number in row]
    elif isinstance(value, np.ndarray):
        value = value.reshape(-1)
    flat = numbers(value, f"matrix of {role}")
    found = None
    if flat.size in _MATRIX_SIZES:
        found = camera_matrices(flat, of=(1, 1), size=(1, 1))
    pinhole = found is not None and np.isfinite(found).all() and found[0, 0] > 0 < found[1, 1]
    if found is None or not pinhole or found[2].tolist() != [0, 0, 1]:
        raise UsageError(
            place=f"matrix of {role}",
            found=f"{flat.size} numbers: {', '.join(f'{x:.6g}' for x in flat[:9])}",
            wanted="fx, fy, cx, cy, or the matrix of a pinhole (3, 3), in pixels of the picture",
        )
    return found


def _flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise UsageError(place=place, found=type(value).__name__, wanted="true or false")
    return bool(value)


def _number(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(place=place, found=repr(value)[:80], wanted="a whole number of 0 or more")
    return value


def _unknown(
    name: str, last: str, cameras: Sequence[str], states: Sequence[str], *, space: bool
) -> UsageError:
    if last in _RESERVED:
        return UsageError(
            place=f"key {name}",
            found="a key that real-time chunking will have",
            wanted="none of it yet",
        )
    more = [f"{kind}/{role}" for kind in SPACE for role in cameras] if space else []
    known = ", ".join((*cameras, *more, *(f"state/{role}" for role in states), "state", "prompt"))
    return UsageError(
        place=f"key {name}",
        found="a name that the policy does not know",
        wanted=f"one of {known}, or what it means: finedata serve --key {name}=NAME; "
        f"{name}={IGNORED} leaves it out",
    )
