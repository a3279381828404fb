"""An export is a model that transformers loads, and predicts as the policy did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finedata.errors import UsageError

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import trainer  # noqa: E402

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
