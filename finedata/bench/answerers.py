"""Answerers that need no model: what a score means, and annotators as they are graded.

- `perfect` says what is right: anything below 1 is a fault of the benchmark or its reader.
- `random` draws: what chance scores.
- `blind` never sees a video and knows the answers of all *other* videos: what it scores above
  chance is what the questions leak.
- `annotated` answers from the facts that an annotator wrote into a dataset, as the kinematic one,
  so that an annotator is graded like a model.

They speak the teachers' protocol, so their calls go through the same ledger and faults.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import polars as pl

from finedata.errors import UsageError
from finedata.schema.identity import hash16
from finedata.store.dataset import open_dataset
from finedata.teachers.protocol import Answer, Request, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from finedata.bench.benchmark import Benchmark, Row

__all__ = ["ANSWERERS", "OwnAnswerer", "claimed_value", "own_answerer", "read_facts"]

ANSWERERS = {
    "perfect": "says what is right",
    "random": "draws an answer",
    "blind": "knows the other videos' answers and sees no video",
    "annotated": "answers from the facts of an annotator, in --facts DIR",
}
"""Name -> meaning."""

_MORE_THAN_LUCK = 2.0  # standard deviations
_CLAIM = re.compile('"([^"]+)"')


class OwnAnswerer:
    """A teacher that answers in this process, from the benchmark's rows.

    Args:
        name: Of `ANSWERERS`.
        benchmark: What is asked.
        knows: Names what its answers depend on besides; part of every call's name, since without
            pictures the calls about two videos are alike.
        answer: Gives the answer to an item; None to leave it out.
        caption: Gives the steps of a caption.
    """

    def __init__(
        self,
        name: str,
        benchmark: Benchmark,
        *,
        knows: str = "",
        answer: Callable[[Row], str | None],
        caption: Callable[[str], Sequence[str]],
    ) -> None:
        self.name = name
        self.knows = knows
        self._benchmark = benchmark
        self.answer = answer
        self._caption = caption

    async def ask(self, request: Request) -> Answer:
        """See `Teacher.ask`."""
        track = request.stage.split("/")[1]
        if track == "caption":
            return Answer(
                json.dumps({"steps": list(self._caption(request.episode_id))}), Usage(0, 0)
            )
        answers = {
            item["name"]: said
            for item in self._benchmark.items_of(request.episode_id, track)
            if (said := self.answer(item)) is not None
        }
        return Answer(json.dumps({"answers": answers}), Usage(0, 0))

    async def close(self) -> None:
        """See `Teacher.close`."""


def own_answerer(
    name: str, benchmark: Benchmark, *, seed: int = 0, facts: Iterable[Row] = ()
) -> OwnAnswerer:
    """One of `ANSWERERS`.

    Args:
        name: Which.
        benchmark: What is asked.
        seed: Of `random`.
        facts: Rows of the table `facts` for `annotated`.

    Raises:
        UsageError: There is no such answerer, or `annotated` has no fact of any video.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    for item in benchmark.items:
        if item["fact_text"]:
            texts[item["sample_id"]].append(item["fact_text"])
    pinned = benchmark.pinned().items_sha256
    if name == "perfect":
        return OwnAnswerer(
            name,
            benchmark,
            knows=pinned,
            answer=lambda item: item["answer"],
            caption=lambda one: texts[one],
        )
    if name in ("random", "blind"):
        everything = sorted({text for one in texts.values() for text in one})

        def drawn(sample_id: str) -> list[str]:
            places = [_draw(f"{seed}/{sample_id}/{n}", len(everything)) for n in range(5)]
            return [everything[place] for place in places] if everything else []

        chance = _Chance(benchmark, seed)
        blind = _Blind(benchmark)
        return OwnAnswerer(
            name,
            benchmark,
            # the number: of the way in which `blind` tells what is usual
            knows=f"{pinned}/{seed}" if name == "random" else f"{pinned}/2",
            answer=chance.answer if name == "random" else blind.answer,
            caption=drawn,
        )
    if name == "annotated":
        annotated = _Annotated(benchmark, facts, _Chance(benchmark, seed))
        return OwnAnswerer(
            name,
            benchmark,
            knows=f"{pinned}/{seed}/{annotated.digest}",
            answer=annotated.answer,
            caption=annotated.caption,
        )
    raise UsageError(place="answerer", found=name, wanted=f"one of {', '.join(ANSWERERS)}")


def claimed_value(question: str) -> str | None:
    """What a yes-no question of finedata's own claims: the text in its last quotation marks.

    Example:
        >>> claimed_value('Is the contact region of the cup the "rim"?')
        'rim'
    """
    found = _CLAIM.findall(question)
    return found[-1] if found else None


class _Chance:
    """Draws among what may be answered at all."""

    def __init__(self, benchmark: Benchmark, seed: int) -> None:
        self._seed = seed
        self._numbers = _numbers(benchmark)

    def answer(self, item: Row) -> str:
        choices = _choices(item) or self._numbers
        return choices[_draw(f"{self._seed}/{item['item_id']}", len(choices))]


