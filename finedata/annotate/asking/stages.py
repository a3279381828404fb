"""The stages of fine-grained facts for one episode: questions, checks, one after the other.

Later stages are asked only after the earlier ones have good answers; a stage that fails ends the
episode with its reason, and no text of the source is ever put in place of an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from finedata.annotate.asking.answers import (
    ATOMS_SCHEMA,
    Action,
    Step,
    refine_schema,
    sequence_schema,
    steps_schema,
)
from finedata.annotate.asking.prompt import fill, load_prompt, prompt_name
from finedata.annotate.checks.facts import check_facts
from finedata.annotate.checks.steps import check_refined, check_sequence, check_steps
from finedata.annotate.results import EpisodeContext, FactsResult, StageEnd
from finedata.teachers.parsing import parse_json
from finedata.teachers.protocol import Answer, Picture, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from finedata.annotate.settings import AnnotateSettings
    from finedata.teachers.asker import Outcome

_T = TypeVar("_T")


class Ask(Protocol):
    """Asks one question; `finedata.teachers.asker.Asker.ask`."""

    async def __call__(
        self, request: Request, *, check: Callable[[Request, Answer], _T]
    ) -> Outcome[_T]:
        """See the class."""
        ...


class _StageFailed(Exception):
    """A stage that ended without an answer; never seen outside."""


async def facts_of_episode(
    context: EpisodeContext,
    *,
    analysis: Sequence[Picture],
    refinement: Sequence[Picture],
    settings: AnnotateSettings,
    ask: Ask,
) -> FactsResult:
    """Annotate one episode.

    Args:
        context: The episode.
        analysis: Pictures of the first look; not needed where the source has steps.
        refinement: Pictures of the later looks.
        settings: How the teacher is asked.
        ask: Asks, checks, records.

    Returns:
        `done` with steps and facts, or why not.
    """
    episode = _Episode(context, settings, ask)
    main_object = ""
    try:
        if context.source_steps:
            steps = await episode.refined_steps(refinement)
        else:
            sequence, main_object = await episode.sequence(analysis)
            steps = await episode.steps(sequence, main_object, refinement)
        facts = await episode.atoms(steps, refinement)
    except _StageFailed:
        end = episode.ends[-1]
        return FactsResult(
            episode_id=context.episode_id,
            ended="budget" if end.status == "budget" else "failed",
            stages=episode.ends,
            reason=f"{end.stage}: {end.reason}",
        )
    return FactsResult(
        episode_id=context.episode_id,
        ended="done",
        stages=episode.ends,
        main_object=main_object,
        steps=steps,
        facts=facts,
        notes=episode.notes,
    )


class _Episode:
    """One episode on its way: asks stage after stage and remembers how each ended."""

    def __init__(self, context: EpisodeContext, settings: AnnotateSettings, ask: Ask) -> None:
        self._context = context
        self._settings = settings
        self._ask = ask
        self.ends: list[StageEnd] = []
        self.notes: list[str] = []

    async def sequence(self, pictures: Sequence[Picture]) -> tuple[list[Action], str]:
        request = sequence_request(self._context, pictures, self._settings)
        verbs = self._settings.verbs

        def check(value: Any) -> tuple[tuple[list[Action], str], list[str]]:
            return _noted(check_sequence(value, verbs=verbs))

        return await self._asked(request, check)

    async def steps(
        self, sequence: Sequence[Action], main_object: str, pictures: Sequence[Picture]
    ) -> list[Step]:
        context, rate = self._context, self._settings.refinement.fps
        request = steps_request(context, sequence, main_object, pictures, self._settings)

        def check(value: Any) -> tuple[list[Step], list[str]]:
            return check_steps(
                value,
                frames=context.frames,
                arms=len(context.row["arms"]),
                instruction=context.row["task"],
                slack_frames=max(1, round(context.fps / rate)),
                verbs=self._settings.verbs,
            )

        return await self._asked(request, check)

    async def refined_steps(self, pictures: Sequence[Picture]) -> list[Step]:
        request = refine_request(self._context, pictures, self._settings)
        source, verbs = self._context.source_steps, self._settings.verbs
        return await self._asked(
            request, lambda value: check_refined(value, source=source, verbs=verbs)
        )

    async def atoms(self, steps: Sequence[Step], pictures: Sequence[Picture]) -> list[Any]:
        request = atoms_request(self._context, steps, pictures, self._settings)
        count, verbs = len(steps), self._settings.verbs
        return await self._asked(
            request, lambda value: check_facts(value, steps=count, verbs=verbs)
        )

    async def _asked(self, request: Request, check: Callable[[Any], tuple[_T, list[str]]]) -> _T:
        """Ask; an end without an answer ends the episode."""

        def checked(_: Request, answer: Answer) -> tuple[_T, list[str]]:
            return check(parse_json(answer.text, place=request.stage))

        outcome = await self._ask(request, check=checked)
        self.ends.append(stage_end(outcome))
        if outcome.status != "ok" or outcome.value is None:
            raise _StageFailed
        value, notes = outcome.value
        self.notes += [f"{request.stage}: {note}" for note in notes]
        return value


def _noted(
    found: tuple[list[Action], str, list[str]],
) -> tuple[tuple[list[Action], str], list[str]]:
    actions, main_object, notes = found
    return (actions, main_object), notes


def stage_end(outcome: Outcome[Any]) -> StageEnd:
    """How a stage ended, for the results."""
    return StageEnd(
        stage=outcome.request.stage,
        status=outcome.status,
        call_id=outcome.request.call_id,
        prompt_sha256=outcome.request.prompt_sha256,
        reason=outcome.reason,
    )


def sequence_request(
    context: EpisodeContext, pictures: Sequence[Picture], settings: AnnotateSettings
) -> Request:
    """The question of the first stage."""
    return stage_request("sequence", context, {}, pictures, settings)


def stage_request(
    stage: str,
    context: EpisodeContext,
    values: Mapping[str, str],
    pictures: Sequence[Picture],
    settings: AnnotateSettings,
) -> Request:
    """The question of a stage, of what it shows of earlier answers.

    Args:
        stage: `sequence`, `steps`, `refine` or `atoms`.
        context: The episode.
        values: The places of the prompt that are not the episode's own.
        pictures: What is shown.
        settings: How the teacher is asked.
    """
    schemas: dict[str, Callable[[], Mapping[str, Any]]] = {
        "sequence": lambda: sequence_schema(settings.verbs),
        "steps": lambda: steps_schema(settings.verbs),
        "refine": lambda: refine_schema(settings.verbs),
        "atoms": lambda: ATOMS_SCHEMA,
    }
    return _request(stage, context, values, pictures, schemas[stage](), settings)


def steps_request(
    context: EpisodeContext,
    sequence: Sequence[Action],
    main_object: str,
    pictures: Sequence[Picture],
    settings: AnnotateSettings,
) -> Request:
    """The question of the second stage."""
    values = {"sequence": _sequence_text(sequence), "main_object": main_object}
    return stage_request("steps", context, values, pictures, settings)


def atoms_request(
    context: EpisodeContext,
    steps: Sequence[Step],
    pictures: Sequence[Picture],
    settings: AnnotateSettings,
) -> Request:
    """The question of the third stage."""
    values = {"steps": _steps_text(steps, context.fps)}
    return stage_request("atoms", context, values, pictures, settings)


def refine_request(
    context: EpisodeContext, pictures: Sequence[Picture], settings: AnnotateSettings
) -> Request:
    """The question that refines the source's own steps."""
    values = {
        "raw_steps": _steps_text(context.source_steps, context.fps),
        "step_count": str(len(context.source_steps)),
    }
    return stage_request("refine", context, values, pictures, settings)


