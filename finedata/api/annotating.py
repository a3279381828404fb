"""The verbs of a dataset that write what is said of its episodes, and hand it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from finedata.api.arguments import listed
from finedata.store import dataset as store

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.annotate.estimate import AnnotateEstimate
    from finedata.annotate.importing.run import ImportSummary
    from finedata.annotate.outcome import AnnotateSummary
    from finedata.annotate.selection import Choice
    from finedata.annotate.status import AnnotateStatus
    from finedata.api.arguments import Names, Views
    from finedata.api.teacher import Teacher
    from finedata.bench.make import MakeSummary
    from finedata.engine.progress import OnProgress
    from finedata.store.export.episodes import ExportSummary


class Annotating(store.Dataset):
    """The part of `finedata.Dataset` that annotates."""

    def annotate_facts(
        self,
        teacher: Teacher,
        *,
        where: str = "",
        episodes: Names = (),
        everything: bool = False,
        limit: int | None = None,
        fps: float = 4.0,
        refinement_fps: float = 1.0,
        max_frames: int = 100_000,
        width: int | None = 512,
        views: Views = 1,
        verbs: Literal["full", "released"] = "full",
        seed: int = 0,
        budget_usd: float | None = None,
        workers: int = 64,
        retry: Literal["never", "unpaid", "all"] = "unpaid",
        dry_run: bool = False,
        on_progress: OnProgress = None,
    ) -> AnnotateSummary | AnnotateEstimate:
        """Fine-grained facts: steps, atomic facts in ten dimensions, one instruction an episode.

        Every answer is kept: the same call continues and pays for nothing twice.

        Args:
            teacher: Whom to ask; see `finedata.teacher`.
            where: Only episodes for which this SQL holds; the representatives by default.
            episodes: These ids and no others.
            everything: Every episode.
            limit: At most so many.
            fps: Frames a second of the first look.
            refinement_fps: The same for the later looks.
            max_frames: Of a camera, a call.
            width: Wider pictures are made so wide; None: never resized.
            views: Cameras shown: so many, `all`, or by name.
            verbs: finedata's list of verbs, or FineVLA's fourteen.
            seed: Draws cameras, and is sent where not 0.
            budget_usd: All calls of the dataset may cost so much, earlier runs included.
            workers: Calls in flight.
            retry: Which calls that failed in earlier runs are asked again.
            dry_run: Estimate calls, tokens and cost; ask and write nothing.
            on_progress: Told after each episode.

        Raises:
            UsageError: Nothing to annotate, or a budget without a known price.
            TeacherSetupError: A wrong key or an unknown model.
        """
        from finedata.annotate.estimate import estimate_facts
        from finedata.annotate.run import annotate_facts

        choice = _choice(where, episodes, limit, everything=everything)
        options = teacher.limits(workers=workers, budget_usd=budget_usd, retry=retry)
        settings = teacher.settings(
            seed=seed,
            width=width,
            views=views,
            verbs=verbs,
            fps=fps,
            refinement_fps=refinement_fps,
            max_frames=max_frames,
        )
        if dry_run:
            return estimate_facts(self.root, settings=settings, options=options, choice=choice)
        return annotate_facts(
            self.root,
            teacher=teacher.connect(),
            settings=settings,
            options=options,
            choice=choice,
            on_progress=on_progress,
        )

    def annotate_traces(
        self,
        teacher: Teacher,
        *,
        every: int = 1,
        where: str = "",
        episodes: Names = (),
        everything: bool = False,
        limit: int | None = None,
        width: int | None = 512,
        views: Views = "all",
        seed: int = 0,
        budget_usd: float | None = None,
        workers: int = 64,
        retry: Literal["never", "unpaid", "all"] = "unpaid",
        dry_run: bool = False,
        on_progress: OnProgress = None,
    ) -> AnnotateSummary | AnnotateEstimate:
        """Reasoning traces in ReFineVLA's four parts; arguments as for `annotate_facts`.

        Args:
            teacher: Whom to ask.
            every: Of every so many frames, the first.
            where: Only episodes for which this SQL holds; the representatives by default.
            episodes: These ids and no others.
            everything: Every episode.
            limit: At most so many episodes.
            width: Wider pictures are made so wide; None: never resized.
            views: Cameras shown: so many, `all`, or by name.
            seed: Draws cameras, and is sent where not 0.
            budget_usd: All calls of the dataset may cost so much, earlier runs included.
            workers: Calls in flight.
            retry: Which calls that failed in earlier runs are asked again.
            dry_run: Estimate; ask and write nothing.
            on_progress: Told after each episode, with frames.
        """
        from finedata.annotate.estimate import estimate_traces
        from finedata.annotate.run import annotate_traces

        choice = _choice(where, episodes, limit, everything=everything)
        options = teacher.limits(workers=workers, budget_usd=budget_usd, retry=retry)
        settings = teacher.settings(seed=seed, width=width, views=views, verbs="full")
        if dry_run:
            return estimate_traces(
                self.root, settings=settings, every=every, options=options, choice=choice
            )
        return annotate_traces(
            self.root,
            teacher=teacher.connect(),
            settings=settings,
            every=every,
            options=options,
            choice=choice,
            on_progress=on_progress,
        )

    def annotate_kinematic(
        self,
        *,
        where: str = "",
        episodes: Names = (),
        everything: bool = False,
        limit: int | None = None,
        workers: int = 1,
        on_progress: OnProgress = None,
    ) -> AnnotateSummary:
        """Facts measured from the recorded motion: no model, no cost; see `annotate_facts`.

        Args:
            where: Only episodes for which this SQL over `episodes` holds.
            episodes: Only these ids.
            everything: All of them; else the representatives.
            limit: So many at most.
            workers: Processes; 500 episodes are one's work at a time.
            on_progress: Told after every 500 episodes.
        """
        from finedata.annotate.run import annotate_kinematic

        choice = _choice(where, episodes, limit, everything=everything)
        return annotate_kinematic(
            self.root, choice=choice, workers=workers, on_progress=on_progress
        )

    def make_benchmark(
        self,
        out: str | Path,
        *,
        name: str = "",
        videos: int = 500,
        questions: float = 2.0,
        policy: Literal["reviewed", "not_contradicted"] = "reviewed",
        shards: str | Path | None = None,
        fps: float = 4.0,
        where: str = "",
        episodes: Names = (),
        everything: bool = False,
        seed: int = 0,
        on_progress: OnProgress = None,
    ) -> MakeSummary:
        """Cut a benchmark from what is annotated: videos held out, facts, questions.

        Args:
            out: The new folder; `benchmark(out)` opens it.
            name: Of the benchmark; the folder's by default.
            videos: At most so many.
            questions: For each video, on average.
            policy: Facts that a person accepted, or all that nothing speaks against.
            shards: Take the held-out side of these.
            fps: Pictures a second that are kept.
            where: Only episodes for which this SQL over `episodes` holds.
            episodes: Only these ids.
            everything: Every episode; else the representatives.
            seed: Of all draws.
            on_progress: Told after every video.

        Raises:
            UsageError: Nothing is left to ask about, or `out` holds something.
        """
        from finedata.bench.make import make_benchmark

        return make_benchmark(
            self.root,
            out=out,
            name=name,
            videos=videos,
            per_video=questions,
            policy=policy,
            shards=shards,
            choice=_choice(where, episodes, None, everything=everything),
            fps=fps,
            seed=seed,
            on_progress=on_progress,
        )

    def annotation_status(self) -> AnnotateStatus:
        """What is annotated, what failed and why, tokens, cost, and cost per accepted fact."""
        from finedata.annotate.status import annotate_status

        return annotate_status(self.root)

    def import_annotations(
        self,
        released: str | Path,
        *,
        format: str,
        by: Literal["source", "dataset"] = "source",
        ids: str | Path | None = None,
        origin: Literal["teacher", "human", "source"] | None = None,
        annotator: str = "",
        unmatched: Literal["refuse", "skip"] = "refuse",
    ) -> ImportSummary:
        """Take over annotations as another project released them; the same import adds nothing.

        Args:
            released: The file or folder.
            format: `finevla`, `human-review`, `refinevla`, `lerobot-language`.
            by: Whether numbers in the files count the source's episodes or this dataset's.
            ids: JSON Lines of `{"id": ..., "episode_id": ...}`, for ids that are neither.
            origin: Who made them; by the format otherwise.
            annotator: The same by name.
            unmatched: Refuse the whole where an id means no episode, or skip those.

        Raises:
            UsageError: Ids mean no episode, with counts; nothing was written.
            ConformError: A file cannot be read, or is about longer episodes.
        """
        from finedata.annotate.importing.run import import_annotations

        return import_annotations(
            self.root,
            released,
            format=format,
            by=by,
            ids=ids,
            origin=origin,
            annotator=annotator,
            unmatched=unmatched,
        )

    def write_annotations(self, out: str | Path, *, format: str, where: str = "") -> ExportSummary:
        """Write the annotations in another project's form.

        Args:
            out: The new folder.
            format: `finevla`, `refinevla`, `robofine`, `lerobot-language`.
            where: Only episodes for which this SQL holds.
        """
        from finedata.annotate.export.run import export_annotations

        return export_annotations(self, out=out, format=format, where=where)


def _choice(where: str, episodes: Names, limit: int | None, *, everything: bool) -> Choice:
    from finedata.annotate.selection import Choice

    return Choice(everything=everything, episodes=listed(episodes), where=where, limit=limit)
