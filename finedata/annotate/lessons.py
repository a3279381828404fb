"""What an annotator is taught: the pipeline's questions, with answers made of an episode's rows.

A lesson's question is the very request that `finedata annotate facts` would send, and its answer is
held against the checks that the pipeline's answers meet: nothing is taught that would be refused.
Only rows that pass the text policy are taught, of one run an episode. In the released form a lesson
is a caption, `{"Step1": ...}`, as RoboFine-VLM writes it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import polars as pl

from finedata.annotate.asking.answers import AnswerError, Step, words
from finedata.annotate.asking.pictures import PictureSource, Shows
from finedata.annotate.asking.prompt import fill, load_prompt
from finedata.annotate.asking.stages import (
    atoms_request,
    episode_prompt,
    refine_request,
    sequence_request,
    stage_request,
    steps_request,
)
from finedata.annotate.checks.facts import check_facts
from finedata.annotate.checks.steps import check_refined, check_sequence, check_steps
from finedata.annotate.checks.verbs import find_verb
from finedata.annotate.run_facts import shown_pictures
from finedata.annotate.selection import contexts
from finedata.store.text_policy import of_one_run, passing_rows
from finedata.teachers.protocol import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from finedata.annotate.asking.pictures import EpisodePictures
    from finedata.annotate.results import EpisodeContext
    from finedata.annotate.settings import AnnotateSettings
    from finedata.store.dataset import Dataset
    from finedata.teachers.protocol import Picture

__all__ = ["Form", "Lesson", "LessonSource", "Lessons", "OfDataset", "caption_request"]

Form = Literal["staged", "caption"]

_CAPTION = "caption.v1"
_CAPTION_STAGE = "caption"


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """One question, without its pictures, and its answer.

    Attributes:
        episode_id: The episode.
        source: Where it is from.
        stage: `facts/sequence`, `facts/steps`, `facts/refine`, `facts/atoms` or `caption`.
        answer: JSON.
    """

    episode_id: str
    source: str
    stage: str
    answer: str


class LessonSource(Shows, Protocol):
    """Where episodes, their words and their pictures are."""

    def contexts(self, ids: Sequence[str]) -> Iterator[EpisodeContext]:
        """What is known of each episode, in their order."""
        ...

    def rows(self, table: str, ids: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
        """Episode to its rows of `steps` or `facts`: of one run, passing, in order of time."""
        ...


class OfDataset:
    """A dataset as a source of lessons.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._pictures = PictureSource(dataset)

    def contexts(self, ids: Sequence[str]) -> Iterator[EpisodeContext]:
        """See `LessonSource`."""
        return contexts(self._dataset, ids)

    def rows(self, table: str, ids: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
        """See `LessonSource`."""
        return _chosen(self._dataset, table, ids)

    def episode(self, row: dict[str, Any]) -> EpisodePictures:
        """See `LessonSource`."""
        return self._pictures.episode(row)


class Lessons:
    """The lessons of episodes.

    Args:
        source: Where they are.
        settings: How a teacher would be asked.
        form: The pipeline's three answers, or a caption.
        max_facts: At most so many facts of an episode, the surest; 0 for all.

    Attributes:
        skipped: Why episodes or stages have no lesson -> how many.
    """

    def __init__(
        self, source: LessonSource, settings: AnnotateSettings, *, form: Form, max_facts: int = 0
    ) -> None:
        self._source = source
        self._settings = settings
        self._form = form
        self._max_facts = max_facts
        self.skipped: Counter[str] = Counter()
        # What a question shows of earlier answers; its whole text is made when it is asked for.
        self._given: dict[tuple[str, str], dict[str, str]] = {}
        self._rows: dict[str, EpisodeContext] = {}

    def of(self, episode_ids: Sequence[str]) -> list[Lesson]:
        """The lessons of some episodes, in their order."""
        chosen = {name: self._source.rows(name, episode_ids) for name in ("steps", "facts")}
        found: list[Lesson] = []
        for context in self._source.contexts(episode_ids):
            steps = chosen["steps"].get(context.episode_id, [])
            facts = chosen["facts"].get(context.episode_id, [])
            try:
                found += self._lessons(context, steps, facts)
            except AnswerError as error:
                self.skipped[f"{error.place}: {error.found}"] += 1
        return found

    def request(self, lesson: Lesson) -> Request:
        """The question of a lesson, with its pictures.

        Raises:
            ConformError: A file of pictures is damaged.
        """
        context = self._rows[lesson.episode_id]
        analysis, refinement = shown_pictures(self._source, context, self._settings)
        if lesson.stage == _CAPTION_STAGE:
            return caption_request(context, self._settings, analysis or refinement)
        stage = lesson.stage.removeprefix("facts/")
        shown = analysis if stage == "sequence" else refinement
        given = self._given[lesson.episode_id, lesson.stage]
        return stage_request(stage, context, given, shown, self._settings)

    def _lessons(
        self,
        context: EpisodeContext,
        steps: list[dict[str, Any]],
        facts: list[dict[str, Any]],
    ) -> list[Lesson]:
        if not steps:
            self.skipped["no steps"] += 1
            return []
        if not self._source.episode(context.row).cameras(self._settings.refinement):
            self.skipped["no camera to show"] += 1
            return []
        self._rows[context.episode_id] = context
        if self._form == "caption":
            texts = {f"Step{k}": row["text"] for k, row in enumerate(steps, start=1)}
            return [self._kept(context, caption_request(context, self._settings), texts)]
        found, told = self._told_steps(context, steps)
        by_step = {row["step_id"]: k for k, row in enumerate(steps, start=1)}
        said = [one for row in self._surest(facts) if (one := _fact(row, by_step)) is not None]
        if not said:
            self.skipped["no facts"] += 1
            return found
        answer = {"facts": said}
        check_facts(answer, steps=len(told), verbs=self._settings.verbs)
        return [
            *found,
            self._kept(context, atoms_request(context, told, (), self._settings), answer),
        ]

    def _told_steps(
        self, context: EpisodeContext, steps: list[dict[str, Any]]
    ) -> tuple[list[Lesson], list[Step]]:
        """Lessons up to the steps, and the steps."""
        settings, verbs = self._settings, self._settings.verbs
        raw = [_step(row, verbs) for row in steps]
        if context.source_steps:
            answer = {"steps": [{k: v for k, v in one.items() if "frame" not in k} for one in raw]}
            told, _ = check_refined(answer, source=context.source_steps, verbs=verbs)
            return [self._kept(context, refine_request(context, (), settings), answer)], told
        actions = [
            {"verb": one["verb"], "object": one.get("object") or "", "arm": one.get("arm")}
            for one in raw
        ]
        thing = next((one["object"] for one in raw if one.get("object")), context.row["task"])
        answer = {"action_sequence": actions, "main_object": words(thing) or "object"}
        sequence, thing, _ = check_sequence(answer, verbs=verbs)
        first = self._kept(context, sequence_request(context, (), settings), answer)
        answer = {"steps": raw}
        told, _ = check_steps(
            answer,
            frames=context.frames,
            arms=len(context.row["arms"]),
            instruction=context.row["task"],
            verbs=verbs,
        )
        request = steps_request(context, sequence, thing, (), settings)
        return [first, self._kept(context, request, answer)], told

    def _surest(self, facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not self._max_facts:
            return facts
        sure = sorted(range(len(facts)), key=lambda k: (-(facts[k]["confidence"] or 0.0), k))
        return [facts[k] for k in sorted(sure[: self._max_facts])]

    def _kept(self, context: EpisodeContext, request: Request, answer: dict[str, Any]) -> Lesson:
        own = episode_prompt(context)
        given = {name: text for name, text in request.values.items() if name not in own}
        self._given[context.episode_id, request.stage] = given
        return Lesson(
            episode_id=context.episode_id,
            source=context.row["source"],
            stage=request.stage,
            answer=msgspec.json.encode(answer).decode(),
        )


def caption_request(
    context: EpisodeContext, settings: AnnotateSettings, pictures: Sequence[Picture] = ()
) -> Request:
    """The question for a caption in RoboFine-VLM's form."""
    prompt = load_prompt(_CAPTION)
    values = {"instruction": episode_prompt(context)["instruction"]}
    return Request(
        episode_id=context.episode_id,
        stage=_CAPTION_STAGE,
        model=settings.model,
        prompt=fill(prompt, values),
        pictures=tuple(pictures),
        settings=settings.request_settings(),
        prompt_sha256=prompt.sha256,
        values=values,
    )


def _chosen(dataset: Dataset, table: str, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of one run for each episode that pass the policy, in order of time."""
    rows = passing_rows(dataset, table).filter(pl.col("episode_id").is_in(list(ids)))
    if table == "steps":
        rows = rows.filter((pl.col("origin") != "source") & pl.col("merged_into").is_null())
    order = ("start_frame", "step_index", "step_id" if table == "steps" else "fact_id")
    chosen = of_one_run(rows).sort("episode_id", *order, nulls_last=True).collect()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in chosen.iter_rows(named=True):
        found.setdefault(row["episode_id"], []).append(row)
    return found


def _step(row: dict[str, Any], verbs: Any) -> dict[str, Any]:
    """A step as a teacher writes it.

    Raises:
        AnswerError: Its verb is not of the list.
    """
    verb = find_verb(row["primitive_action"] or "", verbs=verbs)
    if verb is None:
        raise AnswerError(
            place="a step's verb", found=f"{row['primitive_action']!r}", wanted="one of the list"
        )
    said = {"verb": verb, "object": row["object"], "arm": row["arm"], "text": row["text"]}
    frames = {"start_frame": row["start_frame"], "end_frame": row["end_frame"]}
    return {key: value for key, value in (said | frames).items() if value is not None}


def _fact(row: dict[str, Any], by_step: dict[str, int]) -> dict[str, Any] | None:
    """A fact as a teacher writes it; None where it is tied to a step that is not taught."""
    first, second = by_step.get(row["step_id"]), by_step.get(row["next_step_id"])
    anchor: str | None = row["anchor"]
    if anchor == "step":
        anchor = None if first is None else f"step_{first}"
    elif anchor == "between":
        both = first is not None and second is not None
        anchor = f"between_step_{first}_and_step_{second}" if both else None
    if anchor is None:
        return None
    number = row["value_number"]
    said = {
        "dimension": row["dimension"],
        "slot": row["slot"],
        "anchor": anchor,
        "actor": row["actor"],
        "object": row["object"],
        "value": row["value"],
        # as many digits as a text has of it
        "number": None if number is None else float(f"{number:.2g}"),
        "unit": row["unit"],
        "text": row["text"],
    }
    return {key: value for key, value in said.items() if value is not None}
