"""Questions made of accepted facts: yes or no, a number, one of four, that do not tell themselves.

A false claim or option is a value of the same slot that other videos have and this one does not:
neither the value, nor a part of it or a more precise form ("up" against "up and left"), nor a
number within a factor of 1.5. Which it is is chosen so that each value is claimed as often truly as
falsely, and stands among the wrong options where it is often the right one: who never sees the
video gains nothing by knowing what is usual. Where that cannot be had, since a value holds in every
video or in none that is asked about, nothing is asked: fewer questions, and none that answers
itself. What is drawn, is drawn by hashes of names, so questions depend neither on the order of rows
nor on a generator.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from finedata.bench.benchmark import make_item
from finedata.schema.dimension import DIMENSIONS, SLOT_DIMENSION
from finedata.schema.identity import hash16

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.bench.benchmark import Row

OPTIONS = 4
"""Options of a choice."""
_FEWEST_OPTIONS = 3
_APART = 1.5  # numbers nearer than this factor are not told apart by looking
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_KINDS = ("yes_no", "multiple_choice", "number")


def fact_items(facts: Sequence[Row], sample: Row) -> list[Row]:
    """Items of track `caption`: each fact once.

    Args:
        facts: Rows of the table `facts` about the sample's episode.
        sample: Row of `bench_samples`.
    """
    rows: list[Row] = []
    number: Counter[str] = Counter()
    for fact in sorted(facts, key=lambda f: (DIMENSIONS.index(f["dimension"]), *_order(f))):
        number[fact["dimension"]] += 1
        rows.append(
            make_item(sample, "caption", f"{fact['dimension']}_{number[fact['dimension']]}")
            | {
                "dimension": fact["dimension"],
                "slot": fact["slot"],
                "answer": fact["value"],
                "fact_text": fact["text"],
                "object": fact["object"],
                "fact_id": fact["fact_id"],
            }
        )
    return rows


def question_items(
    facts: Mapping[str, Sequence[Row]],
    samples: Sequence[Row],
    *,
    per_video: float = 2.0,
    seed: int = 0,
) -> list[Row]:
    """Items of track `vqa`, balanced over dimensions, kinds of answers, and answers.

    Args:
        facts: Episode id -> its facts.
        samples: Rows of `bench_samples`.
        per_video: Questions for each video, on average.
        seed: Of every draw.
    """
    return _Maker(facts, samples, seed).made(round(per_video * len(samples)))


class _Maker:
    def __init__(
        self, facts: Mapping[str, Sequence[Row]], samples: Sequence[Row], seed: int
    ) -> None:
        self._seed = seed
        self._samples = {sample["episode_id"]: sample for sample in samples}
        self._facts = {episode: facts.get(episode, ()) for episode in self._samples}
        self._values: dict[str, Counter[str]] = defaultdict(Counter)  # slot -> how often each
        for mine in self._facts.values():
            for fact in mine:
                self._values[fact["slot"]][_folded(fact["value"])] += 1
        self._claims: Counter[tuple[str, str]] = Counter()  # (slot, value) -> true less false
        self._chosen: Counter[tuple[str, str]] = Counter()  # the same of options: right less wrong
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._kinds: Counter[tuple[str, str]] = Counter()  # (dimension, kind)
        self._answers: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()  # of an episode
        self._slots: Counter[str] = Counter()
        self._used: set[tuple[str, str, str, str]] = set()

    def made(self, count: int) -> list[Row]:
        """So many questions, or as many as the facts give."""
        left: dict[str, list[Row]] = {name: [] for name in DIMENSIONS}
        for mine in self._facts.values():
            for fact in mine:
                left[fact["dimension"]].append(fact)
        rows: list[Row] = []
        per: Counter[str] = Counter()
        order = {
            fact["fact_id"]: hash16(f"{self._seed}/{fact['fact_id']}")
            for mine in self._facts.values()
            for fact in mine
        }
        while len(rows) < count and any(left.values()):
            dimension = min((d for d in left if left[d]), key=lambda d: (per[d], d))
            # the least asked slot and episode first; the hash draws among equals
            fact = min(
                left[dimension],
                key=lambda f: (
                    self._slots[f["slot"]],
                    self._asked[f["episode_id"]],
                    order[f["fact_id"]],
                ),
            )
            left[dimension].remove(fact)
            row = self._question(fact)
            if row is not None:
                per[dimension] += 1
                self._asked[fact["episode_id"]] += 1
                self._slots[fact["slot"]] += 1
                rows.append(row)
        return rows

    def _question(self, fact: Row) -> Row | None:
        kinds = sorted(_KINDS, key=lambda k: (self._kinds[fact["dimension"], k], _KINDS.index(k)))
        for kind in kinds:
            key = (fact["episode_id"], fact["slot"], fact["object"] or "", kind)
            if key in self._used:
                continue
            made = {
                "yes_no": self._yes_no, "multiple_choice": self._choice, "number": self._number,
            }[kind](fact)  # fmt: skip
            if made is None:
                continue
            self._used.add(key)
            self._kinds[fact["dimension"], kind] += 1
            sample = self._samples[fact["episode_id"]]
            return (
                make_item(
                    sample, "vqa", f"{sample['sample_id']}_q{self._asked[fact['episode_id']] + 1}"
                )
                | {
                    "dimension": fact["dimension"],
                    "slot": fact["slot"],
                    "answer_type": kind,
                    "object": fact["object"],
                    "fact_id": fact["fact_id"],
                }
                | made
            )
        return None

    def _false(self, fact: Row) -> list[str]:
        """Values of the slot that do not hold in the episode, folded."""
        true = [f["value"] for f in self._facts[fact["episode_id"]] if f["slot"] == fact["slot"]]
        return [
            value
            for value in sorted(self._values[fact["slot"]])
            if all(_differ(value, other) for other in true)
        ]

    def _yes_no(self, fact: Row) -> Row | None:
        slot, value = fact["slot"], _folded(fact["value"])
        wrong = self._false(fact)
        if not wrong:
            return None  # a question that can only be answered with yes tells nothing
        claim = max(wrong, key=lambda v: (self._claims[slot, v], self._drawn(fact, v)))
        # how much each would tip what is claimed already
        truly, falsely = self._claims[slot, value], -self._claims[slot, claim]
        yes = truly < falsely or (truly == falsely and self._answers["yes"] <= self._answers["no"])
        if min(truly, falsely) > 0:
            return None  # nothing that evens it out: such a question answers itself
        said = value if yes else claim
        self._claims[slot, said] += 1 if yes else -1
        self._answers["yes" if yes else "no"] += 1
        kind = "hallucination" if slot == "primitive_action" else "contradiction"
        return {
            "question": f'Is {_words(slot)}{self._about(fact)} in this video "{said}"?',
            "answer": "yes" if yes else "no",
            "error_type": "omission" if yes else kind,
        }

    def _choice(self, fact: Row) -> Row | None:
        slot, value = fact["slot"], _folded(fact["value"])
        wrong: list[str] = []
        ranked = sorted(
            (v for v in self._false(fact) if self._chosen[slot, v] > -OPTIONS),
            key=lambda v: (-self._chosen[slot, v], self._drawn(fact, v)),
        )
        if self._chosen[slot, value] > 0:
            return None  # it was the right one more often than it was a wrong one
        for candidate in ranked:
            if len(wrong) < OPTIONS - 1 and all(_differ(candidate, one) for one in wrong):
                wrong.append(candidate)
        if len(wrong) < _FEWEST_OPTIONS - 1:
            return None
        # right once for each time that it is wrong, in expectation over the options
        self._chosen[slot, value] += len(wrong)
        for one in wrong:
            self._chosen[slot, one] -= 1
        return {
            "question": f"Which of these is {_words(slot)}{self._about(fact)} in this video?",
            "options": sorted([value, *wrong], key=lambda v: self._drawn(fact, v)),
            "answer": value,
            "error_type": "omission",
        }

    def _number(self, fact: Row) -> Row | None:
        slot = fact["slot"]
        if fact["unit"] == "count" and fact["value_number"] is not None:
            answer, what = f"{fact['value_number']:g}", f"What is {_words(slot)}{self._about(fact)}"
        elif slot == "primitive_action":
            mine = self._facts[fact["episode_id"]]
            answer = str(sum(one["slot"] == slot for one in mine))
            what = "How many primitive actions, repeated ones counted, are there"
        else:
            return None
        counts = [n for (one, _), n in self._numbers.items() if one == slot]
        # no number much more often than another: the usual one would be a good guess
        if self._numbers[slot, answer] > (min(counts) if len(counts) > 1 else 0) + 1:
            return None
        self._numbers[slot, answer] += 1
        return {
            "question": f"{what} in this video?",
            "answer": answer,
            "error_type": "contradiction",
        }

    def _about(self, fact: Row) -> str:
        """The object, only where the slot is told of several: a name tells the task, and so much.

        What the target is called would answer questions about it, so these never name it.
        """
        objects = {
            one["object"]
            for one in self._facts[fact["episode_id"]]
            if one["slot"] == fact["slot"] and one["object"]
        }
        told = len(objects) > 1 and SLOT_DIMENSION[fact["slot"]] != "target_object"
        return f" of the {fact['object']}" if told and fact["object"] else ""

    def _drawn(self, fact: Row, value: str) -> str:
        return hash16(f"{self._seed}/{fact['fact_id']}/{value}")


def _order(fact: Row) -> tuple[int, str, str]:
    return fact["start_frame"], fact["slot"], fact["fact_id"]


def _words(slot: str) -> str:
    article = "an" if slot[0] in "aeiou" else "a"
    return f"{article} {slot.replace('_', ' ')}"


def _folded(value: str) -> str:
    return " ".join(value.casefold().replace("_", " ").split())


def _differ(one: str, other: str) -> bool:
    """Whether two values of a slot cannot both be said of one thing."""
    first, second = _folded(one), _folded(other)
    numbers = [_NUMBER.findall(text) for text in (first, second)]
    if all(numbers) and _NUMBER.sub("", first) == _NUMBER.sub("", second):
        low, high = sorted(float(found[0]) for found in numbers)
        return high > _APART * low
    # "counter-clockwise" is a word of its own, not a more precise "clockwise"
    words = [set(re.findall(r"[\w-]+", text)) for text in (first, second)]
    return not (words[0] <= words[1] or words[1] <= words[0])
