"""Converting RLDS against the limit (`cp` and sync) and the peer (LeRobot's own path).

    python benchmarks/corpus.py --out CORPUS --gigabytes 4 --cameras 2
    python benchmarks/convert.py --corpus CORPUS --scratch DIR [--rounds 5] [--peer-frames 360]

Every round runs, in turn and each in processes of its own: `cp -r` + `sync`; the conversion with
all statistics; the conversion without those of pictures; and, where `.venv-lerobot` is there,
LeRobot's add_frame/save_episode path on a few episodes. The source is read once before each run,
so that all of them find it in the page cache. All runs are printed, medians of ratios per round
last; nothing is rerun.
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
import threading
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the rounds and print a Markdown table."""
    options = _options()
    (options.scratch / "peer").mkdir(parents=True, exist_ok=True)
    size = sum(path.stat().st_size for path in options.corpus.rglob("*") if path.is_file())
    frames = _frames(options.corpus)
    runs: list[dict[str, float]] = []
    for number in range(options.rounds):
        row: dict[str, float] = {}
        for name, command in _commands(options).items():
            if name.startswith("lerobot"):
                row[name] = json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL))[
                    "frames_per_s"
                ]
                continue
            _warm(options.corpus)
            seconds, peak = _timed(command, options.scratch)
            row[f"{name} s"] = seconds
            row[f"{name} MB/s"] = size / 1e6 / seconds
            row[f"{name} frames/s"] = frames / seconds
            row[f"{name} peak MB"] = peak
        runs.append(row)
        print(f"round {number + 1}: " + json.dumps({k: round(v, 2) for k, v in row.items()}))
    _print_report(runs, size=size, frames=frames, workers=options.num_workers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--peer-frames", type=int, default=0)
    return parser.parse_args()


def _commands(options: argparse.Namespace) -> dict[str, list[str]]:
    out = str(options.scratch / "out")
    finedata = str(Path(sys.executable).parent / "finedata")
    convert = [
        finedata, "convert", "bridge_v2", "--input", str(options.corpus), "--out", out,
        "--num-workers", str(options.num_workers), "--json",
    ]  # fmt: skip
    commands = {
        "cp": ["sh", "-c", f"cp -r '{options.corpus}' '{out}' && sync"],
        "all statistics": convert,
        "no image statistics": [*convert, "--no-image-stats"],
    }
    lerobot = ROOT / ".venv-lerobot/bin/python"
    if options.peer_frames and lerobot.exists():
        peer = [
            str(lerobot), str(ROOT / "benchmarks/peer_lerobot.py"), str(options.corpus),
            "--frames", str(options.peer_frames), "--mode", "video",
            "--scratch", str(options.scratch / "peer"),
        ]  # fmt: skip
        commands |= {
            "lerobot video": peer,
            "lerobot streaming": [*peer, "--streaming-encoding"],
        }
    return commands


def _frames(corpus: Path) -> int:
    estimate = json.loads(
        subprocess.check_output(
            [
                sys.executable,
                "-c",
                "import sys, json\n"
                "from finedata.readers.rlds.source import open_rlds\n"
                "from finedata.readers.rlds.tfrecord import scan_records\n"
                "source = open_rlds(sys.argv[1])\n"
                "n = 0\n"
                "for shard in source.shards:\n"
                "    reader = source.folder.open(shard.file)\n"
                "    for record in scan_records(reader):\n"
                "        n += len(source.episode(record.payload).numbers('steps/is_first'))\n"
                "    reader.close()\n"
                "print(json.dumps(n))\n",
                str(corpus),
            ]
        )
    )
    return int(estimate)


def _warm(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(8 << 20):
                    pass


def _timed(command: list[str], scratch: Path) -> tuple[float, float]:
    """(wall seconds, peak of the process tree's proportional memory in MB)."""
    shutil.rmtree(scratch / "out", ignore_errors=True)
    scratch.mkdir(parents=True, exist_ok=True)
    subprocess.run(["sync"], check=True)
    time.sleep(1.0)
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    if process.wait() != 0:
        sys.exit(f"failed: {command}")
    seconds = time.perf_counter() - begun
    watcher.join()
    return seconds, peak[0]


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    """Sum of resident memory over the tree, shared pages counted once a process."""
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(_resident_mb, _tree(process.pid))))
        time.sleep(0.05)


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _print_report(runs: list[dict[str, float]], *, size: int, frames: int, workers: int) -> None:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pyarrow", "simplejpeg"))
    print(
        f"\n{size / 1e9:.2f} GB, {frames} frames, {workers} workers, {len(runs)} rounds; "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {libraries}\n"
    )
    print("| what | min | median | max |\n|---|---|---|---|")
    for name in runs[0]:
        values = sorted(run[name] for run in runs)
        middle = statistics.median(values)
        print(f"| {name} | {values[0]:.2f} | **{middle:.2f}** | {values[-1]:.2f} |")
    ratios = {
        "all statistics / cp": ("all statistics MB/s", "cp MB/s"),
        "no image statistics / cp": ("no image statistics MB/s", "cp MB/s"),
        "all statistics / lerobot video": ("all statistics frames/s", "lerobot video"),
        "all statistics / lerobot streaming": ("all statistics frames/s", "lerobot streaming"),
    }
    for name, (ours, theirs) in ratios.items():
        if theirs in runs[0]:
            values = sorted(run[ours] / run[theirs] for run in runs)
            middle = statistics.median(values)
            print(f"| ratio {name} | {values[0]:.2f} | **{middle:.2f}** | {values[-1]:.2f} |")


if __name__ == "__main__":
    main()
