"""Declarations of the tables under curation/: receipts, gate, clusters, representatives.

Each of these files is rewritten whole and atomically.
"""

from __future__ import annotations

from finedata.schema import enums
from finedata.schema.columns import Column, Table

__all__ = ["CLUSTERS", "GATE", "RECEIPTS", "REPRESENTATIVES"]

_NON_NEGATIVE = (0.0, None)
_UNIT_INTERVAL = (0.0, 1.0)

_EPISODE_ID = Column("episode_id", "string", "the episode")
_TASK_ID = Column("task_id", "string", "hash16 of the folded instruction")
_SETTINGS = Column("settings_sha256", "string", "SHA-256 of the settings that made this row")

RECEIPTS = Table(
    name="receipts",
    meaning="one episode that was found in the source, written or failed",
    file="curation/receipts.parquet",
    key=("episode_id",),
    stored_key=("episode_id",),
    columns=(
        Column("episode_id", "string", "the episode; `<source>-x<hash16>` if too broken to say"),
        Column("status", "string", "what became of it", enum=enums.RECEIPT_STATUSES),
        Column(
            "reason",
            "string",
            "why it failed; null if written",
            nullable=True,
            enum=enums.RECEIPT_REASONS,
        ),
        Column("message", "string", "the failure in words", nullable=True),
        Column("part", "string", "part it was written to; null if failed", nullable=True),
        Column("source", "string", "name of the converter file"),
        Column("source_revision", "string", "revision of the source corpus", nullable=True),
        Column("locator", "string", "canonical locator, whose hash is in the episode_id"),
        Column("source_file", "string", "path relative to the input, with `/`"),
        Column("source_record", "int64", "record in the file, from 0", nullable=True),
        Column("byte_offset", "int64", "first byte of the record", nullable=True, unit="byte"),
        Column("byte_length", "int64", "bytes of the record", nullable=True, unit="byte"),
        Column(
            "source_sha256",
            "string",
            "SHA-256 tree over the record: its bytes in order, each list of pictures standing as"
            " the SHA-256 of its pictures joined and then their lengths (int64, little-endian)",
            nullable=True,
        ),
        Column("converter_sha256", "string", "SHA-256 of the converter file"),
        Column("options_sha256", "string", "SHA-256 of the options that change bytes"),
        Column("finedata_version", "string", "finedata that converted it"),
        Column("frames_read", "int64", "steps found; null if unknown", nullable=True),
        Column("frames_written", "int64", "steps written", range=_NON_NEGATIVE),
        Column("frames_dropped", "int64", "steps dropped under a quirk", range=_NON_NEGATIVE),
        Column(
            "images",
            "list<struct<camera: string, count: int64, sha256: string,"
            " placeholder_count: int64, channel_order: string, codec: string>>",
            "one entry per camera of the part",
            fields={
                "camera": "name of the camera",
                "count": "pictures written",
                "sha256": "SHA-256 of their bytes, one after the other",
                "placeholder_count": "how many of them are placeholders",
                "channel_order": "rgb or bgr, as the decoded bytes come",
                "codec": "codec of the bytes, e.g. jpeg, png, h264, av1",
            },
        ),
        Column("instruction_count", "int32", "instructions found", range=_NON_NEGATIVE),
        Column("time_base", "string", "where fps comes from", enum=enums.TIME_BASES),
        Column("fps_measured", "float64", "median rate of the source", nullable=True, unit="Hz"),
        Column("dt_max_s", "float64", "longest source time step", nullable=True, unit="s"),
        Column(
            "action_origin",
            "string",
            "how `action` was had; null if failed before that was known",
            nullable=True,
            enum=enums.ACTION_ORIGINS,
        ),
        Column(
            "arms",
            "list<struct<arm: string, encoding: string, tool_frame: string,"
            " quaternion_norm_min: float64, quaternion_norm_max: float64,"
            " sign_flips: int32, wrap_jumps: int32, gripper_min: float32, gripper_max: float32,"
            " action_state_position_m: float64, action_state_rotation_rad: float64,"
            " lag_frames: int32, drift_m: float64>>",
            "one entry per arm: what was read and how well it fits",
            fields={
                "arm": "right or left",
                "encoding": "rotation encoding of the source",
                "tool_frame": "flange, tcp, vendor or unknown",
                "quaternion_norm_min": "smallest norm before normalisation",
                "quaternion_norm_max": "largest norm before normalisation",
                "sign_flips": "quaternion signs turned for continuity",
                "wrap_jumps": "jumps of the source's angles by a full turn that were removed",
                "gripper_min": "smallest open fraction",
                "gripper_max": "largest open fraction",
                "action_state_position_m": "median distance of action and state, metres",
                "action_state_rotation_rad": "median angle of action and state, radians",
                "lag_frames": "frames by which the state follows the action",
                "drift_m": "how far integrated actions end from the state, metres",
            },
        ),
        Column("flags", "list<string>", "what was odd, sorted", enum=enums.RECEIPT_FLAGS),
    ),
)

