"""`verify` finds whatever is removed or swapped in an output, or hidden from the converter.

A small dataset of each family is converted once. Then one thing is changed in a copy of the output,
or one thing of the source is hidden while it is converted, and `verify` must say which.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources import galaxea, generic_lerobot
from sources.generic_lerobot import CAMERA
from sources.video import write_video

from finedata.convert.run import convert
from finedata.convert.verify.report import VerifyReport
from finedata.convert.verify.run import verify

CAMERA_NAME = CAMERA.removeprefix("observation.images.")
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-000/file-000.parquet"


def edit(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def set_cell(name: str, row: int, change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        values = table.column(name).to_pylist()
        values[row] = change(values[row])
        return table.set_column(
            at, table.schema.field(at), pa.array(values, table.schema.field(at).type)
        )

    return changed


def exchanged(table: pa.Table, a: int, b: int) -> pa.Table:
    order = list(range(table.num_rows))
    order[a], order[b] = order[b], order[a]
    return table.take(pa.array(order))


def verdicts(report: VerifyReport, kind: str) -> dict[str, str]:
    return {thing.name: thing.verdict for thing in report.things if thing.kind == kind}


def found_by(report: VerifyReport) -> str:
    return "\n".join(f"{p.place}: found {p.found}, wanted {p.wanted}" for p in report.problems)


@pytest.fixture(scope="module")
def video_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes, two of them in one video file."""
    folder = tmp_path_factory.mktemp("video") / "arm"
    generic_lerobot.write(folder, length=8)
    return folder


