"""Which step a fact belongs to now: found through step_id when facts are read, never stored anew.

Steps are split, moved and merged by revisions of their own rows, and their `step_index` changes
with every one of these. Were facts written again each time, one edit of a step would rewrite
hundreds of rows, and a reader between two files would see facts at the wrong step. So a fact's
`step_index` is the one that its step has in its newest revision; of a step that was merged into
another, its facts are that other's. Only steps that were written again are looked up: a dataset
that nobody edited pays nothing.
"""

from __future__ import annotations

import polars as pl

from finedata.errors import ConformError

__all__ = ["with_current_steps"]

_ENDS = (("step_id", "step_index"), ("next_step_id", "next_step_index"))


def with_current_steps(facts: pl.LazyFrame, steps: pl.LazyFrame) -> pl.LazyFrame:
    """Give facts the steps that theirs have become, and the places of these.

    Args:
        facts: Rows of `facts`.
        steps: The newest revision of every row of `steps`.

    Returns:
        The same rows in the same order; `step_id`, `step_index` and those of the next step are
        as the steps are now. Frames and times stay: a fact is about the frames that it was made
        and judged for, until a revision of its own says otherwise.

    Raises:
        ConformError: A step was merged into one that is not there, or into itself in a circle.
    """
    places = _places(steps)
    if places.is_empty():
        return facts
    names = facts.collect_schema().names()
    for name, index in _ENDS:
        found = places.lazy().rename({"step_id": name})
        moved = pl.col("now_id").is_not_null()
        facts = facts.join(found, on=name, how="left", maintain_order="left").with_columns(
            pl.when(moved).then("now_id").otherwise(name).alias(name),
            pl.when(moved).then("now_index").otherwise(index).alias(index),
        )
        facts = facts.select(names)
    return facts


def _places(steps: pl.LazyFrame) -> pl.DataFrame:
    """Of every step that was written again: step_id, and id and index of what it is now."""
    columns = ("step_id", "step_index", "merged_into")
    rows = steps.filter(pl.col("revision") > 0).select(columns).collect()
    index = dict(zip(rows["step_id"], rows["step_index"], strict=True))
    merged = {step: into for step, _, into in rows.iter_rows() if into is not None}
    unchanged = [step for step in merged.values() if step not in index]
    if unchanged:
        others = steps.filter(pl.col("step_id").is_in(unchanged)).select(columns).collect()
        index |= dict(zip(others["step_id"], others["step_index"], strict=True))
    now = [_end_of(step, merged, index) for step in rows["step_id"]]
    return pl.DataFrame(
        {
            "step_id": rows["step_id"],
            "now_id": pl.Series(now, dtype=pl.String),
            "now_index": pl.Series([index[step] for step in now], dtype=pl.Int32),
        }
    )


def _end_of(step: str, merged: dict[str, str], index: dict[str, int]) -> str:
    """The step that this one is now, however often it was merged."""
    seen = [step]
    while seen[-1] in merged:
        into = merged[seen[-1]]
        if into not in index or into in seen:
            raise ConformError(
                place=f"table 'steps', step {seen[-1]}, column 'merged_into'",
                found=f"{into}, which {'was merged into it' if into in seen else 'is not there'}",
                wanted="a step of the same episode and run that is still one",
            )
        seen.append(into)
    return seen[-1]