GATE = Table(
    name="gate",
    meaning="the quality verdict on one written episode",
    file="curation/gate.parquet",
    key=("episode_id",),
    stored_key=("episode_id",),
    columns=(
        _EPISODE_ID,
        Column("verdict", "string", "the verdict", enum=enums.VERDICTS),
        Column(
            "reason",
            "string",
            "name of the first failed check",
            nullable=True,
            enum=enums.GATE_CHECKS,
        ),
        Column(
            "reasons",
            "list<string>",
            "names of all failed checks, in checking order",
            enum=enums.GATE_CHECKS,
        ),
        Column("method", "string", "how the score was computed", enum=enums.GATE_METHODS),
        Column("score", "float64", "action-state distance; lower is better", nullable=True),
        Column("threshold", "float64", "highest score that passes", nullable=True),
        Column("threshold_origin", "string", "how it was found", enum=enums.THRESHOLD_ORIGINS),
        Column("space", "string", "space of the comparison", enum=enums.SPACES),
        Column(
            "lag_frames",
            "int32",
            "frames by which the state follows the action; negative if it leads",
            nullable=True,
            unit="frame",
        ),
        Column(
            "duplicate_of", "string", "episode_id of the equal episode that is kept", nullable=True
        ),
        Column(
            "checks",
            "list<struct<name: string, value: float64, limit: float64, passed: bool>>",
            "every check that was made",
            fields={
                "name": "name of the check",
                "value": "what was measured",
                "limit": "what was allowed",
                "passed": "whether it passed",
            },
        ),
        _SETTINGS,
    ),
)

CLUSTERS = Table(
    name="clusters",
    meaning="one clustered episode: it passed the gate and has an instruction",
    file="curation/clusters.parquet",
    key=("episode_id",),
    stored_key=("episode_id",),
    columns=(
        _EPISODE_ID,
        Column("part", "string", "the part; episodes of two parts are never compared"),
        _TASK_ID,
        Column("cluster_id", "string", "`<part>/<task_id>/<1.2.1>`, the last a path of splits"),
        Column("cluster_size", "int32", "episodes in the cluster", range=(1.0, None)),
        Column("is_medoid", "bool", "the smallest mean distance of its cluster"),
        Column("distance_to_medoid", "float64", "DTW distance", range=_NON_NEGATIVE),
        Column("mean_distance", "float64", "mean over its cluster", range=_NON_NEGATIVE),
        Column("quality", "float64", "how good the episode is; 1 is best", range=_UNIT_INTERVAL),
        Column("method", "string", "which pairs were compared", enum=enums.CLUSTER_METHODS),
        Column("linkage", "string", "linkage of the hierarchy, e.g. average"),
        Column("k", "int32", "clusters of the task", range=(1.0, None)),
        Column("k_origin", "string", "how k was chosen", enum=enums.K_ORIGINS),
        _SETTINGS,
    ),
)

REPRESENTATIVES = Table(
    name="representatives",
    meaning="one chosen episode; there is no row for the others",
    file="curation/representatives.parquet",
    key=("episode_id",),
    stored_key=("episode_id",),
    columns=(
        _EPISODE_ID,
        _TASK_ID,
        Column("cluster_id", "string", "the cluster it stands for"),
        Column(
            "rank", "int64", "global and nested: a budget of N is rank < N", range=_NON_NEGATIVE
        ),
        Column("role", "string", "why it was chosen", enum=enums.REPRESENTATIVE_ROLES),
        Column("represents", "int32", "episodes it stands for, itself included", range=(1.0, None)),
        Column("score", "float64", "what it was ranked by; higher first"),
        Column("quality", "float64", "as in clusters", range=_UNIT_INTERVAL),
        Column(
            "coverage_radius",
            "float64",
            "largest distance to an episode it stands for",
            nullable=True,
            range=_NON_NEGATIVE,
        ),
        _SETTINGS,
    ),
)
