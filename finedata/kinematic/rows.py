"""What was measured becomes the tables `steps` and `facts`, as columns and not row by row.

Rows are kept as flat lists, and become columns in the end: a million of them cost no dicts. They
are the rows that `finedata.schema.makers` would make one by one: names and provenance come from
the same places. Each fact has the number it rests on, a sentence that stands for itself, and the
step it belongs to.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from finedata.kinematic.words.fact_kinds import KINDS, FactKind
from finedata.kinematic.words.sentences import COLUMNS, WIDTH, episode_facts
from finedata.kinematic.words.steps import episode_steps
from finedata.schema.conform import conform
from finedata.schema.identity import fact_head, fact_tail, step_id
from finedata.schema.makers import provenance
from finedata.schema.tables.all import build_schema, declared_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from finedata.kinematic.measured import Measured

__all__ = ["ANNOTATOR", "KinematicRows", "kinematic_facts"]

ANNOTATOR = "kinematic"
"""What the column `annotator` says."""

_STEP = ("step_id", "step_index", "start_frame", "end_frame", "text", "arm", "primitive_action")


class KinematicRows:
    """Columns of `steps` and `facts`, filled episode by episode.

    Args:
        run_id: hash16 of the settings of the run.

    Example:
        >>> import numpy as np
        >>> from finedata.kinematic.measure import measure
        >>> from finedata.kinematic.motion import ArmMotion, EpisodeMotion
        >>> arm = ArmMotion("right", gripper_open=np.repeat([1.0, 0.0], 20))
        >>> rows = KinematicRows(run_id="0" * 16)
        >>> rows.add(measure(EpisodeMotion((arm,), fps=10.0, frames=40)), episode_id="made-1")
        >>> rows.facts().column("text").to_pylist()[1]
        'The gripper of the right arm closes between 1.90 s and 2.10 s.'
    """

    def __init__(self, *, run_id: str) -> None:
        self._run_id = run_id
        self._episodes: list[str] = []
        self._fps: list[float] = []
        # How many rows there are after each episode.
        self._steps_after, self._facts_after = [0], [0]
        self._steps: list[Any] = []
        self._facts: list[Any] = []

    def __len__(self) -> int:
        return self._facts_after[-1]

    def add(self, measured: Measured, *, episode_id: str) -> None:
        """Append an episode's rows.

        Args:
            measured: What was measured.
            episode_id: Whose it is; each episode once.
        """
        steps, out = episode_steps(measured), self._steps
        for place, step in enumerate(steps):
            segment, name = step.segment, step_id(episode_id, self._run_id, place=place)
            out += (name, place, segment.start_frame, segment.end_frame)
            out += (step.text, step.arm, step.verb)
        episode_facts(measured, steps, self._facts)
        self._episodes.append(episode_id)
        self._fps.append(measured.fps)
        self._steps_after.append(len(out) // len(_STEP))
        self._facts_after.append(len(self._facts) // WIDTH)

    def steps(self) -> pa.Table:
        """The published table `steps`, conforming.

        Raises:
            ConformError: An episode was added twice.
        """
        columns = _columns(self._steps, _STEP)
        columns |= self._of_episode(columns, self._steps_after)
        return self._table("steps", columns, self._steps_after[-1])

    def facts(self) -> pa.Table:
        """The published table `facts`, conforming.

        Raises:
            ConformError: An episode was added twice.
        """
        columns = _columns(self._facts, COLUMNS)
        kinds = columns["kind"]
        for name, choices in zip(FactKind._fields, zip(*KINDS, strict=True), strict=True):
            columns[name] = _looked_up(choices, kinds)
        columns["fact_id"] = self._fact_ids(
            kinds, columns["step_index"], columns["next_step_index"]
        )
        columns |= self._of_episode(columns, self._facts_after)
        columns["step_id"] = self._step_ids(columns["step_index"])
        columns["next_step_id"] = self._step_ids(columns["next_step_index"])
        return self._table("facts", columns, len(self))

    def _fact_ids(
        self, kinds: list[int], places: list[int | None], next_places: list[int | None]
    ) -> Any:
        """Names of the facts, as `identity.fact_id` has them; what many share is encoded once."""
        named = self._steps[:: len(_STEP)]
        digests: list[bytes] = []
        for k, episode_id in enumerate(self._episodes):
            heads = [
                fact_head(
                    episode_id,
                    self._run_id,
                    dimension=kind.dimension,
                    slot=kind.slot,
                    anchor=kind.anchor,
                ).encode()
                for kind in KINDS
            ]
            own = named[self._steps_after[k] : self._steps_after[k + 1]]
            tails: dict[int | None, bytes] = {None: fact_tail().encode()}
            tails |= {place: fact_tail(name).encode() for place, name in enumerate(own)}
            rows = slice(self._facts_after[k], self._facts_after[k + 1])
            for kind, place, after in zip(
                kinds[rows], places[rows], next_places[rows], strict=True
            ):
                if place is None or after is None:
                    tail = tails[place]
                else:
                    tail = fact_tail(own[place], own[after]).encode()
                digests.append(sha256(heads[kind] + tail).digest()[:8])
        return _texts(b"".join(digests).hex().encode(), 16)

    def _step_ids(self, places: list[int | None]) -> Any:
        """Names of the steps of the facts: they stand in the steps of their episodes."""
        begin = np.repeat(np.array(self._steps_after[:-1], np.int64), np.diff(self._facts_after))
        within = cast("Any", pa.array(places, pa.int64()))
        missing: NDArray[np.bool_] = within.is_null().to_numpy(zero_copy_only=False)
        own: NDArray[np.int64] = within.fill_null(0).to_numpy()
        return _looked_up(self._steps[:: len(_STEP)], begin + own, missing)

    def _of_episode(self, columns: dict[str, Any], after: list[int]) -> dict[str, Any]:
        """Whose each row is, and its times."""
        counts = np.diff(after)
        fps = np.repeat(np.array(self._fps, np.float64), counts)
        return {
            "episode_id": _looked_up(self._episodes, np.repeat(np.arange(len(counts)), counts)),
            "start_s": np.array(columns["start_frame"], np.float64) / fps,
            "end_s": np.array(columns["end_frame"], np.float64) / fps,
        }

    def _table(self, name: str, columns: dict[str, Any], rows: int) -> pa.Table:
        schema = build_schema(declared_table(name))
        constant = {
            "language": "en",
            "kind": "primitive",
            "kinematic_verdict": "confirmed",
            **provenance("kinematic", annotator=ANNOTATOR, run_id=self._run_id),
        }
        fields: list[Any] = list(schema)
        arrays: list[Any] = []
        for field in fields:
            if field.name == "measurement":
                arrays.append(_measurements(columns, field.type))
            elif field.name in columns and (name, field.name) != ("facts", "kind"):
                arrays.append(_array(columns[field.name], field.type))
            else:
                arrays.append(_repeated(constant.get(field.name), field.type, rows))
        return conform(pa.Table.from_arrays(arrays, schema=schema), name)


def _columns(flat: list[Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: flat[k :: len(names)] for k, name in enumerate(names)}


def _looked_up(
    choices: Iterable[Any], places: Any, missing: NDArray[np.bool_] | None = None
) -> Any:
    """Of each row the choice at its place; null where it is missing."""
    listed = list(choices)
    arrow_type = None if listed else pa.string()
    rows = pa.array(places, pa.int64(), mask=missing)
    return cast("Any", pa.array(listed, arrow_type)).take(rows)


def _array(values: Any, arrow_type: Any) -> Any:
    if isinstance(values, list | np.ndarray):
        return cast("Any", pa).array(values, arrow_type)
    return values.cast(arrow_type)


def _repeated(value: Any, arrow_type: Any, count: int) -> Any:
    if isinstance(value, str):
        return _texts(value.encode() * count, len(value.encode()))
    whole: Any = cast("Any", pa).repeat(pa.scalar(value, arrow_type), count)
    return whole


def _texts(joined: bytes, width: int) -> Any:
    """Texts of one width, out of their UTF-8 bytes one after the other."""
    count = len(joined) // width
    offsets = (np.arange(count + 1) * width).astype(np.int32)
    own = cast("Any", pa)
    buffers = own.py_buffer(offsets), own.py_buffer(joined)
    return own.StringArray.from_buffers(count, *buffers)


def _measurements(columns: dict[str, Any], struct: Any) -> Any:
    own = {"name": "measure", "value": "measured", "unit": "measure_unit"}
    fields: list[Any] = list(struct)
    arrays = [
        _array(columns[own.get(str(field.name), str(field.name))], field.type) for field in fields
    ]
    return cast("Any", pa.StructArray).from_arrays(arrays, fields=fields)


def kinematic_facts(
    measured: Measured, *, episode_id: str, run_id: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `steps` and of `facts` of one episode, with every column of the tables.

    `KinematicRows` is much faster over many episodes.

    Args:
        measured: What was measured.
        episode_id: Whose it is.
        run_id: hash16 of the settings of the run.
    """
    rows = KinematicRows(run_id=run_id)
    rows.add(measured, episode_id=episode_id)
    return rows.steps().to_pylist(), rows.facts().to_pylist()
