"""Every action reference of the vocabulary leads to the targets that were commanded."""

from __future__ import annotations

import numpy as np
import pytest
from corpora.example import encode_example
from scipy.spatial.transform import Rotation

from finedata.convert.canonical import canonical_motion
from finedata.convert.forms import EpisodeView
from finedata.motion import geodesic_angle_rad
from finedata.readers.rlds.example import parse_example
from finedata.readers.rlds.features import FeatureInfo
from finedata.readers.rlds.source import RldsEpisode
from finedata.schema.converter import Variant
from finedata.schema.converter_file import decode_converter, find_converter

T = 30
FIXED = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
# The first variant only.
TEXT = find_converter("bridge_v2").text.partition("# The older subset")[0]
ACTION = 'reference = "delta"\nrefers_to = "previous_target"\ncomposition = "base_left"'


def smooth(seed: int, scale: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(T, 3)) * scale, axis=0)


STATE_M = smooth(0, 0.01)
STATE = Rotation.from_rotvec(smooth(1, 0.05)) * Rotation.from_euler("xyz", [0.4, -0.3, 1.0])
TARGET_M = STATE_M + smooth(2, 0.002)
# The first target is the state itself: that is what a chain of steps starts from.
TARGET_M[0] = STATE_M[0]
TARGET = Rotation.concatenate([STATE[:1], (Rotation.from_rotvec(smooth(3, 0.02)) * STATE)[1:]])
GRIPPER = np.linspace(1.0, 0.0, T)


def form(text: str) -> Variant:
    (variant,) = decode_converter(text, origin="test").converter.variants
    return variant


def converter(action: str) -> Variant:
    text = TEXT.replace(ACTION, action)
    assert action == ACTION or text != TEXT
    return form(text)


def view(payload: bytes, infos: dict[str, FeatureInfo]) -> EpisodeView:
    return EpisodeView(RldsEpisode(payload, parse_example(payload), infos), {})


def episode(action_m: np.ndarray, action: Rotation) -> EpisodeView:
    """An episode in Bridge's features, rotations in the source's frame (before FIXED)."""
    state = np.column_stack([STATE_M, STATE.as_euler("xyz"), GRIPPER])
    commands = np.column_stack([action_m, action.as_euler("xyz"), GRIPPER])
    names = ("steps/observation/state", "steps/action")
    infos = {name: FeatureInfo(name, "tensor", "float32", (7,), 1) for name in names}
    payload = encode_example(dict(zip(names, (state, commands), strict=True)))
    return view(payload, infos)


def previous(rotation: Rotation) -> Rotation:
    return Rotation.concatenate([STATE[:1], rotation[:-1]])


def shifted(position_m: np.ndarray) -> np.ndarray:
    return np.concatenate([STATE_M[:1], position_m[:-1]])


