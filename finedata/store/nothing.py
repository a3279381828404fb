"""What a verb says when there is nothing to work on: a result with a reason, never a traceback.

Nothing is a valid input everywhere: a conversion whose episodes all failed, a gate that passed
none, a source without language. This is the one place that says why a dataset has no episode and
what to look at next, so that every verb says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset

__all__ = ["no_episodes", "nothing_to_export", "undeclared_note"]


def no_episodes(dataset: Dataset) -> str | None:
    """Say why a dataset has no episode, and the command that shows it; None where it has one."""
    if any(part.episodes for part in dataset.parts):
        return None
    found, next_command = _why(dataset)
    return f"{found}. Next: {next_command}"


def nothing_to_export(dataset: Dataset) -> UsageError:
    """The refusal of a verb that would write an empty dataset."""
    found, next_command = _why(dataset)
    return UsageError(
        place=f"episodes of {dataset.root}",
        found=found,
        wanted="at least one episode of this dataset",
        next_command=next_command,
    )


def undeclared_note(part: str, *, found: str, wanted: str) -> str:
    """Say what a verb misses in a part, and how a converter file that declares it is made.

    Args:
        part: Name of the part.
        found: What it has instead.
        wanted: What the verb needs.
    """
    return (
        f"part {part}: found {found}, wanted {wanted}. Next: finedata sources draft SOURCE > "
        "mine.toml, declare in it what the numbers are, and convert SOURCE again with it"
    )


def _why(dataset: Dataset) -> tuple[str, str]:
    if any(part.episodes for part in dataset.parts):
        query = "select episode_id, task, length from episodes"
        return "no episode was chosen", f'finedata query {dataset.root} "{query}"'
    counts = dataset.info.counts
    found, failed = counts.get("found", 0), counts.get("failed", 0)
    if failed:
        query = "select reason, source_file, message from receipts where status = 'failed'"
        return f"no episode was written, {failed} of {found} failed", (
            f'finedata query {dataset.root} "{query}"'
        )
    return "no episode was found in the source", f"finedata info {dataset.root}"
