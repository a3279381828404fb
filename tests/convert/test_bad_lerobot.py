"""Bad LeRobot input: an info.json that lies, files that are broken, names that lead elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from convert.bad import Opened, reasons, receipts_of, truncate
from sources import generic_lerobot, robocoin
from sources.lerobot_writer import WrittenEpisode, write_lerobot
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.errors import SourceError, UsageError
from finedata.store.dataset import open_dataset

CAMERA = generic_lerobot.CAMERA


def write(folder: Path, **knobs: Any) -> Path:
    generic_lerobot.write(folder, **({"version": "v2.1", "episodes": 3, "length": 4} | knobs))
    return folder


def data_files(source: Path) -> list[Path]:
    return sorted((source / "data").rglob("*.parquet"))


def column_changed(file: Path, name: str, row: Callable[[int], Any] | None) -> None:
    """Give a column other rows, or drop it."""
    table = pq.read_table(file)
    at = table.schema.names.index(name)
    if row is None:
        table = table.drop_columns([name])
    else:
        values = [row(number) for number in range(len(table))]
        table = table.set_column(at, name, pa.array(values))
    pq.write_table(table, file)


def info_changed(source: Path, **changes: Any) -> None:
    file = source / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def episodes_only(file: Path) -> None:
    pq.write_table(pq.read_table(file).slice(0, 0), file)


# What is odd is no reason to lose an episode: (what is left out of it, and why).
ODD: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "narrow": (lambda file: column_changed(file, "action", lambda k: [0.0, k]), {}),
    "no_state": (
        lambda file: column_changed(file, "observation.state", None),
        {"observation.state": "declared by the source, and not in the episode"},
    ),
    "nulls": (
        lambda file: column_changed(file, "action", lambda k: [0.0] * 6 if k else None),
        {"action": "1 nulls"},
    ),
    "ragged": (
        lambda file: column_changed(file, "action", lambda k: [0.0] * min(k, 3)),
        {"action": "lists of 0 to 3 values"},
    ),
}
DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated": (truncate, "truncated", "without its end"),
    "empty": (lambda file: file.write_bytes(b""), "truncated", "no byte"),
    "another_kind": (lambda file: file.write_bytes(b"hello" * 99), "unparsable", "another kind"),
    "no_rows": (episodes_only, "zero_steps", "zero steps"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_costs_itself(name: str, tmp_path: Path) -> None:
    damage, reason, message = DAMAGE[name]
    source = write(tmp_path / "source", pictures=True)
    damage(data_files(source)[1])
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, reason, None]
    assert message in rows[1]["message"]


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("name", ODD)
def test_an_odd_episode_is_a_part_of_its_own(name: str, which: int, tmp_path: Path) -> None:
    change, lost = ODD[name]
    source = write(tmp_path / "source", pictures=True)
    change(data_files(source)[which])
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    odd = rows.pop(which)
    assert len({row["part"] for row in rows} | {odd["part"]}) == 2
    assert (odd["flags"], [row["flags"] for row in rows]) == (
        ["other_not_converted"] if lost else [],
        [[], []],
    )
    parts = {part.name: part.left_out for part in open_dataset(tmp_path / "out").parts}
    assert parts == {odd["part"]: lost, rows[0]["part"]: {}}


def test_the_root_is_for_episodes_that_are_as_declared(tmp_path: Path) -> None:
    """Whichever comes first."""
    for which in (0, 2):
        source = write(tmp_path / f"source_{which}", pictures=True)
        column_changed(data_files(source)[which], "action", lambda k: [0.0, k])
        receipts_of("lerobot", source, tmp_path / f"out_{which}")
        parts = open_dataset(tmp_path / f"out_{which}").parts
        assert {part.path: part.episodes for part in parts if part.path == "."} == {".": 2}


def test_an_absent_video_costs_its_camera_only(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    sorted(source.rglob("*.mp4"))[1].unlink()
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert [row["flags"] for row in rows] == [[], ["camera_missing", "placeholder_pictures"], []]
    dataset = open_dataset(tmp_path / "out")
    assert [part.name for part in dataset.parts] == ["test_robot"]
    missing = dict(dataset.episodes.select("episode_id", "cameras_missing").collect().iter_rows())
    assert [missing[row["episode_id"]] for row in rows] == [[], ["front"], []]
    pictures = dataset.episode(rows[1]["episode_id"]).frames("front")
    assert len(pictures) == rows[1]["frames_written"]
    assert not any(picture.any() for picture in pictures)


@pytest.mark.parametrize("damage", ["short", "cut", "nonsense", "empty"])
def test_a_damaged_video_costs_its_episode(damage: str, tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    file = sorted(source.rglob("*.mp4"))[1]
    if damage == "short":
        shutil.copy(sorted(source.rglob("*.mp4"))[0], file)
    elif damage == "cut":
        truncate(file)
    else:
        file.write_bytes(b"nonsense" * 9 if damage == "nonsense" else b"")
    rows = receipts_of("lerobot", source, tmp_path / "out")
    reason = "unequal_lengths" if damage == "short" else "wrong_type"
    assert reasons(rows) == [None, reason, None]
    assert CAMERA in rows[1]["message"]


def test_a_video_whose_packets_do_not_decode_is_written_black_and_flagged(tmp_path: Path) -> None:
    """Its index is whole, which is all that the plan looks at."""
    source = write(tmp_path / "source")
    file = sorted(source.rglob("*.mp4"))[1]
    data = bytearray(file.read_bytes())
    at = data.index(b"mdat") + 4
    data[at : at + 200] = b"\xff" * 200
    file.write_bytes(bytes(data))
    options = ConvertOptions(transcode="h264")
    rows = receipts_of("lerobot", source, tmp_path / "out", options)
    assert reasons(rows) == [None, None, None]
    flagged = ["undecodable_picture" in row["flags"] for row in rows]
    assert flagged == [False, True, False]
    assert rows[1]["images"][0]["placeholder_count"] == rows[1]["frames_written"]


def test_nonfinite_numbers_of_undeclared_columns_are_flagged(tmp_path: Path) -> None:
    source = write(tmp_path / "source", pictures=True)
    column_changed(data_files(source)[0], "action", lambda k: np.full(6, np.nan, np.float32))
    column_changed(
        data_files(source)[1], "observation.state", lambda k: np.full(6, np.inf, np.float32)
    )
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    flags = [{flag for flag in row["flags"] if flag.startswith("nonfinite")} for row in rows]
    assert flags == [{"nonfinite_action"}, {"nonfinite_state"}, set()]


@pytest.mark.parametrize(
    ("stamps", "flag"),
    [
        (lambda k: np.float32(0.3 - 0.1 * k), "timestamps_decrease"),
        (lambda k: np.float32(0.1 * (k // 2)), "timestamps_repeat"),
        (lambda k: np.float32("nan"), "timestamps_repeat"),
        (lambda k: np.float32(7.0 * k), "rate_differs"),
    ],
)
def test_odd_timestamps_are_flagged(
    stamps: Callable[[int], Any], flag: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "source", pictures=True)
    column_changed(data_files(source)[1], "timestamp", stamps)
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    assert [flag in row["flags"] for row in rows] == [False, True, False]


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])
def test_an_episode_of_one_row(version: str, tmp_path: Path) -> None:
    source = write(tmp_path / "source", version=version, length=1)
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    assert rows[0]["frames_written"] == 1


def test_the_info_of_gr00t_lies(tmp_path: Path) -> None:
    """Template, totals, splits and a camera that is nowhere, as in the real file."""
    source = write(tmp_path / "source", version="v2.0", phantom_cameras=("observation.images.ego",))
    info_changed(
        source,
        data_path="data/chunk-{episode_index:03d}/episode_{episode_index:06d}.parquet",
        total_chunks=0,
        total_episodes=100,
        total_frames=1,
        total_videos=2,
        splits={"train": "0:100"},
    )
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    assert {image["camera"] for row in rows for image in row["images"]} == {"front"}


def test_the_info_of_open_50_lies(tmp_path: Path) -> None:
    """`video/` where info.json says `videos/`, mpeg4 where it says h264, sizes of 20 MB."""
    source = write(
        tmp_path / "source",
        version="v3.0",
        video_folder="video",
        codec="mpeg4",
        episodes_per_file=1,
        to_timestamp_short_by=1,
        tasks_column="__index_level_0__",
    )
    file = source / "meta/info.json"
    info = json.loads(file.read_text().replace("mpeg4", "h264"))
    file.write_text(json.dumps(info | {"data_files_size_in_mb": 20}))
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    assert {image["codec"] for row in rows for image in row["images"]} == {"mpeg4"}


@pytest.mark.parametrize("splits", [{"train": "0:2"}, {"train": "9:5"}, {"a": None}, [], "x", {}])
def test_a_split_that_is_one_short_loses_nobody(splits: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "source", pictures=True)
    info_changed(source, splits=splits)
    assert reasons(receipts_of("lerobot", source, tmp_path / "out")) == [None, None, None]


@pytest.mark.parametrize("fps", [0, -1, None, "30", 1e308, 1e-9, 2**70])
def test_no_rate_no_episode(fps: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    info_changed(source, fps=fps)
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert set(reasons(rows)) <= {"wrong_type", "missing_feature"}
    assert "rate" in rows[0]["message"] or "fps" in rows[0]["message"]


@pytest.mark.parametrize("template", ["../../{episode_index}", "/etc/{episode_index:06d}", "{x}"])
@pytest.mark.parametrize("key", ["data_path", "video_path"])
def test_templates_never_lead_out(
    key: str, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "source")
    info_changed(source, **{key: template})
    opened = Opened(monkeypatch)
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    inside = (str(tmp_path), str(Path(__file__).parents[2]), "/proc", "/dev")
    assert [path for path in opened.paths if path.startswith("/etc/0")] == []
    assert any(path.startswith(inside) for path in opened.paths)


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "../../secret.jpg", "x/../../a"])
def test_picture_paths_never_lead_out(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(generic_lerobot.encoded_picture(7))
    source = tmp_path / "source"
    state = np.zeros((3, 2), np.float32)
    episode = {"observation.state": state, "action": state}
    write_lerobot(
        source,
        [
            WrittenEpisode(
                episode | {CAMERA: [generic_lerobot.encoded_picture(k) for k in range(3)]}
            ),
            WrittenEpisode(episode | {CAMERA: [(None, path)] * 3}),
        ],
    )
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, "wrong_type"]
    assert path in rows[1]["message"]


def test_a_camera_name_never_leads_out(tmp_path: Path) -> None:
    source = write(tmp_path / "source", pictures=True)
    name = "observation.images...%2f../../evil"
    for file in data_files(source):
        table = pq.read_table(file)
        pq.write_table(
            table.rename_columns([name if one == CAMERA else one for one in table.schema.names]),
            file,
        )
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    receipts_of("lerobot", source, tmp_path / "out")
    after = {path for path in tmp_path.rglob("*") if path.parts[len(tmp_path.parts)] != "out"}
    assert after == before


def test_a_robot_name_never_leads_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("a", "b"):
        write(source / name, pictures=True, episodes=1, robot_type="../../../evil")
    receipts_of("lerobot", source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_datasets_of_one_name_do_not_pass_for_each_other(tmp_path: Path) -> None:
    for place in ("a/same", "b/same"):
        write(tmp_path / "source" / place, pictures=True, episodes=1)
    rows = receipts_of("lerobot", tmp_path / "source", tmp_path / "out")
    assert sorted(str(reason) for reason in reasons(rows)) == ["None", "duplicate_id"]


def test_cameras_that_get_one_name_keep_their_own_pictures(tmp_path: Path) -> None:
    """Found by mutation: the second dataset's pictures were once taken for absent."""
    for name, camera in (("a", CAMERA), ("b", "observation.image.front")):
        source = write(tmp_path / "source" / name, pictures=True, episodes=1)
        for file in data_files(source):
            table = pq.read_table(file)
            names = [camera if one == CAMERA else one for one in table.schema.names]
            pq.write_table(table.rename_columns(names), file)
        info = source / "meta/info.json"
        info.write_text(info.read_text().replace(CAMERA, camera))
    rows = receipts_of("lerobot", tmp_path / "source", tmp_path / "out")
    assert [row["images"][0]["placeholder_count"] for row in rows] == [0, 0]
    assert len({row["images"][0]["sha256"] for row in rows}) == 1


