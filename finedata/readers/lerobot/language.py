"""LeRobot's column `language_persistent` as texts that a converter file can name.

A row of it (role, content, style, time) holds from its time on, until the next one of its style,
and stands in every frame of the episode. Each style is a feature of its own, so that what no
converter names is left out by name:

    language_persistent[subtask]     what is being done, one text a frame; empty before the first
    language_persistent[subtask:2]   the second of two that begin at the same time
    language_persistent[motion]      the same of motions, also with `:2`
    language_persistent[task_aug]    other wordings of the task, for the whole episode

Other styles, and a third text at one time, have no form here, and say so. What the column is, its
own type decides; styles and fields are those of LeRobot's `datasets/language.py` (2026).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FIELDS = {"role", "content", "style", "timestamp"}
_RUNNING = ("subtask", "motion")
_WORDINGS = "task_aug"
# Two arms may begin at once.
_MOST_AT_ONCE = 2
# Times are float32 in the file; LeRobot compares them within this.
_TOLERANCE_S = 1e-4
_Row = dict[str, Any]


def is_persistent_type(kind: pa.DataType) -> bool:
    """Whether a column holds lists of persistent rows of language."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    if not pa.types.is_struct(cast("Any", kind).value_type):
        return False
    fields: list[Any] = list(cast("Any", kind).value_type)
    return {field.name for field in fields} >= _FIELDS


def language_texts(
    name: str, frames: Iterable[Sequence[_Row] | None], time_s: Sequence[float]
) -> dict[str, list[str] | None]:
    """The features that a column of persistent rows is.

    Args:
        name: The column's.
        frames: The rows of each frame; a row that stands in any of them counts.
        time_s: (T,) when each frame is shown, in seconds from the episode's first, increasing.

    Returns:
        Feature to texts: one a frame, or the wordings; `None` of one that has no form here.
    """
    rows: dict[tuple[Any, ...], None] = {}
    for frame in frames:
        for row in frame or ():
            known = (row["timestamp"], row["style"], row["role"], row["content"])
            rows[known] = None
    styles: dict[str, list[tuple[float, str]]] = {}
    for at_s, style, _, content in rows:
        if content:
            styles.setdefault(str(style), []).append((float(at_s or 0.0), str(content)))
    found: dict[str, list[str] | None] = {}
    for style, texts in styles.items():
        if style == _WORDINGS:
            found[f"{name}[{style}]"] = [text for _, text in texts]
        elif style in _RUNNING:
            found |= _running(f"{name}[{style}", texts, time_s)
        else:
            found[f"{name}[{style}]"] = None
    return found


def _running(
    stem: str, texts: list[tuple[float, str]], time_s: Sequence[float]
) -> dict[str, list[str] | None]:
    """One text a frame for the first, second, ... of the texts that begin at one time."""
    starts: dict[float, list[str]] = {}
    for at_s, text in sorted(texts, key=lambda row: row[0]):
        starts.setdefault(at_s, []).append(text)
    lanes: list[list[str]] = [[""] * len(time_s) for _ in range(max(map(len, starts.values())))]
    for at_s, begun in starts.items():
        first = bisect_left(time_s, at_s - _TOLERANCE_S)
        for number, lane in enumerate(lanes):
            text = begun[number] if number < len(begun) else ""
            lane[first:] = [text] * (len(time_s) - first)
    return {
        f"{stem}{f':{number + 1}' if number else ''}]": lane if number < _MOST_AT_ONCE else None
        for number, lane in enumerate(lanes)
    }
