"""The recorded teacher of `finedata demo`: `python tests/demo/record_traces.py` writes its answers.

Nobody was asked: what it says of a frame is made from the motion's own steps by a rule, so it is
true, and dull. `test_traces.py` holds the packed answers against what this makes.
"""

from __future__ import annotations

import lzma
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]
PACKED = ROOT / "finedata" / "demo" / "traces.jsonl.xz"
EVERY = 1

if TYPE_CHECKING:
    from finedata.api import Dataset
    from finedata.teachers.protocol import Answer, Request


class RuleTeacher:
    """Says where in its steps the arm is."""

    name = "replay"

    def __init__(self, dataset: Dataset) -> None:
        rows = dataset.steps.sort("episode_id", "start_frame").collect()
        self._steps: dict[str, list[dict[str, Any]]] = {}
        for row in rows.iter_rows(named=True):
            self._steps.setdefault(row["episode_id"], []).append(row)

    async def ask(self, request: Request) -> Answer:
        from finedata.teachers.protocol import Answer, Usage

        found = re.search(r"frame (\d+)", request.pictures[0].label)
        assert found is not None
        return Answer(self.trace(request.episode_id, int(found[1])), Usage(None, None))

    async def close(self) -> None:
        pass

    def trace(self, episode_id: str, frame: int) -> str:
        from finedata.annotate.trace_text import Trace, trace_text

        plan = self._steps[episode_id]
        at = max(k for k, step in enumerate(plan) if step["start_frame"] <= frame or k == 0)
        verbs = [step["primitive_action"].lower() for step in plan]
        does = re.sub(r" between .*", "", plan[at]["text"])
        then = verbs[at + 1] if at + 1 < len(plan) else "be done"
        held = sum(verb == "grasp" for verb in verbs[:at]) > sum(v == "release" for v in verbs[:at])
        return trace_text(
            Trace(
                observation=f"Step {at + 1} of {len(plan)}.",
                situation_analysis="The gripper holds something."
                if held
                else "The gripper holds nothing.",
                spatial_reasoning=f"{does}.",
                task_planning=f"{verbs[at]}, then {then}.",
                logical_steps=verbs,
                sub_action=verbs[at],
            )
        )


def record_traces(dataset: Dataset, out: Path) -> int:
    """Write the answers about a dataset that has steps; returns how many."""
    from finedata.annotate.run import annotate_traces
    from finedata.api import teacher
    from finedata.teachers.replay import record

    settings = teacher("replay", recorded=out).settings(
        seed=0, width=512, views="all", verbs="full"
    )
    annotate_traces(dataset.root, teacher=RuleTeacher(dataset), settings=settings, every=EVERY)
    return record(dataset.root, out)


def packed_bytes(path: Path) -> bytes:
    lines = sorted(path.read_bytes().splitlines(keepends=True))
    kept = [msgspec.json.decode(line) for line in lines]
    slim = [{"call_id": line["call_id"], "text": line["text"]} for line in kept]
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in slim)
    return lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    import finedata

    with tempfile.TemporaryDirectory() as temporary:
        from finedata.demo.walk import unpack

        folder = Path(temporary)
        unpack(folder / "source")
        address = folder / "source" / "bridge_dataset" / "1.0.0"
        made = finedata.source("bridge_v2", address).convert(folder / "bridge")
        made.gate()
        made.cluster(device="cpu")
        made.annotate_kinematic()
        count = record_traces(finedata.open(folder / "bridge"), folder / "traces.jsonl")
        PACKED.write_bytes(packed_bytes(folder / "traces.jsonl"))
    print(f"{PACKED.relative_to(ROOT)}: {count} answers, {PACKED.stat().st_size} bytes")
