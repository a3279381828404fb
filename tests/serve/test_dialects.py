"""Each dialect as its own client speaks it, bad input included; without sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from serve.conftest import picture
from serve.fake import HORIZON, NAMES, STATE, STILL, FakePredictor, desk
from serve.test_wire import from_openpi, openpi, spelled, vla_eval

from finedata.serve.dialects import Talk, VlaEvalTalk


def said_by(talk: Any, message: dict[Any, Any]) -> Any:
    reply = talk.reply(msgpack.packb(message, default=openpi))
    if isinstance(reply.frame, str):
        assert reply.closes
        return reply.frame
    assert not reply.closes
    return msgpack.unpackb(reply.frame, object_hook=from_openpi)


def told_vla_eval(
    talk: Any, kind: str, payload: dict[str, Any], seq: int = 3, *, encode: Any = vla_eval
) -> Any:
    message = {"type": kind, "payload": payload, "seq": seq, "timestamp": 1.0}
    reply = talk.reply(msgpack.packb(message, default=encode))
    assert not reply.closes
    if reply.frame is None:
        return None
    found = msgpack.unpackb(reply.frame, raw=False)
    assert set(found) == {"type", "payload", "seq", "timestamp"}
    assert found["seq"] == seq
    return found


def action(found: Any) -> np.ndarray:
    """Source: `decode_ndarray` of vla_eval.protocol.numpy_codec."""
    assert found["type"] == "action"
    spelled = found["payload"]["actions"]
    assert spelled["__ndarray__"] is True
    return np.frombuffer(spelled["data"], spelled["dtype"]).reshape(spelled["shape"])


def seen(**more: Any) -> dict[str, Any]:
    return {"observation/front": picture(), "prompt": "go", "observation/state": STATE} | more


def test_openpi_is_answered() -> None:
    talk = Talk(desk())
    metadata = msgpack.unpackb(talk.greeting())
    assert metadata["action_chunk_size"] == HORIZON
    assert metadata["finedata"]["embodiments"]["arm"]["actions"] == list(NAMES)
    said = said_by(talk, seen())
    assert np.allclose(said["actions"], np.tile(STATE, (HORIZON, 1)), atol=1e-6)
    assert set(said["server_timing"]) == {"infer_ms", "model_ms"}
    assert "prev_total_ms" in said_by(talk, seen())["server_timing"]
    assert "reasoning" not in said


@pytest.mark.parametrize(
    "names",
    [
        {"front": 0, "prompt": 1, "state": 2},
        {"images": {"front": 0}, "task": 1, "states": 2},
        {"observation.images.front": 0, "task_description": 1, "observation.state": 2},
        {"observation": {"images": {"front": 0}, "state": {"state": 2}}, "instruction": 1},
        {"observation/image": 0, "text": 1, "state/state": 2},
        {"image": 0, "prompt": 1, "state": 2},
        {"observation/exterior_1": 0, "prompt": 1, "proprio": 2, "depth": 0},
    ],
)
def test_names_of_many_clients_mean_one_thing(names: dict[str, Any]) -> None:
    values = (picture(), "go", STATE)

    def filled(one: Any) -> Any:
        return {k: filled(v) for k, v in one.items()} if isinstance(one, dict) else values[one]

    predictor = FakePredictor()
    renamed = {"observation/exterior_1": "front", "depth": "-"}
    said_by(Talk(desk(predictor, renamed=renamed)), filled(names))
    ((_, observation),) = predictor.seen[0][0]
    assert np.array_equal(observation.pictures["front"], values[0])
    assert observation.text == "go"
    assert np.allclose(observation.states["state"], STATE)


def test_starvla_is_answered() -> None:
    predictor = FakePredictor(cameras=("front", "wrist"))
    talk = Talk(desk(predictor))
    metadata = msgpack.unpackb(talk.greeting())
    for key in ("action_chunk_size", "available_unnorm_keys", "default_unnorm_key", "action_keys",
                "state_keys", "training_obs_image_size"):  # fmt: skip
        assert key in metadata
    one = {"image": [picture(1), picture(2)], "lang": "go", "state": STATE[None]}
    bare = said_by(talk, {"examples": [one, one], "unnorm_key": "arm", "do_sample": False})
    assert bare["status"] == "ok"
    assert bare["ok"] is True
    assert bare["type"] == "inference_result"
    assert bare["data"]["actions"].shape == (2, HORIZON, 8)
    assert len(predictor.seen) == 1, "examples are answered by one pass"
    asked = predictor.seen[0][0]
    assert np.array_equal(asked[0][1].pictures["front"], picture(1))
    assert np.array_equal(asked[0][1].pictures["wrist"], picture(2))
    wrapped = {"type": "infer", "request_id": "r7", "payload": {"examples": [one]}}
    said = said_by(talk, wrapped)
    assert said["request_id"] == "r7"
    assert said["data"]["actions"].shape == (1, HORIZON, 8)
    assert said_by(talk, {"type": "ping", "request_id": "p"}) == {
        "status": "ok", "ok": True, "type": "ping", "request_id": "p",
    }  # fmt: skip
    assert said_by(talk, {"type": "reset"})["ok"] is True
    # openpi's form is spoken on the same connection.
    both = {"front": picture(), "wrist": picture(), "prompt": "go"}
    assert said_by(talk, both)["actions"].shape == (HORIZON, 8)


def test_vla_eval_is_answered_one_action_at_a_time() -> None:
    def moving(number: int) -> np.ndarray:
        found = np.tile(STILL, (HORIZON, 1))
        found[:, 0] = 10 * number + np.arange(HORIZON)
        return found

    renamed = {"images/agentview": "front", "controller_states": "-"}
    form = {"rotation": "rotation_vector", "gripper": "closed_signed"}
    table = desk(FakePredictor(says=moving), execute=2, renamed=renamed, **form)
    talk = VlaEvalTalk(table)
    assert talk.greeting() is None
    early = told_vla_eval(talk, "observation", {})
    assert early["type"] == "error"
    assert "hello first" in early["payload"]["error"]
    hello = told_vla_eval(talk, "hello", {"harness_version": "1", "protocol_version": 1}, seq=0)
    assert hello["type"] == "hello"
    assert hello["payload"]["protocol_version"] == 1
    assert hello["payload"]["action_spec"] == {
        "position": {"name": "position", "dims": 3, "format": "absolute_xyz"},
        "rotation": {"name": "rotation", "dims": 3, "format": "axis_angle"},
        "gripper": {"name": "gripper", "dims": 1, "format": "binary_close_positive"},
    }
    payload = {"images": {"agentview": picture()}, "task_description": "go",
               "states": np.array([0, 0, 0, 0.1, 0, 0, 1], np.float64),
               "controller_states": np.zeros(8)}  # fmt: skip
    steps = []
    for episode in range(2):
        assert told_vla_eval(talk, "episode_start", {"task": {}}) is None
        for seq in range(3):
            found = action(told_vla_eval(talk, "observation", payload, seq=10 * episode + seq))
            assert found.shape == (7,)
            steps.append(round(float((found[0] - 0.1) / 0.5)))
        assert told_vla_eval(talk, "episode_end", {"success": True}) is None
    assert steps == [0, 1, 10, 20, 21, 30]
    assert told_vla_eval(talk, "error", {"error": "mine"}) is None


BAD = [
    ({"prompt": None}, "prompt"),
    ({"prompt": "  "}, "an empty text"),
    ({"prompt": 3}, "wanted a text"),
    ({"observation/front": "a picture"}, "picture front: found str"),
    ({"observation/front": [1, 2]}, "picture front: found list"),
    ({"observation/front": np.zeros((3, 48, 64), np.uint8)}, "uint8 of shape (3, 48, 64)"),
    ({"observation/front": np.zeros((48, 64), np.uint8)}, "shape (48, 64)"),
    ({"observation/front": np.zeros((48, 64, 4), np.uint8)}, "shape (48, 64, 4)"),
    ({"observation/front": np.zeros((0, 64, 3), np.uint8)}, "shape (0, 64, 3)"),
    ({"observation/front": np.zeros((9000, 1, 3), np.uint8)}, "shape (9000, 1, 3)"),
    ({"observation/front": np.zeros((48, 64, 3), np.float32)}, "float32 of shape"),
    ({"observation/wrist": picture()}, "a name that the policy does not know"),
    ({"observation/state": np.full(8, np.nan, np.float32)}, "no finite number as right_x"),
    ({"observation/state": np.full(8, np.inf)}, "no finite number"),
    ({"observation/state": np.zeros(7, np.float32)}, "shape (7,), wanted (8,): right_x"),
    ({"observation/state": np.zeros(14, np.float32)}, "state of arm: found an array of shape"),
    ({"observation/state": np.zeros((2, 8), np.float32)}, "wanted one vector"),
    ({"observation/state": np.zeros(8, np.float32)}, "a rotation right_q of length 0"),
    ({"observation/state": "far"}, "wanted an array of numbers"),
    ({"observation/state": [1, "2"]}, "a list of other things"),
    ({"observation/state": np.zeros(8, bool)}, "found bool"),
    ({"embodiment": "leg"}, "found 'leg'"),
    ({"embodiment": 1}, "wanted a text"),
    ({"reset": 1}, "wanted true or false"),
    ({"reasoning": True}, "error in the policy: AssertionError"),
    ({"prev_chunk": np.zeros((4, 8))}, "real-time chunking"),
    ({"delay": 2}, "real-time chunking"),
    ({"observation/state": spelled(dtype="|O", shape=[1])}, "dtype '|O'"),
    ({"observation/state": spelled(shape=[-2])}, "shape [-2]"),
    ({"observation/state": spelled(shape=[2**40])}, "shape [1099511627776]"),
    ({"observation/state": spelled(shape=[8])}, "8 bytes, wanted 32"),
]


def refusing() -> Any:
    """A desk whose policy fails, as by a bug, when it is asked why."""
    predictor = FakePredictor()
    predict = predictor.predict

    def fails(asked: Any, *, reasoning: bool = False, **more: Any) -> Any:
        assert not reasoning
        return predict(asked, **more)

    predictor.predict = fails
    return desk(predictor)


@pytest.mark.parametrize(("change", "told"), BAD)
def test_openpi_hears_a_text_and_the_end(change: dict[str, Any], told: str) -> None:
    asked = {key: value for key, value in (seen() | change).items() if value is not None}
    said = said_by(Talk(refusing()), asked)
    assert isinstance(said, str), said
    assert told in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("change", "told"), BAD)
def test_vla_eval_hears_an_error_and_goes_on(change: dict[str, Any], told: str) -> None:
    talk = VlaEvalTalk(refusing())
    told_vla_eval(talk, "hello", {})
    asked = {key: value for key, value in (seen() | change).items() if value is not None}
    said = told_vla_eval(talk, "observation", asked, seq=9, encode=openpi)
    assert said["type"] == "error"
    assert told in said["payload"]["error"]
    assert told_vla_eval(talk, "observation", seen(), seq=10)["type"] == "action"


GOOD = {"image": [picture()], "lang": "go", "state": STATE[None]}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"examples": []}, "1 to 64 maps"),
        ({"examples": "x"}, "1 to 64 maps"),
        ({"examples": [GOOD] * 65}, "1 to 64 maps"),
        ({"examples": ["x"]}, "examples[0]: found str"),
        ({"examples": [GOOD | {"depth": 1}]}, "wanted image, lang and state"),
        ({"examples": [{"lang": "go"}]}, "examples[0].image: found no pictures, wanted 1"),
        ({"examples": [GOOD | {"image": [picture()] * 2}]}, "found 2 pictures, wanted 1"),
        ({"examples": [GOOD | {"image": ["x"]}]}, "examples[0].image: found str"),
        ({"examples": [GOOD | {"lang": None}]}, "examples[0].lang"),
        ({"examples": [{"image": [picture()]}]}, "prompt: found none"),
        ({"examples": [GOOD | {"state": np.full((1, 8), np.nan)}]}, "no finite number"),
        ({"examples": [GOOD | {"state": "x"}]}, "examples[0].state"),
        ({"examples": [GOOD], "unnorm_key": "leg"}, "found 'leg'"),
        ({"examples": [GOOD], "top_k": 3}, "keys top_k"),
        ({"type": "dance", "request_id": "r"}, "found 'dance'"),
        ({"type": "infer", "request_id": "r", "payload": 3}, "payload: found int"),
        ({"type": "infer", "request_id": "r", "payload": {}}, "no examples"),
    ],
)
def test_starvla_hears_it_in_band_and_goes_on(message: dict[str, Any], told: str) -> None:
    talk = Talk(desk())
    said = said_by(talk, message)
    assert said["ok"] is False
    assert said["status"] == "error"
    assert said["request_id"] == message.get("request_id", "default")
    assert told in said["error"]["message"]
    assert said_by(talk, {"examples": [GOOD]})["ok"] is True


def test_one_bad_example_leaves_no_chunk_of_the_others() -> None:
    predictor = FakePredictor()
    talk = Talk(desk(predictor))
    bad = GOOD | {"state": np.full((1, 8), np.nan)}
    assert said_by(talk, {"examples": [GOOD, bad]})["ok"] is False
    assert predictor.seen == []


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"type": "observation"}, "no payload, seq, timestamp"),
        ({"type": "observation", "payload": 3, "seq": 1, "timestamp": 0}, "found int"),
        ({"type": "dance", "payload": {}, "seq": 1, "timestamp": 0}, "found 'dance'"),
    ],
)
def test_vla_eval_messages_that_are_none(message: dict[str, Any], told: str) -> None:
    talk = VlaEvalTalk(desk())
    told_vla_eval(talk, "hello", {})
    reply = msgpack.unpackb(talk.reply(msgpack.packb(message)).frame)
    assert reply["type"] == "error"
    assert told in reply["payload"]["error"]


def test_a_robot_by_the_address() -> None:
    predictor = FakePredictor(embodiments=("arm", "other"))
    talk = Talk(desk(predictor), embodiment="other")
    said_by(talk, seen())
    assert predictor.seen[0][0][0][0].name == "other"
    assert "on a connection of other" in said_by(talk, seen(embodiment="arm"))


def test_reasoning_is_told_where_it_is_asked_for() -> None:
    talk = Talk(desk(FakePredictor(speaks=True)))
    assert "reasoning" not in said_by(talk, seen())
    assert said_by(talk, seen(reasoning=True))["reasoning"] == {"text": "because", "parts": None}
    always = Talk(desk(FakePredictor(speaks=True), reasoning=True))
    found = said_by(always, {"examples": [GOOD]})
    assert found["data"]["reasoning"] == [{"text": "because", "parts": None}]


def test_a_desk_refuses_what_does_not_fit_its_policy() -> None:
    from finedata.errors import UsageError

    with pytest.raises(UsageError, match="key image=left: found 'left'"):
        desk(renamed={"image": "left"})
    with pytest.raises(UsageError, match="reasoning: found a policy with the head oft"):
        desk(reasoning=True)


def test_a_robot_of_no_state_is_shown_none() -> None:
    predictor = FakePredictor()
    (robot,) = predictor.robots.values()
    alone = replace(robot, codecs={"action": robot.codecs["action"]})
    predictor.robots = {"arm": alone}
    asked = seen()
    assert "found an array of shape (8,), wanted (0,)" in said_by(Talk(desk(predictor)), asked)
    del asked["observation/state"]
    assert said_by(Talk(desk(predictor)), asked)["actions"].shape == (HORIZON, 8)


def test_a_state_that_the_policy_needs() -> None:
    talk = Talk(desk(FakePredictor(inputs=("state",))))
    asked = seen()
    assert said_by(talk, asked)["actions"].shape == (HORIZON, 8)
    del asked["observation/state"]
    assert "state state: found none, wanted 8 numbers: right_x" in said_by(talk, asked)
