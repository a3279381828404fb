"""How chunks of a connection are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from serve.conftest import picture
from serve.fake import HALF, HORIZON, STATE, STILL, FakePredictor, desk

from finedata.errors import UsageError
from finedata.serve.session import Session, Use


def moving(number: int) -> np.ndarray:
    """Step k of chunk n: x is 10 n + k, normalised, and turned by 10 (n + k) degrees about z."""
    found = np.tile(STILL, (HORIZON, 1))
    found[:, 0] = 10 * number + np.arange(HORIZON)
    for k in range(HORIZON):
        found[k, 3:9] = (
            Rotation.from_euler("z", 10 * (number + k), degrees=True).as_matrix().T[:2].ravel()
        )
    return found


def ask(table: Any, session: Session, **more: Any) -> np.ndarray:
    request = table.read({"front": picture(), "prompt": "go", "state": STATE} | more)
    return table.ask([session], [request]).actions[0]


def x_of(actions: np.ndarray) -> list[float]:
    """The chunk and step that a position is of."""
    return np.round((actions[:, 0] - 0.1) / HALF[0], 3).tolist()


def test_a_chunk_is_told_whole_or_in_part() -> None:
    table = desk(FakePredictor(says=moving))
    session = Session(table.use)
    assert x_of(ask(table, session)) == [0, 1, 2, 3]
    assert x_of(ask(table, session)) == [10, 11, 12, 13]
    part = desk(FakePredictor(says=moving), execute=2)
    assert x_of(ask(part, Session(part.use))) == [0, 1]
    assert part.metadata()["action_chunk_size"] == 2


def test_steps_are_told_one_by_one_to_who_takes_one() -> None:
    predictor = FakePredictor(says=moving)
    table = desk(predictor, execute=3)
    session = Session(table.use, stepwise=True)
    told = [x_of(ask(table, session))[0] for _ in range(7)]
    assert told == [0, 1, 2, 10, 11, 12, 20]
    assert len(predictor.seen) == 3
    session.reset()
    assert x_of(ask(table, session)) == [30]


def test_other_words_begin_anew() -> None:
    table = desk(FakePredictor(says=moving))
    session = Session(table.use, stepwise=True)
    assert x_of(ask(table, session)) == [0]
    assert x_of(ask(table, session)) == [1]
    assert x_of(ask(table, session, prompt="stop")) == [10]
    assert x_of(ask(table, session, prompt="stop", reset=True)) == [20]


def test_an_ensemble_is_the_mean_of_all_chunks_that_speak_of_a_step() -> None:
    """Source: ACT's temporal aggregation: weights exp(-0.01 i), i = 0 the oldest."""
    table = desk(FakePredictor(says=moving), ensemble=True)
    session = Session(table.use)
    assert table.metadata()["action_chunk_size"] == 1
    for step in range(7):
        found = ask(table, session)
        chunks = range(max(0, step - HORIZON + 1), step + 1)
        weights = np.exp(-0.01 * np.arange(len(chunks)))
        weights /= weights.sum()
        x = sum(w * (10 * n + step - n) for w, n in zip(weights, chunks, strict=True))
        assert found.shape == (1, 8)
        assert x_of(found)[0] == pytest.approx(x, abs=2e-3)
        # Every chunk turns this step alike, so the mean does too, with length 1.
        turned = Rotation.from_quat(found[0, 3:7]).as_euler("xyz", degrees=True)
        assert turned == pytest.approx([0, 0, 10 * step], abs=1e-3)
        assert np.linalg.norm(found[0, 3:7]) == pytest.approx(1, abs=1e-6)


def test_antipodal_quaternions_do_not_cancel_in_an_ensemble() -> None:
    def turned(number: int) -> np.ndarray:
        """Less, then more than half a circle: w changes its sign."""
        found = np.tile(STILL, (HORIZON, 1))
        angle = 140 if number % 2 else 220
        found[:, 3:9] = Rotation.from_euler("z", angle, degrees=True).as_matrix().T[:2].ravel()
        return found

    table = desk(FakePredictor(says=turned), ensemble=True)
    session = Session(table.use)
    for _ in range(4):
        found = ask(table, session)
    angle = Rotation.from_quat(found[0, 3:7]).magnitude()
    assert np.degrees(angle) == pytest.approx(180, abs=1)
    assert np.linalg.norm(found[0, 3:7]) == pytest.approx(1, abs=1e-6)


def test_delta_steps_refer_to_the_state_of_their_time() -> None:
    def steps(number: int) -> np.ndarray:
        found = np.tile(STILL, (HORIZON, 1))
        found[:, 0] = (np.arange(HORIZON) + 1 - CENTRE_X) / HALF[0]  # 1, 2, 3, 4 metres
        return found

    CENTRE_X = 0.1
    table = desk(FakePredictor(action="delta", says=steps), execute=2)
    session = Session(table.use)
    told = []
    for k in range(4):
        state = STATE.copy()
        state[0] = 100 * k
        found = ask(table, session, state=state)
        assert found.shape == (1, 8)
        told.append(float(found[0, 0]))
    assert told == pytest.approx([1, 102, 201, 302], abs=1e-3)
    assert table.metadata()["action_chunk_size"] == 1
    with pytest.raises(UsageError, match="state state: found none"):
        table.ask([session], [table.read({"front": picture(), "prompt": "go"})])


def test_relative_actions_refer_to_the_state_of_their_chunk() -> None:
    predictor = FakePredictor(action="relative", says=moving)
    table = desk(predictor)
    session = Session(table.use, stepwise=True)
    turned = Rotation.from_euler("z", 90, degrees=True).as_quat()
    first = STATE.copy()
    first[:7] = [1, 0, 0, *turned]
    found = [ask(table, session, state=first)[0], ask(table, session, state=STATE)[0]]
    # In the tool's frame: x of the tool is y of the base.
    for k, one in enumerate(found):
        given = np.array([k * HALF[0] + 0.1, 0.2, 0.3])
        wanted = np.array([1, 0, 0]) + Rotation.from_quat(turned).apply(given)
        assert one[:3] == pytest.approx(wanted, abs=1e-5)
        angle = Rotation.from_quat(one[3:7]).as_euler("xyz", degrees=True)[2]
        assert angle == pytest.approx(90 + 10 * k, abs=1e-3)


@pytest.mark.parametrize("how", [{"execute": 0}, {"execute": 5}, {"execute": 2, "ensemble": True}])
def test_uses_that_cannot_be(how: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="execute"):
        Use.of(HORIZON, execute=how["execute"], ensemble=how.get("ensemble", False))


def test_a_connection_has_one_robot() -> None:
    table = desk(FakePredictor(embodiments=("arm", "other")))
    session = Session(table.use)
    with pytest.raises(UsageError, match="found none, wanted one that the policy"):
        ask(table, session)
    with pytest.raises(UsageError, match="found 'leg'"):
        ask(table, session, embodiment="leg")
    ask(table, session, embodiment="arm")
    ask(table, session)
    with pytest.raises(UsageError, match="found other on a connection of arm"):
        ask(table, session, unnorm_key="other")


def test_an_answer_that_is_no_number_is_none() -> None:
    table = desk(FakePredictor(says=lambda number: np.full((HORIZON, 10), np.nan, np.float32)))
    with pytest.raises(UsageError, match="no finite numbers"):
        ask(table, Session(table.use))
