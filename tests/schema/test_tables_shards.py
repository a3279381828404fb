"""Tables of shards: what a set's files look like, and that rows are found by arithmetic alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from finedata.errors import ConformError
from finedata.schema.conform import conform, read_schema_tag
from finedata.schema.tables.all import (
    arrow_schema,
    frames_schema,
    shard_frames_schema,
    shard_index_schema,
)
from finedata.schema.tables.shards import BATCH_ROWS, TEXT_EPISODES

VECTORS = {"observation.state": 8, "action": 8, "observation.torso_joint_position": 1}


def test_frames_have_the_columns_of_the_part_but_what_repeats():
    part = frames_schema(features=VECTORS, cameras=["front"], has_source_time=True)
    own = shard_frames_schema(features=VECTORS, has_source_time=True)
    dropped = {"index", "episode_index", "task_index", "timestamp", "frame_index"}
    dropped.add("observation.images.front")
    assert set(own.names) == (set(part.names) - dropped) | {"episode", "frame_index"}
    for name in set(own.names) & set(part.names) - {"frame_index"}:
        assert own.field(name) == part.field(name)
    assert own.names[:2] == ["episode", "frame_index"]
    assert shard_frames_schema(
        features=VECTORS, has_source_time=False, has_intervention=True
    ).names == [
        *("episode", "frame_index", "observation.state", "action", "action_valid"),
        *("is_intervention", "observation.torso_joint_position"),
    ]
    with pytest.raises(ConformError):
        shard_frames_schema(features={"action": 8}, has_source_time=False)


def index_rows(samples: int, members: int) -> pa.Table:
    def of(values, kind):
        flat = pa.array(np.asarray(values).reshape(-1), kind)
        return pa.FixedSizeListArray.from_arrays(flat, members)

    shape = (samples, members)
    columns = {
        "episode": pa.array(range(samples), pa.int32()),
        "episode_id": pa.array([f"e-{n}" for n in range(samples)]),
        "frame_index": pa.array([0] * samples, pa.int32()),
        "tar": pa.array([3] * samples, pa.int32()),
        "offset": pa.array(np.arange(samples) * 4096, pa.int64()),
        "size": pa.array([4096] * samples, pa.int64()),
        "member_offset": of(np.arange(samples * members) * 1024 + 512, pa.int64()),
        "member_size": of(np.full(shape, 100), pa.int64()),
        "member_crc32c": of(np.full(shape, 2**32 - 1), pa.uint32()),
    }
    return pa.table(columns)


@pytest.mark.parametrize("members", [1, 4])
def test_an_index_is_as_wide_as_a_sample_has_members(members):
    rows = conform(index_rows(3, members), "shard_index")
    assert rows.schema.equals(shard_index_schema(members), check_metadata=True)
    assert read_schema_tag(rows.schema.metadata) == ("shard_index", 1)
    crc = rows.column("member_crc32c").combine_chunks().flatten().to_numpy()
    assert crc.dtype == np.uint32
    assert set(crc.tolist()) == {2**32 - 1}


def test_an_index_without_members_or_with_a_sample_twice_is_refused():
    with pytest.raises(ConformError, match="width 0"):
        shard_index_schema(0)
    rows = index_rows(2, 4)
    with pytest.raises(ConformError, match="row 2"):
        conform(pa.concat_tables([rows, rows.slice(0, 1)]), "shard_index")


def test_words_are_found_by_first_row_and_count():
    names = [column.name for column in TEXT_EPISODES.columns]
    assert names[1:7] == [
        *("first_instruction", "instructions", "first_fact", "facts", "first_trace", "traces")
    ]
    for name in ("text_instructions", "text_facts", "text_traces", "text_steps"):
        schema = arrow_schema(name)
        assert schema.names[0] == "episode"
        assert {"policy", "reviewer", "run_id", "revision", "call_id"} <= set(schema.names)


def test_mapped_rows_are_found_by_arithmetic(tmp_path):
    rows = 2 * BATCH_ROWS + 5
    schema = pa.schema([("frame_index", pa.int32())])
    path = tmp_path / "frames.arrow"
    with pa.ipc.new_file(path, schema) as writer:
        table = pa.table({"frame_index": np.arange(rows, dtype=np.int32)})
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as file:
        assert file.num_record_batches == 3
        for row in (0, BATCH_ROWS - 1, BATCH_ROWS, rows - 1):
            batch = file.get_batch(row // BATCH_ROWS)
            assert batch.column(0)[row % BATCH_ROWS].as_py() == row
