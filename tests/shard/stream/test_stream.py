"""What a batch holds: pictures, words, numbers; and what happens to a sample that is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from shard.stream.tiny_shards import TinySet, decoded, make_shards, numbers, picture

from finedata.errors import ConformError, UsageError
from finedata.motion.quaternion import conjugate, geodesic_angle_rad, multiply, rotate
from finedata.shard.stream.opening import stream
from finedata.shard.stream.pictures import PictureDecoder

A = TinySet("a", "rep", [5, 9, 6], fine=frozenset({0, 1}), missing=frozenset({2}))
B = TinySet("b", "rep", [12, 3], fine=frozenset({0}), steps=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", [A, B], nan_at=(0, 2))


def whole(root: Path, mix: str = "raw=1", batch: int = 35, **more: object):
    (one,) = stream(root, mix=mix, batch=batch, stop=batch, **more)
    return one


def placed(batch):
    """(place in the batch, its set, episode number, frame) of each sample."""
    for k, (name, frame) in enumerate(zip(batch.episode_id, batch.frame_index, strict=True)):
        yield k, {"a": A, "b": B}[name[0]], int(name[-4:]), int(frame)


def test_pictures_are_those_of_the_sample(tiny: Path):
    batch = whole(tiny)
    for k, one, episode, frame in placed(batch):
        there = episode not in one.missing
        assert batch.picture_mask["front"][k] == there
        wanted = decoded(picture(one.name, "front", episode, frame, one.size))
        got = batch.pictures["front"][k]
        # Decoders round the last bit of a colour in their own ways.
        assert np.abs(got.astype(int) - wanted * there).max() <= 2


def test_pictures_of_another_size_are_resized(tiny: Path):
    batch = whole(tiny, size=(8, 10))
    assert batch.pictures["front"].shape == (35, 8, 10, 3)
    for k, one, episode, frame in placed(batch):
        if episode in one.missing:
            continue
        wanted = decoded(picture(one.name, "front", episode, frame, one.size))
        assert np.abs(batch.pictures["front"][k].astype(int) - wanted[0, 0]).max() <= 2


@pytest.mark.parametrize(
    ("wanted", "decodes"),
    [((64, 96), (64, 96)), ((32, 48), (32, 48)), ((31, 47), (32, 48)), ((33, 48), (64, 96)),
     ((16, 24), (16, 24)), ((9, 9), (16, 24)), ((80, 80), (64, 96))],
)  # fmt: skip
def test_jpegs_are_scaled_by_halves_only(
    wanted: tuple[int, int], decodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    data = picture("s", "c", 0, 0, (64, 96))
    seen = []
    plain = simplejpeg.decode_jpeg
    monkeypatch.setattr(
        simplejpeg,
        "decode_jpeg",
        lambda *a, **k: seen.append(plain(*a, **k).shape[:2]) or plain(*a, **k),
    )
    pixels = np.zeros((*wanted, 3), np.uint8)
    PictureDecoder().into(pixels, data, codec="jpeg")
    assert seen == [decodes]
    assert np.abs(pixels.astype(int) - decoded(data)[0, 0]).max() <= 2


def test_numbers_are_windows_of_the_episode(tiny: Path):
    batch = whole(tiny, horizon=4, stride=2, history=2)
    assert batch.vectors["state"].shape == (35, 3, 8)
    assert batch.vectors["action"].shape == (35, 4, 8)
    for k, one, episode, frame in placed(batch):
        state, action = numbers(one, episode)
        last = one.lengths[episode] - 1
        for step in range(3):
            at = frame + (step - 2) * 2
            assert batch.vectors["state"][k, step].tolist() == state[max(at, 0)].tolist()
            assert batch.vector_mask["state"][k, step].all() == (at >= 0)
        for step in range(4):
            at = frame + step * 2
            wanted = action[min(at, last)].copy()
            nan = (episode, min(at, last)) == (0, 2)
            if nan:
                wanted[0] = 0
            assert batch.vectors["action"][k, step].tolist() == wanted.tolist()
            # The last action of these episodes was not commanded.
            mask = batch.vector_mask["action"][k, step]
            assert mask[1:].all() == mask[1:].any() == (at < last)
            assert mask[0] == (at < last and not nan)


@pytest.mark.parametrize("rotation", ["quaternion", "6d", "euler"])
@pytest.mark.parametrize("action", ["absolute", "relative", "delta"])
def test_actions_refer_and_rotate_as_published(tiny: Path, action: str, rotation: str):
    opened = stream(
        tiny, mix="raw=1", batch=35, stop=35, horizon=3, action=action, rotation=rotation
    )
    (batch,) = opened
    width = {"quaternion": 8, "6d": 10, "euler": 7}[rotation]
    assert len(opened.vectors["action"]) == width == batch.vectors["action"].shape[-1]
    for k, one, episode, frame in placed(batch):
        state, actions = (part.astype(np.float64) for part in numbers(one, episode))
        for step in range(3):
            at = min(frame + step, one.lengths[episode] - 1)
            if (episode, at) == (0, 2):
                continue
            target, now = actions[at], state[at if action == "delta" else frame]
            position, turn = target[:3], target[3:7]
            inverse = conjugate(now[3:7])
            if action != "absolute":
                position = position - now[:3]
            if action == "delta":
                turn = multiply(turn, inverse)
            if action == "relative":
                position, turn = rotate(inverse, position), multiply(inverse, turn)
            got = batch.vectors["action"][k, step].astype(np.float64)
            np.testing.assert_allclose(got[:3], position, atol=2e-6)
            assert got[-1] == np.float32(target[7])
            assert geodesic_angle_rad(read_rotation(got[3:-1], rotation), turn) < 2e-3


def read_rotation(values: np.ndarray, rotation: str) -> np.ndarray:
    """A quaternion xyzw of what a stream wrote, by another way than the stream's."""
    if rotation == "quaternion":
        return values / np.linalg.norm(values)
    if rotation == "euler":
        x, y, z = (
            np.concatenate([np.sin(angle / 2) * axis, [np.cos(angle / 2)]])
            for angle, axis in zip(values, np.eye(3), strict=True)
        )
        return multiply(z, multiply(y, x))
    import quaternion

    first = values[:3]
    second = values[3:] - first * (first @ values[3:])
    matrix = np.stack([first, second / np.linalg.norm(second), np.cross(first, second)], axis=1)
    found = quaternion.as_float_array(quaternion.from_rotation_matrix(matrix))
    return found[[1, 2, 3, 0]]