def requests_of_episode(
    context: EpisodeContext,
    *,
    analysis: Sequence[Picture],
    refinement: Sequence[Picture],
    settings: AnnotateSettings,
) -> list[Request]:
    """What would be asked, for an estimate: later stages with a usual answer in place of the real.

    Only the first request's `call_id` is that of the real run.
    """
    usual = [Step(text="x" * 120, start_frame=0, end_frame=1) for _ in range(6)]
    if context.source_steps:
        requests = [refine_request(context, refinement, settings)]
    else:
        values = {"sequence": "x" * 600, "main_object": "x" * 20}
        schema = steps_schema(settings.verbs)
        steps = _request("steps", context, values, refinement, schema, settings)
        requests = [sequence_request(context, analysis, settings), steps]
    values = {"steps": _steps_text(context.source_steps or usual, context.fps)}
    return [*requests, _request("atoms", context, values, refinement, ATOMS_SCHEMA, settings)]


def episode_prompt(context: EpisodeContext) -> dict[str, str]:
    """What every prompt may say of an episode."""
    arms = context.row["arms"]
    named = "two, left and right" if len(arms) > 1 else "one"
    return {
        "instruction": context.row["task"] or "(nothing was recorded)",
        "arms": named if arms else "unknown",
        "last_frame": str(context.frames - 1),
        "duration_s": f"{context.frames / context.fps:.2f}",
    }


def _request(
    stage: str,
    context: EpisodeContext,
    values: Mapping[str, str],
    pictures: Sequence[Picture],
    schema: Mapping[str, Any],
    settings: AnnotateSettings,
) -> Request:
    prompt = load_prompt(prompt_name(stage, settings.verbs), bimanual=context.two_arms)
    return Request(
        episode_id=context.episode_id,
        stage=f"facts/{stage}",
        model=settings.model,
        prompt=fill(prompt, {**episode_prompt(context), **values}, verbs=settings.verbs),
        pictures=tuple(pictures),
        schema=schema,
        settings=settings.request_settings(),
        prompt_sha256=prompt.sha256,
        values={**episode_prompt(context), **values},
    )


def _sequence_text(sequence: Sequence[Action]) -> str:
    return "\n".join(
        f"{number}. {action.verb} {action.object}"
        + (f" ({action.arm} arm)" if action.arm in ("left", "right") else "")
        + (f": {action.detail}" if action.detail else "")
        for number, action in enumerate(sequence, start=1)
    )


def _steps_text(steps: Sequence[Step], fps: float) -> str:
    return "\n".join(
        f"step_{number} (frames {step.start_frame} to {step.end_frame}, "
        f"{step.start_frame / fps:.2f} to {step.end_frame / fps:.2f} s): {step.text}"
        for number, step in enumerate(steps, start=1)
    )
