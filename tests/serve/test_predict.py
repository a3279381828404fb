"""A policy that is asked says what it says in training, read back as a plain reference reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from scipy.spatial.transform import Rotation
from serve.conftest import make_run, picture
from shard.stream.tiny_shards import TinySet, numbers
from shard.stream.tiny_shards import picture as jpeg_of
from train.recipes import recipe_file
from train.shards import make_traced

import finedata as fd
from finedata.errors import ConformError, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import SHORT  # noqa: E402

from finedata.shard.shards import Shards  # noqa: E402
from finedata.train.data import inputs, look, open_stream  # noqa: E402
from finedata.train.encode import patches  # noqa: E402
from finedata.train.optimise import reseed  # noqa: E402
from finedata.train.robot import Observation  # noqa: E402

HELD_OUT = TinySet("a", "rep", [12, 7], side="heldout", fine=frozenset({0}))
STATED = {"states": ("state",), "action": "relative", "rotation": "6d"}


@pytest.fixture(scope="module")
def stated_run(served_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow-matching head that is given the state, and predicts relative actions."""
    return make_run(served_shards, tmp_path_factory.mktemp("stated"), name="tiny_gr00t", **STATED)


def asked(episode: int, frame: int, words: str) -> dict[str, Any]:
    """What stands in the shards of a held-out frame, undone by hand."""
    jpeg = jpeg_of(HELD_OUT.name, "front", episode, frame, HELD_OUT.size)
    state = numbers(HELD_OUT, episode)[0][frame]
    return {"front": simplejpeg.decode_jpeg(jpeg), "state": state, "prompt": words}


def test_it_is_given_what_training_gives(stated_run: Path, served_shards: Path) -> None:
    policy = fd.policy(stated_run, device="cpu")
    predictor = policy.predictor
    one = recipe_file("tiny_gr00t", **(SHORT | STATED)).recipe
    data = look(Shards.open(served_shards), one)
    stream = open_stream(
        data, one, predictor.settings, batch=4, side="heldout", mix="raw=1", stop=4
    )
    with stream:
        (batch,) = list(stream)
        tensors = inputs(batch, data, torch.device("cpu"))
        reseed(one.seed, 0, 0)
        with torch.no_grad():
            wanted = predictor.policy(tensors, predict=True)["action"].numpy()
        told = list(zip(batch.episode_id, batch.frame_index.tolist(), batch.text, strict=True))
    robot = predictor.robot()
    shown = [asked(int(episode[-4:]), frame, words) for episode, frame, words in told]
    observations = [
        Observation(pictures={"front": s["front"]}, text=s["prompt"], states={"state": s["state"]})
        for s in shown
    ]
    found = predictor.predict([(robot, o) for o in observations])
    assert np.allclose([f.given for f in found], wanted, atol=1e-6)
    # And what is read back is what a plain reference reads back.
    for given, observation in zip(wanted, observations, strict=True):
        actions = robot.actions_of(given, observation)
        state = observation.states["state"]
        codec = robot.codecs["action"]
        centre, half = np.array(codec.centre), np.array(codec.half)
        plain = given[:, [0, 1, 2, 9]] * half[[0, 1, 2, 7]] + centre[[0, 1, 2, 7]]
        now = Rotation.from_quat(state[3:7])
        assert np.allclose(actions[:, :3], state[:3] + now.apply(plain[:, :3]), atol=1e-4)
        assert np.allclose(actions[:, 7], plain[:, 3], atol=1e-5)
        first = given[:, 3:6] / np.linalg.norm(given[:, 3:6], axis=1, keepdims=True)
        second = given[:, 6:9] - (first * given[:, 6:9]).sum(1, keepdims=True) * first
        second /= np.linalg.norm(second, axis=1, keepdims=True)
        turn = Rotation.from_matrix(np.stack([first, second, np.cross(first, second)], -1))
        dots = np.abs(((now * turn).as_quat() * actions[:, 3:7]).sum(1))
        assert np.allclose(dots, 1, atol=1e-5)
        assert np.allclose(np.linalg.norm(actions[:, 3:7], axis=1), 1, atol=1e-6)
        assert ((actions[:, 3:7] * state[3:7]).sum(1) > -1e-6).all()


