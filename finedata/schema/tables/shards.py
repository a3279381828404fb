"""Declarations of the tables of a shards folder: numbers and words beside the tars of pictures.

They are Arrow IPC files that are mapped and never loaded, so a row must be found by arithmetic:
rows are sorted, every record batch but a file's last has `BATCH_ROWS` rows, and an episode is known
by its number within its set. That number is the row of `shard_episodes`; it decides the rows of
`shard_frames` and the row of `text_episodes`, which in turn says where the episode's words are.
Numbers do not change when shards are appended; words are a whole new folder each time they change,
because a stream must be able to name the very text it shows by one digest.
"""

from __future__ import annotations

from finedata.schema import enums
from finedata.schema.columns import Column, EnumBy, Table
from finedata.schema.dimension import SLOTS
from finedata.schema.tables.annotation import PROVENANCE
from finedata.schema.tables.dataset import FRAMES

__all__ = [
    "BATCH_ROWS",
    "SHARD_EPISODES",
    "SHARD_FRAMES",
    "SHARD_INDEX",
    "TEXT_EPISODES",
    "TEXT_FACTS",
    "TEXT_INSTRUCTIONS",
    "TEXT_STEPS",
    "TEXT_TRACES",
]

BATCH_ROWS = 65_536
"""Rows of every record batch but the last: row r is row r % BATCH_ROWS of batch r // BATCH_ROWS."""

_NON_NEGATIVE = (0.0, None)
_EPISODE = Column(
    "episode", "int32", "number of the episode in its set: its row there", range=_NON_NEGATIVE
)
_EPISODE_ID = Column("episode_id", "string", "the episode")
_FRAME_INDEX = Column("frame_index", "int32", "frame in the episode", range=_NON_NEGATIVE)


def _of_dataset(name: str) -> Column:
    column = FRAMES.column(name)
    if column is None:
        raise KeyError(name)
    return column


def _rows_of(thing: str) -> tuple[Column, Column]:
    """Where an episode's rows of a table of words are."""
    first = Column(
        f"first_{thing}", "int64", f"its first row in text_{thing}s", range=_NON_NEGATIVE
    )
    return first, Column(f"{thing}s", "int32", "how many rows it has there", range=_NON_NEGATIVE)


SHARD_EPISODES = Table(
    name="shard_episodes",
    meaning="one episode of a set: where its numbers begin, and where it came from",
    file="episodes/<set>.arrow",
    key=("episode_id",),
    stored_key=("episode_id",),
    columns=(
        _EPISODE_ID,
        Column("first_row", "int64", "its first row in shard_frames", range=_NON_NEGATIVE),
        Column("length", "int32", "its frames; they are rows of their own", range=(1.0, None)),
        Column("fps", "float64", "frames per second", unit="Hz", range=_NON_NEGATIVE),
        Column("task", "string", 'the instruction as the source wrote it; "" if there is none'),
        Column("task_id", "string", "see episodes", nullable=True),
        Column("source_revision", "string", "revision of the source corpus", nullable=True),
        Column("licence", "string", "SPDX identifier, or the licence's name"),
        Column("success", "bool", "the source's verdict; null if it gives none", nullable=True),
        Column("cameras_missing", "list<string>", "cameras without real pictures here"),
        Column("source_file", "string", "file of the source, see receipts"),
        Column("source_record", "int64", "record in that file", nullable=True),
        Column("byte_offset", "int64", "where the record begins", nullable=True, unit="byte"),
        Column("byte_length", "int64", "bytes of the record", nullable=True, unit="byte"),
        Column("source_sha256", "string", "digest of the record", nullable=True),
        Column(
            "verdict", "string", "of the gate, when sharded", nullable=True, enum=enums.VERDICTS
        ),
        Column("gate_score", "float64", "score of the gate", nullable=True),
        Column("cluster_id", "string", "see clusters", nullable=True),
        Column("rank", "int64", "see representatives; null for others", nullable=True),
    ),
)

