"""The closed lists of the tables: each a tuple of strings, each string with a one-line meaning.

An enum column stores plain strings (no dictionary types); `conform()` refuses any other value and
`schemas/v1/*.json` publishes list and meanings. A value is added here, with its meaning, and
nowhere else. Standard library only: light paths import this module.
"""

from __future__ import annotations

from finedata.schema.dimension import DIMENSION_MEANINGS, SLOT_MEANINGS

__all__ = [
    "ACTION_ORIGINS",
    "ACTORS",
    "ANCHORS",
    "ANSWER_TYPES",
    "ARMS",
    "BENCH_SETTINGS",
    "BENCH_TRACKS",
    "CALL_STATUSES",
    "CLUSTER_METHODS",
    "DECISIONS",
    "FACT_DIMENSIONS",
    "FACT_SLOTS",
    "FACT_UNITS",
    "GATE_CHECKS",
    "GATE_METHODS",
    "INSTRUCTION_KINDS",
    "KINEMATIC_VERDICTS",
    "K_ORIGINS",
    "LABELS",
    "ORIGINS",
    "RECEIPT_FLAGS",
    "RECEIPT_REASONS",
    "RECEIPT_STATUSES",
    "REPRESENTATIVE_ROLES",
    "REVIEW_STATUSES",
    "SHARD_SIDES",
    "SHARD_TIERS",
    "SPACES",
    "STEP_KINDS",
    "STEP_PROBLEMS",
    "TEXT_POLICIES",
    "THRESHOLD_ORIGINS",
    "TIME_BASES",
    "TOOL_FRAMES",
    "VERDICTS",
    "meanings_of",
]

# values -> value -> meaning; two columns with one list share its entry
_MEANINGS: dict[tuple[str, ...], dict[str, str]] = {}


def _closed(meanings: dict[str, str]) -> tuple[str, ...]:
    values = tuple(meanings)
    _MEANINGS[values] = meanings
    return values


def meanings_of(values: tuple[str, ...]) -> dict[str, str]:
    """Look up what each value of a closed list means.

    Args:
        values: One of the tuples of this module.

    Returns:
        Value -> one-line meaning, in the list's order.
    """
    return dict(_MEANINGS[values])


# The dataset

SPACES = _closed(
    {
        "ee": "end-effector pose and gripper, in each arm's own base frame",
        "joint": "joint angles and gripper",
        "undeclared": "the source's own numbers, whose conventions no converter file declares",
    }
)
ARMS = _closed({"right": "the right arm, or the only one", "left": "the left arm"})
TOOL_FRAMES = _closed(
    {
        "flange": "the robot's last link, without a tool",
        "tcp": "the tool centre point",
        "vendor": "a frame that the vendor defines and does not publish",
        "unknown": "the source does not say",
    }
)
ACTION_ORIGINS = _closed(
    {
        "recorded": "the source stores absolute targets",
        "integrated_delta": "deltas composed one after the other into absolute targets",
        "residual": "the measured pose plus the recorded residual",
        "next_state": "the next measured state, because the source has no usable action",
    }
)

# Receipts

