"""Seconds that the first distance of a process costs, with nothing cached, cached, and read-only.

    python benchmarks/dtw_start.py [--rounds 3]

Comes in: nothing. Goes out: a table, or the numbers to `benchmarks/dtw.py`. Every run is a fresh
process: with an empty cache of its own; the next one with the cache that the first has left; and
with a package, a home and a cache folder that it may not write to.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    for name, seconds, wanted, _ in start_verdicts(start_up(parser.parse_args().rounds)):
        print(f"{name}: {seconds:.2f}, {wanted}")


CHILD = """
import json, sys, time
started = time.perf_counter()
import numpy as np
from finedata.motion.dtw.distances import FrameCost, Tracks, dtw_all_pairs, dtw_pairs
imported = time.perf_counter()
rng = np.random.default_rng(0)
tracks = []
for n in (20, 33, 41):
    track = rng.normal(size=(n, 8)); track[:, 3:7] /= np.linalg.norm(track[:, 3:7], axis=1)[:, None]
    tracks.append(track)
tracks = Tracks.of(tracks)
what = sys.argv[1]
if what == "gate":
    dtw_pairs(tracks, [(0, 1)], cost=FrameCost(space="pose_rms"), device="cpu")
else:
    dtw_all_pairs(tracks, cost=FrameCost(space="pose", two_stage=what == "two-stage"), device="cpu")
done = time.perf_counter()
print(json.dumps({"import_s": imported - started, "call_s": done - imported}))
"""


def start_up(rounds: int) -> dict[str, dict[str, list[float | str]]]:
    """Seconds of the first call in fresh processes: no cache, its cache, a read-only package."""
    found: dict[str, dict[str, list[float | str]]] = {}
    for _ in range(max(1, min(rounds, 3))):
        for what in ("single", "two-stage", "gate"):
            places = found.setdefault(what, {})
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                folder.chmod(0o755)
                warm = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")}
                for place in ("empty cache", "next process"):
                    places.setdefault(place, []).append(child(what, warm, ROOT))
                installed = read_only_copy(folder)
                bare = {
                    key: value
                    for key, value in os.environ.items()
                    if key not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "IPYTHONDIR")
                }
                bare["HOME"] = str(installed)
                places.setdefault("read-only", []).append(child(what, bare, installed, bound=True))
                for path in (installed, *installed.rglob("*")):
                    path.chmod(0o755)
    print("\n| first call, s (import; call) | runs |\n|---|---|")
    for what, places in found.items():
        for place, values in places.items():
            print(f"| {what}, {place} | {', '.join(map(shown, values))} |")
    return found


def read_only_copy(folder: Path) -> Path:
    """The package as a package manager leaves it in a place that its user may not write to."""
    installed = folder / "site"
    shutil.copytree(
        ROOT / "finedata", installed / "finedata", ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in (*installed.rglob("*"), installed):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return installed


def child(
    what: str, environment: dict[str, str], package: Path, *, bound: bool = False
) -> dict[str, float] | str:
    """Seconds of one fresh process, or the last line of what it died of.

    The superuser may write anywhere, unless `bound` by what others are bound by.
    """
    command = [sys.executable, "-c", CHILD, what]
    if bound and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            return "not run: the superuser writes anywhere, and there is no setpriv"
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(
        command,
        env={**environment, "PYTHONPATH": str(package)},
        cwd=package,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return json.loads(done.stdout)


def shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value['import_s']:.2f}; {value['call_s']:.2f}"


def start_verdicts(starts: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    found: list[tuple[str, float, str, bool]] = []
    for place, limit in (("empty cache", 5.0), ("next process", 1.0), ("read-only", math.inf)):
        for what, places in starts.items():
            values = [
                math.inf if isinstance(value, str) else value["import_s"] + value["call_s"]
                for value in places[place]
            ]
            seconds = statistics.median(values)
            wanted = f"at most {limit:g}" if math.isfinite(limit) else "works"
            found.append(
                (
                    f"first call, {what}, {place}, s",
                    seconds,
                    wanted,
                    seconds <= limit and math.isfinite(seconds),
                )
            )
    return found


if __name__ == "__main__":
    main()