@pytest.mark.parametrize(
    ("normalise", "centre", "half"),
    [("quantile", 0.5, 1.0), ("min-max", 1.0, 2.0), ("mean-std", 0.5, 2.0)],
)
def test_numbers_are_normalised_but_rotations(
    tiny: Path, normalise: str, centre: float, half: float
):
    batch = whole(tiny, horizon=1, normalise=normalise)
    for k, one, episode, frame in placed(batch):
        state, _ = numbers(one, episode)
        got = batch.vectors["state"][k, 0]
        np.testing.assert_allclose(got[:3], (state[frame, :3] - centre) / half, atol=1e-6)
        assert got[3:7].tolist() == state[frame, 3:7].tolist()
        # In these statistics the gripper's quantiles are one number, and its extremes are not.
        extremes = normalise == "quantile"
        wanted = (state[frame, 7] - 1) / 2 if extremes else (state[frame, 7] - centre) / half
        np.testing.assert_allclose(got[7], wanted, atol=1e-6)


def test_words_are_what_each_view_asks_for(tiny: Path):
    def of(mix: str, **more: object) -> dict[str, set[str]]:
        batch = whole(tiny, mix, 20, **more)
        found: dict[str, set[str]] = {}
        for name, text in zip(batch.episode_id, batch.text, strict=True):
            found.setdefault(name, set()).add(text)
        return found

    assert of("fg=1")["a-rep-0001"] == {"grip it, then lift it"}
    assert of("fg=1", words={"fg": "goal"})["a-rep-0001"] == {"do 1"}
    assert of("fg=1", words={"fg": "both"})["a-rep-0001"] == {"do 1 grip it, then lift it"}
    only_a = {"sources": {"fg": {"a": 1}}}
    assert of("fg=1", words={"fg": "steps"}, **only_a)["a-rep-0001"] == {"grip it lift it"}
    assert of("fg=1", words={"fg": "numbered"}, **only_a)["a-rep-0001"] == {"1. grip it 2. lift it"}
    assert of("raw=1", words={"raw": "none"})["a-rep-0002"] == {""}
    assert of("fg=1", words={"fg": "facts"})["b-rep-0000"] == {"fact 0.0. fact 0.1. fact 0.2."}
    dropped = of("fg=1", words={"fg": "facts"}, drop_facts=0.7)["b-rep-0000"]
    assert len(dropped) > 1
    assert all(text and set(text.split(". ")) for text in dropped)
    assert of("fg=1", words={"fg": "facts"}, drop_facts=0.7)["b-rep-0000"] == dropped
    assert of("fg=1", words={"fg": "facts"}, drop_facts=0.7, seed=1)["b-rep-0000"] != dropped
    assert of("raw=1", paraphrase=1.0)["a-rep-0001"] == {"please do 1"}
    assert of("raw=1", paraphrase=0.5)["b-rep-0000"] == {"please do 0", "do 0"}


