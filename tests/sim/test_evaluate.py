"""The closed loop: what the physics says of policies, resumed, compared, refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import serve

import finedata as fd
from finedata.errors import ConformError, FinedataError, UsageError
from finedata.serve.wire import pack, unpack
from finedata.sim.acting import ACTION_NAMES, Scripted
from finedata.sim.compare import wilson
from finedata.sim.evaluate import EvaluateSettings, evaluate

_STATES = {"state": [*ACTION_NAMES, "block_0_x", "tray_y"]}


@contextmanager
def _server(answer: Any, *, names: tuple[str, ...] = ACTION_NAMES) -> Iterator[str]:
    """A policy server of openpi's dialect: metadata first, then an answer for an observation."""

    def handle(socket: Any) -> None:
        robot = {"actions": list(names), "states": _STATES, "needed_states": ["state"]}
        told = {"recipe": "fake", "step": 7, "cameras": [], "embodiments": {"x_gantry": robot}}
        socket.send(pack({"finedata": told, "training_obs_image_size": [64, 64]}))
        for message in socket:
            said = answer(unpack(message))
            if said is None:
                socket.close(1011)
                return
            socket.send(pack({"actions": said, "server_timing": {}}))

    with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("results")
    for name in ("expert", "usual", "random"):
        fd.sim_evaluate(name, out=folder / f"{name}.jsonl", scenes=16)
    return {name: folder / f"{name}.jsonl" for name in ("expert", "usual", "random")}


def _shares(path: Path) -> dict[str, float]:
    return {one.score: one.share for one in fd.sim_rates(fd.sim_result(path))}


def test_who_knows_the_wish_does_all_of_it(results: dict[str, Path]) -> None:
    assert set(_shares(results["expert"]).values()) == {1.0}


def test_who_knows_the_goal_has_every_factor_by_chance(results: dict[str, Path]) -> None:
    shares = _shares(results["usual"])
    assert (shares["goal"], shares["colour"]) == (1.0, 1.0)
    assert (shares["approach"], shares["rotation"]) == (0.5, 0.5)  # sixteen scenes: every manner
    assert 0.25 <= shares["arm"] <= 0.75
    assert shares["all"] <= 0.25


def test_who_looks_at_nothing_reaches_nothing(results: dict[str, Path]) -> None:
    assert _shares(results["random"])["all"] <= 0.07


def test_differences_are_paired_and_other_scenes_refused(
    results: dict[str, Path], tmp_path: Path
) -> None:
    read = [fd.sim_result(results[name]) for name in ("usual", "expert")]
    apart = {one.score: one for one in fd.sim_compare(read)}
    assert (apart["goal"].mean, apart["goal"].low, apart["goal"].high) == (0.0, 0.0, 0.0)
    assert apart["approach"].mean == 0.5
    assert 0.2 < apart["approach"].low < 0.5 < apart["approach"].high < 0.8
    other = fd.sim_evaluate("random", out=tmp_path / "other.jsonl", scenes=2, first=5)
    with pytest.raises(UsageError, match="not those of the first"):
        fd.sim_compare([read[0], other])


def test_goals_that_only_raw_data_has_are_asked_for_in_raw_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no fine-grained text speaks of the mat"):
        EvaluateSettings(goals="raw_only")
    for name in ("usual", "expert"):
        fd.sim_evaluate(
            name, out=tmp_path / f"{name}.jsonl", scenes=8, prompts="raw", goals="raw_only"
        )
    read = [fd.sim_result(tmp_path / f"{name}.jsonl") for name in ("usual", "expert")]
    on_mat = sum(one.wish["place"] == "mat" for one in read[0].episodes)
    assert 0 < on_mat < 8
    for one in read[0].episodes:
        assert ("mat" in one.prompt) == (one.wish["place"] == "mat")
        assert one.wish["place"] == "mat" or "yellow" in one.prompt
    rates = {one.score: one for one in fd.sim_rates(read[1])}
    assert (rates["goal"].share, rates["all"].scenes) == (1.0, 8)
    assert rates["side"].scenes == 8 - on_mat
    assert {one.score for one in fd.sim_compare(read)} == set(rates)


def test_a_stopped_result_is_finished_to_the_same_bytes(
    results: dict[str, Path], tmp_path: Path
) -> None:
    whole = results["expert"].read_bytes()
    out = tmp_path / "again.jsonl"
    partial = tmp_path / "again.jsonl.partial"
    lines = whole.split(b"\n")
    partial.write_bytes(b"\n".join(lines[:14]) + b"\n" + lines[14][:30])  # cut in a line
    fd.sim_evaluate("expert", out=out, scenes=16)
    assert out.read_bytes() == whole
    assert not partial.exists()
    with pytest.raises(UsageError, match="another policy"):
        fd.sim_evaluate("usual", out=out, scenes=16)
    partial.write_bytes(whole)
    with pytest.raises(UsageError, match="another policy, other settings"):
        fd.sim_evaluate("expert", out=tmp_path / "again.jsonl", scenes=15)


def test_what_is_no_result_is_said(results: dict[str, Path], tmp_path: Path) -> None:
    short = tmp_path / "short.jsonl"
    short.write_bytes(b"\n".join(results["expert"].read_bytes().split(b"\n")[:5]) + b"\n")
    with pytest.raises(ConformError, match="4 episodes"):
        fd.sim_result(short)
    short.write_bytes(b"hello\n")
    with pytest.raises(ConformError, match="wanted a result"):
        fd.sim_result(short)
    for cut in (b"", results["expert"].read_bytes()[:30]):
        short.write_bytes(cut)
        with pytest.raises(ConformError, match=r"(?s)found no whole line.*next: the same finedata"):
            fd.sim_result(short)
    with pytest.raises(UsageError, match="no such run"):
        fd.sim_evaluate(str(tmp_path / "nothing"), out=tmp_path / "x.jsonl")


