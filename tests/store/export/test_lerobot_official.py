"""LeRobot's own converter from v2.1 to v3.0 takes our v2.1 export, and LeRobot reads the result."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from lerobot_oracle.oracle import lerobot_environment, run_probe, skip_without_lerobot
from sources import galaxea, rdt

import finedata
from finedata.convert.run import convert
from finedata.store.export.run import export_dataset

UPGRADE = """
import sys
from pathlib import Path
from lerobot.datasets.v30.convert_dataset_v21_to_v30 import convert_dataset
convert_dataset("local/export", root=Path(sys.argv[1]), push_to_hub=False)
"""


def upgraded(exported: Path, scratch: Path) -> Path:
    """The export after LeRobot's own converter."""
    root = scratch / "hub" / "local" / "export"
    shutil.copytree(exported, root)
    finished = subprocess.run(
        [str(skip_without_lerobot()), "-c", UPGRADE, str(scratch / "hub")],
        env=lerobot_environment(scratch / "caches"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return root


@pytest.mark.parametrize(
    ("source", "writer"), [("rdt", rdt.write), ("galaxea", galaxea.write)], ids=["rdt", "galaxea"]
)
def test_the_official_converter_takes_our_export(source: str, writer, tmp_path: Path) -> None:
    skip_without_lerobot()
    writer(tmp_path / "source")
    convert(source, input=tmp_path / "source", out=tmp_path / "dataset")
    dataset = finedata.open(tmp_path / "dataset")
    export_dataset(dataset, out=tmp_path / "exported", format="lerobot-v2.1")
    root = upgraded(tmp_path / "exported", tmp_path)
    probed = run_probe(root, tmp_path)
    frames = dataset.frames.collect()
    assert probed["meta"]["num_frames"] == frames.height
    for name in ("observation.state", "action"):
        np.testing.assert_array_equal(probed["frames"][name], np.stack(frames[name].to_numpy()))
    tasks = dataset.episodes.sort("episode_index").select("task", "length").collect().rows()
    wanted = [task for task, length in tasks for _ in range(length)]
    assert probed["strings"]["task"] == wanted
    cameras = {name.removesuffix("_bgr") for name in dataset.episodes.collect()["cameras"][0]}
    found = {name.removeprefix("observation.images.") for name in probed["meta"]["camera_keys"]}
    assert found == cameras
