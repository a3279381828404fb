"""Find the demonstrations that would spoil a policy.

    python examples/find_bad_demonstrations.py OUT

Three faults that happen in labs are planted into a LeRobot dataset; the gate names each, and a
smaller dataset without them is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from own_lerobot_to_representatives import make_lerobot

import finedata as fd


def plant(folder: Path) -> dict[int, str]:
    """Spoil episodes on disk.

    Returns:
        Number of an episode to the check that should fail.
    """
    files = sorted((folder / "data").rglob("episode_*.parquet"))
    motion = [_read(file) for file in files]
    lengths = [len(state) for state, _ in motion]
    # The logger paired states with actions of another time: played backwards here.
    state, action = motion[3]
    _write(files[3], state, action[::-1])
    # The arm's driver had died, and its last state was logged again and again.
    state, action = motion[8]
    _write(files[8], np.repeat(state[:1], len(state), axis=0), action)
    # One recording was saved twice, under another number and task.
    copy = next(k for k in range(12, len(files)) if lengths[k] in lengths[9:12])
    original = 9 + lengths[9:12].index(lengths[copy])
    _write(files[copy], *motion[original])
    return {3: "action_state", 8: "frozen_state", copy: "duplicate"}


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(file, columns=["observation.state", "action"])
    state, action = (np.array(column.to_pylist(), np.float32) for column in table.columns)
    return state, action


def _write(file: Path, state: np.ndarray, action: np.ndarray) -> None:
    table = pq.read_table(file)
    for name, values in (("observation.state", state), ("action", action)):
        field = table.schema.field(name)
        column = pa.array(values.tolist(), field.type)
        table = table.set_column(table.column_names.index(name), field, column)
    pq.write_table(table, file)


def main(out: Path) -> tuple[dict[int, str], dict[int, list[str]]]:
    """Spoil, convert, judge, keep the good ones.

    Returns:
        What was planted, and what the gate says; both by the episode's number.
    """
    folder = make_lerobot(out)
    planted = plant(folder)
    ds = fd.source("lerobot", folder).convert(out / "dataset")
    ds.gate()
    bad = ds.sql(
        "select r.source_file, g.reasons, e.task from gate g join receipts r using (episode_id) "
        "join episodes e using (episode_id) where g.verdict = 'fail' order by r.source_file"
    )
    print(bad)  # watch these, and not all: finedata view OUT/dataset
    kept = ds.write(
        out / "good", where="episode_id in (select episode_id from gate where verdict = 'pass')"
    )
    print(kept)
    found = bad.select("source_file", "reasons").iter_rows()
    return planted, {int(Path(file).stem.split("_")[1]): reasons for file, reasons in found}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
