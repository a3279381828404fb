"""Recorded episodes through the real socket, held against what was done."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Corpus
from serve.fake import HORIZON, NAMES, FakePredictor, desk
from shard.curation import curate

import finedata as fd
from finedata.api.policy import Policy
from finedata.convert.run import convert
from finedata.errors import UsageError
from finedata.report.drawing.plots import Line, line_chart
from finedata.report.replay import _on_one_side, replay_errors, write_replay_report
from finedata.serve.replay import replay
from finedata.serve.server import serving
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.train.recorded import recorded_episodes

ROLES = f"""
version = 1
cameras = ["main"]

[vectors]
state.names = {list(NAMES)}
action.names = {list(NAMES)}

[[parts]]
source = "bridge_v2"
part = "widowx_250"
cameras = {{ main = "image_0" }}
"""


@pytest.fixture(scope="module")
def bridge(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A dataset, shards of it with a held-out side, and the id of the only held-out episode."""
    folder = tmp_path_factory.mktemp("replay")
    convert("bridge_v2", input=corpus.folder, out=folder / "bridge")
    out = curate(folder / "bridge")[3]
    settings = ShardSettings(every=4, resize=(16, 16), held_out_ids=(out,))
    shard_datasets([folder / "bridge"], out=folder / "shards", settings=settings)
    return folder / "bridge", folder / "shards", out


def echoing(**how: Any) -> FakePredictor:
    """Says for every step the state that it is shown."""
    fake = FakePredictor(embodiments=("widowx_250",), **how)

    def states(number: int) -> np.ndarray:
        ((robot, observation),) = fake.seen[number][0]
        codec = robot.codecs["state"]
        state = observation.states["state"]
        from finedata.shard.stream.codec import normalise

        return np.tile(normalise(codec, state[None]), (HORIZON, 1))

    fake.says = lambda number: (
        states(number)
        if fake.seen[number][0][0][1].text != "warm up"
        else (
            np.tile(np.eye(10, dtype=np.float32)[3] + np.eye(10, dtype=np.float32)[7], (HORIZON, 1))
        )
    )
    return fake


@pytest.mark.parametrize(
    "how",
    [{}, {"rotation": "rotation_vector", "gripper": "closed_signed"}, {"ensemble": True}],
)
def test_a_policy_that_echoes_its_state_is_as_good_as_holding_still(
    bridge: tuple[Path, Path, str], how: dict[str, Any]
) -> None:
    dataset = fd.open(bridge[0])
    fake = echoing(cameras=("image_0", "image_1"))
    table = desk(fake, **how)
    recorded = list(islice(recorded_episodes(dataset, fake.robots, fake.cameras), 2))
    with serving(table) as listening:
        told = list(replay(table, listening.address, recorded))
    for one, truth in zip(told, recorded, strict=True):
        episode = dataset[one.episode_id]
        assert one.task == episode.task
        assert one.frames.tolist() == list(range(len(episode)))
        assert np.array_equal(one.recorded, episode.action)
        step = 1 if how.get("ensemble") else HORIZON
        assert one.asked.tolist() == [f - f % step for f in range(len(episode))]
        if not how.get("ensemble"):
            wanted = episode.state[one.asked]
            side = np.sign((one.predicted[:, 3:7] * wanted[:, 3:7]).sum(1, keepdims=True))
            one.predicted[:, 3:7] *= side
            assert np.allclose(one.predicted, wanted, atol=1e-5)
        assert truth.cameras == {"image_0": "image_0", "image_1": "image_1"}
    if not how.get("ensemble"):
        for error in replay_errors(told):
            assert error.still == pytest.approx(error.predicted, abs=2e-3)
            assert error.predicted > 0
    # What it was shown is what stands in the dataset.
    asked = [a for a, _, _ in fake.seen if a[0][1].text != "warm up"]
    first = recorded[0].episode
    shown = first.frames("image_1", [0])[0]
    assert np.array_equal(asked[0][0][1].pictures["image_1"], shown)