SHARD_FRAMES = Table(
    name="shard_frames",
    meaning="the numbers of one time step, sorted by episode and frame; no pictures",
    file="frames/<set>.arrow",
    key=("episode", "frame_index"),
    stored_key=("episode", "frame_index"),
    columns=(
        _EPISODE,
        _FRAME_INDEX,
        _of_dataset("source_time_s"),
        *(column for column in FRAMES.columns if column.name in ("observation.state", "action")),
        _of_dataset("action_valid"),
        _of_dataset("is_intervention"),
        *(column for column in FRAMES.columns if column.symbolic and column.presence != "required"),
    ),
)

SHARD_INDEX = Table(
    name="shard_index",
    meaning="one sample of a tar, in the tar's order; n is the number of a sample's members",
    file="tars/<set>/<side>-<number>.index.arrow, beside each tar",
    key=("episode_id", "frame_index"),
    stored_key=("episode_id", "frame_index"),
    columns=(
        _EPISODE,
        _EPISODE_ID,
        Column(
            "frame_index",
            "int32",
            "frame in the episode; 0 where a sample is an episode",
            range=_NON_NEGATIVE,
        ),
        Column("tar", "int32", "number in the tar's name", range=_NON_NEGATIVE),
        Column(
            "offset", "int64", "where its first header begins", unit="byte", range=_NON_NEGATIVE
        ),
        Column(
            "size",
            "int64",
            "bytes from there to the next sample: one ranged read",
            unit="byte",
            range=(1.0, None),
        ),
        Column(
            "member_offset",
            "fixed_size_list<int64>[n]",
            "where in the tar each member's content begins, in the set's order",
            unit="byte",
        ),
        Column("member_size", "fixed_size_list<int64>[n]", "bytes of each content", unit="byte"),
        Column(
            "member_crc32c",
            "fixed_size_list<uint32>[n]",
            "CRC-32C (Castagnoli) of each member's content, without header and padding",
        ),
    ),
)

TEXT_EPISODES = Table(
    name="text_episodes",
    meaning="where the words of one episode are, in the order of the set's shard_episodes",
    file="text/<revision>/<set>/episodes.arrow",
    key=("episode_id",),
    stored_key=("episode_id",),
    columns=(
        Column("episode_id", "string", "the episode, to be compared with shard_episodes"),
        *_rows_of("instruction"),
        *_rows_of("fact"),
        *_rows_of("trace"),
        Column(
            "fine_grained",
            "int64",
            "row in text_instructions of the text that a fine-grained view shows; null: none",
            nullable=True,
            range=_NON_NEGATIVE,
        ),
        Column(
            "policy",
            "string",
            "strictest policy that this text passes; null: there is none",
            nullable=True,
            enum=enums.TEXT_POLICIES,
        ),
        Column("run_id", "string", "run it and the facts are from", nullable=True),
        Column("trace_run_id", "string", "run the traces are from", nullable=True),
    ),
)

_POLICY = Column(
    "policy", "string", "strictest policy that the row passes", enum=enums.TEXT_POLICIES
)
_REVIEWER = Column("reviewer", "string", "who decided about it last", nullable=True)

TEXT_INSTRUCTIONS = Table(
    name="text_instructions",
    meaning="one wording, as streams read it; sorted by episode, kind, order, id",
    file="text/<revision>/<set>/instructions.arrow",
    key=("instruction_id",),
    stored_key=("instruction_id",),
    columns=(
        _EPISODE,
        Column("instruction_id", "string", "see instructions"),
        Column("kind", "string", "what sort of wording", enum=enums.INSTRUCTION_KINDS),
        Column("is_primary", "bool", "the one goal of the episode"),
        Column("order", "int32", "order among those of its kind", range=_NON_NEGATIVE),
        Column("text", "string", "the wording", never_empty=True),
        Column("language", "string", "BCP-47 tag of `text`, or `und`", never_empty=True),
        Column("steps", "list<string>", "its steps, where it has such", nullable=True),
        Column("fact_ids", "list<string>", "facts it is assembled from", nullable=True),
        _POLICY,
        _REVIEWER,
        *PROVENANCE,
    ),
)

