"""Results of a study: runs that differ in their seed alone are one cell, and cells are compared.

Two kinds of chance are kept apart. Which scenes were drawn is what Wilson's interval of one result
is about; how training came out is told by the seeds' range, beside it and never inside it. A
difference of two cells has a bootstrap over both: scenes are drawn once for both cells, because
they are paired in them, seeds for each cell by itself. Of one seed nothing can be drawn, and the
interval is of scenes alone; of three, such an interval is rather too narrow.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.sim.compare import SCORES
from finedata.sim.evaluate import EvaluateSettings, Result, Run  # noqa: TC001  (msgspec reads them)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "NOTHING",
    "Cell",
    "CellDifference",
    "Question",
    "cell_differences",
    "confusion",
    "fine_share",
    "questions",
]

NOTHING = "nothing"
"""What was done where a factor has no value: no block was lifted, or it lies nowhere."""
_DRAWS = 2_000
_GOALS = {
    "fine": "goals that fine-grained text names too",
    "raw_only": "goals of raw data alone",
    "all": "goals of both kinds",
}


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one recipe, mixture, length and data; or one scripted policy.

    Attributes:
        name: The mixture and the steps, and what else tells it from the others; a policy's name.
        results: One of each seed.
        recipe: Its recipe, and what was set in it that was not in the others; empty of a policy
            that tells none.
    """

    name: str
    results: list[Result]
    recipe: str = ""

    @property
    def seeds(self) -> list[int]:
        """Of training."""
        return [one.run.seed for one in self.results if one.run is not None]

    def shares(self, score: str) -> list[float]:
        """Of each result; empty where nothing was scored."""
        return [float(row.mean()) for row in _votes(self, score) if row.size]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What several policies were asked alike.

    Attributes:
        settings: What they were put before.
        scenes_sha256: Of scenes and wishes.
        mujoco: Its version.
        cells: Who was asked, in the order in which the results were named.
    """

    settings: EvaluateSettings
    scenes_sha256: str
    mujoco: str
    cells: list[Cell]

    @property
    def title(self) -> str:
        """What was asked, in words."""
        wording = self.settings.wording.replace("_", "-")
        return f"{self.settings.prompts} prompts, {wording} wording, {_GOALS[self.settings.goals]}"


class CellDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A cell against another one of the same question.

    Attributes:
        cell: Whose.
        against: The other one.
        score: `goal`, a factor, or `all`.
        mean: Of the differences, over scenes and seeds.
        low: Lower end of the bootstrap's 95 % interval.
        high: Its upper end.
        seeds: How many of each.
        question: What both were asked, in words, where it was told.
    """

    cell: str
    against: str
    score: str
    mean: float
    low: float
    high: float
    seeds: tuple[int, int]
    question: str = ""


def fine_share(result: Result) -> float | None:
    """Share of fine-grained samples among all that a run learnt from; None where nobody knows."""
    if result.run is None or not result.run.drawn:
        return None
    return result.run.drawn.get("fg", 0) / sum(result.run.drawn.values())


def questions(results: Sequence[Result]) -> list[Question]:
    """Sort results by what was asked, and into cells.

    Args:
        results: Any; raw and fine prompts, seen and held-out wording and several kinds of goals may
            be among them, as long as the scenes are the same.

    Raises:
        UsageError: Scenes, wishes or MuJoCo differ where the same was asked; or one result twice.
    """
    found: dict[bytes, list[Result]] = {}
    first = results[0]
    for result in results:
        mine, theirs = result.settings, first.settings
        same = (mine.scenes, mine.first, mine.seed) == (theirs.scenes, theirs.first, theirs.seed)
        group = found.setdefault(msgspec.json.encode(mine), [])
        group.append(result)
        if not same or result.mujoco != first.mujoco or _other_scenes(group):
            raise UsageError(
                place=result.policy,
                found=f"{mine.scenes} scenes from {mine.first}, seed {mine.seed}, MuJoCo "
                f"{result.mujoco}, scenes {result.scenes_sha256[:8]}",
                wanted=f"those of {first.policy}: {theirs.scenes} scenes from {theirs.first}, seed "
                f"{theirs.seed}, MuJoCo {first.mujoco}, scenes {group[0].scenes_sha256[:8]}",
                next_command="finedata sim evaluate with the same --scenes, --first and --seed",
            )
    return [
        Question(
            settings=group[0].settings,
            scenes_sha256=group[0].scenes_sha256,
            mujoco=group[0].mujoco,
            cells=_cells(group),
        )
        for group in found.values()
    ]


def cell_differences(
    cells: Sequence[Cell], *, seed: int = 0, question: str = ""
) -> list[CellDifference]:
    """Every further cell of a question against its first one.

    Args:
        cells: Of one question.
        seed: Of the bootstrap.
        question: Its title, to be told.
    """
    return [
        msgspec.structs.replace(found, question=question)
        for cell in cells[1:]
        for score in SCORES
        if (found := _difference(cell, cells[0], score, seed=seed)) is not None
    ]


