"""What was published is opened by others, who take the loopback for the Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hub.loopback import Hub
from lerobot_oracle.oracle import HERE as ORACLE
from lerobot_oracle.oracle import skip_without_lerobot
from shard.stock import webdataset_samples

import finedata
from finedata.hub.card import write_card
from finedata.hub.files import read_roots
from finedata.shard.shards import Shards

REPO = "org/bridge"
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=:DeprecationWarning", "ignore::ResourceWarning"
)

_LEROBOT = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
dataset = LeRobotDataset(sys.argv[1], root=sys.argv[2], video_backend="pyav")
row = dataset[len(dataset) - 1]
print(json.dumps({
    "revision": dataset.revision, "frames": len(dataset), "episodes": dataset.num_episodes,
    "state": row["observation.state"].tolist(), "task": row["task"],
}))
"""
_DATASETS = """
import json, sys
import datasets
repository, shards, tars, *names = sys.argv[1:]
found = {name: datasets.load_dataset(repository, name, split="train") for name in names}
found["shards"] = datasets.load_dataset(shards, "shards", split="train")
found["tars"] = datasets.load_dataset("webdataset", data_files=tars, split="train")
print(json.dumps({name: [rows.num_rows, rows.column_names] for name, rows in found.items()}))
"""


def run(python: str | Path, program: str, *arguments: str, home: Path, path: str = "") -> Any:
    """A program of another user, who knows the Hub's address and nothing else."""
    known = {name: os.environ[name] for name in ("HF_ENDPOINT", "PATH")}
    cache = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [str(python), "-c", program, *arguments],
        env=known | cache | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_real_lerobot_opens_it(hub: Hub, bridge: Path, tmp_path: Path) -> None:
    python = skip_without_lerobot()
    finedata.publish([bridge], repo_id=REPO)
    found = run(
        python,
        _LEROBOT,
        REPO,
        str(tmp_path / "root"),
        home=tmp_path / "home",
        path=str(ORACLE / "stub"),
    )
    dataset = finedata.open(bridge)
    assert found["revision"] == "v3.0"
    assert found["episodes"] == len(dataset)
    assert found["frames"] == dataset.info.counts["frames_written"]
    last = list(dataset.iter_episodes())[-1]
    assert found["task"] == last.task
    assert found["state"] == last.state[-1].tolist()


def test_datasets_reads_every_configuration(
    hub: Hub, bridge: Path, shards: Path, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    finedata.publish([bridge, shards], repo_id=REPO)
    finedata.publish([shards], repo_id="org/shards")
    names = configurations(bridge, shards)
    # A table without rows is none: `datasets` fails on its file.
    assert "clusters" not in names
    tars = f"hf://datasets/{REPO}/shards/tars/*/train-*.tar"
    found = run(sys.executable, _DATASETS, REPO, "org/shards", tars, *names, home=tmp_path / "home")
    assert list(found)[:-2] == names
    dataset = finedata.open(bridge)
    for name in set(names) - {"frames"}:
        assert found[name][0] == dataset.table(name).collect().height, name
    assert found["frames"][0] == dataset.info.counts["frames_written"]
    samples = sum(one.samples for one in Shards.open(shards).sets.values())
    for rows, columns in (found["shards"], found["tars"]):
        assert rows == samples
        assert {"image_0.jpg", "action.npy", "meta.json"} <= set(columns)


def configurations(*roots: Path) -> list[str]:
    found = read_roots(roots)
    text = write_card(found, found.uploads())
    line = next(one for one in text.splitlines() if one.startswith("configs: "))
    return [one["config_name"] for one in json.loads(line.removeprefix("configs: "))]


def test_webdataset_streams_the_tars_and_polars_scans_the_tables(
    hub: Hub, bridge: Path, shards: Path
) -> None:
    finedata.publish([bridge, shards], repo_id=REPO)
    base = f"{hub.endpoint}/datasets/{REPO}/resolve/main"
    opened = Shards.open(shards)
    one = next(iter(opened.sets.values()))
    tars = [f"{base}/shards/tars/{one.name}/{tar.name}" for tar in one.tars]
    samples = webdataset_samples([f"pipe:curl -sSfL {tar}" for tar in tars])
    assert len(samples) == one.samples
    assert len({sample["__key__"] for sample in samples}) == one.samples
    receipts = pl.scan_parquet(f"{base}/curation/receipts.parquet").collect()
    assert receipts.equals(finedata.open(bridge).receipts.collect())
