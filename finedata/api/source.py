"""A corpus as its publisher ships it, before it is a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from finedata.api.arguments import Names, listed
from finedata.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.api.dataset import Dataset
    from finedata.convert.context import ConvertOptions
    from finedata.convert.planning.estimate import Estimate
    from finedata.convert.pose.prove import PoseReport
    from finedata.convert.sharded import ShardSummary
    from finedata.engine.progress import OnProgress

__all__ = ["Selected", "Source", "source"]


def source(name: str | Path, address: str | Path, **options: str) -> Source:
    """Name a source: how it is read, and where it lies. Nothing is read yet.

    Args:
        name: A converter's name, or the path of a converter file.
        address: Folder or address (`https://`, `gs://`, `s3://`, `hf://`).
        options: The converter's doubts that you decide: `rotation_delta="rotation_vector"`.

    Example:
        >>> src = source("rt_1", "rt_1/0.1.0", rotation_delta="rotation_vector")
        >>> ds = src.convert("rt1", episodes="0-99", workers=8)  # doctest: +SKIP
    """
    return Source(((str(name), str(address)),), tuple(sorted(options.items())))


class Selected(TypedDict, total=False):
    """What of a source is converted, and how; all of it changes the output's bytes.

    Attributes:
        episodes: Only these: positions in the source, ranges, ids: `"0,5,10-19"`.
        max_episodes: Stop after so many written episodes.
        cameras: Only these.
        image_stats: Decode a few pictures of each episode for LeRobot's statistics (the default).
        fix_colour: Rewrite pictures whose red and blue are exchanged (lossy).
        transcode: Encode all cameras anew as video with this codec (lossy).
        resize: (height, width) of all cameras (lossy).
    """

    episodes: Names
    max_episodes: int | None
    cameras: Names
    image_stats: bool
    fix_colour: bool
    transcode: Literal["av1", "h264"] | None
    resize: tuple[int, int] | None


@dataclass(frozen=True)
class Source:
    """One or more corpora as their publishers ship them; made by `source`, joined with `+`.

    Attributes:
        places: (converter, address) of each, in the order of the output.
        choices: (option, choice) of their converter files.
    """

    places: tuple[tuple[str, str], ...]
    choices: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: Source) -> Source:
        """Both, to be converted into one dataset."""
        decided = dict(self.choices)
        for name, choice in other.choices:
            if decided.setdefault(name, choice) != choice:
                raise UsageError(
                    parameter=name,
                    found=f"{decided[name]} and {choice}",
                    wanted="one choice for all sources of a dataset",
                    next_command="convert each for itself, then merge",
                )
        return Source((*self.places, *other.places), tuple(sorted(decided.items())))

    def convert(
        self,
        out: str | Path,
        *,
        workers: int = 1,
        on_progress: OnProgress = None,
        **selected: Unpack[Selected],
    ) -> Dataset:
        """Convert into a canonical dataset; the same call continues a run that was stopped.

        Args:
            out: Folder of the output; new, empty, or begun by the same call.
            workers: Processes.
            on_progress: Told whenever a data file is finished.
            selected: See `Selected`.

        Returns:
            The dataset; its `conversion` says what was written, what failed, and what was odd.

        Raises:
            UsageError: Unknown source, no such input, an output that is not ours, a wrong option.
            SourceError: The source cannot be read at all.
            OutputError: The output cannot be written; the same call continues later.
        """
        from finedata.api.opening import open
        from finedata.convert.run import convert_many

        options = self._options(selected)
        convert_many(
            self.places, out=out, options=options, workers=workers, on_progress=on_progress
        )
        return open(out)

    def convert_share(
        self,
        out: str | Path,
        *,
        shard_index: int,
        num_shards: int,
        workers: int = 1,
        **selected: Unpack[Selected],
    ) -> ShardSummary:
        """Do one of `num_shards` shares of `convert`, by processes that share the folder `out`.

        `finish_shares` makes the dataset, byte for byte that of `convert`.
        """
        from finedata.convert.sharded import convert_share

        return convert_share(
            self.places,
            out=out,
            options=self._options(selected),
            shard_index=shard_index,
            num_shards=num_shards,
            workers=workers,
        )

    def estimate(
        self, out: str | Path = "", *, workers: int = 1, **selected: Unpack[Selected]
    ) -> Estimate:
        """What `convert` would write, and how long it would take; writes nothing."""
        from finedata.convert.planning.estimate import estimate

        return estimate(self.places, out=out, options=self._options(selected), workers=workers)

    def verify(self, *, episodes: int = 20) -> PoseReport:
        """Prove the conventions of the converter from evidence, before anything is converted.

        Args:
            episodes: How many to compare for each arm of each form.

        Raises:
            UsageError: More than one source: each is verified for itself.
        """
        from finedata.convert.pose.prove import pose_report

        if len(self.places) != 1:
            raise UsageError(place="verify", found=f"{len(self.places)} sources", wanted="one")
        name, address = self.places[0]
        return pose_report(source=name, input=address, most_episodes=episodes, choices=self.choices)

    def _options(self, selected: Selected) -> ConvertOptions:
        from finedata.convert.context import ConvertOptions

        given = dict[str, Any](selected)
        for name in ("episodes", "cameras"):
            given[name] = listed(given.get(name, ()))
        return ConvertOptions(choices=self.choices, **given)