CASES = {
    "absolute": ('reference = "absolute"', TARGET_M, TARGET),
    "previous target, base axes": (
        ACTION,
        TARGET_M - shifted(TARGET_M),
        TARGET * previous(TARGET).inv(),
    ),
    "previous target, tool axes": (
        ACTION.replace("base_left", "tool_right"),
        previous(TARGET).inv().apply(TARGET_M - shifted(TARGET_M)),
        previous(TARGET).inv() * TARGET,
    ),
    "measured pose, base axes": (
        ACTION.replace("previous_target", "measured"),
        TARGET_M - STATE_M,
        TARGET * STATE.inv(),
    ),
    "measured pose, tool axes": (
        ACTION.replace("previous_target", "measured").replace("base_left", "tool_right"),
        STATE.inv().apply(TARGET_M - STATE_M),
        STATE.inv() * TARGET,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_targets_are_found_back(name: str) -> None:
    action, action_m, rotation = CASES[name]
    spec = converter(action)
    if name == "absolute":
        # An absolute action is written like the state, so it has the state's fixed rotation.
        fixed = TEXT[TEXT.index(", fixed_rotation = ") : TEXT.index("]] }") + 2]
        columns = 'columns = [3, 6], encoding = "euler_xyz_extrinsic", unit = "rad"'
        text = TEXT.replace(ACTION, action)
        head, tail = text.split("[variants.arms.action]")
        spec = form(head + "[variants.arms.action]" + tail.replace(columns, columns + fixed))
    motion = canonical_motion(episode(action_m, rotation), spec, frames=T)
    (arm,) = motion.arms
    np.testing.assert_allclose(arm.state.position_m, STATE_M, atol=1e-6)
    np.testing.assert_allclose(arm.action.position_m, TARGET_M, atol=1e-5)
    for found, source in ((arm.state, STATE), (arm.action, TARGET)):
        wanted = (source * Rotation.from_matrix(FIXED)).as_quat()
        assert geodesic_angle_rad(found.quaternion_xyzw, wanted).max() < 1e-5
    assert motion.action_valid.all()


def test_next_state_repeats_the_last_and_says_so() -> None:
    text = TEXT.replace(ACTION, 'reference = "next_state"')
    head, tail = text.split("[variants.arms.action]")
    kept = [line for line in tail.splitlines() if not line.startswith(("position =", "rotation ="))]
    spec = form(head + "[variants.arms.action]" + "\n".join(kept))
    motion = canonical_motion(episode(STATE_M, STATE), spec, frames=T)
    (arm,) = motion.arms
    np.testing.assert_array_equal(arm.action.position_m[:-1], arm.state.position_m[1:])
    np.testing.assert_array_equal(arm.action.position_m[-1], arm.state.position_m[-1])
    assert motion.action_valid.tolist() == [True] * (T - 1) + [False]
    assert motion.action_origin == "next_state"


def test_signs_follow_the_rules() -> None:
    motion = canonical_motion(
        episode(*CASES["previous target, base axes"][1:]), converter(ACTION), frames=T
    )
    (arm,) = motion.arms
    state, action = arm.state.quaternion_xyzw, arm.action.quaternion_xyzw
    assert state[0, 3] >= 0
    assert action[0] @ state[0] >= 0
    for trajectory in (state, action):
        assert (np.sum(trajectory[1:] * trajectory[:-1], axis=1) >= 0).all()


def test_the_action_starts_on_the_states_side_near_half_a_turn() -> None:
    """State and action on either side of w = 0: each alone would choose the opposite sign."""
    axis = np.array([0.6, 0.0, 0.8])
    undo = Rotation.from_matrix(FIXED).inv()
    state = (Rotation.from_rotvec(axis * (np.pi - 0.02)) * undo).as_euler("xyz")
    step = Rotation.from_rotvec(axis * 0.04).as_euler("xyz")
    names = ("steps/observation/state", "steps/action")
    rows = [np.concatenate([np.zeros(3), angles, [1.0]])[None] for angles in (state, step)]
    infos = {name: FeatureInfo(name, "tensor", "float32", (7,), 1) for name in names}
    payload = encode_example(dict(zip(names, rows, strict=True)))
    (arm,) = canonical_motion(view(payload, infos), converter(ACTION), frames=1).arms
    assert arm.state.quaternion_xyzw[0, 3] > 0
    assert arm.action.quaternion_xyzw[0, 3] < 0
    assert arm.action.quaternion_xyzw[0] @ arm.state.quaternion_xyzw[0] > 0.99


def test_packed_vectors_are_float32_in_the_named_order() -> None:
    motion = canonical_motion(
        episode(*CASES["previous target, base axes"][1:]), converter(ACTION), frames=T
    )
    (arm,) = motion.arms
    assert motion.state().dtype == np.float32
    np.testing.assert_array_equal(motion.state()[:, :3], arm.state.position_m.astype(np.float32))
    np.testing.assert_array_equal(
        motion.state()[:, 6], arm.state.quaternion_xyzw[:, 3].astype("f4")
    )
    np.testing.assert_allclose(motion.state()[:, 7], GRIPPER, atol=1e-7)
