"""Words that stand in the tars too (`--bake`), for readers that know nothing of our tables.

They are taken from the same tables that a text revision has, made before the first tar, so a baked
text and the one beside it cannot be of two rules. What has no text has an empty member: every
sample has the same members. A baked copy is stale on the day a review ends, which is why words
stand beside the tars by default.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finedata.shard.mapped import MappedTable
from finedata.shard.words import write_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.shard.making.plan import SetPlan, ShardContext
    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode

_SECTIONS = ("observation", "situation_analysis", "spatial_reasoning", "task_planning")


def prepare_baked(
    context: ShardContext, datasets: Sequence[Dataset], sets: Mapping[str, Sequence[str]]
) -> None:
    """Write the words of what a run adds, where its workers map them.

    Args:
        context: Of the run.
        datasets: Its datasets.
        sets: Set -> ids of the episodes that are added to it, in their order.
    """
    write_words(_folder(context), datasets, sets)


class BakedWords:
    """The baked words of a set's episodes."""

    def __init__(self, context: ShardContext, plan: SetPlan) -> None:
        self._names = plan.baked
        self._reviewed = context.settings.text_policy == "reviewed"
        if not self._names:
            return
        folder = _folder(context) / plan.name
        self._episodes = MappedTable(folder / "episodes.arrow", name="text_episodes")
        self._instructions = MappedTable(folder / "instructions.arrow", name="text_instructions")
        self._traces = MappedTable(folder / "traces.arrow", name="text_traces")

    def of(self, number: int, episode: Episode) -> dict[str, list[bytes]]:
        """Word -> its text at every frame.

        Args:
            number: Of the episode among those that the run adds to the set.
            episode: The episode.
        """
        found: dict[str, list[bytes]] = {}
        for name in self._names:
            if name == "trace":
                found[name] = self._trace(number, len(episode))
            else:
                text = episode.task if name == "instruction" else self._fine(number)
                found[name] = [text.encode()] * len(episode)
        return found

    def _fine(self, number: int) -> str:
        row = self._episodes.value("fine_grained", number)
        if row is None or not self._passes(self._episodes.value("policy", number)):
            return ""
        return self._instructions.value("text", row)

    def _trace(self, number: int, frames: int) -> list[bytes]:
        """At every frame the last trace before it; empty before the first."""
        first = self._episodes.value("first_trace", number)
        rows = self._traces.rows(first, first + self._episodes.value("traces", number))
        texts = [b""] * frames
        for row in rows.to_pylist():
            if self._passes(row["policy"]):
                begin = int(row["frame_index"])
                texts[begin:] = [trace_text(row).encode()] * max(0, frames - begin)
        return texts

    def _passes(self, policy: str) -> bool:
        return policy == "reviewed" or not self._reviewed


def trace_text(row: Mapping[str, str]) -> str:
    """A trace as one text: its four sections under their names."""
    return "\n".join(f"{name.replace('_', ' ').title()}: {row[name]}" for name in _SECTIONS)


def _folder(context: ShardContext) -> Path:
    return Path(context.plans) / "words"
