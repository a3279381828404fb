"""Whom annotations are asked of: named first, opened when the first question is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from finedata.api.arguments import listed
from finedata.errors import UsageError, need

if TYPE_CHECKING:
    from finedata.annotate.settings import AnnotateSettings
    from finedata.api.arguments import Views
    from finedata.teachers.asker import AskOptions
    from finedata.teachers.protocol import Teacher as Client

__all__ = ["Teacher", "teacher"]


def teacher(
    name: str | Client,
    *,
    model: str = "",
    base_url: str | None = None,
    recorded: str | Path | None = None,
    device: str | None = None,
    temperature: float | None = 0.0,
    max_tokens: int = 8192,
    input_price_usd: float | None = None,
    output_price_usd: float | None = None,
    requests_per_minute: float | None = None,
    attempts: int = 6,
    timeout_s: float = 300.0,
) -> Teacher:
    """Name a teacher and how it is asked. It is opened, and its key looked for, when it is asked.

    Args:
        name: `gemini`, `openai` (any compatible server), `local`, `replay`; or an object of your
            own that speaks `finedata.teachers.protocol.Teacher`.
        model: As the teacher names it.
        base_url: Address of the server; None for the vendor's own.
        recorded: File of answers, for `replay`.
        device: Where `local` runs; None for a GPU where there is one.
        temperature: Of the answers; None: what the server does by itself.
        max_tokens: Longest answer.
        input_price_usd: US dollars per million tokens sent; None for the published price.
        output_price_usd: The same for tokens received.
        requests_per_minute: Most calls begun in a minute.
        attempts: How often a call is tried.
        timeout_s: Longest time for one attempt.

    Raises:
        UsageError: No model is given.
    """
    if not model and name != "replay":
        raise UsageError(
            parameter="model",
            found="none",
            wanted="the model to ask",
            next_command="gemini-2.5-flash, or the name your server gives its model",
        )
    return Teacher(
        name=name, model=model or "recorded", base_url=base_url,
        recorded=None if recorded is None else Path(recorded), device=device,
        temperature=temperature, max_tokens=max_tokens, input_price_usd=input_price_usd,
        output_price_usd=output_price_usd, requests_per_minute=requests_per_minute,
        attempts=attempts, timeout_s=timeout_s,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Whom to ask, and how; see `teacher` for the fields."""

    name: str | Client
    model: str
    base_url: str | None
    recorded: Path | None
    device: str | None
    temperature: float | None
    max_tokens: int
    input_price_usd: float | None
    output_price_usd: float | None
    requests_per_minute: float | None
    attempts: int
    timeout_s: float

    def connect(self) -> Client:
        """The client that answers; a verb closes it at its end."""
        if not isinstance(self.name, str):
            return self.name
        from finedata.teachers.opening import open_teacher

        if self._is_run:
            from finedata.train.annotator.teacher import RunTeacher

            return RunTeacher(self.model, device=self.device)
        model = None if self.name == "replay" else self.model
        return open_teacher(
            self.name,
            base_url=self.base_url,
            recorded=self.recorded,
            model=model,
            device=self.device,
        )

    @property
    def _is_run(self) -> bool:
        """Whether `local` is a run of `finedata train`, or an export of one."""
        if self.name != "local" or not Path(self.model).is_dir():
            return False
        folders = ("", "pretrained_model", "checkpoints/last/pretrained_model")
        return any((Path(self.model) / one / "train_config.json").is_file() for one in folders)

    def settings(
        self, *, seed: int, width: int | None, views: Views, verbs: Literal["full", "released"],
        fps: float = 4.0, refinement_fps: float = 1.0, max_frames: int = 100_000,
    ) -> AnnotateSettings:  # fmt: skip
        """All that changes an answer; it names the run."""
        from finedata.annotate.asking.frames import FrameSettings
        from finedata.annotate.settings import AnnotateSettings

        def frames(rate: float) -> FrameSettings:
            return FrameSettings(
                fps=rate,
                width=width,
                max_frames=max_frames,
                views=() if isinstance(views, int) or views == "all" else listed(views),
                max_views=views if isinstance(views, int) else None if views == "all" else 1,
                seed=seed,
            )

        model = self.model
        if self._is_run:
            need("torch", "transformers", "safetensors", extra="train", place=f"model {model}")
            from finedata.train.annotator.teacher import run_name

            model = run_name(self.model)
        return AnnotateSettings(
            teacher=self.name if isinstance(self.name, str) else self.name.name,
            model=model,
            temperature=self.temperature,
            max_output_tokens=self.max_tokens,
            seed=seed or None,
            verbs=verbs,
            analysis=frames(fps),
            refinement=frames(refinement_fps),
            trace=frames(fps),
        )

    def limits(
        self, *, workers: int, budget_usd: float | None, retry: Literal["never", "unpaid", "all"]
    ) -> AskOptions:
        """What a run may take; changes no answer."""
        from finedata.annotate.asking.limits import AskOptions

        return AskOptions(
            concurrency=workers,
            requests_per_minute=self.requests_per_minute,
            budget_usd=budget_usd,
            input_price_usd=self.input_price_usd,
            output_price_usd=self.output_price_usd,
            attempts=self.attempts,
            timeout_s=self.timeout_s,
            retry=retry,
        )
