"""Attention maps: held against a plain reference, and refused where there is none to show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train.recipes import recipe_file
from typer.testing import CliRunner

import finedata
from finedata.cli.app import app
from finedata.errors import UsageError
from finedata.report.attention import read_box, share_inside

torch = pytest.importorskip("torch", reason="torch is not installed")

from finedata.shard.making.run import shard_datasets  # noqa: E402
from finedata.shard.making.settings import ShardSettings  # noqa: E402
from finedata.train.attention import HOW, _spoken, attention_of, pooled  # noqa: E402
from finedata.train.loop import Trainer  # noqa: E402
from finedata.train.predict import Predictor  # noqa: E402
from finedata.train.robot import Observation  # noqa: E402

TINY = {"steps": 2, "batch": 2, "micro_batch": 2, "save_every": 1, "mix": "raw=1"}


@pytest.fixture(scope="module")
def cut(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its shards, of one camera."""
    out = tmp_path_factory.mktemp("cut") / "shards"
    shard_datasets([taught], out=out, settings=ShardSettings(every=3, cameras=("image_0",)))
    return out


def trained(shards: Path, run: Path, name: str = "tiny_oft", **changes: Any) -> Path:
    Trainer(recipe_file(name, **TINY | changes), shards, run, workers=0).train()
    return run


