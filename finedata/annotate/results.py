"""What the pipeline knows of one episode before and after asking: plain frozen values."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

# msgspec reads the annotations at run time
from finedata.annotate.asking.answers import Fact, Step  # noqa: TC001
from finedata.annotate.trace_text import Trace  # noqa: TC001

Ended = Literal["done", "failed", "budget"]


class EpisodeContext(msgspec.Struct, frozen=True, kw_only=True):
    """One episode to annotate.

    Attributes:
        row: Its row of the table `episodes`.
        source_steps: The steps that came with the source, where they can be used.
    """

    row: dict[str, Any]
    source_steps: list[Step]

    @property
    def episode_id(self) -> str:
        """Its id."""
        return self.row["episode_id"]

    @property
    def frames(self) -> int:
        """Its length in frames."""
        return self.row["length"]

    @property
    def fps(self) -> float:
        """Its frames a second."""
        return self.row["fps"]

    @property
    def two_arms(self) -> bool:
        """Whether the robot has two arms."""
        return len(self.row["arms"]) > 1


class StageEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a stage ended: with an answer of this call, or not."""

    stage: str
    status: Literal["ok", "failed", "refused", "budget"]
    call_id: str
    prompt_sha256: str
    reason: str = ""


class FactsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the staged pipeline found of one episode; steps and facts only where it is done.

    Attributes:
        episode_id: The episode.
        ended: `done` only where every stage has a good answer.
        stages: How each stage ended that was asked.
        reason: Why it is not done; empty where it is.
        main_object: The object that the task is about.
        steps: Refined steps.
        facts: Atomic facts.
        notes: What was repaired in the answers.
    """

    episode_id: str
    ended: Ended
    stages: list[StageEnd]
    reason: str = ""
    main_object: str = ""
    steps: list[Step] = []
    facts: list[Fact] = []
    notes: list[str] = []


class TraceResult(msgspec.Struct, frozen=True, kw_only=True):
    """One frame's trace; `trace` is null unless the call ended well."""

    frame: int
    stage: StageEnd
    trace: Trace | None = None
    raw_text: str = ""


class TracesResult(msgspec.Struct, frozen=True, kw_only=True):
    """The traces of one episode, those that failed among them.

    Attributes:
        episode_id: The episode.
        cameras: Cameras that were shown.
        traces: One for each frame that was asked about.
        reason: Why frames could not be shown; empty where all could.
        missing: Frames that could not be shown.
    """

    episode_id: str
    cameras: list[str]
    traces: list[TraceResult]
    reason: str = ""
    missing: int = 0