def test_an_answer_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    class Broken(Scripted):
        def act(self, view: Any, scene: Any, prompt: str, pictures: Any) -> np.ndarray:
            said = super().act(view, scene, prompt, pictures)
            return said * np.nan if scene.number % 2 else said

    found = evaluate(
        Broken("expert"),
        tmp_path / "r.jsonl",
        policy="broken",
        settings=EvaluateSettings(scenes=4),
    )
    assert [one.fault for one in found.episodes] == ["", "not_finite", "", "not_finite"]
    assert [one.scored["all"] for one in found.episodes] == [True, False, True, False]


@pytest.mark.parametrize(
    "said", [np.zeros((0, 16)), np.zeros(16), np.zeros((4, 14)), np.zeros((2, 4, 16))]
)
def test_an_answer_of_another_shape_is_refused(said: np.ndarray, tmp_path: Path) -> None:
    # An empty chunk was played as an episode in which nothing was commanded (strands-labs/robots
    # 3620); others ended in a traceback.
    class Odd(Scripted):
        def act(self, view: Any, scene: Any, prompt: str, pictures: Any) -> np.ndarray:
            return said

    settings = EvaluateSettings(scenes=1)
    with pytest.raises(UsageError, match=r"wanted \(steps, 16\)"):
        evaluate(Odd("expert"), tmp_path / "r.jsonl", policy="odd", settings=settings)


@pytest.mark.parametrize("kind", ["width", "one step", "nothing"])
def test_a_server_whose_answer_does_not_fit_its_names_is_refused(kind: str, tmp_path: Path) -> None:
    shape = {"width": (4, 14), "one step": (16,), "nothing": (0, 16)}[kind]
    with (
        _server(lambda _: np.zeros(shape, np.float32)) as address,
        pytest.raises(UsageError, match="shape"),
    ):
        fd.sim_evaluate(address, out=tmp_path / "r.jsonl", scenes=1)


def test_targets_where_no_arm_gets_are_counted(tmp_path: Path) -> None:
    # Metres taken for millimetres, or a gripper that counts from -1: cut off without a word, such
    # an answer looks like a policy that learnt nothing.
    class Wrong(Scripted):
        factor, shift = 1.0, 0.0

        def act(self, view: Any, scene: Any, prompt: str, pictures: Any) -> np.ndarray:
            said = super().act(view, scene, prompt, pictures)
            said[:, :3] *= self.factor
            said[:, 7] += self.shift
            return said

    settings = EvaluateSettings(scenes=1)
    counted: list[tuple[int, int]] = []
    for name, factor, shift in (("metres", 1.0, 0.0), ("mm", 1000.0, 0.0), ("signed", 1.0, -1.5)):
        mind = Wrong("expert")
        mind.factor, mind.shift = factor, shift
        found = evaluate(mind, tmp_path / f"{name}.jsonl", policy=name, settings=settings)
        counted.append((found.episodes[0].out_of_reach, found.episodes[0].frames))
    assert counted[0][0] == 0
    assert all(beyond == frames > 0 for beyond, frames in counted[1:])


def test_a_server_is_asked_and_one_that_dies_is_gone_on_with(tmp_path: Path) -> None:
    home = np.array([[0.22, -0.27, 0.2, 1, 0, 0, 0, 1, 0.22, 0.27, 0.2, 1, 0, 0, 0, 1]])
    asked: list[dict[str, Any]] = []

    def answer(observation: dict[str, Any]) -> np.ndarray | None:
        asked.append(observation)
        return None if len(asked) == 5 else np.repeat(home, 30, axis=0).astype(np.float32)

    how: dict[str, Any] = {"scenes": 3, "execute": 30, "prompts": "raw"}
    out = tmp_path / "served.jsonl"
    with _server(answer) as address, pytest.raises(FinedataError, match="wanted an answer"):
        fd.sim_evaluate(address, out=out, **how)
    assert len((tmp_path / "served.jsonl.partial").read_bytes().splitlines()) == 3
    with _server(answer) as address:
        found = fd.sim_evaluate(address, out=out, **how)
    assert found.policy == "fake, step 7"
    assert [one.frames for one in found.episodes] == [60] * 3
    assert not any(one.scored["goal"] for one in found.episodes)
    first = asked[0]
    assert "block" in first["prompt"] or "cube" in first["prompt"]
    assert first["embodiment"] == "x_gantry"
    np.testing.assert_allclose(first["state/state"][:16], home[0], atol=1e-6)
    assert 0.3 < first["state/state"][16] < 0.36


def test_a_policy_of_another_robot_is_refused(tmp_path: Path) -> None:
    def answer(observation: dict[str, Any]) -> np.ndarray:
        return np.zeros((4, 2), np.float32)

    with (
        _server(answer, names=("right_joint_0", "right_gripper")) as address,
        pytest.raises(UsageError, match="answers named right_joint_0"),
    ):
        fd.sim_evaluate(address, out=tmp_path / "r.jsonl", scenes=1)


def test_wilson_holds_published_values() -> None:
    # Agresti and Coull, The American Statistician 52 (1998): 0 of 10 gives (0, 0.278)
    low, high = wilson(0.0, 10)
    assert (low, round(high, 3)) == (0.0, 0.278)
    assert wilson(1.0, 10)[1] == 1.0