@pytest.fixture(scope="module")
def llama(cut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(cut, tmp_path_factory.mktemp("llama") / "run", backbone="tiny:smolvlm")


@pytest.fixture(scope="module")
def speaking(cut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    more = {"traces": "none", "words_raw": "goal"}
    return trained(cut, tmp_path_factory.mktemp("speaking") / "run", "tiny_refinevla", **more)


def seen(predictor: Predictor, text: str = "put the red cup on the plate") -> Observation:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (48, 48, 3), np.uint8)
    return Observation(pictures=dict.fromkeys(predictor.cameras, picture), text=text)


def matrices_by_hand(predictor: Predictor, batch: dict[str, Any]) -> np.ndarray:
    """Every layer's attention of a Llama, in float64 from its weights: (layers, heads, n, n)."""
    backbone = predictor.policy.backbone
    entered: list[np.ndarray] = []
    hooks = [
        block.register_forward_pre_hook(
            lambda _, given, named: entered.append(
                (given[0] if given else named["hidden_states"]).detach().double().numpy()[0]
            ),
            with_kwargs=True,
        )
        for block in backbone.blocks
    ]
    with torch.no_grad():
        backbone.run(batch)
    for hook in hooks:
        hook.remove()
    config = backbone.model.config.get_text_config()
    heads, shared, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    theta = config.rope_parameters["rope_theta"]
    places = batch["positions"][0, 0].double().numpy()
    angles = places[:, None] * theta ** (-np.arange(0, width, 2) / width)
    cos, sin = (np.concatenate([f(angles)] * 2, -1) for f in (np.cos, np.sin))

    def turned(x: np.ndarray) -> np.ndarray:
        half = width // 2
        return x * cos + np.concatenate([-x[..., half:], x[..., :half]], -1) * sin

    found = []
    for block, hidden in zip(backbone.blocks, entered, strict=True):
        scale = block.input_layernorm.weight.detach().double().numpy()
        mean = (hidden**2).mean(-1, keepdims=True)
        x = hidden / np.sqrt(mean + block.input_layernorm.variance_epsilon) * scale
        one = block.self_attn
        q, k = (
            (x @ part.weight.detach().double().numpy().T).reshape(len(x), -1, width)
            for part in (one.q_proj, one.k_proj)
        )
        q, k = (turned(part.transpose(1, 0, 2)) for part in (q, k))
        k = np.repeat(k, heads // shared, axis=0)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(width)
        there = batch["seen"][0].numpy()
        allowed = np.tril(np.ones((len(x), len(x)), bool)) & there[None]
        scores = np.where(allowed, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        found.append(weights / weights.sum(-1, keepdims=True))
    return np.stack(found)


def test_maps_are_those_of_a_plain_reference(llama: Path) -> None:
    predictor = Predictor.load(llama)
    observation = seen(predictor)
    found = attention_of(predictor, observation, queries=("actions", "red cup"), k=3)
    batch = predictor.seen([observation])
    weights = matrices_by_hand(predictor, batch)
    length = int(batch["length"][0])
    asked = {
        "actions": list(range(length - predictor.recipe.horizon, length)),
        "red cup": predictor.encoder.places(observation.text, "red cup"),
    }
    words = predictor.policy.backbone.tokenizer.decode(batch["ids"][0, asked["red cup"]])
    assert words.strip() == "red cup"
    [(first, rows, columns)] = predictor.settings.pictures
    assert found.layers == (0, 1, 2, 3)
    for query, places in asked.items():
        flat = weights[:, :, places].reshape(-1, weights.shape[-1])
        flat = flat[:, first : first + rows * columns]
        wanted = {"max": flat.max(0), "mean": flat.mean(0), "top": np.sort(flat, 0)[-3:].mean(0)}
        for how in HOW:
            mine = found.maps[query][how]["image_0"]
            assert mine.shape == (rows, columns)
            assert np.abs(mine.reshape(-1) - wanted[how]).max() < 1e-6, (query, how)
        share = flat.sum(-1).mean()
        assert found.on_pictures[query] == pytest.approx(share, abs=1e-6)


def test_top_is_no_maximum() -> None:
    weights = torch.tensor([[0.5, 0.0], [0.1, 0.2], [0.3, 0.4]])
    assert pooled(weights, "max", k=2).tolist() == pytest.approx([0.5, 0.4])
    assert pooled(weights, "top", k=2).tolist() == pytest.approx([0.4, 0.3])
    assert pooled(weights, "top", k=9).tolist() == pytest.approx([0.3, 0.2])
    assert pooled(weights, "mean", k=2).tolist() == pytest.approx([0.3, 0.2])


def test_looking_changes_no_prediction(llama: Path) -> None:
    predictor = Predictor.load(llama)
    batch = predictor.seen([seen(predictor)])
    with torch.no_grad():
        before = predictor.policy.backbone(batch)
        attention_of(predictor, seen(predictor))
        assert torch.equal(predictor.policy.backbone(batch), before)


def test_tokens_of_actions_are_asked_where_they_are_foretold(speaking: Path) -> None:
    """What the policy says is behind the prompt, and the prompt is attended to as in saying it."""
    predictor = Predictor.load(speaking)
    found = attention_of(predictor, seen(predictor), queries=("actions", "plate"))
    assert found.said == 4 * 3
    assert 0 < found.on_pictures["actions"] < 1
    total = sum(m.sum() for m in found.maps["actions"]["mean"].values())
    assert total == pytest.approx(found.on_pictures["actions"])
    before = attention_of(predictor, seen(predictor), queries=("plate",))
    for how in HOW:  # a prefix is not changed by what is said behind it
        mine, theirs = (one.maps["plate"][how]["image_0"] for one in (found, before))
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_an_action_is_asked_at_the_token_before_it(speaking: Path) -> None:
    predictor = Predictor.load(speaking)
    batch = predictor.seen([seen(predictor)])
    length = int(batch["length"][0])
    whole, places, said = _spoken(predictor, batch, length)
    head = predictor.policy.head
    with torch.no_grad():
        logits = head.logits(predictor.policy.backbone(whole))[0]
    assert places == list(range(length - 1, length - 1 + said))
    kinds = head._kinds(torch.device("cpu"))
    for at, place in enumerate(places):
        allowed = kinds == at % 3 + 1
        foretold = int(logits[place].masked_fill(~allowed, float("-inf")).argmax())
        assert foretold == int(whole["ids"][0, place + 1])


def test_of_a_hybrid_only_layers_with_matrices(cut: Path, tmp_path: Path) -> None:
    run = trained(cut, tmp_path / "run", backbone="tiny:qwen3_5")
    predictor = Predictor.load(run)
    found = attention_of(predictor, seen(predictor), queries=("cup",))
    assert (found.layers, found.layers_in_all) == ((3,), 4)
    backbone = predictor.policy.backbone
    del backbone.blocks[3]
    backbone.model.config.get_text_config().num_hidden_layers = 3
    with pytest.raises(UsageError, match="3 layers, none with an attention matrix"):
        attention_of(predictor, seen(predictor), queries=("cup",))


def test_what_cannot_be_asked(llama: Path, cut: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(llama)
    for word in ("saucer", "cu", ""):
        with pytest.raises(UsageError, match="prompt"):
            attention_of(predictor, seen(predictor), queries=(word,))
    flow = trained(cut, tmp_path / "run", "tiny_gr00t")
    with pytest.raises(UsageError, match="gr00t"):
        attention_of(Predictor.load(flow), seen(Predictor.load(flow)))


def test_shares_of_boxes() -> None:
    weights = np.array([[1.0, 3.0], [2.0, 4.0]])
    assert share_inside(weights, read_box("all=c:0,0,1,1")) == pytest.approx(1)
    assert share_inside(weights, read_box("right=c:0.5,0,1,1")) == pytest.approx(0.7)
    assert share_inside(weights, read_box("cut=c:0.25,0,0.5,0.5")) == pytest.approx(0.05)
    assert share_inside(0 * weights, read_box("all=c:0,0,1,1")) == 0
    for text in ("", "a=c:0,0,1", "a=c:0.5,0,0.2,1", "a=c:0,0,2,1", "c:0,0,1,1", "a=c:x,0,1,1"):
        with pytest.raises(UsageError, match="NAME=CAMERA"):
            read_box(text)


def test_a_page_of_two_runs(llama: Path, taught: Path, tmp_path: Path) -> None:
    episode = finedata.open(taught).episodes.collect()["episode_id"][0]
    task = finedata.open(taught)[episode].task
    out = tmp_path / "maps.html"
    asked = [
        "attention", str(llama), str(taught), "--episode", episode, "--frame", "3",
        "--against", str(llama / "checkpoints" / "000001"), "--query", "actions",
        "--query", task.split()[0], "--box", "left=image_0:0,0,0.5,1", "--out", str(out), "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert set(told["inside"]) == {"before", "after"}
    assert 0 < told["inside"]["after"]["actions"]["left"] < 1
    page = out.read_text()
    # each query: three ways, the picture and two maps
    assert len(re.findall("<img ", page)) == 2 * 3 * 3
    assert "Query: actions" in page
    assert "left" in page
    for wrong, said in (
        (["--frame", "999"], "--frame"),
        (["--episode", "none"], "none"),
        (["--camera", "image_0=other"], "--camera"),
        (["--box", "x=other:0,0,1,1"], "--box"),
        (["--query", "zebra"], "--query"),
    ):
        result = CliRunner().invoke(app, [*asked, *wrong])
        assert result.exit_code
        assert said.lstrip("-") in str(result.exception), wrong
