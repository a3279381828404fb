"""Numbers as a policy sees them and the way back, and the statistics of relative actions."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard.stream.tiny_shards import NAMES, TinySet, make_shards, numbers

from finedata.errors import FeatureError, UsageError
from finedata.motion.quaternion import conjugate, geodesic_angle_rad, multiply, rotate
from finedata.schema.codecs_file import CodecsFile, VectorCodec
from finedata.schema.documents import decode_document, encode_document
from finedata.schema.shards_file import Statistics
from finedata.shard.stream import action_statistics as module
from finedata.shard.stream.codec import denormalise, normalise, scale
from finedata.shard.stream.opening import stream

A = TinySet("a", "rep", [5, 9, 6], fine=frozenset({0, 1}))
B = TinySet("b", "rest", [12, 3])
HELD = TinySet("a", "rep", [40], side="heldout")
Q = slice(3, 7)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", [A, B, HELD], nan_at=(0, 2))


def copied(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "s", ignore=shutil.ignore_patterns(".finedata"))


def codec_of(root: Path, role: str, **more: object) -> VectorCodec:
    found = stream(root, mix="raw=1", batch=4, **more).codecs
    again = decode_document(encode_document(found), CodecsFile, place="codecs")
    assert again == found
    return next(one for one in again.codecs if (one.source, one.role) == ("a", role))


WAYS = [
    (action, rotation, normalise)
    for action in ("absolute", "relative", "delta")
    for rotation in ("quaternion", "6d", "euler")
    for normalise in ("none", "quantile", "min-max", "mean-std")
]


@pytest.fixture(scope="module")
def codecs(tiny: Path) -> dict[tuple[str, str, str], VectorCodec]:
    return {
        way: codec_of(
            tiny, "action", action=way[0], rotation=way[1], normalise=way[2], horizon=3
        )
        for way in WAYS
    }  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(way=st.sampled_from(WAYS), seed=st.integers(0, 2**32 - 1))
def test_denormalise_is_the_inverse_of_normalise(codecs, way, seed: int):
    codec = codecs[way]
    rng = np.random.default_rng(seed)
    values, states = rng.normal(size=(2, 4, 3, 8))
    for one in (values, states):
        one[..., Q] /= np.linalg.norm(one[..., Q], axis=-1, keepdims=True)
    values, states = values.astype(np.float32), states.astype(np.float32)
    state = {"absolute": None, "relative": states[:, 0], "delta": states}[way[0]]
    given = normalise(codec, values, state=state)
    assert given.dtype == np.float32
    assert given.shape == (4, 3, len(codec.given_names))
    back = denormalise(codec, given, state=state)
    plain = [0, 1, 2, 7]
    np.testing.assert_allclose(back[..., plain], values[..., plain], atol=5e-6)
    # Angles of float32 are told to about 1e-3 by a dot product of float32 quaternions.
    assert geodesic_angle_rad(back[..., Q], values[..., Q]).max() < 2e-3
    np.testing.assert_allclose(np.linalg.norm(back[..., Q], axis=-1), 1, atol=1e-6)
    if way[0] != "absolute":
        now = states if way[0] == "delta" else states[:, :1]
        assert ((back[..., Q] * now[..., Q]).sum(-1) >= -1e-6).all()
    elif way[1] == "quaternion":
        np.testing.assert_allclose(back[..., Q], values[..., Q], atol=1e-6)


def test_a_stream_gives_what_normalise_writes(tiny: Path):
    for action, rotation in (("relative", "6d"), ("delta", "euler"), ("absolute", "quaternion")):
        more = {"action": action, "rotation": rotation, "normalise": "quantile", "horizon": 3}
        (batch,) = stream(tiny, mix="raw=1", batch=35, stop=35, **more)
        codec = codec_of(tiny, "action", **more)
        assert codec.given_names == stream(tiny, mix="raw=1", batch=4, **more).vectors["action"]
        for k, (name, frame) in enumerate(zip(batch.episode_id, batch.frame_index, strict=True)):
            one, episode = {"a": A, "b": B}[name[0]], int(name[-4:])
            state, actions = numbers(one, episode)
            at = np.minimum(frame + np.arange(3), len(state) - 1)
            now = {"absolute": None, "relative": state[frame], "delta": state[at]}[action]
            wanted = normalise(codec, actions[at], state=now)
            mask = batch.vector_mask["action"][k]
            np.testing.assert_allclose(batch.vectors["action"][k][mask], wanted[mask], atol=1e-6)


def relative_by_hand(action: str, horizon: int, stride: int) -> np.ndarray:
    """Every step of every chunk of the training sides: (n, 8), NaN where there is no number."""
    rows = []
    for one in (A, B):
        for episode, length in enumerate(one.lengths):
            state, actions = (part.astype(np.float64) for part in numbers(one, episode))
            for frame in range(length):
                for step in range(horizon):
                    at = frame + step * stride
                    if at >= length - 1:  # behind the end, or not commanded
                        continue
                    now = state[at if action == "delta" else frame]
                    row = actions[at] - now
                    row[7] = actions[at][7]
                    row[Q] = multiply(conjugate(now[Q]), actions[at][Q])
                    if action == "delta":
                        row[Q] = multiply(actions[at][Q], conjugate(now[Q]))
                    else:
                        row[:3] = rotate(conjugate(now[Q]), row[:3])
                    row[Q] *= -1 if row[6] < 0 else 1
                    if (episode, at) == (0, 2):
                        row[0] = np.nan
                        if action == "relative":
                            row[:3] = np.nan
                    rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("action", "horizon", "stride"), [("relative", 4, 2), ("delta", 3, 1)])
def test_statistics_of_relative_actions_are_of_what_a_policy_sees(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    action: str, horizon: int, stride: int,
):  # fmt: skip
    root = copied(tiny, tmp_path)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 30)
    more = {"action": action, "horizon": horizon, "stride": stride, "normalise": "mean-std"}
    (found,) = stream(root, mix="raw=1", batch=4, **more).wanted.statistics
    wanted = relative_by_hand(action, horizon, stride)
    assert (found.embodiment, found.space, found.feature) == ("arm", "ee", "action")
    assert found.names == NAMES
    assert found.count == (~np.isnan(wanted)).sum(0).tolist()
    for name, values in {
        "mean": np.nanmean(wanted, 0),
        "std": np.nanstd(wanted, 0),
        "min": np.nanmin(wanted, 0),
        "max": np.nanmax(wanted, 0),
        "q01": np.nanquantile(wanted, 0.01, 0),
        "q99": np.nanquantile(wanted, 0.99, 0),
    }.items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=2e-5, atol=2e-5)
    # What a policy sees has mean 0 and deviation 1, whatever the mixture is.
    opened = stream(root, mix="raw=1", batch=35, stop=35, **more)
    (batch,) = opened
    plain = [0, 1, 2, 7]
    seen = np.where(batch.vector_mask["action"], batch.vectors["action"], np.nan)[..., plain]
    np.testing.assert_allclose(np.nanmean(seen, (0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(seen, (0, 1)), 1, atol=1e-5)


def test_statistics_are_kept_and_enter_the_content(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = copied(tiny, tmp_path)
    more = {"action": "relative", "horizon": 3, "normalise": "quantile"}
    first = stream(root, mix="raw=1", batch=4, **more)
    (path,) = (root / ".finedata/statistics").iterdir()
    before = path.read_bytes()
    other = stream(root, mix="fg=1,raw=1", batch=4, **more)
    assert other.wanted.statistics == first.wanted.statistics
    # Cut off by a kill: counted again, to the same bytes.
    path.write_bytes(before[:100])
    again = stream(root, mix="raw=1", batch=4, **more)
    assert (path.read_bytes(), again.content) == (before, first.content)
    stream(root, mix="raw=1", batch=4, **{**more, "horizon": 2})
    assert len(list(path.parent.iterdir())) == 2
    monkeypatch.setattr(module, "_count", None)
    assert stream(root, mix="raw=1", batch=4, **more).content == first.content
    kept = msgspec.json.decode(before)
    kept["statistics"][0]["q99"][0] += 1
    path.write_bytes(msgspec.json.encode(kept))
    changed = stream(root, mix="raw=1", batch=4, **more)
    assert changed.content != first.content
    with pytest.raises(UsageError, match="content of the state"):
        changed.load_state_dict(first.state_dict())
    # A file of another key is not believed.
    path.write_bytes(msgspec.json.encode(kept | {"key": "0" * 64}))
    monkeypatch.undo()
    assert stream(root, mix="raw=1", batch=4, **more).content == first.content


def test_shards_that_nobody_writes_to_are_counted_each_time(tiny: Path, tmp_path: Path):
    root = copied(tiny, tmp_path)
    (root / ".finedata").write_text("in the way of a folder")
    more = {"action": "relative", "horizon": 3, "normalise": "quantile"}
    assert stream(root, mix="raw=1", batch=4, **more).wanted.statistics
    assert (root / ".finedata").is_file()


def test_an_embodiment_without_statistics_is_named(tiny: Path, tmp_path: Path):
    root = copied(tiny, tmp_path)
    text = (root / "shards.json").read_text().replace('"embodiment": "arm",\n      "space": "ee",\n      "feature"', '"embodiment": "leg",\n      "space": "ee",\n      "feature"')  # noqa: E501  # fmt: skip
    (root / "shards.json").write_text(text)
    with pytest.raises(UsageError, match=r"of arm in space ee.*\n?.*no statistics"):
        stream(root, mix="raw=1", batch=4, normalise="mean-std")


STATISTICS = Statistics(
    embodiment="arm", space="ee", feature="action", names=list("abcd"), count=[9, 9, 9, 0],
    mean=[0.5, 2.0, 0.0, None], std=[2.0, 0.0, 1e-9, None], min=[-1.0, 2.0, 0.0, None],
    max=[3.0, 2.0, 1.0, None], q01=[-0.5, 2.0, 0.0, None], q99=[1.5, 2.0, 0.0, None],
)  # fmt: skip


def test_a_constant_is_read_back_and_no_number_is_scaled_away():
    def of(how: str) -> list[tuple[float, float]]:
        return [scale(STATISTICS, at, how=how) for at in range(4)]

    assert of("quantile") == [(0.5, 1.0), (2.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    assert of("min-max") == [(1.0, 2.0), (2.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    assert of("mean-std") == [(0.5, 2.0), (2.0, 0.0), (0.0, 0.0), (0.0, 1.0)]
    codec = VectorCodec(
        source="s", part="p", embodiment="e", role="r", kind="state", names=("a", "b", "c"),
        given_names=("a", "b", "c"), filled=(True, True, False), action="absolute",
        rotation="6d", normalise="quantile", centre=(0.5, 2.0, 0.0), half=(1.0, 0.0, 1.0),
        fill=-9.0,
    )  # fmt: skip
    given = normalise(codec, [[1.5, 2.0, 7.0], [0.5, 2.0, 7.0]])
    assert given.tolist() == [[1, 0, -9], [0, 0, -9]]
    assert denormalise(codec, given + 0.25).tolist() == [[1.75, 2, -9], [0.75, 2, -9]]


def test_what_a_server_gives_wrongly_is_named(codecs):
    relative = codecs["relative", "6d", "quantile"]
    values, state = np.zeros((2, 3, 8), np.float32), np.ones((2, 8), np.float32)
    with pytest.raises(FeatureError, match="state of vector role action"):
        normalise(relative, values)
    with pytest.raises(FeatureError, match="the state now"):
        denormalise(relative, np.zeros((2, 3, 10)), state=np.ones((3, 8)))
    with pytest.raises(FeatureError, match="the state at each step"):
        normalise(codecs["delta", "6d", "none"], values, state=state)
    with pytest.raises(FeatureError, match=r"steps, 10"):
        denormalise(relative, values, state=state)


def test_a_predicted_quaternion_may_have_either_sign(codecs):
    codec = codecs["relative", "quaternion", "none"]
    state = np.array([[1, 2, 3, 0, 0, 1, 0, 0]], np.float32)
    given = np.array([[[0, 0, 0, 0.1, 0.2, 0.3, 0.9, 0]]], np.float32)
    back = denormalise(codec, given, state=state)
    given[..., Q] *= -2
    np.testing.assert_allclose(denormalise(codec, given, state=state), back, atol=1e-6)
    assert back[0, 0, 5] > 0


def test_actions_of_a_policy_need_not_be_orthonormal(codecs):
    codec = codecs["absolute", "6d", "none"]
    given = np.zeros((1, 1, 10))
    given[..., 3:9] = [2, 0, 0, 1, 3, 0]
    assert denormalise(codec, given)[0, 0, Q].tolist() == [0, 0, 0, 1]
