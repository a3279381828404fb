"""Depth and camera matrices as clients show them: units by type, nothing guessed or dropped."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from serve.fake import HORIZON, STATE, FakePredictor, desk

import finedata as fd
from finedata.api.policy import Policy
from finedata.errors import FinedataError, UsageError
from finedata.schema.codecs_file import CodecsFile, VectorCodec
from finedata.serve.observe import Request, read_request
from finedata.train.recorded import RecordedDepth
from finedata.train.robot import robots_of

METRES = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
MATRIX = [[60.0, 0, 40], [0, 50, 30], [0, 0, 1]]


def read(payload: dict[str, Any], *, cameras: tuple[str, ...] = ("front", "wrist")) -> Request:
    renamed = {"camera/aligned_depth": "depth/front"}
    return read_request(payload, cameras=cameras, states=(), renamed=renamed, space=True)


@pytest.mark.parametrize(
    "payload",
    [
        {"depth/front": METRES},
        {"depth": {"front": METRES.astype(np.float64)}},
        {"observation/depth/front": METRES[..., None]},
        {"camera/aligned_depth": METRES},
        {"depth/front": (METRES * 1000).astype(np.uint16)},
    ],
)
def test_floats_are_metres_and_16_bits_millimetres(payload: dict[str, Any]) -> None:
    found = read(payload)
    assert found.depths["front"] is not None
    assert found.depths["front"].dtype == np.float32
    assert np.allclose(found.depths["front"], METRES, atol=1e-6)
    assert (found.pictures, found.matrices) == ({}, {})


def test_what_the_sensor_did_not_see_is_no_depth() -> None:
    # REP 118: no number where nothing is known, infinite where it is too near or too far.
    holes = METRES.copy()
    holes[0] = [np.nan, np.inf, -np.inf, 0]
    found = read({"depth/front": holes, "depth/wrist": None}).depths
    assert found["wrist"] is None
    assert found["front"] is not None
    assert found["front"][0].tolist() == [0, 0, 0, 0]
    assert np.array_equal(found["front"][1:], METRES[1:])


@pytest.mark.parametrize(
    "depth",
    [
        METRES.astype(np.uint8), METRES.astype(np.int64), METRES[0], METRES[None, None],
        np.zeros((0, 4), np.float32), np.zeros((1, 9000), np.float32), [[1.0, 2.0]], "1.5",
        np.stack([METRES] * 3, -1),
    ],
)  # fmt: skip
def test_what_has_no_unit_or_is_no_map_is_refused(depth: Any) -> None:
    with pytest.raises(UsageError, match=r"depth of front.*in metres, or of uint16, in milli"):
        read({"depth/front": depth})


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(UsageError, match=r"depth of front: found -1\.5 m"):
        read({"depth/front": METRES - 1.5})


@pytest.mark.parametrize(
    "matrix",
    [MATRIX, np.array(MATRIX), np.array(MATRIX, np.float32).ravel(), [60, 50, 40, 30]],
)
def test_a_matrix_is_one_of_a_pinhole(matrix: Any) -> None:
    assert read({"matrix/front": matrix}).matrices["front"].tolist() == MATRIX
    assert read({"matrix/front": None}).matrices == {}


@pytest.mark.parametrize(
    "matrix",
    [
        [60.0, 50, 40], np.eye(4), np.zeros((3, 3)), [-60.0, 50, 40, 30],
        [float("nan"), 50, 40, 30], [[60, 0, 40], [0, 50, 30], [0, 0, 2]],
    ],
)  # fmt: skip
def test_what_is_no_pinhole_is_refused(matrix: Any) -> None:
    with pytest.raises(UsageError, match=r"matrix of front.*fx, fy, cx, cy"):
        read({"matrix/front": matrix})


def test_the_only_camera_needs_no_name() -> None:
    found = read({"depth": METRES, "matrix": MATRIX}, cameras=("front",))
    assert (list(found.depths), list(found.matrices)) == (["front"], ["front"])


@pytest.mark.parametrize("key", ["depth/side", "depth", "depth/a/front", "front_depth"])
def test_other_names_are_unknown(key: str) -> None:
    with pytest.raises(UsageError, match=r"wanted one of front, wrist, depth/front, depth/wrist"):
        read({key: METRES})


def test_a_policy_without_space_knows_no_depth() -> None:
    with pytest.raises(UsageError, match="found a name that the policy does not know"):
        desk().read({"depth/front": METRES})
    with pytest.raises(UsageError, match="no role of the policy"):
        desk(renamed={"deep": "depth/front"})


def test_a_name_may_mean_depth_or_a_state_of_a_role() -> None:
    table = desk(
        FakePredictor(in_space=True), renamed={"deep": "depth/front", "joints": "state/state"}
    )
    found = table.read({"deep": METRES, "joints": STATE})
    assert list(found.depths) == ["front"]
    assert list(found.states) == ["state"]
    assert table.metadata()["finedata"]["needed_depth"] == ["front"]
    assert desk().metadata()["finedata"]["needed_depth"] == []


def recorded(folder: Path, kind: str) -> tuple[Path, Path, str]:
    """A dataset with depth, shards of it whose roles know the matrix, the held-out episode."""
    pytest.importorskip("av")
    from convert.test_names_of_features import converted
    from shard.curation import curate
    from sources import lerobot_depth

    from finedata.shard.making.run import shard_datasets
    from finedata.shard.making.settings import ShardSettings

    if kind in ("m", "mm"):
        lerobot_depth.write_rows(folder / "in", unit=kind)
    else:
        lerobot_depth.write(folder / "in")
    dataset = converted(folder / "in")
    held_out = curate(dataset, every=1)[0]
    shards = folder / "shards"
    shard_datasets([dataset], out=shards, settings=ShardSettings(held_out_ids=(held_out,)))
    roles = shards / "roles.toml"
    known = "unit_m = 0.001\nmatrix = [60.0, 50.0, 40.0, 30.0]\nsize = [24, 16]"
    roles.write_text(roles.read_text().replace("unit_m = 0.001", known))
    return dataset, shards, held_out


def check_shown(shown: Any, frame: int) -> None:
    from sources.lerobot_depth import distances_m

    assert np.abs(shown.depths["front"] - distances_m(frame)).max() < 0.003
    # The pictures are larger than those that the matrix is of.
    height, width = shown.pictures["front"].shape[:2]
    assert (height, width) != (16, 24)
    scaled = [[60 * width / 24, 0, 40 * width / 24], [0, 50 * height / 16, 30 * height / 16]]
    assert np.allclose(shown.matrices["front"][:2], scaled)


def estimated(shards: Path) -> None:
    """As if a model had estimated the depth of the shards: it is in no dataset."""
    document = json.loads((shards / "shards.json").read_text())
    for one in document["sets"]:
        (deep,) = [camera for camera in one["cameras"] if camera["name"] == "front_depth"]
        deep["depth_of"] = "front"
    (shards / "shards.json").write_text(json.dumps(document))


@pytest.mark.parametrize("kind", ["codes of a video", "m", "mm"])
def test_recorded_depth_is_shown_as_the_shards_have_it(kind: str, tmp_path: Path) -> None:
    dataset, shards, held_out = recorded(tmp_path, kind)
    fake = FakePredictor(in_space=True, says=lambda _: np.zeros((HORIZON, 6), np.float32))
    names = fd.open(dataset)[held_out].names["action"]
    shared: dict[str, Any] = {
        "embodiment": "test_robot", "source": "lerobot", "part": "test_robot", "names": names,
        "filled": (True,) * 6, "rotation": "6d", "normalise": "quantile", "centre": (0.0,) * 6,
        "half": (1.0,) * 6, "given_names": names, "action": "absolute",
    }  # fmt: skip
    codecs = [VectorCodec(role=role, kind=role, **shared) for role in ("state", "action")]
    file = CodecsFile(horizon=HORIZON, stride=1, history=0, codecs=tuple(codecs))
    fake.robots = robots_of(file, inputs=(), actions=("action",))
    policy = Policy(fake)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="which camera has it"):
        policy.replay(dataset)
    assert policy.replay(dataset, shards=shards)
    asked = [a[0][1] for a, _, _ in fake.seen if a[0][1].text != "warm up"]
    assert len(asked) == 16 // HORIZON
    for number, shown in enumerate(asked):
        check_shown(shown, number * HORIZON)
    warm = fake.seen[0][0][0][1]
    assert (warm.depths["front"] == 1).all()
    estimated(shards)
    with pytest.raises(UsageError, match="that of the shards was estimated"):
        policy.replay(dataset, shards=shards)


def test_a_frame_without_a_matrix_has_none() -> None:
    """As in training, which takes the published one there; a client may send no such numbers."""
    numbers = np.array([[np.nan] * 4, [60.0, 50, 40, 30]])
    depth = RecordedDepth(
        episode=SimpleNamespace(), camera="d", unit_m=0.001, matrix=numbers, size=(4, 3)
    )  # pyright: ignore[reportArgumentType]
    picture = np.zeros((6, 4, 3), np.uint8)
    assert depth.matrix_of(picture, frame=0) is None
    found = depth.matrix_of(picture, frame=1)
    assert found is not None
    assert found.tolist() == [[60, 0, 40], [0, 100, 60], [0, 0, 1]]


def test_what_is_looked_at_is_asked_with_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from finedata.shard.shards import Shards
    from finedata.train import attention
    from finedata.train.predict import Predictor
    from finedata.train.recorded import part_of_episode

    class Asked(Exception):
        pass

    def asked(predictor: Any, observation: Any, **how: Any) -> None:
        raise Asked(observation)

    dataset, shards, held_out = recorded(tmp_path, "codes of a video")
    fake = FakePredictor(in_space=True)
    monkeypatch.setattr(Predictor, "load", lambda *args, **how: fake)
    monkeypatch.setattr(attention, "attention_of", asked)
    how: dict[str, Any] = {"episode": held_out, "out": tmp_path / "maps.html", "frame": 5}
    with pytest.raises(UsageError, match="that say where depth is"):
        fd.attention("run", dataset, **how)
    with pytest.raises(Asked) as found:
        fd.attention("run", dataset, shards=shards, **how)
    check_shown(found.value.args[0], 5)
    with pytest.raises(UsageError, match="no episode none"):
        part_of_episode(Shards.open(shards), "none")
    with pytest.raises(UsageError, match="one of them"):
        fd.attention("run", dataset, shards=shards, cameras={"front": "front"}, **how)
    estimated(shards)
    with pytest.raises(UsageError, match="that of the shards was estimated"):
        fd.attention("run", dataset, shards=shards, **how)
    fake.needs_depth = False
    with pytest.raises(Asked) as found:
        fd.attention("run", dataset, shards=shards, **how)
    assert found.value.args[0].depths == {}
    assert found.value.args[0].matrices["front"].shape == (3, 3)


def test_a_policy_is_told_through_the_socket_where_its_pictures_are(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from serve.conftest import picture
    from train.test_ego3d import DEPTH, make_deep
    from train.test_loop import trainer
    from train.test_tokens import NAME

    from finedata.train.robot import Observation

    shards = make_deep(tmp_path / "shards")
    trainer(shards, tmp_path / "run", name=NAME, **DEPTH).train(stop=1)
    policy = fd.policy(tmp_path / "run", device="cpu")
    assert policy.describe()["finedata"]["needed_depth"] == ["front", "wrist"]
    seen = {"front": picture(0), "wrist": picture(1)}
    metres = np.random.default_rng(0).uniform(0.5, 2, (30, 40)).astype(np.float32)
    observation = Observation(
        pictures=seen, text="do 1", states={"state": STATE},
        depths={"front": metres, "wrist": None}, matrices={"front": np.array(MATRIX)},
    )  # fmt: skip
    asked = {**seen, "prompt": "do 1", "state": STATE, "depth/front": metres}
    shown: list[Any] = []
    predict = policy.predictor.predict
    policy.predictor.predict = lambda asked, **how: shown.append(asked) or predict(asked, **how)
    with policy.serving() as listening, fd.connect(listening.address) as client:
        said = client.act({**asked, "depth/wrist": None, "matrix/front": MATRIX})
        assert np.isfinite(said.actions).all()
        ((_, heard),) = shown[-1]
        told = policy.predictor.seen([heard])
        wanted = policy.predictor.seen([observation])
        assert np.array_equal(told["points"], wanted["points"])
        assert np.array_equal(told["pointed"], wanted["pointed"])
        assert told["pointed"][0].all(-1).tolist() == [True, False]
        with pytest.raises(FinedataError, match="depth/wrist: metres of each pixel, nil where"):
            client.act(asked | {"prompt": "do 2"})  # other words: it is asked anew