RECEIPT_STATUSES = _closed(
    {
        "written": "the episode is in the dataset",
        "failed": "the bytes cannot be an episode; `reason` says why",
    }
)
RECEIPT_REASONS = _closed(
    {
        "framing_error": "record lengths or offsets of the file do not fit together",
        "checksum_mismatch": "the bytes do not match their stored checksum",
        "truncated": "the file or record ends before its declared end",
        "unparsable": "the record's bytes do not decode as their declared format",
        "missing_feature": "a feature that the converter names is not there",
        "unequal_lengths": "features of one episode have different numbers of steps",
        "zero_steps": "the episode has no step",
        "wrong_type": "a feature has another type or shape than the converter declares",
        "duplicate_id": "another episode has the same episode_id",
        "refused_pickle": "a pickle asks for something outside the allow-list",
        "unreadable_file": "the file cannot be opened or read",
        "absent": "the source declares the episode, and has no row of it",
        "unknown_form": "no variant of the converter knows the form of the episode",
    }
)
RECEIPT_FLAGS = _closed(
    {
        "nonfinite_state": "the state holds NaN or infinity",
        "nonfinite_action": "the action holds NaN or infinity",
        "quaternion_norm_off": "a source quaternion was not of unit norm before normalisation",
        "undecodable_picture": "a picture does not decode",
        "picture_size_differs": "a picture has another size than its feature",
        "placeholder_pictures": "a camera holds placeholders instead of pictures",
        "camera_missing": "a camera of the part is absent in this episode",
        "empty_instruction": "the episode has no instruction",
        "instruction_varies": "the instruction changes within the episode",
        "state_frozen": "the state never moves",
        "action_frozen": "the action never moves",
        "position_jump": "a position moves further in one step than is plausible",
        "rotation_jump": "a rotation turns further in one step than is plausible",
        "gripper_out_of_range": "the open fraction of a gripper leaves [0, 1]; it is not clipped",
        "gripper_unknown": "the gripper's value could not be determined for some steps",
        "idle_first_action": "the first action commands nothing",
        "idle_last_action": "the last action commands nothing",
        "no_last_step_mark": "the source marks no step as the last",
        "extra_last_step_marks": "the source marks a step before the last one as the last",
        "frames_dropped": "steps were dropped under a declared quirk and counted",
        "channel_order_bgr": "pictures are stored with red and blue swapped",
        "encoding_decided_by_norm": "the norm of its values told the rotation encoding",
        "action_pose_rebuilt": "the action's pose was rebuilt from other recorded values",
        "success_unknown": "the source does not say whether the episode succeeded",
        "joint_jump": "joints turn further in one step than is plausible",
        "ee_pose_stuck": "the recorded pose stands still while the joints move",
        "raw_pictures": "uncompressed pictures were stored as PNG of the same pixels",
        "colour_fixed": "red and blue, exchanged in the source, were put right",
        "camera_left_out": "a camera is left out: it has no frame of its own for every row",
        "camera_resampled": "frames of a camera were assigned to rows by their time stamps",
        "video_longer": "a video goes on after the last row",
        "video_start_differs": "where a video begins is no frame's time, or lengths say otherwise",
        "episode_number_differs": "the rows have the number of another episode than their file",
        "episode_file_differs": "the rows lie in another file than the source says",
        "declared_length_differs": "the source declares another number of rows than there are",
        "task_differs": "tables of the source name different tasks for the episode",
        "timestamps_repeat": "neighbouring frames have the same time stamp",
        "timestamps_decrease": "a frame's time stamp lies before that of the frame before it",
        "rate_differs": "the measured rate is more than a fifth away from the part's",
        "depth_not_converted": "depth pictures are there and are not converted",
        "force_not_converted": "forces or torques are there and are not converted",
        "tactile_not_converted": "tactile readings are there and are not converted",
        "extrinsics_not_converted": "camera poses are there and are not converted",
        "audio_not_converted": "sound is there and is not converted",
        "velocity_not_converted": "velocities or efforts are there and are not converted",
        "pose_not_converted": "commanded poses are there and are not converted",
        "bookkeeping_not_converted": "rewards, embeddings of texts, marks of presence and the like "
        "are there and are not converted",
        "other_not_converted": "further features are there and are not converted",
        "annotation_missing": "a file of instructions or steps that the converter names is absent",
        "annotation_unreadable": "instructions or steps of the source could not be read",
        "step_problems": "a step of the source overlaps, is reversed or leaves the episode",
    }
)
TIME_BASES = _closed(
    {
        "declared": "fps as the converter file declares it",
        "measured": "fps measured from the source, the declared rate being untrue",
        "source_timestamps": "no rate is declared; fps derived from the source's time stamps",
    }
)

# Gate, clusters, representatives

VERDICTS = _closed(
    {
        "pass": "every check passed",
        "fail": "at least one check failed",
        "not_applicable": "the episode cannot be judged, e.g. its action is its next state",
    }
)
GATE_CHECKS = _closed(
    {
        "too_short": "fewer frames than the source's preset or the option asks for",
        "empty_instruction": "the episode has no instruction",
        "non_finite": "state or action holds NaN or infinity",
        "frozen_state": "nothing of the state moves",
        "frozen_action": "nothing of the action moves",
        "time_not_increasing": "a frame's source time is not after that of the frame before it",
        "quaternion_norm": "a quaternion of the source was not of unit norm",
        "jump": "the state moves further in one step than is physical, and than it usually does",
        "duplicate": "state and action are exactly those of another episode",
        "action_state": "action and state are further apart than the threshold",
    }
)
GATE_METHODS = _closed(
    {
        "dtw": "dynamic time warping between action and state, sign-safe, scaled per group",
        "released": "FineVLA's released per-frame range-normalised distance",
    }
)
THRESHOLD_ORIGINS = _closed(
    {
        "option": "given with the command",
        "preset": "from the converter file",
        "default": "FineVLA's default, where the converter file has none",
        "percentile": "a percentile of the measured scores",
        "none": "no threshold applied",
    }
)
CLUSTER_METHODS = _closed(
    {
        "exact": "all pairs of the task were compared",
        "landmark": "only landmarks were compared with all",
        "trivial": "too few episodes to compare",
    }
)
K_ORIGINS = _closed(
    {
        "fixed": "one number for every task",
        "proportional": "a share of the task's episodes",
        "auto": "the largest relative gap of the merge heights",
    }
)
REPRESENTATIVE_ROLES = _closed(
    {
        "medoid": "the middle of its cluster",
        "quota": "chosen by quality within its cluster's quota",
        "kept_small_task": "kept because its task has one or two episodes",
        "random": "drawn at random, as a baseline",
    }
)

