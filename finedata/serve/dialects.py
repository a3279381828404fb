# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# Values that come from a socket have no types.
"""What clients say and expect to hear, without sockets: one object a connection.

On `/` the server speaks first, and a request decides: `examples` or `type` are StarVLA's, all else
is openpi's. On `/vla-eval` the client speaks first (`hello`) and takes one action at a time.

Each hears errors as its own server would say them. openpi's client raises on a *text* frame, and
its server closes then (1011). StarVLA's is told in band, `ok: false`. vla-eval's gets a message of
type `error` with the number of its own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

import numpy as np

import finedata
from finedata.errors import FinedataError, UsageError
from finedata.serve.observe import Request, numbers, words
from finedata.serve.session import Session
from finedata.serve.wire import decode, is_map, pack, read_arrays

if TYPE_CHECKING:
    from finedata.serve.desk import Answered, Desk
    from finedata.train.robot import Robot

_log = logging.getLogger(__name__)
_MOST_EXAMPLES = 64
# Of StarVLA's clients: how its own heads are to draw. Ours follow the recipe.
_SAMPLING = ("do_sample", "use_ddim", "num_ddim_steps", "cfg_scale")
_PROTOCOL = 1


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What goes back.

    Attributes:
        frame: A text or binary message; None for nothing.
        closes: The connection ends behind it.
    """

    frame: bytes | str | None
    closes: bool = False


