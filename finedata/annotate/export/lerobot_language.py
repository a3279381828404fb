"""Export to LeRobot's language columns: `language_persistent` and `language_events`.

The data files of a LeRobot v3.0 dataset get the two columns, and all others are byte for byte as
they were. Persistent rows hold from their time on and stand in every frame of the episode; events
stand in the frame at which they happen.

    step                   -> persistent, assistant, style `subtask`, at its first frame
    measured step          -> persistent, assistant, style `motion`, at its first frame
    fine-grained text      -> persistent, assistant, style `plan`, at 0
    other wordings         -> persistent, user, style `task_aug`, at 0
    trace, its planning    -> persistent, assistant, style `plan`, at its frame
    trace, its other parts -> events of style `vqa`, question and answer, with the first camera

Styles, roles and types are those of LeRobot's `datasets/language.py` (2026, "v3.1 rows"). Its
`trace` is a trajectory in pixels, which ours is not. Not verified against a released LeRobot: its
reader of these columns is newer than the one our conformance tests install.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from finedata.annotate.export.choose import chosen_rows
from finedata.store.atomic import write_atomic
from finedata.store.dataset import open_dataset
from finedata.store.export.starvla import fine_grained_steps
from finedata.store.lerobot.extend import add_columns
from finedata.store.lerobot.layout import INFO_PATH, picture_column, read_info
from finedata.store.merge.subset import write_subset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset
    from finedata.store.export.episodes import ExportSummary

_FIELDS: list[tuple[str, pa.DataType, bool]] = [
    ("role", pa.string(), False),
    ("content", pa.string(), True),
    ("style", pa.string(), True),
    ("timestamp", pa.float32(), False),
    ("camera", pa.string(), True),
    # LeRobot's type is JSON, which falls back to string; no row of ours has calls
    ("tool_calls", pa.list_(pa.string()), True),
]
PERSISTENT_ROW = pa.struct([pa.field(name, kind, nullable=null) for name, kind, null in _FIELDS])
"""Type of a persistent row."""
EVENT_ROW = pa.struct(
    [pa.field(name, kind, nullable=null) for name, kind, null in _FIELDS if name != "timestamp"]
)
"""Type of an event: the same without a time, which is that of its frame."""

_COLUMNS = {
    "language_persistent": pa.list_(PERSISTENT_ROW),
    "language_events": pa.list_(EVENT_ROW),
}
_QUESTIONS = {
    "observation": "What do you see that matters for the task?",
    "situation_analysis": "What does the situation mean for the task?",
    "spatial_reasoning": "Where are the objects, to each other and to your gripper?",
}


def export_lerobot_language(
    dataset: Dataset, *, out: Path, episode_ids: Sequence[str]
) -> ExportSummary:
    """Write the chosen episodes as LeRobot v3.0 with language columns.

    Args:
        dataset: The dataset.
        out: An empty folder; see `finedata.store.merge.subset.write_subset`.
        episode_ids: Which episodes.

    Returns:
        What was written; `counts` has rows by style, and episodes without any.
    """
    summary = write_subset(dataset, out=out, episode_ids=episode_ids)
    counts: Counter[str] = Counter(summary.counts)
    written = open_dataset(out)
    rows = _LanguageRows(written, episode_ids)
    for part in written.parts:
        root = out / part.path
        episodes = written.episodes.filter(pl.col("part") == part.name)
        names = dict(episodes.select("episode_index", "episode_id").collect().iter_rows())
        for path in sorted(root.glob("data/*/*.parquet")):
            values = partial(_columns, rows=rows, names=names, fps=part.fps, counts=counts)
            add_columns(path, _COLUMNS, values=values)
        _declare(root)
    found = {name: count for name, count in sorted(counts.items()) if count}
    return msgspec.structs.replace(summary, format="lerobot-language", counts=found)


class _LanguageRows:
    """The language rows of episodes, made when they are asked for."""

    def __init__(self, dataset: Dataset, ids: Sequence[str]) -> None:
        order = ("start_frame", "step_index", "step_id")
        self._steps = chosen_rows(dataset, "steps", episode_ids=ids, order=order)
        self._traces = chosen_rows(
            dataset, "traces", episode_ids=ids, order=("frame_index", "trace_id")
        )
        self._fine = fine_grained_steps(dataset, episode_ids=ids)
        wordings = (
            dataset.instructions.filter(
                (pl.col("kind") == "alternative")
                & (pl.col("review_status") != "rejected")
                & pl.col("episode_id").is_in(list(ids))
            )
            .sort("episode_id", "order", "instruction_id")
            .select("episode_id", "text")
            .collect()
        )
        self._wordings: dict[str, list[str]] = {}
        for episode_id, text in wordings.iter_rows():
            self._wordings.setdefault(episode_id, []).append(text)

    def persistent(self, episode_id: str, *, fps: float) -> list[dict[str, Any]]:
        """Rows that hold from their time on, sorted as LeRobot's writer sorts them."""
        rows = [_row("user", "task_aug", text, 0.0) for text in self._wordings.get(episode_id, ())]
        if episode_id in self._fine:
            texts = enumerate(self._fine[episode_id], start=1)
            plan = " ".join(f"({number}) {text}" for number, text in texts)
            rows.append(_row("assistant", "plan", plan, 0.0))
        for step in self._steps.get(episode_id, ()):
            style = "motion" if step["origin"] == "kinematic" else "subtask"
            rows.append(_row("assistant", style, step["text"], step["start_frame"] / fps))
        for trace in self._traces.get(episode_id, ()):
            steps = enumerate(trace["logical_steps"], start=1)
            plan = " ".join(
                [trace["task_planning"], *(f"({number}) {text}" for number, text in steps)]
            )
            text = f"{plan} Next: {trace['sub_action']}"
            rows.append(_row("assistant", "plan", text, trace["frame_index"] / fps))
        return sorted(rows, key=lambda row: (row["timestamp"], row["style"], row["role"]))

    def events(self, episode_id: str) -> dict[int, list[dict[str, Any]]]:
        """Frame -> the events that happen at it."""
        found: dict[int, list[dict[str, Any]]] = {}
        for trace in self._traces.get(episode_id, ()):
            if not trace["cameras"]:
                continue
            camera = picture_column(trace["cameras"][0])
            for name, question in _QUESTIONS.items():
                found.setdefault(trace["frame_index"], []).extend(
                    [
                        _row("user", "vqa", question, None, camera),
                        _row("assistant", "vqa", trace[name], None, camera),
                    ]
                )
        return found


