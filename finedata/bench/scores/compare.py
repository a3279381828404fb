"""Two results side by side: paired differences by video, corrected over the dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from finedata.bench.scores.intervals import difference, holm
from finedata.bench.scores.rows import MODES, Mode, VideoNumber, ratios_of
from finedata.errors import UsageError
from finedata.schema.dimension import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.bench.result import Result


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One paired difference, first minus second.

    Attributes:
        metric: See `Score`.
        mode: See `Score`.
        average: See `Score`.
        by: `all` or `dimension`.
        group: The dimension, "" for everything.
        value: The difference.
        low: Lower end of its interval, not corrected.
        high: Upper end.
        p: Of no difference; over the ten dimensions corrected by Holm.
        clusters: Videos of both.
        unrankable: Whether there are too few.
    """

    metric: str
    mode: Mode
    average: str
    by: str
    group: str
    value: float
    low: float
    high: float
    p: float
    clusters: int
    unrankable: bool


def check_comparable(results: Sequence[Result], *, force: bool = False) -> list[str]:
    """Refuse results of different questions; with `force` say what differs.

    Raises:
        UsageError: They were asked different things, or judged by different judges.
    """
    first = results[0]
    differing: list[str] = []
    for other in results[1:]:
        a, b = first.summary, other.summary
        if a.asked == b.asked:
            continue
        what = {
            "track": (a.track, b.track),
            "setting": (a.setting, b.setting),
            "revision": (a.benchmark.revision, b.benchmark.revision),
            "items": (a.benchmark.items_sha256[:12], b.benchmark.items_sha256[:12]),
            "videos": (a.benchmark.samples_sha256[:12], b.benchmark.samples_sha256[:12]),
            "judge": (_said(a.judge), _said(b.judge)),
        }
        said = "; ".join(f"{name} {x} and {y}" for name, (x, y) in what.items() if x != y)
        differing.append(f"{first.root.name} and {other.root.name}: {said}")
    if differing and not force:
        raise UsageError(
            place="results",
            found=differing[0],
            wanted="results of the same questions and judge",
            next_command="run them on one revision; --force compares all the same, and says so",
        )
    return differing


def _said(judge: object) -> str:
    return "none" if judge is None else msgspec.json.encode(judge).decode()


def compare_results(one: Result, other: Result, *, force: bool = False) -> list[Compared]:
    """Paired differences over the videos of both.

    Raises:
        UsageError: The results are of different tracks, or of different questions without `force`.
    """
    check_comparable([one, other], force=force)
    track = one.summary.track
    if track != other.summary.track:
        raise UsageError(place="results", found="one of each track", wanted="two of one track")
    common = {
        sample: dataset for sample, dataset in one.datasets.items() if sample in other.datasets
    }
    first, second = one.scored().numbers, other.scored().numbers
    trials = (0,) if track == "caption" else None
    metrics = ("accuracy",) if track == "vqa" else (
        "consistency", "coverage", "anti_hallucination", "overall",
    )  # fmt: skip
    found: list[Compared] = []
    level = one.summary.scores[0].level if one.summary.scores else 0.95

    def compared(
        metric: str, mode: Mode, average: str, by: str, group: str, names: Sequence[str]
    ) -> Compared | None:
        of = "all" if list(names) == [""] else "dimension"
        pairs: list[tuple[VideoNumber, VideoNumber]] = []
        for name in names:
            one_of, other_of = (n.get((metric, mode, of, name)) for n in (first, second))
            if one_of is not None and other_of is not None:
                pairs.append((one_of, other_of))
        if not pairs:
            return None
        shared = [_shared(a, b, common) for a, b in pairs]
        videos = {sample for a, _ in shared for sample, _ in a.count}
        datasets = {sample: name for sample, name in common.items() if sample in videos}
        if not datasets:
            return None
        value = difference(
            ratios_of([a for a, _ in shared], datasets, trials=trials),
            ratios_of([b for _, b in shared], datasets, trials=trials),
            level=level,
        )
        if value is None:
            return None
        return Compared(
            metric=metric,
            mode=mode,
            average=average,
            by=by,
            group=group,
            value=value.value,
            low=value.low,
            high=value.high,
            p=value.p,
            clusters=value.videos,
            unrankable=value.unrankable,
        )

    for metric in metrics:
        for mode in MODES:
            total = [
                compared(metric, mode, "micro", "all", "", [""]),
                compared(metric, mode, "macro", "all", "", list(DIMENSIONS)),
            ]
            of_dimensions = [
                compared(metric, mode, "micro", "dimension", name, [name]) for name in DIMENSIONS
            ]
            there = [one for one in of_dimensions if one is not None]
            corrected = holm([one.p for one in there])
            found += [one for one in total if one is not None]
            found += [
                msgspec.structs.replace(one, p=p) for one, p in zip(there, corrected, strict=True)
            ]
    return found


def _shared(
    one: VideoNumber, other: VideoNumber, common: dict[str, str]
) -> tuple[VideoNumber, VideoNumber]:
    """Both numbers over the videos and trials that both have."""
    keys = [key for key in one.count if key in other.count and key[0] in common]
    result: list[VideoNumber] = []
    for number in (one, other):
        kept = VideoNumber()
        for key in keys:
            kept.total[key], kept.count[key] = number.total[key], number.count[key]
        result.append(kept)
    return result[0], result[1]
