"""A small benchmark in RoboFine-Bench's released form, with odd spellings, and answers to it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # where this file is run by itself

if TYPE_CHECKING:
    from teachers.loopback import Seen

VIDEOS = 8


def write_released(root: Path, *, videos: int = VIDEOS, films: bool = True) -> Path:
    """Two datasets, one video of AV1, one broken by its ground truth, lists written as text."""
    root.mkdir(parents=True, exist_ok=True)
    samples, questions, facts = [], [], []
    for number in range(videos):
        dataset = "BC-Z" if number % 2 else "BridgeDataV2"
        name = f"{dataset.lower()}-{number}"
        broken = number == videos - 1
        steps = [f"grasp thing {number}", "lift it"]
        samples.append(
            {
                "sample_id": name,
                "dataset": dataset,
                "instruction_raw": steps if number % 3 else f"do task {number}",
                "GT": "error (black screen)" if broken else (repr(steps) if number % 2 else steps),
                "robot_type": "widowx",
                "views": {"view1": "https://example.invalid/1.mp4"},
                "meta": {"view_names": ["main"], "duration_sec": 1.5},
            }
        )
        questions.append(
            {
                "sample_id": name,
                "status": "ok",
                "qas": [
                    {
                        "question_id": f"{name}_q1",
                        "question": "Is the gripper closed?",
                        "answer_type": "yes_no",
                        "answer": "Yes" if number % 2 else "No",
                        "options": [],
                        "capability": "action_sequence",
                        "error_type": "contradiction",
                    },
                    {
                        "question_id": f"{name}_q2",
                        "question": "From where does it come?",
                        "answer_type": "multiple_choice",
                        "answer": "from above",
                        "options": ["from above", "from the left", "from below"],
                        "capability": "contact_and_approach",
                        "error_type": "omission",
                    },
                    {
                        "question_id": f"{name}_q3",
                        "question": "How many attempts?",
                        "answer_type": "number",
                        "answer": "2",
                        "options": None,
                        "capability": "failure_and_recovery",
                        "mode": "conflict",
                    },
                ],
            }
        )
        facts.append(
            {
                "sample_id": name,
                "status": "ok",
                "capability_results": [
                    {
                        "capability": "action_sequence",
                        "gt_atomic_facts": [
                            fact(f"action_sequence_{n}", "primitive_action", verb, number)
                            for n, verb in enumerate(("grasp", "lift"), start=1)
                        ],
                    },
                    {
                        "capability": "target_object",
                        "gt_atomic_facts": [fact("target_object_1", "color", "green", number)],
                    },
                    {"capability": "body_motion", "gt_atomic_facts": []},
                ],
            }
        )
        if films:
            write_film(root / "Videos" / dataset.replace("-", "_") / name / "view1.mp4", number)
    (root / "EvalSets.json").write_text(json.dumps(samples))
    (root / "QAEvalSets.json").write_text(json.dumps(questions))
    (root / "GT_AtomicFacts.jsonl").write_text("\n".join(map(json.dumps, facts)) + "\n")
    return root


def fact(name: str, slot: str, value: str, video: int) -> dict:
    return {
        "fact_id": name, "slot": slot, "value": value, "object": "thing",
        "step_anchor": "step_1", "fact_text": f"The {slot} of thing {video} is {value}.",
    }  # fmt: skip


def write_film(path: Path, number: int) -> None:
    from finedata.store.videos.transcode import encode_pictures

    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [np.full((32, 48, 3), (20 * number + 3 * t) % 255, np.uint8) for t in range(15)]
    encode_pictures(frames, path, fps=10.0, codec="av1" if number == 0 else "h264")


IDS = re.compile(r"Q\d+\. \[([^\]]+)\]")


def answer(seen: Seen) -> str:
    """What the loopback server says as answerer and as judge, from the prompt alone."""
    if "gt_evaluations" in seen.prompt:
        names = re.findall(r'"fact_id": "([^"]+)", "capability": "([^"]+)"', seen.prompt)
        description = seen.prompt.partition("Description:")[2]
        lines = [
            {
                "fact_id": name,
                "capability": dimension,
                "label": "match" if "grasp" in description and n == 0 else "partial",
                "caption_evidence": "step 1",
            }
            for n, (name, dimension) in enumerate(names[:-1])  # the last is the form
        ]
        return json.dumps({"gt_evaluations": lines, "hallucinated_actions": []})
    ids = IDS.findall(seen.prompt)
    if ids:
        return json.dumps(
            {"answers": {one: "none" if n == 0 else "B" for n, one in enumerate(ids)}}
        )
    return json.dumps({"Step1": "grasp the thing", "Step2": "lift it"})


def main() -> None:
    """python small.py BENCH URL OUT TRACK: to be killed."""
    from finedata.bench.reading import read_benchmark
    from finedata.bench.run import run_benchmark
    from finedata.bench.settings import BenchSettings, Judge
    from finedata.teachers.asker import AskOptions
    from finedata.teachers.openai import OpenAITeacher

    bench, url, out, track = sys.argv[1:5]
    os.environ["OPENAI_API_KEY"] = "sk-test"
    options = AskOptions(
        concurrency=2, timeout_s=3.0, backoff_s=0.05, attempts=12,
        input_price_usd=1.0, output_price_usd=1.0,
    )  # fmt: skip
    run_benchmark(
        read_benchmark(bench),
        out=out,
        teacher=OpenAITeacher(base_url=f"{url}/v1"),
        settings=BenchSettings(track=track, model="m", max_output_tokens=500),
        judge=Judge(teacher=OpenAITeacher(base_url=f"{url}/v1"), model="j", max_output_tokens=500),
        options=options,
    )


if __name__ == "__main__":
    main()
