"""What people report of closed-loop evaluation elsewhere, as small inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import finedata as fd
from finedata.api.sim_policy import Asked
from finedata.errors import ConformError, FinedataError, UsageError
from finedata.serve.client import Action
from finedata.sim import camera as sim_camera
from finedata.sim import episode as sim_episode
from finedata.sim.acting import ACTION_NAMES, Scripted, act_out
from finedata.sim.camera import Cameras, find_renderer
from finedata.sim.evaluate import EvaluateSettings, Run, evaluate, read_result
from finedata.sim.factors import Wish, balanced_wishes
from finedata.sim.outcome import outcome_of, scored
from finedata.sim.scene import scene_of
from finedata.sim.world import BLOCK_HALF_M, View, World, pose_of
from finedata.store.lock import take_lock

FIRST = 1_000_000


@pytest.fixture(scope="module")
def world() -> World:
    return World(scene_of(FIRST))


class _Chunks(Scripted):
    """The expert, who answers its command several times over and counts how often it is asked."""

    steps = 8

    def begin(self, scene: Any, wish: Any) -> None:
        super().begin(scene, wish)
        self.asked = 0

    def act(self, view: Any, scene: Any, prompt: str, pictures: Any) -> np.ndarray:
        self.asked += 1
        return np.repeat(super().act(view, scene, prompt, pictures), self.steps, axis=0)


@pytest.mark.parametrize(
    ("steps", "execute", "taken"), [(8, 4, 4), (8, 1, 1), (8, 8, 8), (2, 4, 2)]
)
def test_a_chunk_is_played_as_far_as_was_asked(
    world: World, steps: int, execute: int, taken: int
) -> None:
    # Isaac-GR00T 722 and strands-labs/robots 728: only the first step of a chunk was ever played.
    scene = scene_of(FIRST)
    (wish,) = balanced_wishes([scene], seed=0)
    mind = _Chunks("expert")
    mind.steps = steps
    acted = act_out(mind, scene, wish, "", execute=execute, world=world)
    assert mind.asked == -(-acted.frames // taken)


def test_success_in_the_last_step_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # strands-labs/robots 728: success was looked for before the action, so the last one never was.
    scene = scene_of(FIRST)
    (wish,) = balanced_wishes([scene], seed=0)
    views = [world.view()]
    act_out(
        Scripted("expert"), scene, wish, "", execute=1, world=world,
        watch=lambda now: views.append(now.view()),
    )  # fmt: skip
    views = views[1:]
    least = next(
        t for t in range(1, len(views)) if scored(outcome_of(scene, views[: t + 1]), wish)["all"]
    )
    reached: list[bool] = []
    for frames in (least, least - 1):
        monkeypatch.setattr(sim_episode, "MOST_FRAMES", frames)
        acted = act_out(Scripted("expert"), scene, wish, "", execute=1, world=world)
        assert acted.frames == frames
        reached.append(scored(acted.outcome, wish)["all"])
    assert reached == [True, False]


def test_what_lies_there_from_the_beginning_is_no_success(world: World) -> None:
    # strands-labs/robots 3633: a goal that held at reset was a success on the first step.
    scene = scene_of(FIRST)
    there = Wish(
        colour=scene.colours[0], arm="left", approach="above", rotation="clockwise", side="right"
    )
    other = msgspec.structs.replace(there, colour=scene.colours[1], side="left")
    views: list[View] = []
    act_out(
        Scripted("expert"), scene, other, "", execute=1, world=world,
        watch=lambda now: views.append(now.view()),
    )  # fmt: skip
    for view in views:
        view.blocks_m[0] = [scene.tray_m[0], scene.tray_m[1] - 0.09, BLOCK_HALF_M[2]]
    outcome = outcome_of(scene, views)
    assert scored(outcome, other)["goal"]
    assert not scored(outcome, there)["goal"]


def test_scenes_do_not_hang_on_how_earlier_episodes_ended(tmp_path: Path) -> None:
    # LeRobot 4152: the initial state was that of a count of resets, which early successes moved;
    # LeRobot 2850: no more initial states than environments in a batch.
    class Sometimes(Scripted):
        def act(self, view: Any, scene: Any, prompt: str, pictures: Any) -> np.ndarray:
            said = super().act(view, scene, prompt, pictures)
            return said * np.nan if scene.number % 2 else said

    settings = EvaluateSettings(scenes=4)
    whole = evaluate(Scripted("expert"), tmp_path / "a.jsonl", policy="a", settings=settings)
    torn = evaluate(Sometimes("expert"), tmp_path / "b.jsonl", policy="b", settings=settings)
    for k in (0, 2):
        assert torn.episodes[k] == whole.episodes[k]
    assert [one.scene for one in torn.episodes] == [FIRST + k for k in range(4)]
    assert len({scene_of(FIRST + k).blocks_m for k in range(192)}) == 192


def test_numbers_of_an_answer_are_told_by_their_names() -> None:
    # A server may answer left before right: believed in by its order, the arms would be swapped.
    backwards = tuple(reversed(ACTION_NAMES))

    class Server:
        def __init__(self) -> None:
            self.metadata = {"finedata": {"embodiments": {"x_gantry": {"needed_states": []}}}}

        def act(self, observation: Any) -> Action:
            answer = np.arange(16.0)[None]
            return Action(actions=answer, names=backwards, reasoning=None, timing={})

        def close(self) -> None:
            pass

    scene = scene_of(FIRST)
    said = Asked("x", Server).act(World(scene).view(), scene, "lift it", None)
    assert said[0].tolist() == list(range(15, -1, -1))


def test_a_quaternion_and_its_opposite_are_one_rotation() -> None:
    # vla-eval's list of pitfalls: antipodal quaternions were taken for another rotation.
    columns = np.array([0.4, 0.1, 0.1, 0.8, 0.36, -0.44, 0.2, 1.0])
    opposite = columns * [1, 1, 1, -1, -1, -1, -1, 1]
    assert pose_of(columns) == pose_of(opposite)


def test_pictures_are_upright_and_not_mirrored(world: World) -> None:
    # robosuite 56 and LIBERO's rotated pictures: a policy saw a mirrored world.
    try:
        renderer = find_renderer()
    except FinedataError as error:
        pytest.skip(str(error))
    scene = scene_of(FIRST)
    far, near = (0.5, 0.18), (0.3, -0.18)  # the first far and on the robot's left
    red, green = (scene.colours.index(one) for one in ("red", "green"))
    places = [far if k == red else near if k == green else (0.3, 0.0) for k in range(3)]
    world.reset(msgspec.structs.replace(scene, blocks_m=tuple(places), tray_m=(0.62, 0.0)))
    drawn = Cameras(world, size=96, renderer=renderer).pixels(world)
    places_of = {
        name: [_middle(picture, channel) for channel in (0, 1)] for name, picture in drawn.items()
    }
    (red_row, red_column), (green_row, green_column) = places_of["top"]
    assert red_row < green_row  # far is up
    assert red_column < green_column  # left is left
    (red_row, red_column), (green_row, green_column) = places_of["front"]
    assert red_row > green_row  # nearer to the camera, which looks at the robot
    assert red_column > green_column


def _middle(picture: np.ndarray, channel: int) -> tuple[float, float]:
    """Row and column of what is of a colour."""
    seen = picture.astype(int)
    others = np.delete(seen, channel, axis=-1).max(axis=-1)
    rows, columns = np.nonzero(seen[..., channel] > others + 60)
    assert len(rows)
    return float(rows.mean()), float(columns.mean())


def test_without_egl_osmesa_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # LIBERO 115 and many others: no EGL device, and a traceback of the renderer's.
    find_renderer.cache_clear()
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    code = "import sys; sys.exit('no EGL device') if sys.argv[1] == 'egl' else print('ok')"
    monkeypatch.setattr(sim_camera, "_TRY", code)
    assert find_renderer() == "osmesa"
    find_renderer.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(FinedataError, match="egl: no EGL device"):
        find_renderer()
    find_renderer.cache_clear()


def test_a_result_is_gone_on_with_by_the_same_checkpoint_only(tmp_path: Path) -> None:
    # A run that was trained on meanwhile, under a name of one's own: half of the episodes would be
    # another policy's (StarVLA 461 asks for the checkpoint in the result).
    run = Run(
        recipe="r", family="f", mix="raw=1", seed=0, step=100, batch=4, drawn={}, shards="s",
    )  # fmt: skip
    settings, out = EvaluateSettings(scenes=2), tmp_path / "r.jsonl"

    class Dies(Scripted):
        def begin(self, scene: Any, wish: Any) -> None:
            super().begin(scene, wish)
            if scene.number > FIRST:
                raise FinedataError(place="ws://x", found="gone", wanted="an answer")

    with pytest.raises(FinedataError, match="gone"):
        evaluate(Dies("expert"), out, policy="mine", settings=settings, run=run)
    later = msgspec.structs.replace(run, step=200)
    with pytest.raises(UsageError, match="another policy"):
        evaluate(Scripted("expert"), out, policy="mine", settings=settings, run=later)
    found = evaluate(Scripted("expert"), out, policy="mine", settings=settings, run=run)
    assert [one.scene for one in found.episodes] == [FIRST, FIRST + 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.jsonl"]


def test_one_process_writes_a_result(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    lock = take_lock(tmp_path / ".r.jsonl.lock", wait=False)
    assert lock is not None
    with pytest.raises(UsageError, match="another process that writes it"):
        fd.sim_evaluate("random", out=out, scenes=1)
    lock.release()
    fd.sim_evaluate("random", out=out, scenes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


def test_a_result_holds_each_scene_once(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    fd.sim_evaluate("random", out=out, scenes=2)
    head, first, _ = out.read_bytes().splitlines()
    out.write_bytes(b"\n".join([head, first, first, b""]))
    with pytest.raises(ConformError, match="each once"):
        read_result(out)