# Annotations

ORIGINS = _closed(
    {
        "source": "came with the source",
        "kinematic": "computed from the recorded motion",
        "teacher": "answered by a vision-language model",
        "human": "written by a person",
        "assembled": "put together from other rows",
    }
)
REVIEW_STATUSES = _closed(
    {
        "unreviewed": "no person has looked",
        "accepted": "a person agreed",
        "edited": "a person changed it",
        "rejected": "a person refused it",
    }
)
STEP_KINDS = _closed(
    {
        "subtask": "a part of the task",
        "primitive": "one primitive action",
        "scene": "a description of the scene",
        "quality": "a note on how well it was done",
    }
)
ACTORS = _closed(
    {
        "left": "the left arm",
        "right": "the right arm, or the only one",
        "both": "both arms",
        "none": "no arm, e.g. the base moves",
    }
)
STEP_PROBLEMS = _closed(
    {
        "overlap": "the source's range overlaps its neighbour's",
        "reversed": "the source's range ends before it begins",
        "gap": "the source leaves frames before this range uncovered",
        "out_of_range": "the source's range leaves the episode",
    }
)
FACT_DIMENSIONS = _closed(dict(DIMENSION_MEANINGS))
FACT_SLOTS = _closed(dict(SLOT_MEANINGS))
FACT_UNITS = _closed({"m": "metres", "rad": "radians", "count": "a count", "s": "seconds"})
ANCHORS = _closed(
    {
        "step": "during the step `step_index`",
        "between": "between `step_index` and `next_step_index`",
        "episode_start": "before any action",
        "episode_end": "after all actions",
        "episode": "the whole episode",
    }
)
KINEMATIC_VERDICTS = _closed(
    {
        "confirmed": "the recorded motion agrees",
        "contradicted": "the recorded motion disagrees",
        "untestable": "the recorded motion cannot tell",
    }
)
INSTRUCTION_KINDS = _closed(
    {
        "goal": "what to achieve, as the source or a person put it",
        "alternative": "another wording of the goal",
        "steps_joined": "the steps, one after the other",
        "fine_grained": "the instruction assembled from facts",
    }
)
DECISIONS = _closed(
    {
        "accept": "the row is right as it is",
        "edit": "the row was changed",
        "reject": "the row is wrong",
        "add": "a row was missing and was written",
        "split": "one row became several",
        "merge": "several rows became one",
        "move": "a row went to another place or step",
        "skip": "looked at and left undecided",
        "send_back": "to be made anew, by whoever made it",
        "undo": "an earlier decision was taken back",
    }
)
CALL_STATUSES = _closed(
    {
        "ok": "a valid answer",
        "failed": "no valid answer after all attempts",
        "refused": "the teacher declined to answer",
        "budget": "not made, because the budget was spent",
    }
)

# Shards and streams

SHARD_TIERS = _closed(
    {
        "rep": "passed the gate and chosen as a representative",
        "rest": "passed the gate and has an instruction",
        "unlabelled": "passed the gate and has no instruction",
        "failed": "did not pass the gate",
    }
)
SHARD_SIDES = _closed(
    {"train": "for training", "heldout": "for evaluation, in no training file"},
)
TEXT_POLICIES = _closed(
    {
        "reviewed": "a person accepted, edited or wrote it, and the motion does not contradict it",
        "not_contradicted": "no person rejected it and the motion does not contradict it",
    }
)

# Benchmarks

BENCH_TRACKS = _closed(
    {"vqa": "answers to questions about a video", "caption": "a description of a video in steps"}
)
BENCH_SETTINGS = _closed(
    {"easy": "the instruction is told beforehand", "hard": "only the video is shown"}
)
ANSWER_TYPES = _closed(
    {
        "yes_no": "yes or no",
        "number": "a whole number",
        "multiple_choice": "one of the options",
    }
)
LABELS = _closed(
    {
        "match": "the caption says it",
        "partial": "the caption says something coarser",
        "contradiction": "the caption says something that conflicts with it",
        "omission": "the caption does not say it",
    }
)
