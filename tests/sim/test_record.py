"""A recording is a dataset like any other: whole, the same bytes every time, and true."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

import finedata as fd
from finedata.annotate.trace_text import read_trace
from finedata.errors import FinedataError, UsageError
from finedata.sim import camera as sim_camera
from finedata.sim.camera import Cameras, find_renderer
from finedata.sim.record import RecordSettings
from finedata.sim.scene import scene_of
from finedata.sim.world import World

_SMALL = {"episodes": 12, "pictures": 0, "fine": 0.5}
_RUN = """
import sys, finedata as fd
fd.sim_record(sys.argv[1], episodes=12, pictures=0, fine=0.5)
"""


def _bytes_of(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".finedata" not in path.relative_to(root).parts
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sim") / "steer"
    summary = fd.sim_record(out, **_SMALL)
    assert summary.kept == summary.tried == 12
    return out


def test_every_verb_takes_it(recorded: Path) -> None:
    dataset = fd.open(recorded)
    assert dataset.verify(fd.source(_converter(), f"{recorded}.source")).problems == []
    assert dataset.gate(dry_run=True).verdicts["pass"] == 12
    columns = set(dataset.frames.collect_schema().names())
    assert {"observation.state", "action", "observation.environment_state"} <= columns
    episodes = dataset.episodes.collect()
    assert episodes["success"].to_list() == [True] * 12
    assert set(episodes["arms"].explode().to_list()) == {"left", "right"}


def test_a_dry_run_says_what_is_recorded_then(recorded: Path) -> None:
    """It plays the first demonstrations: of so few, all of them."""
    told = fd.sim_estimate(**_SMALL)
    assert told["frames"] == len(fd.open(recorded).frames.select("frame_index").collect())
    assert told["picture_bytes"] == 0
    assert told["cpu_s"] > 12 * 0.02
    assert fd.sim_estimate(**{**_SMALL, "episodes": 120})["frames"] > 8 * told["frames"]


def test_facts_are_true_and_every_text_is_made_of_them(recorded: Path) -> None:
    dataset = fd.open(recorded)
    facts = dataset.facts.collect()
    assert set(facts["origin"]) == {"source"}
    assert set(facts["kinematic_verdict"]) == {"untestable"}  # nobody judged them yet
    said = dataset.instructions.filter(pl.col("kind") == "fine_grained").collect().to_dicts()
    assert len(said) == 6
    values = {row["fact_id"]: row["value"] for row in facts.to_dicts()}
    for row in said:
        mine = [values[one] for one in row["fact_ids"]]
        assert len(mine) == 7
        colour = next(v for v in mine if v in ("red", "green", "blue"))
        assert not {"on the mat", "yellow"} & set(mine)
        assert colour in row["text"]
        assert ("left half" in " ".join(mine)) == any(
            f"left {what}" in row["text"] for what in ("half", "side")
        )
    places = facts.filter(pl.col("slot") == "final_workspace_location")["value"].to_list()
    assert 0 < places.count("on the mat") < 12  # what only raw data has
    primary = dict(
        dataset.instructions.filter(pl.col("is_primary"))
        .select("episode_id", "text")
        .collect()
        .rows()
    )
    for row in facts.filter(pl.col("slot") == "final_workspace_location").to_dicts():
        assert ("mat" in primary[row["episode_id"]]) == (row["value"] == "on the mat")
    goals = dataset.instructions.filter(pl.col("is_primary")).collect()["text"].to_list()
    assert all(text.startswith("put the ") for text in goals)
    traces = dataset.traces.collect().to_dicts()
    assert len(traces) == 36  # one where each step begins
    for row in traces:
        assert msgspec.structs.asdict(read_trace(row["raw_text"])).items() <= row.items()
        assert ("mat" in row["situation_analysis"]) == ("mat" in primary[row["episode_id"]])
    assert {row["frame_index"] == 0 for row in traces} == {True, False}
    steps = dataset.steps.collect()
    assert len(steps) == 36
    assert set(steps["problem"]) == {None}


def test_a_killed_recording_is_finished_to_the_same_bytes(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "steer"
    with subprocess.Popen([sys.executable, "-c", _RUN, str(out)]) as run:
        folder = tmp_path / "steer.source"
        while run.poll() is None and len(list(folder.glob("*.hdf5"))) < 4:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    assert len(list(folder.glob("*.hdf5"))) >= 4
    assert not (out / "finedata.json").exists()
    fd.sim_record(out, **_SMALL)
    assert _bytes_of(out) == _bytes_of(recorded)
    assert _bytes_of(folder) == _bytes_of(Path(f"{recorded}.source"))
    fd.sim_record(out, **_SMALL)  # and nothing is appended twice
    assert _bytes_of(out) == _bytes_of(recorded)


def test_another_recording_in_the_same_folder_is_refused(recorded: Path) -> None:
    before = _bytes_of(recorded)
    with pytest.raises(UsageError, match="a recording with"):
        fd.sim_record(recorded, **{**_SMALL, "noise": 0.1})
    assert _bytes_of(recorded) == before


def test_two_cameras_draw_the_same_bytes(tmp_path: Path) -> None:
    try:
        find_renderer()
    except FinedataError as error:
        pytest.skip(str(error))
    for name in ("a", "b"):
        fd.sim_record(tmp_path / name, episodes=2, pictures=48)
    assert _bytes_of(tmp_path / "a") == _bytes_of(tmp_path / "b")
    dataset = fd.open(tmp_path / "a")
    episode = dataset[dataset.episodes.collect()["episode_id"][0]]
    first = {name: episode.frames(name, [0])[0] for name in ("front", "top")}
    assert first["front"].shape == (48, 48, 3)
    for pixels in first.values():
        assert pixels.std() > 20  # something is seen
        assert ((pixels[..., 0] > 130) & (pixels[..., 2] < 90)).any() or (
            (pixels[..., 2] > 130) & (pixels[..., 0] < 90)
        ).any()  # a block of a colour


def test_a_state_drawn_twice_is_drawn_the_same() -> None:
    # Gymnasium issue 690: with EGL and OSMesa the second picture of a state differed.
    try:
        renderer = find_renderer()
    except FinedataError as error:
        pytest.skip(str(error))
    world = World(scene_of(4))
    camera = Cameras(world, size=48, renderer=renderer)
    first, second = camera.pixels(world), camera.pixels(world)
    for name in first:
        assert np.array_equal(first[name], second[name])
    assert not np.array_equal(first["front"], first["top"])


def test_no_renderer_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_renderer.cache_clear()
    monkeypatch.setattr(sim_camera, "_TRY", "import sys; sys.exit('no display')")
    with pytest.raises(FinedataError, match="no renderer") as told:
        fd.sim_record(tmp_path / "out", episodes=2)
    assert "--pictures 0" in str(told.value)
    assert not list(tmp_path.iterdir())
    find_renderer.cache_clear()


@pytest.mark.parametrize(
    "bad",
    [{"episodes": 0}, {"noise": -1.0}, {"noise": float("nan")}, {"fine": 1.5}, {"pictures": 9999}],
)
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        RecordSettings(**bad)


def test_fine_texts_are_only_of_goals_that_they_speak_of(tmp_path: Path) -> None:
    summary = fd.sim_record(tmp_path / "out", episodes=8, pictures=0, fine=1.0)
    assert 0 < summary.fine_grained < summary.kept
    assert 0 < summary.on_mat <= summary.kept - summary.fine_grained
    assert "goals that such texts do not speak of" in summary.notes[-1]


def test_demonstrations_that_fail_are_left_out_and_told(tmp_path: Path) -> None:
    summary = fd.sim_record(tmp_path / "out", episodes=14, pictures=0, noise=2.5)
    assert 0 < summary.kept < 14
    assert sum(summary.missed.values()) >= 14 - summary.kept
    assert len(fd.open(tmp_path / "out").episodes.collect()) == summary.kept


def test_the_judge_agrees_with_physics(recorded: Path, tmp_path: Path) -> None:
    benchmark = _benchmark()
    told = {(row["slot"], row["facts"]): row for row in benchmark.verdicts(fd.open(recorded))}
    for slot in ("actor", "rotation_direction", "rotation_angle"):
        assert told[slot, "true"]["confirmed"] == 12, slot
        assert told[slot, "turned round"]["contradicted"] == 12, slot
    assert sum(row["contradicted"] for (_, facts), row in told.items() if facts == "true") == 0
    assert told["color", "true"]["untestable"] == 12
    shutil.copytree(recorded, tmp_path / "steer")
    dataset = fd.open(tmp_path / "steer")
    dataset.annotate_kinematic(everything=True)
    found = {row["slot"]: row for row in benchmark.measured_against_truth(dataset)}
    assert found["actor"]["true"] == found["actor"]["found"] == 12
    assert found["gripper closes"]["found"] == 12
    assert 0 < found["rotation_direction"]["true"] <= found["rotation_direction"]["said"]


def _benchmark() -> Any:
    path = Path(__file__).parent.parent.parent / "benchmarks" / "sim_judge.py"
    spec = importlib.util.spec_from_file_location("sim_judge", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _converter() -> str:
    import finedata.sim

    return str(Path(finedata.sim.__file__).with_name("converter.toml"))


def test_a_folder_of_somebody_else_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("keep me")
    with pytest.raises(UsageError, match="no recording of ours"):
        fd.sim_record(out, **_SMALL)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "notes.txt"]
