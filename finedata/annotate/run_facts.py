"""Fine-grained facts with a teacher: from the choice of episodes to the new files.

New are rows of `steps`, `facts` and `instructions`, and the table `calls`. Every answer is in the
ledger of calls before it is used, so a run that is killed at any moment pays for nothing twice;
rows are made at the end, in the dataset's order and with no clock in them, so its files are byte
for byte those of an unbroken run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from finedata.annotate.asking.drive import Spool, for_each, run_async
from finedata.annotate.asking.limits import Asking, AskOptions, charged
from finedata.annotate.asking.pictures import PictureSource, Shows
from finedata.annotate.asking.stages import facts_of_episode
from finedata.annotate.checks.motion import judged_facts, motions_in_order
from finedata.annotate.checks.step_wording import borne_out_steps
from finedata.annotate.outcome import AnnotateSummary, top_reasons
from finedata.annotate.results import EpisodeContext, FactsResult
from finedata.annotate.rows import fact_rows, instruction_row, omitted_rows, step_rows
from finedata.annotate.selection import (
    Choice,
    contexts,
    done_episodes,
    nothing_chosen,
    select_ids,
)
from finedata.engine.progress import Progress
from finedata.errors import ConformError, SourceError
from finedata.kinematic import measure
from finedata.store.dataset import open_dataset
from finedata.store.run.ledger import LEDGER_FOLDER
from finedata.store.tables.table import append_rows, undo_unfinished
from finedata.teachers.calls.export import write_calls
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.protocol import UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.annotate.settings import AnnotateSettings
    from finedata.engine.progress import OnProgress
    from finedata.store.dataset import Dataset
    from finedata.teachers.protocol import Picture, Teacher

READING = 16
"""Episodes under way beyond the calls in flight: their pictures are read meanwhile."""

_TABLES = ("steps", "facts", "instructions")


def annotate_facts(
    root: str | Path,
    *,
    teacher: Teacher,
    settings: AnnotateSettings,
    options: AskOptions | None = None,
    choice: Choice | None = None,
    on_progress: OnProgress = None,
) -> AnnotateSummary:
    """Write fine-grained facts, steps and instructions.

    Args:
        root: Root of the dataset.
        teacher: Who is asked; closed at the end.
        settings: How; they name the run.
        options: Limits.
        choice: Which episodes; the representatives by default.
        on_progress: Called after each episode.

    Returns:
        What was done. Where every call failed, nothing is written and `succeeded` is false.

    Raises:
        UsageError: Nothing to annotate, or a budget without a known price.
        TeacherSetupError: A wrong key or an unknown model.
        OutputError: The ledger or a file cannot be written.

    Example:
        >>> settings = AnnotateSettings(teacher="openai", model="qwen3-vl")  # doctest: +SKIP
        >>> annotate_facts("bridge", teacher=open_teacher("openai"), settings=settings)
        ... # doctest: +SKIP
    """
    path, options = Path(root), options or AskOptions()
    undo_unfinished(path)
    dataset = open_dataset(path)
    run_id = settings.run_id("facts")
    chosen = select_ids(dataset, choice or Choice())
    done = done_episodes(dataset, run_id=run_id)
    todo = [episode_id for episode_id in chosen if episode_id not in done]
    with CallLedger(path) as calls, Spool(path / LEDGER_FOLDER, FactsResult) as spool:
        asking = Asking(teacher, calls, settings.model, options)
        run = _Run(dataset, settings, asking, spool, len(todo), on_progress)
        run_async(run.all(todo, teacher=teacher, ahead=options.concurrency + READING))
        summary = _written(dataset, todo, spool, settings)
        write_calls(path, calls=calls)
    return msgspec.structs.replace(
        summary,
        episodes=len(chosen),
        before=len(chosen) - len(todo),
        notes=nothing_chosen(dataset, chosen),
        **charged(asking.spent, verdicts=summary.verdicts),
    )


class _Run:
    """One run while it asks."""

    def __init__(
        self,
        dataset: Dataset,
        settings: AnnotateSettings,
        asking: Asking,
        spool: Spool[FactsResult],
        total: int,
        on_progress: OnProgress,
    ) -> None:
        self._dataset = dataset
        self._settings = settings
        self._asking = asking
        self._spool = spool
        self._pictures = PictureSource(dataset)
        self._on_progress = on_progress
        self._done = self._failed = 0
        self._total = total

    async def all(self, ids: Sequence[str], *, teacher: Teacher, ahead: int) -> None:
        """Ask about every episode."""
        try:
            async with self._asking.asker:
                await for_each(contexts(self._dataset, ids), self._one, ahead=ahead)
        finally:
            await teacher.close()

    async def _one(self, context: EpisodeContext) -> None:
        result = await self._result(context)
        self._spool.put(context.episode_id, result)
        self._done += result.ended == "done"
        self._failed += result.ended != "done"
        if self._on_progress is not None:
            self._on_progress(Progress("asking", self._done, self._total, self._failed))

    async def _result(self, context: EpisodeContext) -> FactsResult:
        try:
            analysis, refinement = await asyncio.to_thread(
                shown_pictures, self._pictures, context, self._settings
            )
        except (ConformError, SourceError, UnusableAnswerError) as error:
            reason = f"pictures: {error}"
            return FactsResult(
                episode_id=context.episode_id, ended="failed", stages=[], reason=reason
            )
        return await facts_of_episode(
            context,
            analysis=analysis,
            refinement=refinement,
            settings=self._settings,
            ask=self._asking.ask,
        )


def shown_pictures(
    source: Shows, context: EpisodeContext, settings: AnnotateSettings
) -> tuple[list[Picture], list[Picture]]:
    """Pictures of the first look and of the later ones, already hashed.

    Raises:
        AnswerError: There is none to show.
        ConformError: A file of pictures is damaged.
    """
    episode = source.episode(context.row)
    # where the source has steps, the first look is not taken
    analysis = [] if context.source_steps else episode.shown(settings.analysis)
    refinement = episode.shown(settings.refinement)
    for picture in (*analysis, *refinement):
        _ = picture.sha256
    return analysis, refinement


def _written(
    dataset: Dataset, ids: Sequence[str], spool: Spool[FactsResult], settings: AnnotateSettings
) -> AnnotateSummary:
    """Write the rows of all episodes that are done, in order, and count the others."""
    run_id, annotator = settings.run_id("facts"), settings.model
    verdicts: Counter[str] = Counter()
    omissions: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    repaired = reworded = 0
    for episode_id in ids:
        result = spool.get(episode_id)
        if result is not None:
            ended[result.ended] += 1
            repaired += len(result.notes)
            if result.ended != "done":
                reasons[result.reason.splitlines()[0]] += 1
    finished = [episode_id for episode_id in ids if _is_done(spool.get(episode_id))]
    motions = motions_in_order(dataset, finished)
    with append_rows(dataset.root, _TABLES) as writer:
        for context in contexts(dataset, finished):
            result = spool.get(context.episode_id)
            _, motion = next(motions)
            if result is None:
                continue
            measured = None if motion is None else measure(motion)
            told = borne_out_steps(result.steps, measured)
            reworded += sum(step.reworded is not None for step in told)
            result = msgspec.structs.replace(result, steps=told)
            steps = step_rows(context, result, run_id=run_id, annotator=annotator)
            facts = fact_rows(context, result, steps, run_id=run_id, annotator=annotator)
            facts, left_out = judged_facts(facts, measured)
            verdicts.update(row["kinematic_verdict"] for row in facts)
            omissions.update(omission.kind for omission in left_out)
            # not counted as the teacher's, whose facts are paid for
            facts += omitted_rows(context, left_out, steps, facts, run_id=run_id)
            writer.add("steps", steps)
            writer.add("facts", facts)
            row = instruction_row(context, steps, facts, run_id=run_id, annotator=annotator)
            writer.add("instructions", [row])
    return AnnotateSummary(
        product="facts",
        teacher=settings.teacher,
        model=settings.model,
        run_id=run_id,
        episodes=len(ids),
        before=0,
        done=ended["done"],
        failed=ended["failed"],
        over_budget=ended["budget"],
        reasons=top_reasons(reasons),
        rows=dict(writer.counts),
        verdicts=dict(sorted(verdicts.items())),
        omissions=dict(sorted(omissions.items())),
        repaired=repaired,
        reworded=reworded,
        files=sorted(writer.files.values()),
    )


def _is_done(result: FactsResult | None) -> bool:
    return result is not None and result.ended == "done"