def _row(
    role: str, style: str, content: str, time_s: float | None, camera: str | None = None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "role": role,
        "content": content,
        "style": style,
        "camera": camera,
        "tool_calls": None,
    }
    # as LeRobot stores the time of a frame: compared for equality
    return row if time_s is None else row | {"timestamp": float(np.float32(time_s))}


def _columns(
    table: Any, rows: _LanguageRows, names: dict[int, str], *, fps: float, counts: Counter[str]
) -> list[pa.Array[Any]]:
    persistent: list[list[dict[str, Any]]] = []
    events: list[list[dict[str, Any]]] = []
    shown: dict[int, tuple[list[dict[str, Any]], dict[int, list[dict[str, Any]]]]] = {}
    indices, frames = table["episode_index"].to_pylist(), table["frame_index"].to_pylist()
    for index, frame in zip(indices, frames, strict=True):
        if index not in shown:
            episode_id = names[index]
            shown[index] = rows.persistent(episode_id, fps=fps), rows.events(episode_id)
            styles = [row["style"] for row in shown[index][0]]
            counts.update(f"rows_{style}" for style in styles)
            counts["episodes_without_language_rows"] += not styles
        persistent.append(shown[index][0])
        events.append(shown[index][1].get(frame, []))
        counts["rows_vqa"] += len(events[-1])
    return [
        pa.array(persistent, _COLUMNS["language_persistent"]),
        pa.array(events, _COLUMNS["language_events"]),
    ]


def _declare(root: Path) -> None:
    """Name the columns in info.json, as LeRobot's `language_feature_info` does."""
    info = read_info(root)
    for name in _COLUMNS:
        info["features"][name] = {"dtype": "language", "shape": [1], "names": None}
    text = msgspec.json.format(msgspec.json.encode(info), indent=2).decode()
    write_atomic(root / INFO_PATH, text + "\n")