def test_words_by_chance_do_not_follow_the_ratio(tiny: Path):
    def words_of_raw(mix: str) -> list[str]:
        batch = whole(tiny, mix, 60, paraphrase=0.5)
        return [t for t, v in zip(batch.text, batch.view, strict=True) if v == "raw"][:15]

    assert words_of_raw("raw=1") == words_of_raw("fg=3,raw=1")


def test_traces_are_exact_or_hold(tiny: Path):
    for traces in ("exact", "hold"):
        batch = whole(tiny, traces=traces)
        for k, one, episode, frame in placed(batch):
            at = (frame - 1) // 3 * 3 + 1
            there = episode in one.fine and frame >= 1 and (traces == "hold" or at == frame)
            assert (batch.trace[k] is not None) == there
            if there:
                assert batch.trace[k]["observation"] == f"at {at}"
    assert whole(tiny).trace == [None] * 35


def test_missing_words_are_an_error_and_no_other_words(tiny: Path):
    with pytest.raises(ConformError, match=r"episode b-rep-0000.*\n?.*with steps"):
        whole(tiny, "fg=1", words={"fg": "steps"})
    with pytest.raises(ConformError, match="fine-grained text"):
        whole(tiny, "raw=1", words={"raw": "fine"})


def test_a_text_table_of_another_set_is_refused(tiny: Path, tmp_path: Path):
    root = shutil.copytree(tiny, tmp_path / "s")
    folder = next(root.glob("text/*"))
    shutil.copy(folder / B.name / "episodes.arrow", folder / A.name / "episodes.arrow")
    with pytest.raises(ConformError, match=r"b-rep-000\d in row"):
        whole(root, "fg=1", 14)


@pytest.fixture
def damaged(tiny: Path, tmp_path: Path) -> Path:
    """One byte of one picture of set b is flipped."""
    root = shutil.copytree(tiny, tmp_path / "s")
    path = root / "tars" / B.name / "train-000001.tar"
    content = bytearray(path.read_bytes())
    content[600] ^= 4
    path.write_bytes(content)
    return root


def test_a_flipped_byte_is_named(damaged: Path):
    with pytest.raises(ConformError, match=r"train-000001.tar, sample \d+ .*episode b-rep.*frame"):
        whole(damaged)


