"""A finished dataset with every verb as a method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from finedata.api.annotating import Annotating
from finedata.api.reviewing import Reviewing
from finedata.api.source import Source
from finedata.errors import MissingExtraError, UsageError, need
from finedata.store import dataset as store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.annotate.summary import DatasetSummary
    from finedata.api.arguments import Names
    from finedata.api.status import Status
    from finedata.cluster.summary import ClusterSummary
    from finedata.convert.pose.prove import PoseReport
    from finedata.convert.run import ConvertSummary
    from finedata.convert.verify.report import VerifyReport
    from finedata.engine.progress import OnProgress
    from finedata.hub.plan import PublishPlan
    from finedata.hub.send import PublishSummary
    from finedata.quality.gate import GateSummary
    from finedata.report.report import ReportSummary
    from finedata.shard.making.summary import ShardEstimate, ShardSummary
    from finedata.store.episode import Episode
    from finedata.store.export.episodes import ExportSummary
    from finedata.store.index_map import EpisodePlace


class Dataset(Annotating, Reviewing):
    """A finedata dataset on disk: its tables, its episodes, and every verb.

    Tables are lazy Polars frames: `episodes`, `frames`, `images`, `receipts`, `verdicts`,
    `clusters`, `representatives`, `steps`, `facts`, `traces`, `instructions`; `sql` queries them.
    Verbs write tables beside the data and delete nothing; each can be called again.

    Example:
        >>> ds = finedata.open("bridge")  # doctest: +SKIP
        >>> ds.gate()  # doctest: +SKIP
        >>> ds.cluster(budget=500)  # doctest: +SKIP
        >>> ds.episodes.filter(pl.col("task").str.contains("cup")).collect()  # doctest: +SKIP
        >>> ds["bridge_v2-0123456789abcdef"].frames("image_0", [0, 30])  # doctest: +SKIP
    """

    def __getitem__(self, episode_id: str) -> Episode:
        """An episode by its id; nothing but its row of `episodes` is read before it is asked."""
        return self.episode(episode_id)

    def __len__(self) -> int:
        return sum(part.episodes for part in self.parts)

    def __repr__(self) -> str:
        frames = sum(part.frames for part in self.parts)
        names = ", ".join(part.name for part in self.parts)
        return f"Dataset({str(self.root)!r}: {len(self)} episodes, {frames} frames; parts: {names})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.description())}</pre>"

    def description(self) -> str:
        """The dataset on one page of text: sources, parts, features, counts, flags, tables."""
        from finedata.store.describe import description_text

        return description_text(self.describe())

    def describe(self) -> dict[str, Any]:
        """What `description` says, as plain values."""
        from finedata.store.describe import describe

        return describe(self)

    def places(
        self,
        *,
        ids: Sequence[str] = (),
        part: str | None = None,
        episode_indices: Sequence[int] = (),
        indices: Sequence[int] = (),
        where: str = "",
    ) -> list[EpisodePlace]:
        """Where episodes are: their ids, LeRobot's part and indices, and files.

        Args:
            ids: These episodes, in this order; or one of the following; all where none is given.
            part: Name of the part of the indices; needless where there is one.
            episode_indices: LeRobot's `episode_index`.
            indices: LeRobot's `index` of any row of the episodes.
            where: SQL over `episodes`.

        Raises:
            UsageError: There is no such episode, part or row.
        """
        from finedata.store import index_map

        if ids:
            return index_map.places_of_ids(self, episode_ids=ids)
        if episode_indices:
            return index_map.places_of_indices(self, part=part, episode_indices=episode_indices)
        if indices:
            return index_map.places_of_frames(self, part=part, indices=indices)
        return index_map.episode_places(self, where=where)

    @property
    def conversion(self) -> ConvertSummary:
        """What the conversion wrote, what failed, and what was odd."""
        from finedata.convert.run import summary_of

        return summary_of(self.root)

    def status(self) -> Status:
        """What was done here, with which settings, what runs or stopped, what to type next."""
        from finedata.api.status import status

        return status(self.root)

    def verify(self, source: Source | Names | Path, *, decode: bool = False) -> VerifyReport:
        """Re-read the source and this dataset, and prove the round trip.

        Args:
            source: What it was converted from, or its address; one for each of several.
            decode: Decode every picture too (slow).

        Raises:
            UsageError: No such source.
            SourceError: It cannot be read at all.
        """
        from finedata.convert.verify.run import verify

        return verify(self.root, input=_addresses(source), decode=decode)

    def verify_pose(self, source: Source | Names | Path, *, episodes: int = 20) -> PoseReport:
        """Hold the poses of the source's written episodes against evidence; see `Source.verify`."""
        from finedata.convert.pose.prove import pose_report

        return pose_report(self.root, input=_addresses(source), most_episodes=episodes)

    def gate(
        self,
        *,
        method: Literal["dtw", "released"] = "dtw",
        threshold: float | None = None,
        percentile: float | None = None,
        min_frames: int | None = None,
        scales: Mapping[str, float] | None = None,
        workers: int | None = None,
        dry_run: bool = False,
        on_progress: OnProgress = None,
    ) -> GateSummary:
        """Judge every episode: do action and state belong together, and is the log whole?

        Args:
            method: `dtw`, or FineVLA's `released` score.
            threshold: Highest score that passes; by default drawn from each source's scores.
            percentile: Take this percentile of each source's scores for threshold.
            min_frames: Fewest frames; the converter file's by default, or 2.
            scales: Errors that count as 1, by name: `{"position_m": 0.02}`.
            workers: Threads; all cores by default.
            dry_run: Judge, but write nothing.
            on_progress: Told after every batch.

        Raises:
            UsageError: An argument makes no sense.
            MissingExtraError: `dtw` without the extra `curate`.
        """
        from finedata.quality.gate import gate
        from finedata.quality.groups import named_scales

        return gate(
            self.root,
            method=method,
            threshold=threshold,
            percentile=percentile,
            min_frames=min_frames,
            scales=named_scales(scales or {}),
            workers=workers,
            dry_run=dry_run,
            on_progress=on_progress,
        )

    def cluster(
        self,
        *,
        k: int | None = None,
        k_ratio: float | None = None,
        auto: bool = False,
        recursive: bool = False,
        budget: int | None = None,
        per_cluster: int = 1,
        linkage: Literal["average", "complete", "single"] = "average",
        on: Literal["action", "state"] = "action",
        position_weight: float | None = None,
        rotation_weight: float | None = None,
        gripper_weight: float | None = None,
        two_stage: bool = True,
        band: float | None = None,
        float64: bool = False,
        landmarks_above: int = 5000,
        num_landmarks: int | None = None,
        preset: Literal["finevla"] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        seed: int = 0,
        workers: int | None = None,
        dry_run: bool = False,
        on_progress: OnProgress = None,
    ) -> ClusterSummary:
        """Group the episodes of each task by dynamic time warping and choose representatives.

        Another `k` or `budget` uses the distances of the run before. What is not named here is
        as in `finedata.cluster.settings.ClusterSettings`.

        Args:
            k: Clusters of every task; by the largest gap of merge heights where no rule is given.
            k_ratio: Clusters as a share of a task's episodes.
            auto: By the largest gap, whatever a preset says.
            recursive: By gaps, and each cluster again.
            budget: Choose so many episodes in all; else `per_cluster` of each cluster.
            per_cluster: Representatives of a cluster, at most.
            linkage: Distance of two clusters.
            on: Which trajectories are compared.
            position_weight: Of the cost of a pair of frames; 1, or the preset's.
            rotation_weight: The same, per radian.
            gripper_weight: The same.
            two_stage: Align without the gripper, then charge it along the path.
            band: Warp by this share of the longer episode, at most.
            float64: Slower and more exact.
            landmarks_above: Tasks with more episodes are compared with landmarks.
            num_landmarks: How many landmarks.
            preset: The choices of FineVLA's released code.
            device: `auto`: a GPU where there is one; its distances differ in the last digits.
            seed: Of landmarks and random choices.
            workers: Threads; all cores by default.
            dry_run: Count what would be compared; write nothing.
            on_progress: Told after every piece of work.

        Raises:
            UsageError: Two rules, or a value out of range.
            MissingExtraError: Without the extra `curate`.
        """
        need("numba", "scipy", extra="curate", place="finedata cluster")
        from finedata.cluster.run import cluster, estimate
        from finedata.cluster.settings import ClusterSettings, resolve_device

        settings = ClusterSettings(
            on=on,
            k=k,
            k_ratio=k_ratio,
            auto=auto,
            recursive=recursive,
            linkage=linkage,
            budget=budget,
            per_cluster=per_cluster,
            position_weight=position_weight,
            rotation_weight=rotation_weight,
            gripper_weight=gripper_weight,
            two_stage=two_stage,
            band=band,
            float64=float64,
            landmarks_above=landmarks_above,
            num_landmarks=num_landmarks,
            preset=preset,
            device=resolve_device(device),
            seed=seed,
        )
        if dry_run:
            return estimate(self.root, settings=settings)
        return cluster(self.root, settings=settings, workers=workers, on_progress=on_progress)

    def report(
        self, out: str | Path | None = None, *, tasks: int = 12, seed: int = 0
    ) -> ReportSummary:
        """Write one HTML file that shows what was kept and why; it needs no network.

        Args:
            out: The file; `report.html` in the dataset where none is given.
            tasks: Tasks in detail at most, the largest first.
            seed: Of the random selections that the choice is held against.
        """
        from finedata.report.report import write_report

        return write_report(self.root, out=out, tasks=tasks, seed=seed)

    def summarise(self) -> DatasetSummary:
        """FineVLA's Table 1: trajectories, steps, words, verbs and facts, by source."""
        from finedata.annotate.summary import summarise

        return summarise(self.root)

    def write(
        self,
        out: str | Path,
        *,
        format: str = "finedata",
        where: str = "",
        keep_pictures: bool = False,
        dry_run: bool = False,
    ) -> ExportSummary:
        """Write this dataset, or a selection of it, into a new folder.

        Args:
            out: The new folder.
            format: `finedata`, `lerobot-v2.1`, `starvla`, `unified80`, `rlds`.
            where: Only episodes for which this SQL holds.
            keep_pictures: LeRobot v2.1: pictures byte for byte instead of videos.
            dry_run: Count what is selected; write nothing.

        Raises:
            UsageError: No such format, the output is not empty, or nothing is selected.
        """
        from finedata.store.export.run import estimate_export, export_dataset

        act = estimate_export if dry_run else export_dataset
        return act(self, out=out, format=format, where=where, keep_pictures=keep_pictures)

    def publish(
        self,
        repo_id: str,
        *,
        shards: str | Path | None = None,
        dry_run: bool = False,
        **options: Any,
    ) -> PublishSummary | PublishPlan:
        """Publish this dataset on the Hugging Face Hub; see `finedata.publish`.

        Args:
            repo_id: `org/name`.
            shards: Its shards, to publish with it.
            dry_run: Verify and count; send nothing and ask nobody.
            options: The other arguments of `finedata.publish`.
        """
        from finedata.api.hub import publish

        roots = [self.root] if shards is None else [self.root, shards]
        return publish(roots, repo_id=repo_id, dry_run=dry_run, **options)

    def lerobot(self, part: str | None = None, **options: Any) -> Any:
        """This dataset, or a part of it, as LeRobot reads it.

        Args:
            part: Which part, where there are several.
            options: Handed to `LeRobotDataset`.

        Returns:
            A `LeRobotDataset` over the files as they lie; nothing is copied.

        Raises:
            UsageError: There are several parts and none is named, or no such part.
            MissingExtraError: LeRobot is not installed.
        """
        names = [one.name for one in self.parts]
        chosen = names[0] if part is None and len(names) == 1 else part
        if chosen not in names:
            raise UsageError(
                parameter="part", found=f"{part!r}", wanted=f"one of {', '.join(names)}"
            )
        try:
            from lerobot.datasets.lerobot_dataset import (  # pyright: ignore[reportMissingImports]
                LeRobotDataset,  # pyright: ignore[reportUnknownVariableType]
            )
        except ImportError as error:
            raise MissingExtraError(
                place="Dataset.lerobot",
                found="no lerobot",
                wanted="lerobot 0.4 or newer, in this environment",
                next_command="pip install lerobot",
            ) from error
        name = f"finedata/{self.root.resolve().name}"
        return LeRobotDataset(name, root=self.part_folder(chosen), **options)  # pyright: ignore[reportUnknownVariableType]

    @overload
    def shard(
        self, out: str | Path, *, dry_run: Literal[False] = False, **options: Any
    ) -> ShardSummary: ...

    @overload
    def shard(
        self, out: str | Path, *, dry_run: bool, **options: Any
    ) -> ShardSummary | ShardEstimate: ...

    def shard(
        self,
        out: str | Path,
        *,
        also: Sequence[str | Path | Dataset] = (),
        append: bool = False,
        allow_mixed_licences: bool = False,
        check_leaks: Sequence[str] = (),
        shard_index: int | None = None,
        num_shards: int | None = None,
        workers: int = 1,
        dry_run: bool = False,
        on_progress: OnProgress = None,
        **settings: Any,
    ) -> ShardSummary | ShardEstimate:
        """Write WebDataset shards: pixels once, numbers and words beside them.

        Args:
            out: The shards' folder: new, empty, or begun by the same call.
            also: Other datasets whose episodes go into the same shards.
            append: Add what finished shards lack, as new tars.
            allow_mixed_licences: Go on although licences do not go together.
            check_leaks: Refuse if a training file has one of these episode ids.
            shard_index: Which share of `num_shards` to do; the call without it finishes.
            num_shards: Of how many.
            workers: Processes.
            dry_run: Plan and estimate; write nothing.
            on_progress: Told after every piece.
            settings: `cameras`, `resize`, `order`, `horizon`, `where`, `held_out`, `seed` and
                the other fields of `finedata.shard.making.settings.ShardSettings`.

        Raises:
            UsageError: No gate or representatives, a leak, licences that do not go together, or
                a setting that cannot be meant.
        """
        from finedata.shard.making.run import estimate_shards, shard_datasets
        from finedata.shard.making.settings import shard_settings

        chosen = shard_settings(settings)
        roots = [self.root, *(root_of(one) for one in also)]
        if dry_run:
            return estimate_shards(
                roots,
                settings=chosen,
                allow_mixed_licences=allow_mixed_licences,
                check_leaks=check_leaks,
            )
        return shard_datasets(
            roots,
            out=out,
            settings=chosen,
            allow_mixed_licences=allow_mixed_licences,
            check_leaks=check_leaks,
            append=append,
            workers=workers,
            shard_index=shard_index,
            num_shards=num_shards,
            on_progress=on_progress,
        )


def root_of(dataset: str | Path | store.Dataset) -> Path:
    """Where a dataset lies."""
    return dataset.root if isinstance(dataset, store.Dataset) else Path(dataset)


def _addresses(source: Source | Names | Path) -> list[str]:
    """Where sources lie: of a `Source`, its own places."""
    if isinstance(source, str | Path):
        return [str(source)]
    if isinstance(source, Source):
        return [address for _, address in source.places]
    return [str(one) for one in source]