@pytest.fixture(scope="module")
def video_out(video_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("video_out") / "out"
    convert("lerobot", input=video_source, out=out)
    return out


@pytest.fixture
def copy(video_out: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(video_out, tmp_path / "copy"))


def test_everything_of_a_lerobot_source_is_accounted_for(
    video_source: Path, video_out: Path
) -> None:
    report = verify(video_out, input=video_source)
    assert report.problems == []
    (note,) = report.not_checked
    assert note.startswith("statistics of each episode's pictures: not computed anew")
    assert verdicts(report, "camera") == {CAMERA: "kept"}
    assert verdicts(report, "task") == dict.fromkeys(generic_lerobot._TASKS, "kept")
    features = verdicts(report, "feature")
    assert set(features) == {
        "observation.state",
        "action",
        "timestamp",
        "frame_index",
        "episode_index",
        "index",
        "task_index",
    }
    assert set(features.values()) == {"kept", "renamed"}
    assert report.counts()["camera"] == {"kept": 1}


def shift_window(frames: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        name = f"videos/{CAMERA}/from_timestamp"
        edit(root / EPISODES, set_cell(name, 1, lambda s: s + frames / 10))

    return change


def shift_file(root: Path) -> None:
    """The last episode's own file, remuxed so that each row shows the next frame."""
    path = root / f"videos/{CAMERA}/chunk-000/file-001.mp4"
    copied = path.with_name("whole.mp4")
    path.rename(copied)
    longer = path.with_name("longer.mp4")
    write_video(longer, [generic_lerobot.numbered_picture(200 + k) for k in range(1, 17)], fps=10)
    copied.unlink()
    longer.rename(path)


def drop_one_row(root: Path) -> None:
    edit(root / DATA, lambda t: pa.concat_tables([t.slice(0, 3), t.slice(4)]))


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a row is gone": (drop_one_row, "rows"),
    "two rows exchanged": (
        lambda root: edit(root / DATA, lambda t: exchanged(t, 2, 3)),
        "frames.index",
    ),
    "window one frame later": (shift_window(1), f"frames of {CAMERA_NAME}: found frames 1 later"),
    "window one frame earlier": (shift_window(-1), "frames 1 earlier"),
    "another video": (shift_file, f"frames of {CAMERA_NAME}"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_output_is_found(name: str, video_source: Path, copy: Path) -> None:
    change, said = CHANGES[name]
    change(copy)
    assert said in found_by(verify(copy, input=video_source))


def hide(folder: Path, out: Path, change: Callable[[Path], None], tmp_path: Path) -> VerifyReport:
    """Convert what is left of a source after `change`, and verify against the whole of it."""
    lesser = Path(shutil.copytree(folder, tmp_path / "lesser" / folder.name))
    change(lesser)
    convert("lerobot", input=lesser, out=out)
    return verify(out, input=folder)


def without_feature(name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / "meta/info.json"
        info = json.loads(path.read_text())
        info["features"].pop(name, None)
        path.write_text(json.dumps(info))
        for file in root.glob("data/**/*.parquet"):
            table = pq.read_table(file)
            if name in table.schema.names:
                pq.write_table(table.drop_columns([name]), file)
        shutil.rmtree(root / f"videos/{name}", ignore_errors=True)

    return change


def without_last_episode(root: Path) -> None:
    edit(root / EPISODES, lambda t: t.slice(0, t.num_rows - 1))
    (root / "data/chunk-000/file-001.parquet").unlink()


def without_a_task(root: Path) -> None:
    edit(root / "meta/tasks.parquet", set_cell("task", 1, lambda _: ""))
    edit(root / EPISODES, set_cell("tasks", 1, lambda _: []))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_feature("action"), "feature action: found in no column"),
        (without_feature(CAMERA), f"camera {CAMERA}: found its pictures in no stored camera"),
        (without_last_episode, "data/chunk-000/file-001.parquet, record 0: found no receipt"),
        (without_a_task, f"task {generic_lerobot._TASKS[1]!r}"),
    ],
    ids=["a feature", "a camera", "an episode", "a task"],
)
def test_what_was_hidden_from_the_converter_is_found(
    change: Callable[[Path], None], said: str, video_source: Path, tmp_path: Path
) -> None:
    assert said in found_by(hide(video_source, tmp_path / "out", change, tmp_path))


def removed(monkeypatch: pytest.MonkeyPatch, target: str, name: str) -> None:
    """Hide a feature from a reader's episodes."""
    module, _, kind = target.rpartition(".")
    episode = getattr(importlib.import_module(module), kind)
    has, names = episode.has, episode.feature_names
    kind_of, shape = episode.camera_kind, episode.picture_shape
    monkeypatch.setattr(episode, "has", lambda self, f: f != name and has(self, f))
    monkeypatch.setattr(
        episode, "feature_names", lambda self: [f for f in names(self) if f != name]
    )
    monkeypatch.setattr(
        episode, "camera_kind", lambda self, f: None if f == name else kind_of(self, f)
    )
    monkeypatch.setattr(
        episode, "picture_shape", lambda self, f: None if f == name else shape(self, f)
    )


HIDDEN = {
    "rlds": (
        ("bridge_v2", "bridge", {}),
        ("finedata.readers.rlds.source.RldsEpisode", "steps/observation/image_1"),
        "camera steps/observation/image_1: found its pictures in no stored camera",
    ),
    "hdf5": (
        ("rdt", "rdt", {"episodes": 1, "frames": 3, "size": (9, 13), "still": 1}),
        ("finedata.readers.hdf5.episode.Hdf5Episode", "observations/images/cam_left_wrist"),
        "camera observations/images/cam_left_wrist: found its pictures in no stored camera",
    ),
    "rh20t": (
        ("rh20t", "rh20t", {"episodes": 1, "frames": 4, "cameras": 2, "cfgs": (5,)}),
        ("finedata.readers.rh20t.episode.Rh20tEpisode", ""),
        "found its pictures in no stored camera",
    ),
}


@pytest.mark.parametrize("family", HIDDEN)
def test_a_camera_that_a_reader_does_not_see_is_found(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (converter, module, knobs), (reader, camera), said = HIDDEN[family]
    source = tmp_path / "source"
    source.mkdir()
    importlib.import_module(f"sources.{module}").write(source, **knobs)
    if not camera:
        camera = sorted({path.parent.name for path in source.rglob("color.mp4")})[-1]
    with monkeypatch.context() as hiding:
        removed(hiding, reader, camera)
        convert(converter, input=source, out=tmp_path / "out")
    with monkeypatch.context() as hiding:
        removed(hiding, reader, camera)  # verify's own second conversion does not see it either
        assert said in found_by(verify(tmp_path / "out", input=source))


def test_a_camera_that_is_left_out_and_was_never_recorded_is_no_problem(tmp_path: Path) -> None:
    """It is declared and has no file: nothing was left out, and no flag can say so."""
    source, mine = tmp_path / "source", tmp_path / "mine.toml"
    generic_lerobot.write(source, episodes=2, length=5)
    info = json.loads((source / "meta/info.json").read_text())
    depth = "observation.images.depth"
    info["features"][depth] = info["features"][CAMERA]
    (source / "meta/info.json").write_text(json.dumps(info))
    text = (Path(__file__).parents[2] / "converters/lerobot.toml").read_text()
    text = text[: text.index("[[variants.cameras]]")].replace('name = "lerobot"', 'name = "mine"')
    camera = f'[[variants.cameras]]\nname = "front"\nfeature = "{CAMERA}"\n'
    text = text.replace('keep = ["*"]', 'keep = ["observation.state", "action"]')
    mine.write_text(f'{text}{camera}[variants.not_converted]\ndepth = ["{depth}"]\n')
    convert(str(mine), input=source, out=tmp_path / "out")
    report = verify(tmp_path / "out", input=source)
    assert found_by(report) == ""
    assert verdicts(report, "camera") == {CAMERA: "kept", depth: "absent"}


def test_a_position_far_away_goes_back_as_float32_can(tmp_path: Path) -> None:
    """A number of impossible size in the source is the source's fault, not the conversion's."""
    galaxea.write(tmp_path / "source", datasets=1, episodes=1, length=6)
    (rows,) = (tmp_path / "source").rglob("*.parquet")
    far = set_cell("observation.state.left_ee_pose", 2, lambda pose: [1e14, *pose[1:]])
    edit(rows, far)
    convert("galaxea", input=tmp_path / "source", out=tmp_path / "out")
    assert verify(tmp_path / "out", input=tmp_path / "source").problems == []
