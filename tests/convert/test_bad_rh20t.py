"""Bad RH20T scenes: what is missing, what is refused, what is flagged; every fixture's damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from convert.bad import Rows, reasons, receipts_of
from sources import rh20t

from finedata.convert.run import convert
from finedata.errors import SourceError

# What becomes of the second of three scenes.
FAILS = {
    "no_transformed": "missing_feature",
    "no_tcp_base": "missing_feature",
    "no_cameras": "missing_feature",
    "no_frames": "zero_steps",
    "refused_pickle": "refused_pickle",
    "truncated": "unparsable",
    "truncated_video": "unparsable",
    "refused_gripper": "refused_pickle",
}
FLAGGED = {
    "none_values": "nonfinite_state",
    "short_video": "frames_dropped",
    "no_force": "camera_resampled",
    "duplicates": "timestamps_repeat",
    "unordered": "timestamps_decrease",
    "camera_gap": "camera_left_out",
}


def converted(tmp_path: Path, damage: str) -> Rows:
    source = tmp_path / "source"
    rh20t.write(source, episodes=3, cfgs=(5,), frames=16, cameras=2, damage={1: damage})
    return receipts_of("rh20t", source, tmp_path / "out")


@pytest.mark.parametrize("damage", rh20t.DAMAGES)
def test_a_damaged_scene_costs_itself(damage: str, tmp_path: Path) -> None:
    rows = converted(tmp_path, damage)
    rows.sort(key=lambda row: row["source_file"].split("scene_")[1])
    assert reasons(rows) == [None, FAILS.get(damage), None]
    if damage in FLAGGED:
        assert FLAGGED[damage] in rows[1]["flags"]
    assert not list(tmp_path.rglob("executed"))


@pytest.mark.parametrize("file", ["configs.json", "task_description.json"])
@pytest.mark.parametrize("content", ["{}", "null", "[]"])
def test_descriptions_may_be_empty(file: str, content: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    rh20t.write(source, episodes=1, cfgs=(5,), frames=6, cameras=1)
    (source / file).write_text(content)
    assert reasons(receipts_of("rh20t", source, tmp_path / "out")) == [None]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("configs.json", ""),
        ("configs.json", '{"task_0001": 3}'),
        ("task_description.json", ""),
        ("task_description.json", "[{}]"),
        ("task_description.json", '{"task_0001": 3}'),
    ],
)
def test_a_description_that_is_none_is_refused_at_the_start(
    file: str, content: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    rh20t.write(source, episodes=1, cfgs=(5,), frames=6, cameras=1)
    (source / file).write_text(content)
    with pytest.raises(SourceError, match=file.replace(".", r"\.")):
        convert("rh20t", input=source, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [-1, 2**70, "9", None, [], "../../x"])
@pytest.mark.parametrize("key", ["finish_time", "rating", "calib", "calib_quality"])
def test_any_metadata(key: str, value: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    rh20t.write(source, episodes=1, cfgs=(5,), frames=6, cameras=1)
    (file,) = source.rglob("metadata.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    rows = receipts_of("rh20t", source, tmp_path / "out")
    assert reasons(rows)[0] in (None, "wrong_type", "zero_steps")


def test_a_link_as_a_scene_is_read_as_what_it_is(tmp_path: Path) -> None:
    """Names of scenes are matched whole: `..` in one makes it no scene."""
    source = tmp_path / "source"
    rh20t.write(source, episodes=1, cfgs=(5,), frames=6, cameras=1)
    (scene,) = source.glob("RH20T_cfg5/task_*")
    odd = scene.with_name(f"{scene.name}..%2f..")
    odd.mkdir()
    (odd / "metadata.json").write_text("{}")
    assert reasons(receipts_of("rh20t", source, tmp_path / "out")) == [None]


@pytest.mark.parametrize("values", [np.nan, np.inf, 0.0])
def test_odd_poses_are_written_and_flagged(values: float, tmp_path: Path) -> None:
    source = tmp_path / "source"
    rh20t.write(source, episodes=1, cfgs=(5,), frames=6, cameras=1)
    (file,) = source.rglob("tcp_base.npy")
    tree = np.load(file, allow_pickle=True).item()
    for samples in tree.values():
        for sample in samples:
            sample["tcp"] = np.full(7, values)
    np.save(file, tree, allow_pickle=True)
    (row,) = receipts_of("rh20t", source, tmp_path / "out")
    assert row["status"] == "written"
    assert "nonfinite_state" in row["flags"]
    assert ("quaternion_norm_off" in row["flags"]) == (not np.isnan(values))
