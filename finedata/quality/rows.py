"""How checks and scores become rows of curation/gate.parquet.

Nested columns are put together from flat arrays: a million rows take seconds, not minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from finedata.schema.enums import GATE_CHECKS
from finedata.schema.tables.all import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from finedata.quality.checks import CheckColumn


def gate_rows(
    *,
    episode_ids: Sequence[str],
    spaces: Sequence[str],
    checks: Mapping[str, CheckColumn],
    judged: NDArray[np.bool_],
    score: NDArray[np.float64],
    threshold: NDArray[np.float64],
    threshold_origin: Sequence[str],
    lag_frames: NDArray[np.float64],
    kept: NDArray[np.int64],
    method: str,
    settings_sha256: str,
) -> pa.Table:
    """Build the table; see schemas/v1/gate.json.

    Args:
        episode_ids: N ids.
        spaces: Space of each.
        checks: Check to its column, in checking order.
        judged: (N,) whether an action-state score says anything.
        score: (N,) NaN for none.
        threshold: (N,) NaN for none.
        threshold_origin: How each was found, one of `THRESHOLD_ORIGINS`.
        lag_frames: (N,) NaN for unknown.
        kept: (N,) number of the equal episode that is kept.
        method: `dtw` or `released`.
        settings_sha256: Of the settings.
    """
    count = len(episode_ids)
    schema: Any = arrow_schema("gate")
    ids = pa.array(episode_ids, pa.string())
    names = list(checks)
    failed = np.stack([column.failed for column in checks.values()], axis=1)
    made = np.stack([column.made for column in checks.values()], axis=1)
    fails = cast("NDArray[np.bool_]", failed.any(axis=1))
    other = cast("NDArray[np.bool_]", kept != np.arange(count))
    verdict = np.where(fails, 0, np.where(judged, 1, 2))
    reasons = _lists(failed, _named(names, np.nonzero(failed)[1]))
    columns: dict[str, Any] = {
        "episode_id": ids,
        "verdict": _named(["fail", "pass", "not_applicable"], verdict),
        "reason": _named(names, failed.argmax(axis=1), null=~fails),
        "reasons": reasons.cast(schema.field("reasons").type),
        "method": _named([method], np.zeros(count, np.int64)),
        "score": _nullable(score),
        "threshold": _nullable(threshold),
        "threshold_origin": pa.array(threshold_origin, pa.string()),
        "space": pa.array(spaces, pa.string()),
        "lag_frames": _nullable(lag_frames).cast(pa.int32()),
        "duplicate_of": _named(ids, kept, null=~other),
        "checks": _lists(made, _structs(checks, made)).cast(schema.field("checks").type),
        "settings_sha256": _named([settings_sha256], np.zeros(count, np.int64)),
    }
    return pa.table(columns)


def failed_names(table: pa.Table) -> dict[str, int]:
    """Count the episodes that fail each check: name to number, in checking order."""
    reasons: Any = table.column("reasons").combine_chunks()
    counts: Any = reasons.flatten().value_counts().to_pylist()
    found = {entry["values"]: entry["counts"] for entry in counts}
    return {name: found[name] for name in GATE_CHECKS if name in found}


def _structs(checks: Mapping[str, CheckColumn], made: NDArray[np.bool_]) -> pa.Array[Any]:
    """One entry for every check that was made, episode after episode."""
    which = np.nonzero(made)[1]
    fields = {
        field: np.stack([getattr(column, field) for column in checks.values()], axis=1)[made]
        for field in ("value", "limit", "passed")
    }
    arrays: list[Any] = [
        _named(list(checks), which),
        *(pa.array(values) for values in fields.values()),
    ]
    return cast("Any", pa.StructArray).from_arrays(arrays, names=["name", *fields])


def _named(
    values: Sequence[str] | pa.Array[Any],
    which: NDArray[np.int64],
    *,
    null: NDArray[np.bool_] | None = None,
) -> Any:
    """Strings picked by number, null where asked: no Python string for each row."""
    return cast("Any", pa).array(values, pa.string()).take(pa.array(which, mask=null))


def _lists(marked: NDArray[np.bool_], flat: pa.Array[Any]) -> pa.Array[Any]:
    """A list for each row, with as many of the flat values as are marked in it."""
    offsets = np.concatenate([[0], np.cumsum(marked.sum(axis=1))]).astype(np.int32)
    return cast("Any", pa.ListArray).from_arrays(pa.array(offsets), flat)


def _nullable(values: NDArray[np.float64]) -> pa.Array[Any]:
    return cast("Any", pa).array(values, pa.float64(), mask=np.isnan(values))
