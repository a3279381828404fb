"""A teacher in memory: good answers by stage, and whatever faults a test asks for."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any

from finedata.teachers.protocol import Answer, Request, Usage

TRACE = (
    "<Observation> A cup stands on the table.\n<Situation Analysis> Nothing is held yet.\n"
    "<Spatial Reasoning> The cup is left of the gripper.\n<Task Planning> Fetch it.\n"
    "<logical_steps> <1> reach <2> grasp <sub_action> move left"
)


def last_frame(request: Request) -> int:
    return int(re.search(r"numbered 0 to (\d+)", request.prompt)[1])


def good(request: Request) -> Any:
    """A correct answer to any stage; None for text."""
    if request.stage == "facts/sequence":
        return {
            "action_sequence": [
                {"verb": "Pick up", "object": "cup", "arm": "right", "detail": "by its rim"},
                {"verb": "Place", "object": "cup", "arm": "right", "detail": "on the plate"},
            ],
            "main_object": "the cup",
        }
    last = last_frame(request)
    middle = max(1, last // 2)
    steps = [
        {"verb": "Pick up", "object": "cup", "arm": "right", "text": "Picks up the red cup."},
        {"verb": "Place", "object": "cup", "arm": "right", "text": "Places it on the plate."},
    ]
    if request.stage == "facts/steps":
        steps[0] |= {"start_frame": 0, "end_frame": middle}
        steps[1] |= {"start_frame": middle, "end_frame": last + 1}
        return {"steps": steps}
    if request.stage == "facts/refine":
        count = int(re.search(r"exactly (\d+) steps", request.prompt)[1])
        return {"steps": [{**steps[0], "text": f"Does thing {k} exactly."} for k in range(count)]}
    return {
        "facts": [
            fact("action_sequence", "primitive_action", "pick up", "The arm picks up the cup."),
            fact("target_object", "color", "red", "The cup is red.", anchor="episode"),
            fact("active_actor", "actor", "right", "The right arm acts."),
            fact(
                "initial_configuration",
                "initial_relation",
                "left of the plate",
                "At first the cup is left of the plate.",
                anchor="episode_start",
            ),
        ]
    }


def fact(dimension: str, slot: str, value: str, text: str, **more: Any) -> dict[str, Any]:
    return {
        "dimension": dimension,
        "slot": slot,
        "object": "cup",
        "actor": "right",
        "value": value,
        "number": None,
        "unit": None,
        "text": text,
        "anchor": "step_1",
        "confidence": 0.9,
        **more,
    }


class Scripted:
    """Answers in memory.

    Args:
        change: (request, good answer) -> the answer given instead, a value or a text; it may raise.
        delay_s: Before every answer.
    """

    name = "openai"

    def __init__(self, change=None, delay_s: float = 0.0) -> None:
        self._change = change
        self._delay_s = delay_s
        self.asked: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.most_at_once = self._now = 0

    async def ask(self, request: Request) -> Answer:
        self.asked[request.call_id] += 1
        self.requests.append(request)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await asyncio.sleep(self._delay_s)
            value = TRACE if request.stage == "trace" else good(request)
            if self._change is not None:
                value = self._change(request, value)
        finally:
            self._now -= 1
        text = value if isinstance(value, str) else json.dumps(value)
        return Answer(text, Usage(1000, 100))

    async def close(self) -> None:
        self.closed = True


_BEGINNINGS = {
    "You watch": "facts/sequence",
    "You split": "facts/steps",
    "The steps": "facts/refine",
    "You take": "facts/atoms",
    "You are": "trace",
}


def answer_of(seen: Any) -> str:
    """What the loopback server answers: it sees no stage, only the prompt."""
    stage = next(stage for begin, stage in _BEGINNINGS.items() if seen.prompt.startswith(begin))
    if stage == "trace":
        return TRACE
    return json.dumps(good(Request(episode_id="", stage=stage, model="m", prompt=seen.prompt)))