def test_the_next_of_the_same_source_takes_its_place_and_is_recorded(damaged: Path, tiny: Path):
    opened = stream(damaged, mix="raw=1", batch=5, stop=70, on_bad="next")
    got = [list(placed(batch)) for batch in opened]
    wanted = [list(placed(batch)) for batch in stream(tiny, mix="raw=1", batch=5, stop=70)]
    bad = opened.receipt().bad
    differing = {
        5 * k + i: (mine, theirs)
        for k, (one, other) in enumerate(zip(got, wanted, strict=True))
        for i, (mine, theirs) in enumerate(zip(one, other, strict=True))
        if mine != theirs
    }
    assert [one.n for one in bad] == sorted(differing)
    assert len(bad) == 2  # two epochs
    for one in bad:
        mine, theirs = differing[one.n]
        assert mine[1] is theirs[1] is B
        assert (one.episode_id, one.frame_index) == (B.episode_id(theirs[2]), theirs[3])
        assert one.replaced_by_episode_id == B.episode_id(mine[2])
        assert one.replaced_by_frame_index == mine[3]
        assert "other bytes than were written" in one.reason
    assert opened.receipt().chain == stream_receipt(tiny)


def stream_receipt(root: Path):
    opened = stream(root, mix="raw=1", batch=5, stop=70)
    for _ in opened:
        pass
    return opened.receipt().chain


def test_the_quota_of_bad_samples_ends_a_stream(damaged: Path):
    with pytest.raises(ConformError, match="bad_quota=0"):
        whole(damaged, on_bad="next", bad_quota=0)
    for path in (damaged / "tars" / B.name).glob("*.tar"):
        path.write_bytes(b"")
    with pytest.raises(ConformError, match="bad_quota=9"):
        whole(damaged, on_bad="next", bad_quota=9)


def test_sets_that_differ_need_roles(tmp_path: Path):
    wide = TinySet("c", "rep", [4], cameras=("top",), size=(10, 10))
    root = make_shards(tmp_path / "s", [A, wide])
    with pytest.raises(UsageError, match="other cameras or numbers"):
        stream(root, mix="raw=1", batch=4)
    (root / "roles.toml").write_text(ROLES)
    with pytest.raises(UsageError, match="10x10, 16x24"):
        stream(root, mix="raw=1", batch=4)
    (batch,) = stream(root, mix="raw=1", batch=24, stop=24, size=(8, 8), horizon=2)
    assert list(batch.pictures) == ["main", "wrist"]
    for k, name in enumerate(batch.episode_id):
        of_c = name.startswith("c")
        assert batch.picture_mask["wrist"][k] == of_c
        assert batch.pictures["wrist"][k].any() == of_c
        assert batch.vector_mask["go"][k, 0].tolist()[1] is False or not of_c
        assert batch.vectors["go"][k, 0, 1] == 7.5 or not of_c
    (root / "roles.toml").write_text(ROLES.replace('"top"', '"gone"'))
    with pytest.raises(UsageError, match="camera 'gone'"):
        stream(root, mix="raw=1", batch=4, size=(8, 8))
    (root / "roles.toml").write_text(ROLES.replace('"action:right_x"', '"action:left_x"'))
    with pytest.raises(UsageError, match="action:left_x"):
        stream(root, mix="raw=1", batch=4, size=(8, 8))
    (root / "roles.toml").write_text(
        ROLES.replace('"action:right_y"', '"observation.state:right_y"')
    )
    with pytest.raises(UsageError, match="one kind"):
        stream(root, mix="raw=1", batch=4, size=(8, 8))
    (root / "roles.toml").write_text(ROLES.replace('source = "c"', 'source = "d"'))
    with pytest.raises(UsageError, match="no entry"):
        stream(root, mix="raw=1", batch=4, size=(8, 8))


ROLES = """
version = 1
cameras = ["main", "wrist"]
[vectors.go]
names = ["x", "y"]
fill = 7.5
[[parts]]
source = "a"
part = "main"
cameras = {main = "front"}
vectors = {go = {x = "action:right_x", y = "action:right_y"}}
[[parts]]
source = "c"
part = "main"
cameras = {wrist = "top"}
vectors = {go = {x = "action:right_x"}}
"""