def test_one_broken_dataset_of_many_costs_itself(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for seed, name in enumerate(("a", "b", "c")):
        write(source / name, pictures=True, episodes=2, seed=seed)
    (source / "b/meta/info.json").write_text("{")
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, "unparsable", "unparsable", None, None]
    assert "JSON" in rows[2]["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"3"])
def test_an_info_that_is_none_is_refused_at_the_start(content: bytes, tmp_path: Path) -> None:
    source = write(tmp_path / "source", pictures=True)
    (source / "meta/info.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"info\.json"):
        convert("lerobot", input=source, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["meta/tasks.jsonl", "meta/episodes.jsonl"])
def test_tables_of_words_may_be_gone(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "source", pictures=True)
    (source / name).unlink()
    rows = receipts_of("lerobot", source, tmp_path / "out")
    assert reasons(rows) == [None, None, None]


def test_annotations_of_robocoin_may_be_empty(tmp_path: Path) -> None:
    source = tmp_path / "source"
    robocoin.write_early(source, episodes=2, length=6)
    (source / "label/data_annotation.json").write_text("")
    rows = receipts_of("robocoin", source, tmp_path / "out")
    assert reasons(rows) == [None, None]
    assert all({"annotation_missing", "annotation_unreadable"} & set(row["flags"]) for row in rows)


def test_a_joint_that_lost_its_name_is_noticed(tmp_path: Path) -> None:
    """State and action of other widths: found by mutation, it once stopped the run."""
    source = tmp_path / "source"
    robocoin.write(source, episodes=2, length=6)
    file = source / "meta/info.json"
    info = json.loads(file.read_text())
    names = info["features"]["observation.state"]["names"]
    names[names.index("left_arm_joint_7_rad")] = "../../etc/passwd"
    file.write_text(json.dumps(info))
    rows = receipts_of("robocoin", source, tmp_path / "out")
    assert reasons(rows) == ["wrong_type", "wrong_type"]
    assert "left arm" in rows[0]["message"]


def test_what_the_command_says(tmp_path: Path) -> None:
    source = write(tmp_path / "source", pictures=True)
    truncate(data_files(source)[1])
    out = str(tmp_path / "out")
    run = CliRunner().invoke(app, ["convert", "lerobot", "--input", str(source), "--out", out])
    assert run.exit_code == 0
    assert "1" in run.output
    assert "failed" in run.output.lower()
    again = ["convert", "lerobot", "--input", str(source), "--out", f"{out}2", "--strict"]
    assert CliRunner().invoke(app, again).exit_code == 1
    for file in data_files(source):
        file.write_bytes(b"")
    nothing = ["convert", "lerobot", "--input", str(source), "--out", f"{out}3"]
    assert CliRunner().invoke(app, nothing).exit_code == 1
    nowhere = ["convert", "lerobot", "--input", str(tmp_path / "no"), "--out", f"{out}4"]
    error = CliRunner().invoke(app, nowhere).exception
    assert isinstance(error, UsageError)
    assert error.exit_code == 2


@pytest.mark.parametrize("name", ["gr00t_lerobot_v20"])
def test_the_real_info_that_lies(name: str, tmp_path: Path) -> None:
    data = os.environ.get("FINEDATA_REAL_DATA")
    if data is None or not (Path(data) / name).is_dir():
        pytest.skip(f"FINEDATA_REAL_DATA names no folder with {name}")
    rows = receipts_of("lerobot", Path(data) / name, tmp_path / "out")
    assert (len(rows), sum(row["frames_written"] for row in rows)) == (5, 2096)
    frames = open_dataset(tmp_path / "out").frames.select(pl.len()).collect().item()
    assert frames == 2096