class Talk:
    """openpi's and StarVLA's dialect on one connection.

    Args:
        desk: Answers.
        embodiment: The robot, where the address names it.
    """

    def __init__(self, desk: Desk, *, embodiment: str = "") -> None:
        self._desk, self._embodiment = desk, embodiment
        self._sessions: list[Session] = []
        self._total_ms = 0.0

    def greeting(self) -> bytes | None:
        """What is sent before anything is asked."""
        return pack(self._desk.metadata())

    def reply(self, frame: bytes | str) -> Reply:
        """Answer a message; never raises."""
        began = perf_counter()
        starvla, number = False, "default"
        try:
            message = decode(frame)
            starvla = "examples" in message or isinstance(message.get("type"), str)
            if starvla:
                given = message.get("request_id", number)
                number = given if isinstance(given, str | int) else number
                said = self._starvla(read_arrays(message), number, began)
            else:
                said = self._openpi(read_arrays(message), began)
        except Exception as error:  # whatever it is, the server goes on
            text = _told(error)
            if not starvla:
                return Reply(frame=text, closes=True)
            said = {
                "status": "error",
                "ok": False,
                "type": "inference_result",
                "request_id": number,
                "error": {"message": text},
            }
        packed = pack(said)
        self._total_ms = 1000 * (perf_counter() - began)
        return Reply(frame=packed)

    def _openpi(self, message: dict[str, Any], began: float) -> dict[str, Any]:
        """Source: `WebsocketPolicyServer._handler` of openpi."""
        request = self._desk.read(message)
        found = self._ask([request])
        said: dict[str, Any] = {"actions": found.actions[0]} | self._timing(found, began)
        if found.reasoning:
            said["reasoning"] = found.reasoning[0]
        return said

    def _starvla(self, message: dict[str, Any], number: str | int, began: float) -> dict[str, Any]:
        """Source: `WebsocketPolicyServer._route_message` and `PolicyServerWrapper` of StarVLA."""
        kind = message.get("type", "infer")
        if kind == "ping":
            return {"status": "ok", "ok": True, "type": "ping", "request_id": number}
        if kind in ("init", "reset"):
            for session in self._sessions:
                session.reset()
            return {"status": "ok", "ok": True, "type": kind, "request_id": number}
        if kind not in ("infer", "predict_action"):
            raise UsageError(
                place="type", found=repr(kind)[:80], wanted="infer, predict_action, ping or reset"
            )
        payload = message.get("payload", message)
        if not is_map(payload):
            raise UsageError(place="payload", found=type(payload).__name__, wanted="a map")
        found = self._ask(self._examples(payload))
        data: dict[str, Any] = {"actions": np.stack(found.actions)} | self._timing(found, began)
        if found.reasoning:
            data["reasoning"] = found.reasoning
        return {
            "status": "ok",
            "ok": True,
            "type": "inference_result",
            "request_id": number,
            "data": data,
        }

    def _examples(self, payload: dict[str, Any]) -> list[Request]:
        """The samples of a request; pictures are by their order.

        Raises:
            UsageError: They cannot be read.
        """
        known = ("examples", "unnorm_key", "reasoning", "type", "request_id", *_SAMPLING)
        other = [key for key in payload if key not in known]
        examples: Any = payload.get("examples")
        if other or not isinstance(examples, list) or not 1 <= len(examples) <= _MOST_EXAMPLES:
            raise UsageError(
                place="payload",
                found=f"keys {', '.join(other)}" if other else "no examples",
                wanted=f"examples, a list of 1 to {_MOST_EXAMPLES} maps, and unnorm_key",
            )
        shared = {key: payload[key] for key in ("unnorm_key", "reasoning") if key in payload}
        return [self._example(one, f"examples[{k}]", shared) for k, one in enumerate(examples)]

    def _example(self, example: Any, place: str, shared: dict[str, Any]) -> Request:
        wanted = ("image", "lang", "state")
        if not is_map(example) or not set(example) <= set(wanted):
            found = ", ".join(map(str, example)) if is_map(example) else type(example).__name__
            raise UsageError(place=place, found=found, wanted="image, lang and state")
        cameras = self._desk.predictor.cameras
        pictures = example.get("image")
        many: list[Any] = pictures if isinstance(pictures, list) else [pictures]
        if "image" not in example or len(many) != len(cameras):
            raise UsageError(
                place=f"{place}.image",
                found=f"{len(many) if 'image' in example else 'no'} pictures",
                wanted=f"{len(cameras)}, in this order: {', '.join(cameras)}",
            )
        request = self._desk.read(shared)
        for camera, picture in zip(cameras, many, strict=True):
            if picture is not None and not isinstance(picture, np.ndarray):
                raise UsageError(
                    place=f"{place}.image",
                    found=type(picture).__name__,
                    wanted="arrays uint8 (height, width, 3)",
                )
            request.pictures[camera] = picture
        if "lang" in example:
            request.text = words(example["lang"], f"{place}.lang")
        if example.get("state") is not None:
            request.states[""] = numbers(example["state"], f"{place}.state")
        return request

    def _ask(self, requests: list[Request]) -> Answered:
        while len(self._sessions) < len(requests):
            self._sessions.append(Session(self._desk.use))
        for request in requests:
            request.embodiment = request.embodiment or self._embodiment
        return self._desk.ask(self._sessions[: len(requests)], requests)

    def _timing(self, found: Answered, began: float) -> dict[str, Any]:
        timing = {
            "infer_ms": 1000 * (perf_counter() - began),
            "model_ms": 1000 * found.model_s,
        }
        if self._total_ms:
            timing["prev_total_ms"] = self._total_ms
        return {"server_timing": timing}


