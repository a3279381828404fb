"""Words of a sample: an argument of the stream, joined from a text revision when it is drawn.

Each view has a form of words. A form that needs what an episode lacks is an error that names the
episode: a policy that was trained on plain goals in place of fine-grained instructions looks like
any other, which is how the mixture of the papers' released code went wrong unseen. Choices by
chance (a paraphrase, facts that are left out) are made by a hash of seed, view, source and ordinal:
they survive a resume, and another ratio of views does not change them.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import ConformError

if TYPE_CHECKING:
    from finedata.shard.shards import Shards
    from finedata.shard.stream.settings import Policy, Words

_OF_REVISION = ("fine", "steps", "numbered", "both", "facts")


def needs_text(words: Words, view: str) -> bool:
    """Whether samples of a view have words of a text revision."""
    return words.forms[view] in _OF_REVISION or words.traces != "none" or words.paraphrase > 0


class WordReader:
    """Reads the words of samples.

    Args:
        shards: The shards.
        words: What is asked for.
        revision: Name of the text revision; None where none is needed.
        policy: Which texts count.
        seed: Of the choices.
    """

    def __init__(
        self, shards: Shards, words: Words, *, revision: str | None, policy: Policy, seed: int
    ) -> None:
        self._shards = shards
        self._words = words
        self._revision = revision
        self._policy = policy
        self._seed = seed
        self._goal = lru_cache(maxsize=16_384)(self._read_goal)
        self._wordings = lru_cache(maxsize=16_384)(self._read_wordings)
        self._fine = lru_cache(maxsize=16_384)(self._read_fine)
        self._steps = lru_cache(maxsize=16_384)(self._read_steps)
        self._facts = lru_cache(maxsize=1_024)(self._read_facts)
        self._traces = lru_cache(maxsize=16_384)(self._read_traces)
        self._trace = lru_cache(maxsize=16_384)(self._read_trace)

    def text(self, set_name: str, episode: int, *, view: str, source: str, ordinal: int) -> str:
        """The words of a sample.

        Raises:
            ConformError: The episode lacks what the view's form needs.
        """
        form = self._words.forms[view]
        if form == "none":
            return ""
        if form == "fine":
            return self._fine(set_name, episode)
        chance = _Chance(self._seed, view, source, ordinal)
        if form == "goal":
            return self._one_goal(set_name, episode, chance)
        if form == "both":
            goal = self._one_goal(set_name, episode, chance)
            return f"{goal} {self._fine(set_name, episode)}"
        if form == "facts":
            return self._some_facts(set_name, episode, chance)
        steps = self._steps(set_name, episode)
        if form == "numbered":
            return " ".join(f"{k}. {step}" for k, step in enumerate(steps, start=1))
        return " ".join(steps)

    def trace(self, set_name: str, episode: int, frame_index: int) -> dict[str, Any] | None:
        """The trace of a frame: of this very frame, or the one that holds; None where none is."""
        if self._words.traces == "none":
            return None
        frames, first = self._traces(set_name, episode)
        at = int(np.searchsorted(frames, frame_index, side="right")) - 1
        if at < 0 or (self._words.traces == "exact" and frames[at] != frame_index):
            return None
        return dict(self._trace(set_name, first + at))

    def _one_goal(self, set_name: str, episode: int, chance: _Chance) -> str:
        goal = self._goal(set_name, episode)
        if self._words.paraphrase and chance.next() < self._words.paraphrase:
            others = self._wordings(set_name, episode)
            if others:
                return others[int(chance.next() * len(others))]
        return goal

    def _some_facts(self, set_name: str, episode: int, chance: _Chance) -> str:
        facts = self._facts(set_name, episode)
        kept = [fact for fact in facts if chance.next() >= self._words.drop_facts]
        # A sample always says something: where all fell, the first one by chance stays.
        return " ".join(kept or [facts[int(chance.next() * len(facts))]])

    def _read_goal(self, set_name: str, episode: int) -> str:
        goal = self._shards.episodes(set_name).value("task", episode)
        if not goal:
            raise self._missing(set_name, episode, "an instruction")
        return goal

    def _read_wordings(self, set_name: str, episode: int) -> list[str]:
        return [
            row["text"]
            for row in self._rows("instruction", set_name, episode, ["kind", "text", "policy"])
            if row["kind"] == "alternative" and self._passes(row["policy"])
        ]

    def _fine_row(self, set_name: str, episode: int) -> int:
        episodes = self._text_episodes(set_name, episode)
        row = episodes.value("fine_grained", episode)
        if row is None or not self._passes(episodes.value("policy", episode)):
            raise self._missing(set_name, episode, f"a fine-grained text that is {self._policy}")
        return row

    def _read_fine(self, set_name: str, episode: int) -> str:
        row = self._fine_row(set_name, episode)
        return self._shards.text(set_name, "instructions", revision=self._revision).value(
            "text", row
        )

    def _read_steps(self, set_name: str, episode: int) -> list[str]:
        row = self._fine_row(set_name, episode)
        table = self._shards.text(set_name, "instructions", revision=self._revision)
        steps = table.value("steps", row)
        if not steps:
            raise self._missing(set_name, episode, "a fine-grained text with steps")
        return [step.strip() for step in steps]

    def _read_facts(self, set_name: str, episode: int) -> list[str]:
        facts = [
            row["text"]
            for row in self._rows("fact", set_name, episode, ["text", "policy"])
            if self._passes(row["policy"])
        ]
        if not facts:
            raise self._missing(set_name, episode, f"facts that are {self._policy}")
        return facts

    def _read_traces(self, set_name: str, episode: int) -> tuple[np.ndarray, int]:
        episodes = self._text_episodes(set_name, episode)
        first, count = (int(episodes.value(name, episode)) for name in ("first_trace", "traces"))
        if not count:
            return np.zeros(0, np.int32), first
        table = self._shards.text(set_name, "traces", revision=self._revision)
        return np.array(table.numbers("frame_index", first, first + count)), first

    def _read_trace(self, set_name: str, row: int) -> dict[str, Any]:
        table = self._shards.text(set_name, "traces", revision=self._revision)
        names = [
            "trace_id", "frame_index", "observation", "situation_analysis", "spatial_reasoning",
            "task_planning", "logical_steps", "sub_action",
        ]  # fmt: skip
        return {name: table.value(name, row) for name in names}

    def _rows(
        self, thing: str, set_name: str, episode: int, columns: list[str]
    ) -> list[dict[str, Any]]:
        episodes = self._text_episodes(set_name, episode)
        first = int(episodes.value(f"first_{thing}", episode))
        count = int(episodes.value(f"{thing}s", episode))
        table = self._shards.text(set_name, f"{thing}s", revision=self._revision)
        return table.rows(first, first + count, columns=columns).to_pylist()

    def _text_episodes(self, set_name: str, episode: int) -> Any:
        """`text_episodes` of the set, whose row must be that of the very episode."""
        table = self._shards.text(set_name, "episodes", revision=self._revision)
        wanted = self._shards.episodes(set_name).value("episode_id", episode)
        found = table.value("episode_id", episode) if episode < len(table) else "no row"
        if found != wanted:
            raise table.damaged(
                found=f"{found} in row {episode}", wanted=f"{wanted}, as in the set"
            )
        return table

    def _passes(self, policy: str | None) -> bool:
        return policy is not None and (self._policy == "not_contradicted" or policy == "reviewed")

    def _missing(self, set_name: str, episode: int, wanted: str) -> ConformError:
        episode_id = self._shards.episodes(set_name).value("episode_id", episode)
        return ConformError(
            place=f"episode {episode_id} of set {set_name}",
            found=f"none in text revision {self._revision}",
            wanted=wanted,
            next_command=f"finedata shard {self._shards.root} --text DATASET  # takes up new words",
        )


class _Chance:
    """Numbers in [0, 1) that depend on a sample's place in its source, and on nothing else."""

    def __init__(self, seed: int, view: str, source: str, ordinal: int) -> None:
        self._place = seed, view, source, ordinal
        self._turn = 0

    def next(self) -> float:
        key = "\0".join(map(str, self._place)).encode()
        digest = hashlib.blake2b(key, digest_size=8, salt=self._turn.to_bytes(16, "little"))
        self._turn += 1
        return int.from_bytes(digest.digest(), "little") / 2**64
