"""Positions in space from depth: points and encoding by hand, the run, and what is not there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard.stream.tiny_shards import TinySet, make_shards
from shard.tiny_depth import make_zoe
from train.recipes import recipe_file

from finedata.errors import SpecError, UsageError
from finedata.schema.recipe_file import find_recipe
from finedata.shard.roles import write_roles

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_spatialvla import released  # noqa: E402
from train.test_tokens import NAME, drawn  # noqa: E402

from finedata.shard.depth import DepthModel  # noqa: E402
from finedata.shard.shards import Shards  # noqa: E402
from finedata.train.data import inputs, look  # noqa: E402
from finedata.train.ego3d import patch_points, published_matrix  # noqa: E402
from finedata.train.estimate import estimate  # noqa: E402
from finedata.train.heads.ego3d import Ego3D  # noqa: E402
from finedata.train.loop import Trainer  # noqa: E402
from finedata.train.policy import make_policy  # noqa: E402
from finedata.train.predict import Predictor  # noqa: E402
from finedata.train.robot import Observation  # noqa: E402

DEPTH = {"ego3d": "depth"}
MATRIX = "\nmatrix = [50.0, 48.0, 27.0, 29.0]\nsize = [56, 56]"


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_deep(tmp_path_factory.mktemp("deep") / "shards")


def make_deep(root: Path) -> Path:
    """Shards of two cameras, one with depth and its matrix; episode 1 lacks that camera."""
    one = TinySet(
        "a", "rep", [12, 9], fine=frozenset({0, 1}), whole_traces=True, size=(56, 56),
        cameras=("front", "wrist"), deep=("front",), missing=frozenset({1}), tar_samples=50,
    )  # fmt: skip
    make_shards(root, [one])
    write_roles(root, list(Shards.open(root).sets.values()))
    roles = root / "roles.toml"
    text = roles.read_text()
    assert 'camera = "front_depth"\nunit_m = 0.001' in text
    roles.write_text(text.replace("unit_m = 0.001", "unit_m = 0.001" + MATRIX))
    return root


def by_hand(depth: np.ndarray, matrix: np.ndarray, side: int, points: int) -> np.ndarray:
    """(side * side, points * points * 3), pixel by pixel; nan where a point has no depth."""
    (fx, _, cx), (_, fy, cy), _ = matrix.tolist()
    cell = depth.shape[0] // (side * points)
    found: list[list[float]] = []
    for row in range(side):
        for column in range(side):
            patch: list[float] = []
            for a in range(points):
                for b in range(points):
                    top, left = (row * points + a) * cell, (column * points + b) * cell
                    here = [
                        float(depth[y, x])
                        for y in range(top, top + cell)
                        for x in range(left, left + cell)
                        if depth[y, x] > 0
                    ]
                    z = sum(here) / len(here) if here else math.nan
                    u, v = left + cell / 2, top + cell / 2
                    patch += [(u - cx) / fx * z, (v - cy) / fy * z, z]
            found.append(patch)
    return np.array(found)


def test_points_of_patches_by_hand() -> None:
    rng = np.random.default_rng(3)
    depth = rng.uniform(0.3, 3, (2, 28, 28)).astype(np.float32)
    depth[0, :7, :7] = 0  # a whole point
    depth[1, 3, :14] = 0  # a hole that leaves something
    matrices = np.stack([published_matrix(height=28, width=28), np.eye(3, dtype=np.float32)])
    found, whole = patch_points(depth, matrices, side=2, points=2)
    assert found.shape == (2, 4, 12)
    for k in range(2):
        wanted = by_hand(depth[k], matrices[k], 2, 2)
        there = np.isfinite(wanted).all(1)
        assert whole[k].tolist() == there.tolist()
        assert np.allclose(found[k][there], wanted[there], rtol=1e-5)
    assert whole.tolist() == [[False, True, True, True], [True] * 4]


def test_the_published_matrix_is_scaled_to_the_pictures() -> None:
    found = published_matrix(height=224, width=224)
    wanted = [[218.2558, 0, 111.82535], [0, 291.00773, 111.78767], [0, 0, 1]]
    assert np.allclose(found, wanted, rtol=1e-6)


def test_the_encoding_by_hand() -> None:
    torch.manual_seed(1)
    layer = Ego3D(points=2, width=24)
    points = torch.randn(2, 3, 12)
    found = layer.encoded(points)
    assert found.shape == (2, 3, 12 * 17)
    assert layer.position_embedding_head[0].in_features == 204
    centre = [0.0, 0.0, 2.0] * 4
    wanted: list[float] = []
    for value, middle in zip(points[1, 2].tolist(), centre, strict=True):
        x = (value - middle) / 2
        wanted += [x, *(math.sin(2**k * x) for k in range(8))]
        wanted += [math.cos(2**k * x) for k in range(8)]
    assert np.allclose(found[1, 2].numpy(), wanted, atol=2e-5)
    pointed = torch.tensor([[True, False, True], [True, True, True]])
    said = layer(points, pointed)
    assert (said[0, 1] == 0).all()
    assert (said[pointed] != 0).any(-1).all()


def test_positions_are_added_before_the_projector(deep: Path) -> None:
    policy, data, batch = drawn(deep, batch=21, **DEPTH)
    policy.head.answer(batch, data)
    tensors = inputs(batch, data, torch.device("cpu"))
    front = [name.endswith("0000") for name in batch.episode_id]
    assert 0 < sum(front) < 21
    # Depth has a hole in half of its first row; a patch of 14 pixels still has depth everywhere.
    assert tensors["pointed"][:, 0].all(-1).tolist() == front
    assert not tensors["pointed"][:, 1].any()
    for k in (front.index(True), front.index(False)):
        depth = batch.depth["front"][k]
        matrix = np.array([[50, 0, 27], [0, 48, 29], [0, 0, 1.0]])
        wanted = by_hand(depth, matrix, 4, 2)
        if front[k]:
            assert np.allclose(tensors["points"][k, 0], wanted, rtol=1e-5)
        else:
            assert (depth == 0).all()
    backbone, base = policy.backbone, policy.backbone.base
    kept: list[torch.Tensor] = []
    hook = base.multi_modal_projector.register_forward_pre_hook(lambda _, x: kept.append(x[0]))
    with torch.no_grad():
        hidden = backbone(tensors)
        hook.remove()
        pixels = backbone.normalised(tensors["pixels"]).flatten(0, 1)
        plain = base.vision_tower(pixels).last_hidden_state
        added = policy.head.ego3d(tensors["points"].flatten(0, 1), tensors["pointed"].flatten(0, 1))
        assert torch.allclose(kept[0], plain + added, atol=1e-6)
        assert (added.abs().amax((1, 2)) > 0).tolist() == [x for f in front for x in (f, False)]
        # Without any depth the model is the one without positions.
        nothing = tensors | {"pointed": torch.zeros_like(tensors["pointed"])}
        without = backbone(nothing)
        backbone.placed = None
        assert torch.allclose(without, backbone(nothing), atol=1e-6)
    assert not torch.allclose(hidden, without, atol=1e-6)


def test_a_run_learns_positions_and_asks_for_depth(deep: Path, tmp_path: Path) -> None:
    file = recipe_file(NAME, steps=2, batch=8, micro_batch=8, save_every=2, **DEPTH)
    one = Trainer(file, deep, tmp_path / "run", workers=0, device="cpu")
    before = one.policy.head.ego3d.position_embedding_head[3].weight.detach().clone()
    done = one.train()
    assert any(note.startswith("no depth of wrist") for note in done.notes)
    dry = [estimate(recipe_file(NAME, **more), deep).trained["head"] for more in (DEPTH, {})]
    added = sum(p.numel() for p in one.policy.head.ego3d.parameters())
    assert dry[0] - dry[1] == added == 204 * 64 + 64 * 64 + 4 * 64
    assert not any("no camera matrix" in note for note in done.notes)
    assert not torch.equal(one.policy.head.ego3d.position_embedding_head[3].weight, before)
    predictor = Predictor.load(tmp_path / "run", device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    shown: dict[str, Any] = {"pictures": {"front": picture, "wrist": picture}, "text": "do 1"}
    state = np.array([0, 0, 0, 0, 0, 0, 1, 0], np.float32)
    metres = np.full((30, 40), 1.5, np.float32)
    seen = Observation(
        **shown, states={"state": state}, depths={"front": metres, "wrist": None},
        matrices={"front": np.array([[60, 0, 40], [0, 60, 30], [0, 0, 1.0]])},
    )  # fmt: skip
    batch = predictor.seen([seen])
    assert batch["pointed"][0].all(-1).tolist() == [True, False]
    # 80 x 60 became 56 x 56: fx 42, cx 28; the first point is at 3.5, 3.5 of it.
    wanted = [(3.5 - 28) / 42 * 1.5, (3.5 - 28) / 56 * 1.5, 1.5]
    assert np.allclose(batch["points"][0, 0, 0, :3], wanted, atol=1e-5)
    (said,) = predictor.predict([(predictor.robot(), seen)])
    assert np.isfinite(said.given).all()
    with pytest.raises(UsageError, match="metres of each pixel"):
        predictor.seen([Observation(**shown)])


def test_depth_is_estimated_when_the_recipe_names_a_model(deep: Path, tmp_path: Path) -> None:
    zoe = str(make_zoe(tmp_path / "zoe"))
    file = recipe_file(NAME, steps=1, batch=4, micro_batch=4, depth_model=zoe, **DEPTH)
    Trainer(file, deep, tmp_path / "run", workers=0, device="cpu").train()
    predictor = Predictor.load(tmp_path / "run", device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (56, 56, 3)).astype(np.uint8)
    shown = {"front": picture, "wrist": None}
    batch = predictor.seen([Observation(pictures=shown, text="do 1")])
    metres = DepthModel(zoe, device="cpu").millimetres(picture).astype(np.float32) / 1000
    wanted = by_hand(metres, published_matrix(height=56, width=56), 4, 2)
    assert np.allclose(batch["points"][0, 0], wanted, rtol=1e-4)
    assert batch["pointed"][0].all(-1).tolist() == [True, False]


def test_positions_of_a_spatialvla_checkpoint_find_their_place(deep: Path, tmp_path: Path) -> None:
    policy, _, _ = drawn(deep, **DEPTH)
    layer = "position_embedding_head"
    weights = {
        f"position_embedding_3d.{layer}.{name}": torch.randn(*p.shape)
        for name, p in policy.head.ego3d.position_embedding_head.named_parameters()
    }
    plain = make_policy(recipe_file(NAME).recipe, state_dim=0, action_dim=7)
    zoe = {"vision_zoe_model.neck.weight": torch.zeros(2)}
    released(tmp_path / "theirs", plain, **weights, **zoe)
    file = recipe_file(NAME, init_from=str(tmp_path / "theirs"), **DEPTH)
    one = Trainer(file, deep, tmp_path / "run", workers=0, device="cpu")
    one.close()
    mine = dict(one.policy.named_parameters())
    for name, theirs in weights.items():
        ours = name.replace("position_embedding_3d", "head.ego3d")
        assert torch.equal(mine[ours], theirs)
    told = [note for note in one.notes if "init_from" in note]
    assert told == ["init_from has vision_zoe_model.neck.weight besides"]


def test_what_has_no_place_in_space_is_refused(deep: Path, traced: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no depth of front"):
        look(Shards.open(traced), recipe_file(NAME, **DEPTH).recipe)
    for changes, said in [
        ({"backbone": "tiny:qwen3_vl", "attention": "causal"}, "family paligemma"),
        ({"ego3d_points": 3}, "divides a patch"),
    ]:
        with pytest.raises(UsageError, match=said):
            make_policy(recipe_file(NAME, **DEPTH, **changes).recipe, state_dim=0, action_dim=7)
    with pytest.raises(SpecError, match="depth_model"):
        find_recipe(NAME, changes={"depth_model": "x"})
    with pytest.raises(SpecError, match="ego3d"):
        find_recipe("tiny_oft", changes={"ego3d": "depth"})
    # Depth that a model estimated is that of one model.
    document = json.loads((deep / "shards.json").read_text())
    document["options"]["depth"] = "0123456789abcdef"
    document["sets"][0]["cameras"][2]["depth_of"] = "front"
    other = tmp_path / "shards"
    other.mkdir()
    for path in deep.iterdir():
        if path.name != "shards.json":
            (other / path.name).symlink_to(path)
    (other / "shards.json").write_text(json.dumps(document))
    zoe = str(make_zoe(tmp_path / "zoe"))
    with pytest.raises(UsageError, match="wanted 0123456789abcdef, by which"):
        look(Shards.open(other), recipe_file(NAME, **DEPTH, depth_model=zoe).recipe)
