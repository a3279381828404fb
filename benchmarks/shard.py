"""Writing shards against the limit: `cp -r` + sync of the dataset, and bare decoding of a video.

    python benchmarks/corpus.py --out CORPUS --gigabytes 2 --cameras 2
    finedata convert bridge_v2 --input CORPUS/bridge_dataset/1.0.0 --out DATASET
    finedata gate DATASET && finedata cluster DATASET
    python benchmarks/shard.py --dataset DATASET --scratch DIR [--rounds 5] [--videos DATASET]

Every round runs, in turn and each in processes of its own: `cp -r` + `sync`; shards in the order of
episodes; shuffled steps; two limits that no writer of these bytes can go below, SHA-256 of as many
bytes and a bare read of the pictures out of Parquet; with `--videos`, one worker that shards them
at 224x224, and the bare work of it in one process: decode in sequence, resize, encode. The dataset
is read once before each run, so that all of them find it in the page cache. All runs are printed,
medians of ratios per round last; nothing is rerun. Peak is that of the largest process; CPU is user
and system time of all of them, which a busy machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

_BARE = """
import sys
import numpy as np
import simplejpeg
from PIL import Image
import finedata
for episode in finedata.open(sys.argv[1]).iter_episodes():
    for camera in episode.videos:
        for frame in episode.iter_frames(camera):
            small = np.asarray(Image.fromarray(frame).resize((224, 224), Image.Resampling.LANCZOS))
            simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=90, colorsubsampling="420")
"""

_SHA256 = """
import hashlib, os, sys
left, block = int(sys.argv[1]), os.urandom(1 << 20)
digest = hashlib.sha256()
for _ in range(left >> 20):
    digest.update(block)
"""
_READ = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
for path in sorted(Path(sys.argv[1]).glob("**/data/**/*.parquet")):
    with pq.ParquetFile(path, pre_buffer=False) as file:
        leaves = [file.schema.column(i).path for i in range(len(file.schema.names))]
        for group in range(file.num_row_groups):
            file.read_row_group(
                group, columns=[x for x in leaves if x.endswith(".bytes")], use_threads=False
            )
"""


def main() -> None:
    """Run the rounds and print a Markdown table."""
    options = _options()
    out = options.scratch / "out"
    options.scratch.mkdir(parents=True, exist_ok=True)
    # Modules are compiled once, as in any installed copy.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    size = _bytes(options.dataset)
    commands = _commands(options, out, size=size)
    _timed([*commands["episode order"], "--dry-run"])
    runs: list[dict[str, float]] = []
    for number in range(options.rounds):
        row: dict[str, float] = {}
        for name, command in commands.items():
            shutil.rmtree(out, ignore_errors=True)
            _warm(options.videos if "video" in name else options.dataset)
            row[f"{name} s"], row[f"{name} CPU s"], row[f"{name} peak MB"] = _timed(command)
            if name == "episode order":
                row["overhead %"] = 100 * _overhead(out)
            if name == "thin":
                row["thin overhead %"] = 100 * _overhead(out)
        runs.append(row)
        print(f"round {number + 1}: " + json.dumps({k: round(v, 2) for k, v in row.items()}))
    _print_report(runs, size=size, workers=options.num_workers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-workers", type=int, default=2)
    return parser.parse_args()


def _commands(options: argparse.Namespace, out: Path, *, size: int) -> dict[str, list[str]]:
    finedata = str(Path(sys.executable).parent / "finedata")
    workers = ["--workers", str(options.num_workers)]
    shard = [finedata, "shard", str(options.dataset), "--out", str(out), *workers]
    commands = {
        "cp": ["sh", "-c", f"cp -r '{options.dataset}' '{out}' && sync"],
        "episode order": [*shard, "--order", "episode"],
        "thin": [*shard, "--order", "episode", "--thin"],
        "step order": shard,
        "limit SHA-256": [sys.executable, "-c", _SHA256, str(size)],
        "limit Parquet": [sys.executable, "-c", _READ, str(options.dataset)],
    }
    if options.videos:
        commands |= {
            "bare video": [sys.executable, "-c", _BARE, str(options.videos)],
            "video": [
                finedata, "shard", str(options.videos), "--out", str(out), "--resize", "224",
                "--order", "episode", "--workers", "1",
            ],
        }  # fmt: skip
    return commands


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _overhead(out: Path) -> float:
    """Bytes of the tars over the bytes of the pictures in them, less one."""
    from finedata.shard.shards import Shards

    shards = Shards.open(out)
    pictures = tars = 0
    for one in shards.sets.values():
        for number, tar in enumerate(one.tars):
            tars += tar.bytes
            sizes = shards.index(one.name, number).numbers("member_size", 0, tar.samples)
            pictures += int(sizes[:, : len(one.cameras)].sum())
    return tars / pictures - 1


def _warm(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(8 << 20):
                    pass


def _timed(command: list[str]) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds of all its processes, memory of the largest one in MB)."""
    subprocess.run(["sync"], check=True)
    time.sleep(1.0)
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status != 0:
        sys.exit(f"failed: {command}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3


def _print_report(runs: list[dict[str, float]], *, size: int, workers: int) -> None:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pyarrow", "simplejpeg"))
    print(
        f"\n{size / 1e9:.2f} GB, {workers} workers, {len(runs)} rounds; "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {libraries}\n"
    )
    print("| what | min | median | max |\n|---|---|---|---|")
    ratios = {
        "cp / episode order (wanted 0.4)": lambda run: run["cp s"] / run["episode order s"],
        "2 cp / step order (wanted 0.4)": lambda run: 2 * run["cp s"] / run["step order s"],
        "video / bare video (wanted 1.1)": lambda run: run["video s"] / run["bare video s"],
        "video / bare video, CPU": lambda run: run["video CPU s"] / run["bare video CPU s"],
    }
    rows = {name: [run[name] for run in runs] for name in runs[0]}
    for name, ratio in ratios.items():
        if "video" not in name or "video s" in runs[0]:
            rows[name] = [ratio(run) for run in runs]
    for name, values in rows.items():
        middle = statistics.median(values)
        print(f"| {name} | {min(values):.2f} | **{middle:.2f}** | {max(values):.2f} |")


if __name__ == "__main__":
    main()
