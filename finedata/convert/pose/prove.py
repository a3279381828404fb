"""The pose proof of a source: is each arm's pose written as the converter file says?

It is made for a finished dataset with its source, or for a converter with a source that is not
converted yet. A few episodes spread over the source are read (`finedata.convert.pose.search`), and
every other meaning of their numbers is tried beside the declared one
(`finedata.motion.proof.evidence`); the verdict names the readings with their residuals. The
evidence is forward kinematics where the robot's model is published and joints are recorded, else
the action against the state that follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from finedata.convert.context import ConvertOptions
from finedata.convert.pose.search import PoseSearch
from finedata.convert.run import prepare, prepare_from_dataset
from finedata.errors import SourceError, UsageError
from finedata.store.dataset import open_dataset
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.convert.pose.evidence import (
        ArmPose,
    )
    from finedata.convert.prepared import PreparedRun
    from finedata.motion.proof.verdict import Verdict

__all__ = ["PoseReport", "pose_report"]


@dataclass(frozen=True, slots=True)
class PoseReport(Summary):
    """Every arm's evidence; `msgspec.json.encode` and `dataclasses.asdict` take it whole.

    Attributes:
        verdict: `contradicted` where one arm is, else `confirmed` where one is.
        arms: In the order of the sources, their forms, their robots; right, then left.
        looked_at: Episodes that were read.
        failed: Episodes among them that the converter cannot read.
        messages: Why, of the first few.
    """

    verdict: Verdict
    arms: tuple[ArmPose, ...]
    looked_at: int
    failed: int
    messages: tuple[str, ...]


def pose_report(
    root: str | Path | None = None,
    *,
    input: str | Path | Sequence[str | Path],
    source: str | None = None,
    most_episodes: int = 20,
    choices: Sequence[tuple[str, str]] = (),
) -> PoseReport:
    """Hold the poses of a source against evidence; give either a dataset or a converter.

    Args:
        root: A finished dataset: its own converters, options and written episodes.
        input: Folder or address of the source; of a dataset with several sources, one for each.
        source: Name of a converter, or path of a converter file, to check before converting.
        most_episodes: How many episodes to compare for each arm of each form and robot, spread
            over the source.
        choices: (option, choice) of the converter file; a dataset has its own.

    Returns:
        The report. Nothing is written.

    Raises:
        UsageError: Both or neither of `root` and `source`, no such input, a wrong option.
        SourceError: The source cannot be read at all, or no episode of it.

    Example:
        >>> pose_report(source="droid", input="droid/1.0.1").verdict  # doctest: +SKIP
        'confirmed'
    """
    addresses = [str(input)] if isinstance(input, str | Path) else [str(one) for one in input]
    if (root is None) == (source is None):
        raise UsageError(
            place="the pose check",
            found="both a dataset and a converter" if source else "no dataset and no converter",
            wanted="one of them",
            next_command="finedata verify --source NAME --input DIR --pose",
        )
    written = None
    if root is not None:
        dataset = open_dataset(root)
        run = prepare_from_dataset(dataset.info, addresses=addresses, out=str(root))
        rows = dataset.receipts.filter(pl.col("status") == "written")
        keys = rows.select("source", "source_file", "source_record").collect().iter_rows()
        written = {(str(name), str(file), int(number)) for name, file, number in keys}
    else:
        options = ConvertOptions(choices=tuple(choices))
        run = prepare([(str(source), one) for one in addresses], out="", options=options)
    search = PoseSearch(run, most=most_episodes, written=written)
    search.look()
    return _report(run, search)


def _report(run: PreparedRun, search: PoseSearch) -> PoseReport:
    """What the search found; a SourceError where no episode could be read."""
    arms = search.arms()
    if not arms:
        first = search.messages[0] if search.messages else "no episode"
        raise SourceError(
            place=", ".join(one.address for one in run.context.sources),
            found=first,
            wanted="at least one episode that the converter reads",
            next_command="finedata convert SOURCE --input DIR --out DIR --dry-run",
        )
    verdicts: set[Verdict] = {arm.verdict for arm in arms}
    ranked: tuple[Verdict, ...] = ("contradicted", "confirmed", "undecided")
    verdict = next(filter(verdicts.__contains__, ranked))
    return PoseReport(verdict, arms, search.looked_at, search.failed, tuple(search.messages))