def confusion(cell: Cell, factor: str) -> dict[str, dict[str, int]]:
    """What was wished -> what was done -> how often, over scenes and seeds.

    Done is `NOTHING` where the factor has no value. Scenes that wish nothing of the factor (the
    side on the mat) do not count.
    """
    counts: dict[str, Counter[str]] = {}
    for result in cell.results:
        for one in result.episodes:
            wished = one.wish.get(factor)
            if wished is not None:
                done = getattr(one.outcome, factor) or NOTHING
                counts.setdefault(wished, Counter())[done] += 1
    return {wished: dict(sorted(done.items())) for wished, done in sorted(counts.items())}


def _other_scenes(group: Sequence[Result]) -> bool:
    return group[-1].scenes_sha256 != group[0].scenes_sha256


def _cells(results: Sequence[Result]) -> list[Cell]:
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        run = result.run
        key = (
            (result.policy,)
            if run is None
            else (run.recipe, run.family, run.mix, run.step, run.batch, run.shards)
        )
        mine = groups.setdefault(key, [])
        seeds = [one.run.seed for one in mine if one.run is not None]
        if mine and (run is None or run.seed in seeds):
            raise UsageError(
                place=result.policy,
                found="two results of it" if run is None else f"two results of seed {run.seed}",
                wanted="each policy once; runs of several seeds are one cell",
            )
        mine.append(result)
    runs = [run for group in groups.values() if (run := group[0].run) is not None]
    recipes = _recipes(runs)
    names = _names([group[0] for group in groups.values()], recipes)
    return [
        Cell(
            name=name,
            results=group,
            recipe="" if (run := group[0].run) is None else recipes[run.recipe, run.family],
        )
        for name, group in zip(names, groups.values(), strict=True)
    ]


def _recipes(runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    """Recipe and family -> words for both, which no other family of the recipe has."""
    words: dict[tuple[str, str], str] = {}
    for recipe in {run.recipe for run in runs}:
        changed = {run.family: run.changed for run in runs if run.recipe == recipe}
        shared = set(next(iter(changed.values())).items())
        for one in changed.values():
            shared &= one.items()
        told = {
            family: ", ".join(f"{key}={text}" for key, text in sorted(one.items() - shared))
            for family, one in changed.items()
        }
        # Policies from before results told it, or a recipe whose file was edited.
        if len(set(told.values())) < len(told):
            told = {family: f"{family[:6]}, {one}".rstrip(", ") for family, one in told.items()}
        for family, one in told.items():
            words[recipe, family] = ", ".join(filter(None, (recipe, one)))
    return words


def _names(firsts: Sequence[Result], recipes: Mapping[tuple[str, str], str]) -> list[str]:
    """The mixture, and of recipe, steps, batch and data what differs among the cells."""
    runs = [one.run for one in firsts if one.run is not None]
    steps = len({(run.step, run.batch) for run in runs}) > 1
    data = len({run.shards for run in runs}) > 1
    names: list[str] = []
    for one in firsts:
        run = one.run
        if run is None:
            names.append(one.policy)
            continue
        parts = [
            recipes[run.recipe, run.family] if len(recipes) > 1 else "",
            run.mix,
            f"{run.step:,} steps" if steps else "",
            f"shards {run.shards[:6]}" if data else "",
        ]
        names.append(", ".join(filter(None, parts)))
    return names


def _votes(cell: Cell, score: str) -> NDArray[np.float64]:
    """(seeds, scenes in which it was scored) of 0 and 1."""
    return np.array(
        [
            [float(one.scored[score]) for one in result.episodes if score in one.scored]
            for result in cell.results
        ]
    )


def _difference(cell: Cell, against: Cell, score: str, *, seed: int) -> CellDifference | None:
    mine, theirs = _votes(cell, score), _votes(against, score)
    if not mine.size:
        return None
    rng = np.random.Generator(np.random.PCG64([seed, 8]))
    scenes = _drawn(rng, mine.shape[1])
    apart = sum(
        sign * ((_drawn(rng, len(votes)) @ votes) * scenes).sum(axis=1)
        for sign, votes in ((1.0, mine), (-1.0, theirs))
    )
    low, high = np.quantile(apart, [0.025, 0.975])
    return CellDifference(
        cell=cell.name, against=against.name, score=score,
        mean=float(mine.mean() - theirs.mean()), low=float(low), high=float(high),
        seeds=(len(mine), len(theirs)),
    )  # fmt: skip


def _drawn(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(draws, count) how often each is drawn, as a share."""
    drawn = rng.integers(0, count, (_DRAWS, count)) + count * np.arange(_DRAWS)[:, None]
    times = np.bincount(drawn.ravel(), minlength=_DRAWS * count)
    return times.reshape(_DRAWS, count) / count
