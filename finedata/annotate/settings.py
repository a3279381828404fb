"""Settings of a run of annotation, and the run's name, which is their hash.

Whatever changes an answer takes part in the name, so two runs with one `run_id` are the same run
and the second adds nothing to what the first has done. What does not change an answer (how many
calls are in flight, the budget, which episodes) takes no part.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from finedata.annotate.asking.frames import (
    FINEVLA_ANALYSIS,
    FINEVLA_REFINEMENT,
    TRACE_FRAMES,
    FrameSettings,
)
from finedata.annotate.asking.prompt import BIMANUAL, load_prompt, prompt_name

# msgspec reads the annotations at run time
from finedata.annotate.checks.verbs import VerbList, verbs_of
from finedata.schema.identity import hash16

__all__ = ["AnnotateSettings"]

Product = Literal["facts", "traces"]


class AnnotateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a teacher is asked.

    Attributes:
        teacher: Name of the teacher: `gemini`, `openai`, `local`, `replay`.
        model: Model, as the teacher names it.
        temperature: Of the answers; None: the server's own.
        max_output_tokens: Longest answer.
        seed: Passed to the server; None: none.
        analysis: Frames of the first look.
        refinement: Frames of the later looks.
        trace: Cameras and width of a trace's moment.
        verbs: Which list the verbs of actions and steps are of.
    """

    teacher: str
    model: str
    temperature: float | None = 0.0
    max_output_tokens: int = 8192
    seed: int | None = None
    analysis: FrameSettings = FINEVLA_ANALYSIS
    refinement: FrameSettings = FINEVLA_REFINEMENT
    trace: FrameSettings = TRACE_FRAMES
    verbs: VerbList = "full"

    def request_settings(self) -> dict[str, Any]:
        """What goes with every request."""
        given = {
            "temperature": self.temperature,
            "max_output_tokens": self.max_output_tokens,
            "seed": self.seed,
        }
        return {name: value for name, value in given.items() if value is not None}

    def run_id(self, product: Product) -> str:
        """Name of the run: hash16 of everything that changes its answers."""
        shown: dict[str, Any]
        if product == "facts":
            stages = ("sequence", "steps", "refine", "atoms")
            shown = {"analysis": self.analysis, "refinement": self.refinement}
            # the released list was the only one, and its runs keep their names
            if self.verbs != "released":
                shown["verbs"] = verbs_of(self.verbs)
        else:
            stages, shown = ("trace",), {"trace": self.trace}
        prompts = [load_prompt(prompt_name(stage, self.verbs)).sha256 for stage in stages]
        hashed = {
            "product": product,
            "teacher": self.teacher,
            "model": self.model,
            "request": self.request_settings(),
            "prompts": [*prompts, load_prompt(BIMANUAL).sha256],
            **shown,
        }
        return hash16(msgspec.json.encode(hashed, order="deterministic").decode())