def test_held_out_episodes_by_the_roles_of_the_shards(
    bridge: tuple[Path, Path, str], tmp_path: Path
) -> None:
    dataset, shards, held_out = bridge
    (shards / "roles.toml").unlink(missing_ok=True)
    vectors = "".join(
        f"[parts.vectors.{role}]\n" + "".join(f'{name} = "{feature}:{name}"\n' for name in NAMES)
        for role, feature in (("state", "observation.state"), ("action", "action"))
    )
    (shards / "roles.toml").write_text(ROLES + vectors)
    fake = echoing(cameras=("main",))
    policy = Policy(fake)  # pyright: ignore[reportArgumentType]
    out = tmp_path / "replay.html"
    errors = policy.replay(dataset, shards=shards, out=out)
    names = [error.name for error in errors]
    assert names == ["right_x", "right_y", "right_z", "right_rotation_deg", "right_gripper"]
    page = out.read_text()
    assert held_out in page
    assert len(re.findall(r"<svg", page)) == 8
    assert "not known" not in page
    (told,) = {o.pictures["main"].shape for a, _, _ in fake.seen for _, o in a
               if o.text != "warm up"}  # fmt: skip
    assert told == (48, 48, 3), "pictures of the dataset, not the shards' small ones"
    shown = fake.seen[1][0][0][1].pictures["main"]
    assert np.array_equal(shown, fd.open(dataset)[held_out].frames("image_0", [0])[0])
    assert "not known" in (_page(policy, dataset, tmp_path, cameras=("image_0",)))


def _page(policy: Policy, dataset: Path, folder: Path, *, cameras: tuple[str, ...]) -> str:
    policy.predictor.cameras = cameras
    policy.replay(dataset, out=folder / "other.html", episodes=1)
    return (folder / "other.html").read_text()


def test_what_cannot_be_replayed(bridge: tuple[Path, Path, str], tmp_path: Path) -> None:
    dataset, shards, _ = bridge
    (shards / "roles.toml").unlink(missing_ok=True)
    with pytest.raises(UsageError, match="no episode with words of a robot"):
        Policy(FakePredictor(embodiments=("leg",))).replay(dataset)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="picture role left of bridge_v2"):
        Policy(echoing(cameras=("left",))).replay(dataset)  # pyright: ignore[reportArgumentType]

    settings = ShardSettings(every=4, resize=(16, 16))
    whole = tmp_path / "whole"
    shard_datasets([dataset], out=whole, settings=settings)
    with pytest.raises(UsageError, match="nothing was held out"):
        Policy(echoing()).replay(dataset, shards=whole)  # pyright: ignore[reportArgumentType]


def test_a_page_of_rotations_shows_no_sign(tmp_path: Path) -> None:
    from finedata.train.recorded import Replayed

    turned = np.tile(np.array([0, 0, 0, 1], np.float32), (3, 1))
    one = Replayed(
        episode_id="e<b>", task="<i>", embodiment="arm", fps=10.0,
        names=("right_qx", "right_qy", "right_qz", "right_qw"), recorded=turned,
        valid=np.array([True, True, False]), states=None, frames=np.arange(3),
        asked=np.zeros(3, int),
        predicted=np.stack([-turned[0], -turned[0], turned[0, [3, 0, 1, 2]]]),
    )  # fmt: skip
    (error,) = replay_errors([one])
    # The last step was not commanded.
    assert (error.name, error.predicted, error.still) == ("right_rotation_deg", 0.0, None)
    assert np.array_equal(_on_one_side(one)[:2], turned[:2])
    page = write_replay_report([one], tmp_path / "x.html", title="t", held_out=True).read_text()
    assert "<i>" not in page
    assert "<b>" not in page


def test_lines_below_zero_are_inside_their_plot() -> None:
    line = Line(name="x", class_="x", xs=(0.0, 1.0, 2.0), ys=(-5.0, -4.0, -4.5))
    chart = line_chart([line], x_title="s", y_title="x", label="x", from_zero=False)
    points, _ = re.findall(r'points="([^"]*)"', chart)
    heights = [float(pair.split(",")[1]) for pair in points.split()]
    assert len(heights) == 3
    assert 48 <= min(heights) < max(heights) <= 320 - 44
