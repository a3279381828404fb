"""The large annotator's recipe with its own settings, whole, on a small model of its family."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from train.recipes import recipe_file

torch = pytest.importorskip("torch", reason="torch is not installed")

from finedata.train.annotator.lesson_stream import look_at_lessons  # noqa: E402
from finedata.train.export import export_policy, load_any, load_policy  # noqa: E402
from finedata.train.loop import Trainer  # noqa: E402

# What a machine of this size asks for: all else is the recipe's own.
SMALL = {"backbone": "tiny:qwen3_vl", "pictures": 252, "steps": 2, "batch": 2, "warmup": 1,
         "eval_every": 0, "held_out": 0.25}  # fmt: skip


def test_annotator_qwen_trains_adapters_and_exports_a_plain_model(
    taught: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForImageTextToText

    file = recipe_file("annotator_qwen", **SMALL)
    own = file.recipe
    assert (own.fps, own.refinement_fps, own.width, own.max_frames) == (4.0, 4.0, 512, 512)
    assert (own.lora_rank, own.micro_batch, own.prompt) == (32, 1, "{request}")
    assert own.checkpoint_activations
    data = look_at_lessons(taught, own)
    request = data.lessons.request(data.train[0])
    labels = [picture.label for picture in request.pictures]
    assert len(labels) >= 12
    times = [float(label.split(", ")[-1].removesuffix(" s")) for label in labels]
    assert max(b - a for a, b in pairwise(times)) <= 0.4001  # of 5 frames a second
    trainer = Trainer(file, taught, tmp_path / "run", workers=1, device="cpu")
    before = {n: p.detach().clone() for n, p in trainer.policy.named_parameters()}
    trained = {name for name, p in trainer.policy.named_parameters() if p.requires_grad}
    adapted = {name.split("lora_")[0].rstrip(".").rpartition(".")[2] for name in trained}
    assert adapted == set(own.lora_targets)
    done = trainer.train()
    assert done.step == 2
    assert done.last["terms"]["words"] > 0
    after = dict(trainer.policy.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert changed <= trained
    out = export_policy(tmp_path / "run", tmp_path / "hf")
    model = AutoModelForImageTextToText.from_pretrained(out)
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    policy, _ = load_policy(tmp_path / "run")
    ids = torch.arange(40)[None]
    with torch.no_grad():
        wanted = policy.backbone.model(input_ids=ids).logits
        found = model(input_ids=ids).logits
        asked, recipe = load_any(out)
        again = asked.backbone.model(input_ids=ids).logits
        for block in policy.backbone.base.modules():
            if hasattr(block, "scaling") and isinstance(block.scaling, dict):
                block.scaling = dict.fromkeys(block.scaling, 0.0)
        plain = policy.backbone.model(input_ids=ids).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.equal(again, found)
    assert recipe.lora_rank == 0
    # The adapters say something: without them the model is another.
    assert not torch.allclose(plain, wanted, atol=1e-6)
