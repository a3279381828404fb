"""Which robots a checkpoint knows, and which of a role's numbers each has."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from serve.conftest import picture
from serve.fake import GIVEN, NAMES, STATE, STILL, codecs

from finedata.errors import UsageError
from finedata.train.robot import Observation, robots_of

ARMS = ("left", "right")
BOTH = tuple(f"{arm}_{name.removeprefix('right_')}" for arm in ARMS for name in NAMES)


def two_arms(*, has: tuple[str, ...], source: str = "a", action: str = "absolute") -> Any:
    """Roles of two arms, filled by a part that has some of them."""
    filled = tuple(name.split("_")[0] in has for name in BOTH)
    given = tuple(f"{arm}_{name.removeprefix('right_')}" for arm in ARMS for name in GIVEN)
    return tuple(
        msgspec.structs.replace(
            codec, source=source, embodiment="robot", names=BOTH, given_names=given, filled=filled,
            centre=codec.centre * 2, half=codec.half * 2, fill=-9.0,
        )
        for codec in codecs(action=action, embodiments=("robot",)).codecs
    )  # fmt: skip


def robots(*parts: Any, inputs: tuple[str, ...] = ()) -> Any:
    document = msgspec.structs.replace(
        codecs(), codecs=tuple(codec for part in parts for codec in part)
    )
    return robots_of(document, inputs=inputs, actions=("action",))


def test_parts_that_are_written_alike_are_one_robot() -> None:
    one, other = two_arms(has=("right",)), two_arms(has=("right",), source="b")
    assert list(robots(one, other)) == ["robot"]
    both = two_arms(has=ARMS, source="b")
    assert list(robots(one, both)) == ["robot:a/main", "robot:b/main"]


@pytest.mark.parametrize("action", ["absolute", "relative"])
def test_numbers_that_a_part_has_not_are_neither_asked_for_nor_answered(action: str) -> None:
    (robot,) = robots(two_arms(has=("right",), action=action), inputs=("state",)).values()
    assert robot.names("state") == robot.action_names == NAMES
    seen = Observation(pictures={"front": picture()}, text="go", states={"state": STATE})
    assert robot.state_of(seen, "state").tolist() == [-9.0] * 8 + STATE.tolist()
    values, mask = robot.inputs_of(seen)
    assert values.shape == mask.shape == (len(GIVEN) * 2,)
    assert mask.tolist() == [False] * 10 + [True] * 10
    assert values[:10].tolist() == [-9.0] * 10
    assert values[10:].tolist() == pytest.approx(STILL.tolist(), abs=1e-6)
    given = np.tile(np.concatenate([np.full(10, 5, np.float32), STILL]), (3, 1))
    found = robot.actions_of(given, seen)
    assert found.shape == (3, 8)
    at = STATE[:3] * 2 if action == "relative" else STATE[:3]
    assert found[0, :3].tolist() == pytest.approx(at.tolist(), abs=1e-6)
    assert np.allclose(found[:, 3:7], [0, 0, 0, 1], atol=1e-6)


def test_what_actions_refer_to_must_be_there() -> None:
    state, action = two_arms(has=ARMS, action="relative")
    other = msgspec.structs.replace(state, names=BOTH[:8], given_names=state.given_names[:10],
                                    filled=state.filled[:8], centre=state.centre[:8],
                                    half=state.half[:8])  # fmt: skip
    (robot,) = robots((other, action)).values()
    with pytest.raises(UsageError, match="no state of the same numbers"):
        _ = robot.needed
    (whole,) = robots((state, action)).values()
    assert whole.needed == ("state",)
    (absolute,) = robots(two_arms(has=ARMS)).values()
    assert absolute.needed == ()


def test_several_steps_of_delta_are_refused() -> None:
    (robot,) = robots(two_arms(has=ARMS, action="delta")).values()
    assert robot.steps_alone
    state = np.concatenate([STATE, STATE])
    seen = Observation(pictures={}, text="go", states={"state": state})
    given = np.tile(np.concatenate([STILL, STILL]), (2, 1))
    assert robot.actions_of(given[:1], seen).shape == (1, 16)
    with pytest.raises(UsageError, match="delta actions, each of which refers"):
        robot.actions_of(given, seen)