def test_the_same_request_is_told_the_same(stated_run: Path) -> None:
    policy = fd.policy(stated_run, device="cpu")
    shown = asked(0, 3, "do 0")
    torch.manual_seed(5)
    first = policy.predict(shown)
    torch.manual_seed(6)
    assert np.array_equal(policy.predict(shown).actions, first.actions)
    with policy.serving() as listening, fd.connect(listening.address) as one:
        assert np.array_equal(one.act(shown).actions, first.actions)
        assert not np.array_equal(one.act(shown).actions, first.actions), "noise of request 1"
        with fd.connect(listening.address) as other:
            assert np.array_equal(other.act(shown).actions, first.actions)


def test_a_camera_that_is_not_there_is_not_seen(tiny_policy: Any) -> None:
    none = tiny_policy.predict({"front": None, "prompt": "do 1"}).actions
    black = tiny_policy.predict({"front": np.zeros((8, 8, 3), np.uint8), "prompt": "do 1"}).actions
    assert not np.allclose(none, black)
    with pytest.raises(UsageError, match=r"picture front: found pictures \(none\)"):
        tiny_policy.predict({"prompt": "do 1"})
    with pytest.raises(UsageError, match="max_tokens: found a prompt of"):
        tiny_policy.predict({"front": None, "prompt": "do it " * 500})
    with pytest.raises(UsageError, match="a policy with the head oft"):
        tiny_policy.predict({"front": None, "prompt": "do 1"}, reasoning=True)


def test_pictures_are_resized_as_in_training(tiny_policy: Any) -> None:
    predictor, shown = tiny_policy.predictor, picture(3)
    robot = predictor.robot()
    pair = [(robot, Observation(pictures={"front": one}, text="do 1")) for one in (shown, None)]
    resized = Image.fromarray(shown).resize((56, 56), Image.Resampling.BILINEAR)
    wanted = np.empty((1, 16, 588), np.uint8)
    patches(np.asarray(resized)[None], wanted, patch=14, merge=2)
    batch = predictor._batch(pair)
    assert np.array_equal(batch["pixels"][0], wanted)
    # One's camera does not become another's.
    both = [one.given for one in predictor.predict(pair)]
    alone = [predictor.predict([one])[0].given for one in pair]
    assert np.allclose(both, alone, atol=1e-6)


def test_a_policy_that_speaks_says_why(tmp_path: Path) -> None:
    run = make_run(
        make_traced(tmp_path / "traced"), tmp_path, name="tiny_refinevla", mix="raw=1",
        reasoning_tokens=250, max_tokens=640, horizon=2, batch=2, micro_batch=2, ema=0.0,
    )  # fmt: skip
    policy = fd.policy(run, device="cpu")
    shown = {"front": picture(), "prompt": "do 1", "state": numbers(HELD_OUT, 0)[0][0]}
    said = policy.predict(shown, reasoning=True)
    assert said.actions.shape[0] in (1, 2)
    assert said.reasoning is not None
    assert said.reasoning["text"]
    assert said.reasoning["parts"] is None, "two steps teach no grammar"
    with policy.serving(reasoning=True) as listening, fd.connect(listening.address) as one:
        assert one.act(shown).reasoning == said.reasoning


def test_a_checkpoint_without_statistics_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_run / "checkpoints" / "000002", tmp_path / "checkpoint")
    codecs = tmp_path / "checkpoint" / "pretrained_model" / "codecs.json"
    for damage in (lambda: codecs.write_text("{}"), lambda: codecs.unlink()):
        damage()
        with pytest.raises(ConformError, match=r"codecs\.json"):
            fd.policy(tmp_path / "checkpoint", device="cpu")
    with pytest.raises(UsageError, match="no checkpoint"):
        fd.policy(tmp_path / "nothing", device="cpu")


def test_a_run_that_writes_about_episodes_is_no_policy(tiny_run: Path, tmp_path: Path) -> None:
    import json
    import shutil

    import msgspec

    from finedata.schema.recipe_file import Recipe, find_recipe, recipe_digest

    shutil.copytree(tiny_run / "checkpoints" / "000002", tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / "pretrained_model" / "train_config.json"
    config = json.loads(path.read_text())
    recipe = find_recipe("tiny_annotator").recipe
    assert isinstance(recipe, Recipe)
    config |= {"recipe": msgspec.to_builtins(recipe), "recipe_sha256": recipe_digest(recipe)}
    path.write_text(json.dumps(config))
    with pytest.raises(UsageError, match="a run that writes about episodes"):
        fd.policy(tmp_path / "checkpoint", device="cpu")