TEXT_FACTS = Table(
    name="text_facts",
    meaning="one fact that passes a policy; sorted by episode, start_frame, dimension, id",
    file="text/<revision>/<set>/facts.arrow",
    key=("fact_id",),
    stored_key=("fact_id",),
    columns=(
        _EPISODE,
        Column("fact_id", "string", "see facts"),
        Column("dimension", "string", "one of the ten", enum=enums.FACT_DIMENSIONS),
        Column(
            "slot",
            "string",
            "what about the dimension",
            enum=enums.FACT_SLOTS,
            enum_by=EnumBy("dimension", SLOTS),
        ),
        Column("value", "string", "the value in words"),
        Column("value_number", "float64", "the value as a number, in `unit`", nullable=True),
        Column("unit", "string", "of value_number", nullable=True, enum=enums.FACT_UNITS),
        Column("object", "string", "object the fact is about", nullable=True),
        Column("actor", "string", "arm the fact is about", nullable=True, enum=enums.ACTORS),
        Column("text", "string", "self-contained sentence"),
        Column("anchor", "string", "what the fact is tied to", enum=enums.ANCHORS),
        Column("step_id", "string", "its step, as it was then", nullable=True),
        Column("step_index", "int32", "its place then", nullable=True, range=_NON_NEGATIVE),
        Column("next_step_index", "int32", "for `between`", nullable=True, range=_NON_NEGATIVE),
        Column("start_frame", "int32", "first frame, inclusive", unit="frame"),
        Column("end_frame", "int32", "one past the last frame", unit="frame"),
        Column(
            "kinematic_verdict",
            "string",
            "what the recorded motion says about it",
            enum=enums.KINEMATIC_VERDICTS,
        ),
        Column("confidence", "float32", "of the annotator", nullable=True, range=(0.0, 1.0)),
        _POLICY,
        _REVIEWER,
        *PROVENANCE,
    ),
)

TEXT_STEPS = Table(
    name="text_steps",
    meaning="one step that passes a policy, where a sample is an episode; sorted by episode, "
    "start_frame, step_index, id",
    file="text/<revision>/<set>/steps.arrow",
    key=("step_id",),
    stored_key=("step_id",),
    columns=(
        _EPISODE,
        Column("step_id", "string", "see steps"),
        Column("step_index", "int32", "its place among the run's steps", range=_NON_NEGATIVE),
        Column("start_frame", "int32", "first frame, inclusive", unit="frame"),
        Column("end_frame", "int32", "one past the last frame", unit="frame"),
        Column("text", "string", "what happens"),
        Column("kind", "string", "what sort of stretch it is", enum=enums.STEP_KINDS),
        Column("arm", "string", "which arm acts", nullable=True, enum=enums.ACTORS),
        Column("primitive_action", "string", "verb of the action", nullable=True),
        Column("object", "string", "object that is acted on", nullable=True),
        _POLICY,
        _REVIEWER,
        *PROVENANCE,
    ),
)

TEXT_TRACES = Table(
    name="text_traces",
    meaning="the reasoning before one frame, as streams read it; sorted by episode and frame",
    file="text/<revision>/<set>/traces.arrow",
    key=("trace_id",),
    stored_key=("trace_id",),
    columns=(
        _EPISODE,
        Column("trace_id", "string", "see traces"),
        _FRAME_INDEX,
        Column("observation", "string", "what is seen", never_empty=True),
        Column("situation_analysis", "string", "what it means for the task", never_empty=True),
        Column("spatial_reasoning", "string", "where things are to each other", never_empty=True),
        Column("task_planning", "string", "what is to be done", never_empty=True),
        Column("logical_steps", "list<string>", "the plan, step by step"),
        Column("sub_action", "string", "what comes next"),
        _POLICY,
        _REVIEWER,
        *PROVENANCE,
    ),
)
