"""The form of an episode: chosen by its signature, and seen as that form says."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from convert.fake import FakeEpisode

from finedata.convert.cameras import resolved_cameras
from finedata.convert.context import ConvertOptions
from finedata.convert.forms import (
    EpisodeView,
    UnknownFormError,
    choose_variant,
    fitted_variant,
    path_fields,
    view_episode,
)
from finedata.errors import FeatureError, LengthError
from finedata.readers.episode import Found, Shard
from finedata.schema.converter import EpisodeSpec, Pick, Variant

SHARD = Shard("ur/pick_cup/success/run_3/data/trajectory.hdf5", 10, "train")


def fields(*patterns: str, file: str = SHARD.file, **place: int) -> dict[str, str]:
    named = {"number": 0, "record": 0} | place
    return path_fields(EpisodeSpec(locator="", path=patterns), Shard(file, 0, "train"), **named)


# path_fields


def test_a_files_name_is_always_told() -> None:
    assert fields(number=4, record=2) == {
        "file/path": SHARD.file,
        "file/name": "trajectory.hdf5",
        "file/split": "train",
        "file/number": "4",
        "file/record": "2",
    }


def test_the_number_of_a_shard_is_the_one_in_its_name() -> None:
    """Not its place in the folder: a mirror may lack the shards before it."""
    found = fields(file="toy-train.tfrecord-00017-of-01024", number=3)
    assert found["file/number"] == "17"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("{task}/{outcome}/{name}/data/trajectory.hdf5", ("pick_cup", "success", "run_3")),
        ("{task}/{outcome}/{name}/*/*.hdf5", ("pick_cup", "success", "run_3")),
        ("{task}/success/{name}/data/trajectory.hdf5", ("pick_cup", None, "run_3")),
        ("{task}_cup/{outcome}/run_{name}/data/trajectory.hdf5", ("pick", "success", "3")),
        # Literal text is literal.
        ("{task}/{outcome}/{name}/data/trajectory_hdf5", None),
        ("{task}/{outcome}/{name}/data/trajectory?hdf5", None),
        ("{task}/failure/{name}/data/trajectory.hdf5", None),
        ("a/b/{task}/{outcome}/{name}/data/trajectory.hdf5", None),
        # A segment that a field stands for is not empty, and never more than one segment.
        ("{task}/success/run_3{name}/data/trajectory.hdf5", None),
        ("{task}/data/trajectory.hdf5", ("run_3", None, None)),
    ],
)
def test_path_patterns(pattern: str, found: tuple[str | None, ...] | None) -> None:
    said = {key: text for key, text in fields(pattern).items() if key.startswith("path/")}
    names = ("path/task", "path/outcome", "path/name")
    pairs = zip(names, found or (), strict=False)
    assert said == {name: text for name, text in pairs if text is not None}


def test_the_first_pattern_that_fits_is_taken() -> None:
    patterns = ("{task}/failure/*/*/*", "{task}/success/*/*/*", "{robot}/*/*/*/*/*")
    assert fields(*patterns)["path/task"] == "pick_cup"
    assert "path/robot" not in fields(*patterns)
    assert fields(patterns[2])["path/robot"] == "ur"


# choose_variant


def variants(*whens: str) -> tuple[Variant, ...]:
    text = "\n".join(
        f"""
        [[variants]]
        name = "form_{number}"
        reader = "hdf5"
        embodiment = "arm"
        space = "undeclared"
        when = {when}
        episode.locator = "x"
        time.fps = 1.0
        """
        for number, when in enumerate(whens)
    )
    tree = msgspec.toml.decode(text)["variants"]
    return msgspec.convert(tree, tuple[Variant, ...])


EPISODE = FakeEpisode(
    arrays={"joints": np.zeros((3, 7)), "flag": np.zeros(3), "rate": np.array(5.0)},
    words={"robot": ["franka"]},
)


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("{}", True),
        ('{ features = ["joints", "robot"] }', True),
        ('{ features = ["joints", "gripper"] }', False),
        ('{ absent = ["gripper"] }', True),
        ('{ absent = ["gripper", "robot"] }', False),
        ("{ width = { joints = 7, flag = 1, rate = 1 } }", True),
        ("{ width = { joints = 6 } }", False),
        ("{ width = { gripper = 1 } }", False),
        ('{ text = { robot = ["ur5", "franka"] } }', True),
        ('{ text = { robot = ["ur5"] } }', False),
        ('{ text = { gripper = ["ur5"] } }', False),
        ('{ path = "*/success/*" }', True),
        ('{ path = "/ur/*" }', True),
        ('{ path = "ur/*" }', False),
        ('{ path = "*/failure/*" }', False),
        # Everything given must hold.
        ('{ path = "*/success/*", features = ["joints"], width = { joints = 6 } }', False),
    ],
)
def test_a_signature_holds_or_not(when: str, *, holds: bool) -> None:
    found = variants(when, "{}")
    assert choose_variant(EPISODE, found, shard=SHARD, reader="hdf5") == (0 if holds else 1)


def test_the_first_variant_of_the_reader_that_holds_is_taken() -> None:
    found = variants("{}", '{ features = ["joints"] }')
    assert choose_variant(EPISODE, found, shard=SHARD, reader="hdf5") == 0
    of_another = (msgspec.structs.replace(found[0], reader="rlds"), found[1])
    assert choose_variant(EPISODE, of_another, shard=SHARD, reader="hdf5") == 1


def test_an_unknown_form_says_what_it_holds_and_what_is_known() -> None:
    found = variants('{ absent = ["joints"] }', "{ width = { joints = 6 } }")
    with pytest.raises(UnknownFormError, match=r"joints, flag, rate, robot.*form_0, form_1"):
        choose_variant(EPISODE, found, shard=SHARD, reader="hdf5")


def test_what_is_optional_and_absent_is_left_out() -> None:
    text = """
    name = "form"
    reader = "hdf5"
    embodiment = "arm"
    space = "joint"
    episode.locator = "x"
    time.fps = 1.0
    [[arms]]
    name = "right"
    tool_frame = "unknown"
    action.reference = "next_state"
    [arms.state]
    joints = { feature = "joints" }
    gripper = { feature = "gripper", optional = true }
    position = { feature = "pose", columns = [0, 3], optional = true }
    rotation = { feature = "pose", columns = [3, 6], encoding = "rotation_vector", optional = true }
    """
    variant = msgspec.toml.decode(text, type=Variant)
    lacking = fitted_variant(EPISODE, variant).arms[0].state
    assert (lacking.gripper, lacking.position, lacking.rotation) == (None, None, None)
    assert lacking.joints is not None
    whole = FakeEpisode(arrays={name: np.zeros((3, 7)) for name in ("joints", "gripper", "pose")})
    assert fitted_variant(whole, variant) is variant
    # What is not optional stays, and the episode fails by it.
    stays = msgspec.toml.decode(text.replace(", optional = true", ""), type=Variant)
    assert fitted_variant(EPISODE, stays) is stays


TWIST_OR_MORE = """
name = "form"
reader = "hdf5"
embodiment = "arm"
space = "joint"
episode.locator = "x"
time.fps = 1.0
vectors = [
    { name = "action.base_velocity", pieces = [{ feature = "old" }], names = ["a"] },
    { name = "action.base_velocity", pieces = [{ feature = "now", columns = [0, 3] }], width = 6 },
    { name = "action.base_velocity", pieces = [{ feature = "now" }], width = 6 },
    { name = "action.base_velocity", pieces = [{ feature = "now" }, { feature = "z" }] },
    { name = "action.hand", pieces = [{ feature = "hand" }] },
]
"""


@pytest.mark.parametrize(
    ("widths", "taken"),
    [
        ({"now": 6}, [2]),
        ({"now": 6, "z": 1}, [2]),
        # A width that nobody declares gives nothing, unless an entry takes any.
        ({"now": 3}, []),
        ({"now": 3, "z": 1}, [3]),
        ({"old": 1, "now": 6, "hand": 2}, [0, 4]),
        ({"hand": 2}, [4]),
        ({}, []),
    ],
)
def test_of_each_vector_the_first_that_fits_is_made(widths, taken) -> None:
    variant = msgspec.toml.decode(TWIST_OR_MORE, type=Variant)
    episode = FakeEpisode(arrays={name: np.zeros((4, width)) for name, width in widths.items()})
    fitted = fitted_variant(episode, variant).vectors
    assert fitted == tuple(variant.vectors[i] for i in taken)


def test_a_width_is_looked_at_only_where_it_is_declared() -> None:
    variant = msgspec.toml.decode(TWIST_OR_MORE, type=Variant)
    episode = FakeEpisode(arrays={"old": np.zeros((4, 1)), "hand": np.zeros((4, 2))})
    fitted_variant(episode, variant)
    assert episode.decoded == []


# EpisodeView


def view(raw: FakeEpisode, align: str = "none", cameras: str = "[]") -> EpisodeView:
    text = f"""
    name = "form"
    reader = "hdf5"
    embodiment = "arm"
    space = "undeclared"
    cameras = {cameras}
    episode.locator = "x"
    episode.path = ["{{task}}/*/*/*/*"]
    time = {{ fps = 1.0, align = "{align}" }}
    """
    variant = msgspec.toml.decode(text, type=Variant)
    found = resolved_cameras(raw, variant, ConvertOptions())
    return view_episode(raw, variant, found, shard=SHARD, number=0, found=Found(0, 0, 0))


def test_a_view_adds_what_the_name_says_and_decodes_once() -> None:
    raw = FakeEpisode(arrays={"joints": np.zeros((3, 7))})
    seen = view(raw)
    assert seen.texts("path/task") == ["pick_cup"]
    assert seen.has("path/task")
    assert not seen.has("path/robot")
    assert seen.feature_names() == ["joints"]
    assert seen.numbers("joints") is seen.numbers("joints")
    assert raw.decoded == ["joints"]


NAMED = FakeEpisode(
    arrays={"state": np.arange(10.0).reshape(2, 5), "one": np.arange(2.0)},
    columns={"state": ("left_arm_0", "left_arm_1", "left_grip", "right_arm_0", "right_grip")},
)


@pytest.mark.parametrize(
    ("pick", "columns"),
    [
        (Pick(feature="state"), [0, 1, 2, 3, 4]),
        (Pick(feature="state", columns=(1, 3)), [1, 2]),
        (Pick(feature="state", named=("left_arm_*",)), [0, 1]),
        # Each pattern takes its matches in the source's order; the patterns keep their own.
        (Pick(feature="state", named=("right_grip", "left_*")), [4, 0, 1, 2]),
        (Pick(feature="one"), [0]),
    ],
)
def test_columns_are_picked_by_range_or_name(pick: Pick, columns: list[int]) -> None:
    table = NAMED.arrays[pick.feature].reshape(2, -1)
    np.testing.assert_array_equal(view(NAMED).pick(pick), table[:, columns])


def test_one_column_by_number_or_name() -> None:
    seen = view(NAMED)
    assert seen.column("state", column=2, named=None).tolist() == [2.0, 7.0]
    assert seen.column("state", column=0, named="right_grip").tolist() == [4.0, 9.0]
    assert seen.column("one", column=0, named=None).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (Pick(feature="state", columns=(3, 6)), "at least 6 columns"),
        (Pick(feature="state", named=("head_*",)), r"left_arm_0.*one named head_\*"),
        (Pick(feature="one", named=("grip",)), "1 columns and no names"),
        (Pick(feature="cube"), "one row of numbers a step"),
        (Pick(feature="missing"), "no numbers"),
    ],
)
def test_what_cannot_be_picked_is_named(pick: Pick, message: str) -> None:
    raw = FakeEpisode(NAMED.arrays | {"cube": np.zeros((2, 2, 2))}, columns=NAMED.columns)
    with pytest.raises(FeatureError, match=message):
        view(raw).pick(pick)
    with pytest.raises(FeatureError, match="at least 6 columns"):
        view(raw).column("state", column=5, named=None)


CAMERA = '[{ name = "top", feature = "rgb" }]'


@pytest.mark.parametrize(
    ("samples", "taken"),
    [
        (4, [0, 1, 2, 3]),
        (8, [0, 2, 4, 6]),
        # A simulation steps on a little after the last picture.
        (11, [0, 2, 4, 6]),
        (13, [0, 3, 6, 9]),
    ],
)
def test_streams_are_brought_to_the_cameras_frames(samples: int, taken: list[int]) -> None:
    raw = FakeEpisode(
        arrays={"joints": np.arange(samples), "rate": np.array(30.0)}, cameras={"rgb": [b"x"] * 4}
    )
    seen = view(raw, "stride_to_cameras", CAMERA)
    assert seen.aligned_to == 4
    assert seen.numbers("joints").tolist() == taken
    assert seen.numbers("rate") == 30.0
    assert view(raw, "none", CAMERA).numbers("joints").tolist() == list(range(samples))


def test_a_shorter_stream_gives_the_nearest_sample_and_an_empty_one_is_refused() -> None:
    raw = FakeEpisode(
        arrays={"joints": np.arange(3), "none": np.zeros(0)}, cameras={"rgb": [b"x"] * 6}
    )
    seen = view(raw, "stride_to_cameras", CAMERA)
    found = seen.numbers("joints")
    assert len(found) == 6
    assert (np.diff(found) >= 0).all()
    assert set(found.tolist()) == {0, 1, 2}
    with pytest.raises(LengthError, match="zero samples"):
        seen.numbers("none")


def test_without_a_camera_nothing_is_aligned() -> None:
    """One that is declared and absent is no measure either."""
    raw = FakeEpisode(arrays={"joints": np.arange(8)}, shapes={"rgb": (4, 4, 3)})
    seen = view(raw, "stride_to_cameras", CAMERA)
    assert seen.aligned_to is None
    assert len(seen.numbers("joints")) == 8