class VlaEvalTalk:
    """vla-eval's dialect on one connection.

    Source: `vla_eval.model_servers.serve` and `vla_eval.protocol.messages`.

    Args:
        desk: Answers.
        embodiment: The robot, where the address names it.
    """

    def __init__(self, desk: Desk, *, embodiment: str = "") -> None:
        self._desk, self._embodiment = desk, embodiment
        self._session = Session(desk.use, stepwise=True)
        self._greeted = False

    def greeting(self) -> bytes | None:
        """Nothing: the client speaks first."""
        return None

    def reply(self, frame: bytes | str) -> Reply:
        """Answer a message; never raises."""
        began = perf_counter()
        number = 0
        try:
            message = decode(frame)
            given = message.get("seq")
            number = given if type(given) is int else 0
            said = self._said(read_arrays(message), began)
        except Exception as error:  # whatever it is, the server goes on
            said = "error", {"error": _told(error)}
        if said is None:
            return Reply(frame=None)
        kind, payload = said
        whole = {"type": kind, "payload": payload, "seq": number, "timestamp": time()}
        return Reply(frame=pack(whole, text_keys=True))

    def _said(self, message: dict[str, Any], began: float) -> tuple[str, dict[str, Any]] | None:
        missing = [key for key in ("type", "payload", "seq", "timestamp") if key not in message]
        kind, payload = message.get("type"), message.get("payload")
        if missing or not is_map(payload):
            raise UsageError(
                place="message",
                found="no " + ", ".join(missing) if missing else f"{type(payload).__name__}",
                wanted="type, payload (a map), seq and timestamp",
            )
        if kind == "hello":
            self._greeted = True
            return "hello", self._hello()
        if not self._greeted:
            raise UsageError(place="message", found=repr(kind)[:80], wanted="hello first")
        if kind in ("episode_start", "episode_end"):
            self._session.reset()
            return None
        if kind == "error":
            _log.warning("a client says: %s", str(payload)[:500])
            return None
        if kind != "observation":
            raise UsageError(
                place="type",
                found=repr(kind)[:80],
                wanted="hello, observation, episode_start, episode_end or error",
            )
        request = self._desk.read(payload)
        request.embodiment = request.embodiment or self._embodiment
        found = self._desk.ask([self._session], [request])
        timing = {"infer_ms": 1000 * (perf_counter() - began), "model_ms": 1000 * found.model_s}
        said: dict[str, Any] = {"actions": found.actions[0][0], "server_timing": timing}
        if found.reasoning:
            said["reasoning"] = found.reasoning[0]
        return "action", said

    def _hello(self) -> dict[str, Any]:
        robots = self._desk.predictor.robots
        named = self._embodiment or (next(iter(robots)) if len(robots) == 1 else "")
        found: dict[str, Any] = {
            "harness_version": f"finedata {finedata.__version__}",
            "protocol_version": _PROTOCOL,
            "model_server": "finedata",
            "capabilities": {},
            "finedata": self._desk.metadata(chunk=1)["finedata"],
        }
        if named in robots:
            found["action_spec"] = _action_spec(self._desk, robots[named])
            found["observation_spec"] = {
                camera: {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"}
                for camera in self._desk.predictor.cameras
            } | {"language": {"name": "language", "dims": 0, "format": "language"}}
        return found


_ROTATIONS = {
    "quaternion_xyzw": (4, "quaternion_xyzw"),
    "quaternion_wxyz": (4, "quaternion_wxyz"),
    "rotation_vector": (3, "axis_angle"),
    "euler_xyz_extrinsic": (3, "euler_xyz"),
    "rotation_6d": (6, "rot6d_contiguous"),
}
_GRIPPERS = {
    "open": "continuous_01",
    "closed": "continuous_close_01",
    "open_signed": "binary_close_negative",
    "closed_signed": "binary_close_positive",
}


def _action_spec(desk: Desk, robot: Robot) -> dict[str, Any]:
    """What the harness holds against its benchmark; of other robots than one arm the width only."""
    names = [name.rsplit("_", 1)[-1] for name in robot.action_names]
    if names != ["x", "y", "z", "qx", "qy", "qz", "qw", "gripper"]:
        width = len(desk.form.names(robot.action_names))
        return {"action": {"name": "raw", "dims": width, "format": "raw"}}
    dims, rotation = _ROTATIONS[desk.form.rotation]
    return {
        "position": {"name": "position", "dims": 3, "format": "absolute_xyz"},
        "rotation": {"name": "rotation", "dims": dims, "format": rotation},
        "gripper": {"name": "gripper", "dims": 1, "format": _GRIPPERS[desk.form.gripper]},
    }


def _told(error: Exception) -> str:
    """What a client is told of an error; what is none of its own making is logged whole."""
    if isinstance(error, FinedataError):
        return str(error)
    _log.exception("a request ended in an error")
    return f"error in the policy: {type(error).__name__}: {str(error)[:500]}"
