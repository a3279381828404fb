"""A checkpoint of SpatialVLA's layout, tiny and written here: every weight finds its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train.recipes import recipe_file

from finedata.errors import ConformError, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors.torch import save_file  # noqa: E402
from train.test_tokens import NAME, drawn  # noqa: E402

from finedata.train.heads.grid import SPANS  # noqa: E402
from finedata.train.heads.spatialvla import load_spatialvla  # noqa: E402
from finedata.train.loop import Trainer  # noqa: E402
from finedata.train.policy import make_policy  # noqa: E402

BINS = (4, 8, 4, 4, 4, 4)
ACTIONS = 4 * 8 * 4 + 4**3 + 2
BEGIN = 300  # theirs begin where their text ends; ours behind 448 rows


def released(folder: Path, policy: Any, **changes: Any) -> dict[str, Any]:
    """Weights of SpatialVLA's names for a policy, drawn at random; written to a folder."""
    torch.manual_seed(8)
    base, weights = "backbone.model.model.", {}
    for name, p in policy.named_parameters():
        if name.startswith(base):
            theirs = name.removeprefix(base)
            theirs = theirs.replace("language_model.", "language_model.model.", 1)
            theirs = theirs.replace("vision_tower.", "vision_tower.vision_model.", 1)
            rows = BEGIN + ACTIONS if "embed_tokens" in theirs else p.shape[0]
            weights[theirs] = torch.randn(rows, *p.shape[1:])
    weights["language_model.lm_head.weight"] = torch.randn(BEGIN + ACTIONS, 64)
    weights["spatial_embed_tokens.weight"] = torch.randn(ACTIONS, 64)
    weights["position_embedding_3d.position_embedding_head.0.weight"] = torch.randn(2, 2)
    weights |= changes
    folder.mkdir()
    names = sorted(weights)
    for k, part in enumerate((names[::2], names[1::2])):
        save_file({n: weights[n] for n in part}, folder / f"model-{k + 1}-of-2.safetensors")
    config = {"model_type": "spatialvla", "action_token_begin_idx": BEGIN}
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(2)
    edges = [
        [a + 1e-4, *np.sort(rng.uniform(a, b, n - 1)).tolist(), b - 1e-4]
        for (a, b), n in zip(SPANS, BINS, strict=True)
    ]
    bins = {
        "translation": dict(zip(("theta_bins", "phi_bins", "r_bins"), edges[:3], strict=True)),
        "rotation": dict(zip(("roll_bins", "pitch_bins", "yaw_bins"), edges[3:], strict=True)),
    }
    (folder / "processor_config.json").write_text(json.dumps({"bin_policy": bins}))
    return weights | {"edges": edges}


def test_every_weight_and_bin_finds_its_place(traced: Path, tmp_path: Path) -> None:
    policy, _, _ = drawn(traced)
    theirs = released(tmp_path / "theirs", policy)
    fitted = policy.head.answers.grid
    file = recipe_file(NAME, init_from=str(tmp_path / "theirs"))
    one = Trainer(file, traced, tmp_path / "run", workers=0, device="cpu")
    one.close()
    mine = dict(one.policy.named_parameters())
    head, base = one.policy.head, "backbone.model.model."
    assert torch.equal(mine["head.inputs.weight"], theirs["spatial_embed_tokens.weight"])
    rows = theirs["language_model.lm_head.weight"]
    assert torch.equal(mine["head.rows.weight"][:BEGIN], rows[:BEGIN])
    assert torch.equal(mine["head.rows.weight"][head.first :], rows[BEGIN:])
    embeddings = theirs["language_model.model.embed_tokens.weight"]
    assert torch.equal(
        mine[f"{base}language_model.embed_tokens.weight"][:BEGIN], embeddings[:BEGIN]
    )
    for ours, other in [
        ("language_model.layers.3.mlp.up_proj.weight",
         "language_model.model.layers.3.mlp.up_proj.weight"),
        ("vision_tower.post_layernorm.bias", "vision_tower.vision_model.post_layernorm.bias"),
        ("multi_modal_projector.linear.weight", "multi_modal_projector.linear.weight"),
    ]:  # fmt: skip
        assert torch.equal(mine[base + ours], theirs[other])
    told = [note for note in one.notes if "init_from" in note]
    assert told == ["init_from has position_embedding_3d.position_embedding_head.0.weight besides"]
    grid = head.answers.grid
    for edges, other, span in zip(grid.edges, theirs["edges"], SPANS, strict=True):
        assert edges.tolist() == [span[0], *other[1:-1], span[1]]
    assert (grid.centre == fitted.centre).all()


def test_what_does_not_fit_is_refused(traced: Path, tmp_path: Path) -> None:
    policy, _, _ = drawn(traced)
    folder = tmp_path / "theirs"
    released(folder, policy, **{"spatial_embed_tokens.weight": torch.zeros(ACTIONS, 32)})
    with pytest.raises(ConformError, match="where ours is"):
        load_spatialvla(folder, policy)
    other, _, _ = drawn(traced, grid_bins=(4, 8, 4, 8))
    with pytest.raises(UsageError, match="as the recipe has"):
        load_spatialvla(folder, other)
    stays = make_policy(recipe_file(NAME, stay_bin=True).recipe, state_dim=0, action_dim=7)
    with pytest.raises(UsageError, match="stay_bin=false"):
        load_spatialvla(folder, stays)
    (folder / "processor_config.json").write_text("{}")
    with pytest.raises(ConformError, match="no bins"):
        load_spatialvla(folder, policy)
    first = sorted(folder.glob("*.safetensors"))[0]
    first.write_bytes(first.read_bytes()[:100])
    released(tmp_path / "again", policy)
    (folder / "processor_config.json").write_bytes(
        (tmp_path / "again/processor_config.json").read_bytes()
    )
    with pytest.raises(ConformError, match="safetensors"):
        load_spatialvla(folder, policy)