class _Blind:
    """Knows every right answer of the other videos, by question, by slot, by kind.

    An answer is usual where it is right more often, of the times that it could be, than luck
    explains: by more than two standard deviations. Simply to give the most frequent answer of the
    others would lose on balanced questions, of which the one left out is the rarer of each pair;
    that is no lack of a leak. Where nothing is usual, it draws.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self._numbers = _numbers(benchmark)
        # (key, answer) -> by how much it was right too often, and the variance of luck
        self._excess: dict[tuple[tuple[str, ...], str], float] = defaultdict(float)
        self._luck: dict[tuple[tuple[str, ...], str], float] = defaultdict(float)
        for item in benchmark.items:
            if item["track"] == "vqa":
                for key, said, excess, luck in self._counted(item):
                    self._excess[key, said] += excess
                    self._luck[key, said] += luck

    def _counted(self, item: Row) -> Iterator[tuple[tuple[str, ...], str, float, float]]:
        choices = _choices(item) or self._numbers
        chance = 1 / len(choices)
        kind = item["answer_type"]
        slot = item["slot"] or item["dimension"]
        for key in (("question", kind, item["question"]), ("slot", kind, slot), ("kind", kind)):
            for said in choices:
                yield key, said, (said == item["answer"]) - chance, chance * (1 - chance)

    def answer(self, item: Row) -> str:
        choices = _choices(item) or self._numbers
        usual: list[tuple[float, str]] = []
        for key, said, own_excess, own_luck in self._counted(item):
            excess, luck = self._excess[key, said], self._luck[key, said]
            # of the other videos, whose answers are all that it knows
            others = excess - own_excess > 0 and luck > own_luck
            if others and excess > _MORE_THAN_LUCK * luck**0.5:
                usual.append((excess / luck**0.5, said))
        if usual:
            return max(usual)[1]
        return choices[_draw(item["item_id"], len(choices))]


class _Annotated:
    """Answers from facts: a claim is true if a fact of its slot says so; else it is drawn.

    An annotator that says nothing of a slot knows as much as chance, and is given that.
    """

    def __init__(self, benchmark: Benchmark, facts: Iterable[Row], chance: _Chance) -> None:
        self._chance = chance
        sample_of: Mapping[str, str] = {
            sample["episode_id"]: sample["sample_id"]
            for sample in benchmark.samples
            if sample["episode_id"]
        }
        self._facts: dict[str, list[Row]] = defaultdict(list)
        for fact in facts:
            if fact["episode_id"] in sample_of:
                self._facts[sample_of[fact["episode_id"]]].append(fact)
        told = sorted(
            (sample, fact["fact_id"], fact["revision"], fact["value"])
            for sample, mine in self._facts.items()
            for fact in mine
        )
        self.digest = hash16(json.dumps(told))
        if not self._facts:
            raise UsageError(
                place="the annotator's facts",
                found="none about an episode of this benchmark",
                wanted="facts of its episodes",
                next_command="finedata annotate kinematic DIR --all",
            )

    def answer(self, item: Row) -> str:
        return self._known(item) or self._chance.answer(item)

    def _known(self, item: Row) -> str | None:
        mine = [f for f in self._facts[item["sample_id"]] if f["slot"] == item["slot"]]
        values = [set(_folded(fact["value"]).split()) for fact in mine]

        def says(claim: str) -> bool:
            # "left and down" says "left"
            return any(set(_folded(claim).split()) <= value for value in values)

        if item["answer_type"] == "number":
            counts = [f["value_number"] for f in mine if f["unit"] == "count"]
            numbers = [n for n in counts if n is not None]
            if numbers:
                return f"{numbers[0]:g}"
            return str(len(mine)) if mine and item["slot"] == "primitive_action" else None
        if not mine:
            return None
        if item["answer_type"] == "yes_no":
            claim = claimed_value(item["question"] or "")
            return "yes" if claim and says(claim) else "no"
        said = [option for option in item["options"] if says(option)]
        return said[0] if len(said) == 1 else None

    def caption(self, sample_id: str) -> list[str]:
        mine = self._facts[sample_id]
        return [f["text"] for f in sorted(mine, key=lambda f: (f["start_frame"], f["fact_id"]))]


def _numbers(benchmark: Benchmark) -> list[str]:
    """What may be answered to a question for a number."""
    return sorted({item["answer"] for item in benchmark.items if item["answer_type"] == "number"})


def _choices(item: Row) -> list[str]:
    if item["answer_type"] == "yes_no":
        return ["yes", "no"]
    return list(item["options"])


def _draw(name: str, count: int) -> int:
    return int(hash16(name), 16) % count


def _folded(value: str) -> str:
    return " ".join(value.casefold().replace("_", " ").split())


def read_facts(root: str | Path, *, annotator: str) -> list[Row]:
    """Facts of one annotator in a dataset, rejected ones among them: it is graded as it is.

    Of several runs of it the one with the lowest `run_id` counts.

    Raises:
        UsageError: It wrote none.
    """
    dataset = open_dataset(root)
    rows = dataset.facts.filter(pl.col("annotator") == annotator)
    found = rows.collect()
    if found.is_empty():
        known = dataset.facts.select("annotator").unique().collect()["annotator"].to_list()
        raise UsageError(
            parameter="annotator",
            found=f"{annotator!r}, who wrote no fact in {root}",
            wanted=f"one of {', '.join(sorted(known))}" if known else "an annotated dataset",
            next_command=f"finedata annotate kinematic {root} --all",
        )
    return found.filter(pl.col("run_id") == found["run_id"].min()).sort("fact_id").to_dicts()
