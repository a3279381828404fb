"""How a benchmark is asked and judged: all that changes an answer, and stands in the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from finedata.bench.answerers import ANSWERERS
from finedata.bench.film import CAPTION_FRAMES, VQA_FRAMES, shown_frames
from finedata.bench.prompting import PROMPTS, answer_request, prompt_sha256
from finedata.schema.bench_summary import Speaker

if TYPE_CHECKING:
    from finedata.annotate.asking.frames import FrameSettings
    from finedata.bench.benchmark import Benchmark, Row
    from finedata.teachers.protocol import Request, Teacher

__all__ = ["BenchSettings", "Judge", "request_of", "speaker_of_answerer", "speaker_of_judge"]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who judges captions.

    Attributes:
        teacher: Who is asked; text only.
        model: As the teacher names it.
        temperature: As published, 0.1; None: the server's own.
        max_output_tokens: Longest answer.
    """

    teacher: Teacher
    model: str
    temperature: float | None = 0.1
    max_output_tokens: int = 32_768

    def settings(self) -> dict[str, Any]:
        """What goes with every request."""
        return _given(temperature=self.temperature, max_output_tokens=self.max_output_tokens)


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How a benchmark is asked; all of it stands in the result.

    Attributes:
        track: `vqa` or `caption`.
        model: Of the answerer.
        setting: `easy` tells the instruction beforehand.
        fps: Frames a second; None: as published for the track.
        width: Pixels; None: as published.
        max_frames: Of a view; None: as published. Servers have caps of their own.
        blind: Show no picture at all: what the questions leak to this answerer.
        temperature: Of the answers; None: the server's own.
        top_p: None: the server's own.
        max_output_tokens: Longest answer.
        seed: Of draws: repeated videos, the bootstrap.
        trials: How often each video is asked (`vqa`).
        judge_trials: How often captions of `judge_videos` videos are judged (`caption`).
        judge_videos: How many of them.
        method: Of the intervals.
        level: Of the intervals.
    """

    track: Literal["vqa", "caption"]
    model: str
    setting: Literal["easy", "hard"] = "hard"
    fps: float | None = None
    width: int | None = None
    max_frames: int | None = None
    blind: bool = False
    temperature: float | None = 0.0
    top_p: float | None = 0.95
    max_output_tokens: int = 32_768
    seed: int = 0
    trials: int = 1
    judge_trials: int = 1
    judge_videos: int = 50
    method: Literal["cluster_t", "cluster_bootstrap"] = "cluster_t"
    level: float = 0.95

    def frames(self) -> FrameSettings:
        """What is shown."""
        published = VQA_FRAMES if self.track == "vqa" else CAPTION_FRAMES
        changed = _given(fps=self.fps, width=self.width, max_frames=self.max_frames)
        return msgspec.structs.replace(published, **changed)

    def request_settings(self) -> dict[str, Any]:
        """What goes with every request to the answerer."""
        return _given(
            temperature=self.temperature,
            top_p=self.top_p,
            max_output_tokens=self.max_output_tokens,
        )


def request_of(
    benchmark: Benchmark,
    settings: BenchSettings,
    sample: Row,
    *,
    trial: int,
    shown: bool,
    knows: str = "",
) -> Request:
    """The question about one video.

    Args:
        benchmark: Whose it is.
        settings: How it is asked.
        sample: Row of `bench_samples`.
        trial: Which repetition.
        shown: Whether pictures are.
        knows: See `OwnAnswerer`; empty for a model.

    Raises:
        SourceError: Its pictures cannot be read.
    """
    frames = settings.frames()
    own = {"answerer": knows, "sample": sample["sample_id"]} if knows else {}
    return answer_request(
        sample,
        benchmark.items_of(sample["sample_id"], settings.track),
        track=settings.track,
        model=settings.model,
        pictures=shown_frames(benchmark.root, sample, frames) if shown else [],
        fps=frames.fps,
        easy=settings.setting == "easy",
        settings=settings.request_settings() | own,
        trial=trial,
    )


def speaker_of_answerer(teacher: str, settings: BenchSettings) -> Speaker:
    """Who answers, as the result says it."""
    frames = settings.frames()
    shown = {"shown": "nothing"} if settings.blind or teacher in ANSWERERS else {
        f"frames.{name}": f"{getattr(frames, name)}"
        for name in ("fps", "width", "quality", "max_frames")
    }  # fmt: skip
    requested = {name: f"{value}" for name, value in settings.request_settings().items()}
    return Speaker(
        teacher=teacher,
        model=settings.model,
        settings=requested | shown,
        prompts={PROMPTS[settings.track]: prompt_sha256(settings.track)},
    )


def speaker_of_judge(judge: Judge) -> Speaker:
    """Who judges, as the result says it."""
    return Speaker(
        teacher=judge.teacher.name,
        model=judge.model,
        settings={name: f"{value}" for name, value in judge.settings().items()},
        prompts={PROMPTS["judge"]: prompt_sha256("judge")},
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
