"""A dry run of every recipe: parameters, tokens, memory, mixture, without a weight in memory."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from shard.stream.tiny_shards import TinySet, make_shards
from train.recipes import estimated_over_counted, recipe_file
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.schema.recipe_file import find_recipe, list_recipes

torch = pytest.importorskip("torch", reason="torch is not installed")

from finedata.train.estimate import estimate  # noqa: E402
from finedata.train.tiny import tiny_backbone  # noqa: E402

SPEAKING = [name for name in list_recipes() if name.startswith("refinevla")]
_OTHERS = ("tiny", "refine", "annotator", "steer")
LARGE = [name for name in list_recipes() if not name.startswith(_OTHERS)]
ARM = [f"joint_{k}" for k in range(6)] + ["gripper"]
NAMES = [f"{side}_{name}" for side in ("left", "right") for name in ARM]


@pytest.fixture(scope="module")
def two_arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cameras = ("high", "left", "right")
    sets = [TinySet("rdt", "rep", [9, 6], fine=frozenset({0}), names=NAMES, cameras=cameras)]
    return make_shards(tmp_path_factory.mktemp("two_arms") / "shards", sets)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of Qwen3.5-4B's class, and no weights."""
    from transformers import AutoConfig

    folder = tmp_path_factory.mktemp("large")
    _, tokenizer, processor = tiny_backbone("qwen3_5", pictures=56)
    tokenizer.add_tokens(["🔍"])
    processor.patch_size = 16
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    text = {
        "hidden_size": 2560, "intermediate_size": 9216, "num_hidden_layers": 32,
        "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 248_320,
    }  # fmt: skip
    vision = {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "out_hidden_size": 2560,
    }
    AutoConfig.for_model(
        "qwen3_5", text_config=text, vision_config=vision, tie_word_embeddings=True
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", LARGE)
def test_every_recipe_runs_dry(name: str, two_arms: Path, large: Path) -> None:
    file = find_recipe(name, changes={"backbone": str(large)})
    found = estimate(file, two_arms)
    assert 3.5e9 < found.trained["vlm"] < 4.5e9
    assert found.visual_tokens == 3 * 49
    assert found.memory_bytes["AdamW"] == 8 * sum(found.trained.values())
    assert found.tokens_longest < 1024
    assert sum(found.asked.values()) == pytest.approx(1)
    for name_, share in found.asked.items():
        assert found.drawn[name_] == pytest.approx(share, abs=1 / 1000)
    # about nine operations for each weight and token: see the module
    assert 3e12 < found.flops_per_sample < 3e13
    assert found.sha256 == file.sha256


def test_the_annotator_runs_dry(taught: Path, large: Path) -> None:
    found = estimate(find_recipe("annotator_qwen", changes={"backbone": str(large)}), taught)
    assert found.trained["vlm"] < 1e8 < 3.5e9 < found.frozen["vlm"]  # LoRA
    assert found.tokens_longest > found.visual_tokens > 4 * 256  # 512 pixels in 32 x 32
    assert set(found.samples) == {"facts/sequence", "facts/steps", "facts/atoms"}
    assert sum(found.asked.values()) == pytest.approx(1)


@pytest.fixture(scope="module")
def paligemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of PaliGemma2-3B's class, and no weights."""
    from transformers import AutoConfig

    folder = tmp_path_factory.mktemp("paligemma")
    model, tokenizer, processor = tiny_backbone("paligemma", pictures=224)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    text = {
        "model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216, "head_dim": 256,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "vocab_size": 257_216,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304,
        "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 14, "image_size": 224,
        "projection_dim": 2304, "vision_use_head": False,
    }  # fmt: skip
    AutoConfig.for_model(
        "paligemma", text_config=text, vision_config=vision, projection_dim=2304,
        image_token_index=model.config.image_token_id,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize("name", SPEAKING)
def test_refinevla_runs_dry(name: str, both: Path, paligemma: Path) -> None:
    found = estimate(find_recipe(name, changes={"backbone": str(paligemma)}), both)
    rows = 257_216 + 8_194
    assert found.trained["head"] == (rows + 8_194) * 2304
    # two blocks of 26, the projector and a norm
    assert 1.5e8 < found.trained["vlm"] < 1.7e8
    assert 4.0e8 < found.frozen["vision"] < 4.3e8
    assert found.visual_tokens == 256
    assert found.tokens_longest < 768
    floor, traces = found.notes
    assert floor.startswith("tokens alone cost translation 0.")
    assert "of samples have a trace" in traces
    assert floor in str(found)


@pytest.mark.parametrize(
    ("name", "shards"),
    [
        ("tiny_oft", "both"),
        ("tiny_gr00t", "both"),
        ("tiny_refinevla", "traced"),
        ("tiny_annotator", "taught"),
    ],
)
def test_operations_are_those_that_torch_counts(
    name: str, shards: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Of tiny models: weights that multiply nothing, as of positions, are a part of them."""
    changes = {"mix": "raw=1"} if shards == "traced" else {}
    file = find_recipe(name, changes=changes)
    found = estimated_over_counted(file, request.getfixturevalue(shards), tmp_path / "run")
    assert 0.9 < found < 1.4


def test_counts_by_hand(both: Path) -> None:
    file = recipe_file(mix="fg=1,raw=3", steps=10, batch=8, horizon=4, freeze_vision=True)
    found = estimate(file, both)
    assert found.samples == {"fg": 9 + 14 + 8, "raw": 9 + 14 + 11 + 8}
    assert found.epochs["fg"] == pytest.approx(10 * 8 / 4 / 31)
    assert found.steps_per_epoch["raw"] == pytest.approx(42 / 6)
    assert found.frozen.keys() == {"vision"}
    assert found.memory_bytes["weights"] == 4 * sum(
        [*found.trained.values(), *found.frozen.values()]
    )


def test_the_command_line_writes_nothing(both: Path, tmp_path: Path) -> None:
    command = ["train", "tiny_gr00t", "--shards", str(both), "--dry-run"]
    done = CliRunner().invoke(app, [*command, "--json", "--set", "max_tokens=256"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["visual_tokens"] == 4
    shown = CliRunner().invoke(app, [*command, "--set", "max_tokens=256"])
    assert "raw/a: " in shown.stdout
    assert not list(tmp_path.iterdir())
    assert msgspec.json.decode(done.stdout)["recipe"] == "tiny_gr00t"
