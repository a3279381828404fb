"""An export is a model that transformers loads, and predicts as the policy did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finedata.errors import ConformError, UsageError
from finedata.schema.recipe_file import recipe_digest

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import trainer  # noqa: E402

from finedata.train.checkpoint import read_checkpoint  # noqa: E402
from finedata.train.export import export_policy, load_policy  # noqa: E402


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 2, "ema": 0.0}])
def test_transformers_loads_it(both: Path, tmp_path: Path, changes: dict) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    run = tmp_path / "run"
    trainer(both, run, **changes).train(stop=2)
    policy, saved = load_policy(run)
    out = export_policy(run, tmp_path / "hf")
    model = AutoModelForImageTextToText.from_pretrained(out)
    ids = torch.arange(20)[None]
    wanted = policy.backbone.model(input_ids=ids).logits
    assert torch.allclose(model(input_ids=ids).logits, wanted, atol=1e-5)
    # The averaged weights are what is exported.
    plain, _ = load_policy(run, averaged=False)
    same = torch.allclose(plain.backbone.model(input_ids=ids).logits, wanted, atol=1e-6)
    assert same == ("lora_rank" in changes)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert len(tokenizer("put the cup")["input_ids"]) > 0
    assert AutoImageProcessor.from_pretrained(out, use_fast=False).patch_size == 14
    assert json.loads((out / "train_config.json").read_text())["actions"] == ["action"]
    assert saved.cameras == ("front",)
    assert not [path for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    with pytest.raises(UsageError, match="something there already"):
        export_policy(run, tmp_path / "hf")
    with pytest.raises(UsageError, match="no checkpoint"):
        export_policy(tmp_path, tmp_path / "other")


def test_a_checkpoint_from_before_a_key_of_recipes_is_read(both: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = trainer(both, run).train(stop=2)
    path = done.checkpoint / "pretrained_model" / "train_config.json"
    config = json.loads(path.read_text())
    recipe = read_checkpoint(done.checkpoint).recipe.recipe
    del config["recipe"]["prompt_lengths"]
    path.write_text(json.dumps(config))
    with pytest.raises(ConformError, match="a recipe whose digest"):
        load_policy(run)
    config["recipe_sha256"] = recipe_digest(recipe, keys=config["recipe"])
    path.write_text(json.dumps(config))
    assert load_policy(run)[1].recipe.recipe == recipe
    assert trainer(both, run, resume=True).train(stop=2).step == 2
    config["recipe"]["seed"] += 1
    path.write_text(json.dumps(config))
    with pytest.raises(ConformError, match="a recipe whose digest"):
        load_policy(run)
