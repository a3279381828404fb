"""A converted dataset with the motion of some episodes replaced, on disk."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.store.dataset import open_dataset


def rewrite_motion(root, change):
    """Replace states and actions: `change(episode_id, action, state)` gives new ones, or None.

    Lengths stay; everything else in the files stays as it is.
    """
    dataset = open_dataset(root)
    for part in dataset.parts:
        rows = dataset.episodes.filter(part=part.name).collect()
        ids = dict(zip(rows["episode_index"], rows["episode_id"], strict=True))
        for path in sorted((root / part.path).glob("data/*/*.parquet")):
            table = pq.read_table(path)
            episodes = table["episode_index"].to_numpy()
            values = {name: _matrix(table[name]) for name in ("action", "observation.state")}
            for index in np.unique(episodes):
                own = episodes == index
                found = change(ids[index], values["action"][own], values["observation.state"][own])
                if found is not None:
                    values["action"][own], values["observation.state"][own] = found
            for name, numbers in values.items():
                field = table.schema.field(name)
                flat = pa.array(numbers.reshape(-1).astype(np.float32))
                column = pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1]).cast(field.type)
                table = table.set_column(table.schema.get_field_index(name), field, column)
            pq.write_table(table, path)


def rewrite_episodes(root, change):
    """Replace rows of the table of episodes: `change(frame)` gives the new ones."""
    dataset = open_dataset(root)
    for part in dataset.parts:
        for path in sorted((root / part.path).glob("meta/episodes/*/*.parquet")):
            table = pq.read_table(path)
            pq.write_table(change(table).cast(table.schema), path)


def _matrix(column):
    array = column.combine_chunks()
    return array.flatten().to_numpy().reshape(-1, array.type.list_size).copy()
