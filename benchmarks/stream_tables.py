"""Streams beside other loaders: rate, CPU a sample, kill-and-resume, and what was really drawn.

    python benchmarks/stream_tables.py SHARDS --scratch DIR --with PYTHON [--with PYTHON ...] \
        [--lerobot DATASET] [--rounds 3] [--only speed|resume|counts]

PYTHON are interpreters with some of webdataset, grain, litdata, megatron-energon,
mosaicml-streaming and lerobot (`stream_peers.py` runs in them; simplejpeg and Pillow must be there
too). For speed each runs some seconds behind its first batches, in turn, and as often as there are
rounds; CPU is user + system of it and of all that it started. DATASET is one of LeRobot's, with
videos, of the same pictures (`peer_lerobot.py --keep`); torchcodec should be there.
The two other tables are of 4,000 small samples
of two sources that stand 3 : 1, of which a mixture of .3 : .7 is asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "stream_peers.py"
MODULES = {
    "webdataset": "webdataset",
    "grain": "grain",
    "litdata": "litdata",
    "energon": "megatron.energon",
    "mosaic": "streaming",
    "lerobot": "lerobot",
}
COPIED = ("litdata", "mosaic")
WEIGHTS = {"a": 0.3, "b": 0.7}
BATCH = 32
# Batches until the stream's workers have loaded what they load after some pictures.
WARM = 48


def interpreters(given: list[str]) -> dict[str, str]:
    """Peer to the first interpreter that has it."""
    found = {"finedata": sys.executable}
    for peer, module in MODULES.items():
        for python in given:
            check = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
            done = subprocess.run([python, "-c", check], capture_output=True, check=False)
            if done.returncode == 0:
                found[peer] = python
                break
    return found


def run(python: str, *arguments: object, limit: float = 240) -> tuple[float, float, str]:
    """CPU seconds, seconds and the end of what was said; CPU is nan where it failed."""
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    begin = time.perf_counter()
    process = subprocess.Popen(
        ["timeout", str(limit), python, str(PROGRAM), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime if process.returncode == 0 else float("nan")
    lines = said.strip().splitlines() or [""]
    wrong = [line for line in lines if "Error" in line] if process.returncode else []
    return cpu, time.perf_counter() - begin, wrong[0] if wrong else lines[-1]


def speed(options: argparse.Namespace, pythons: dict[str, str]) -> None:
    """Rates of all, in turn, as many rounds; and how much faster the stream was in each."""
    tars = sorted(p.parent for p in options.shards.glob("tars/*/*-000000.tar"))[-1]
    for peer in COPIED:
        if peer in pythons and not (options.scratch / peer / tars.name).exists():
            run(pythons[peer], "copy", peer, tars, "--copies", options.scratch)
    more = ["--workers", options.workers, "--copies", options.scratch]
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for peer, python in {"bare": sys.executable, **pythons}.items():
            where = options.lerobot if peer == "lerobot" else tars
            if where is None:
                continue
            for decoder in ("ours",) if peer in ("bare", "finedata") else ("own", "ours"):
                if (peer, decoder) == ("lerobot", "ours"):
                    continue  # its own are videos
                said = run(
                    python, "run", peer, where, "--decoder", decoder,
                    "--batches", WARM if peer in ("bare", "finedata") else 8,
                    "--seconds", options.seconds, *more,
                )[2]  # fmt: skip
                name = f"{peer}, {decoder}"
                try:
                    found = json.loads(said)
                    rates.setdefault(name, []).append(found["samples_per_s"])
                    costs.setdefault(name, []).append(found["cpu_ms"])
                except (ValueError, KeyError):
                    print(json.dumps({"failed": name, "said": said[:200]}), flush=True)
    own = rates["finedata, ours"]
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(own, values, strict=False)]
        line = {
            "speed": name,
            "samples_per_s": values,
            "cpu_ms_a_sample": costs[name],
            "stream_is_so_much_faster": [round(one, 2) for one in ratios],
            "median": round(median(ratios), 2),
            "by_cpu": round(median(costs[name]) / median(costs["finedata, ours"]), 2),
        }
        print(json.dumps(line), flush=True)


def small_shards(root: Path) -> list[Path]:
    """Two sources of 3,000 and 1,000 samples, as the tests write shards; with energon's files."""
    # In place of this folder, which has a `shard` of its own.
    sys.path[0] = str(HERE.parent / "tests")
    from shard.stream.tiny_shards import TinySet, make_shards

    from finedata.shard.making.finish import write_energon_folder
    from finedata.shard.shards import Shards

    sets = [
        TinySet(name, "rep", [50] * count, tar_samples=250, size=(8, 8))
        for name, count in (("a", 60), ("b", 20))
    ]
    if not (root / "shards.json").exists():
        make_shards(root, sets)
        shards = Shards.open(root)
        for one in shards.sets.values():
            write_energon_folder(root, one)
            for number, tar in enumerate(one.tars):
                index = shards.index(one.name, number)
                offsets = index.numbers("offset", 0, tar.samples).astype("<u8").tobytes()
                path = shards.tar_path(one.name, number)
                end = index.value("offset", tar.samples - 1) + index.value("size", tar.samples - 1)
                path.with_name(f"{path.name}.idx").write_bytes(offsets + end.to_bytes(8, "little"))
    return [root / "tars" / one.name for one in sets]


def ids(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def resume(options: argparse.Namespace, pythons: dict[str, str], folders: list[Path]) -> None:
    """60 batches at once; 25, then 35 by a new process, with as many workers and with others."""
    mixed = ["--weights", json.dumps(WEIGHTS)]
    for peer, python in pythons.items():
        if peer == "lerobot":
            continue
        for name, tars, more in (("mixture", folders, mixed), ("one source", folders[:1], [])):
            line: dict[str, object] = {"resume": peer, "of": name}
            base = ["run", peer, *tars, "--decoder", "none", "--copies", options.scratch, *more]
            if peer == "finedata":
                base[2 : 2 + len(tars)] = folders[:1]
                base += [] if more else ["--weights", '{"a": 1}']
            out = {k: options.scratch / f"{peer}-{k}" for k in ("whole", "first", "rest", "state")}
            for path in out.values():
                path.unlink(missing_ok=True)
            run(python, *base, "--batches", 60, "--workers", 2, "--ids", out["whole"])
            said = run(
                python, *base, "--batches", 25, "--workers", 2, "--ids", out["first"],
                "--save", out["state"],
            )[2]  # fmt: skip
            if not out["state"].exists():
                print(json.dumps(line | {"no state": said[:80]}), flush=True)
                continue
            for workers in (2, 3):
                out["rest"].unlink(missing_ok=True)
                said = run(
                    python, *base, "--batches", 35, "--workers", workers, "--ids", out["rest"],
                    "--load", out["state"],
                )[2]  # fmt: skip
                whole, found = ids(out["whole"]), ids(out["first"]) + ids(out["rest"])
                equal = next(
                    (k for k, (a, b) in enumerate(zip(whole, found, strict=False)) if a != b),
                    min(len(whole), len(found)),
                )
                key = f"then {workers} workers"
                same = equal == len(whole) == len(found)
                what = "equal" if same else f"first difference at sample {equal} of {len(whole)}"
                line[key] = what if out["rest"].exists() else f"failed: {said[:80]}"
            print(json.dumps(line), flush=True)


def counts(options: argparse.Namespace, pythons: dict[str, str], folders: list[Path]) -> None:
    """Share of 200 batches of a mixture; duplicates and losses in an epoch of one source."""
    for peer, python in pythons.items():
        if peer == "lerobot":
            continue
        out = options.scratch / f"{peer}-ids"
        out.unlink(missing_ok=True)
        tars = folders[:1] if peer == "finedata" else folders
        base = ["--decoder", "none", "--workers", 2, "--copies", options.scratch, "--ids", out]
        said = run(
            python, "run", peer, *tars, "--weights", json.dumps(WEIGHTS), "--batches", 200, *base
        )[2]  # fmt: skip
        drawn = ids(out)
        shares = [sum(key[0] == "a" for key in drawn[:n]) for n in range(len(drawn) + 1)]
        off = max((abs(count - WEIGHTS["a"] * n) for n, count in enumerate(shares)), default=None)
        of_batch = [shares[n + BATCH] - shares[n] for n in range(0, len(drawn) - BATCH, BATCH)]
        line: dict[str, object] = {
            "counts": peer, "samples": len(drawn),
            "share_of_a": round(shares[-1] / len(drawn), 4) if drawn else said[:80],
            "most_off_in_samples": round(off, 1) if drawn and off is not None else None,
            "a_in_a_batch": [min(of_batch), max(of_batch)] if of_batch else None,
        }  # fmt: skip
        out.unlink(missing_ok=True)
        if peer == "finedata":
            run(
                python,
                "run",
                peer,
                *tars,
                "--weights",
                '{"a": 1}',
                "--batches",
                3000 // BATCH + 1,
                *base,
            )
        else:
            said = run(python, "run", peer, folders[0], "--epoch", *base)[2]
        epoch = Counter(ids(out)[:3000] if peer == "finedata" else ids(out))
        line |= {
            "epoch_samples": sum(epoch.values()),
            "epoch_lost": 3000 - len(epoch) if epoch else said[:80],
            "epoch_duplicates": sum(epoch.values()) - len(epoch),
        }  # fmt: skip
        print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shards", type=Path)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--with", dest="pythons", action="append", default=[])
    parser.add_argument("--lerobot", type=Path, help="a dataset for LeRobot's own loader")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--peers", help="some of them, with commas between")
    parser.add_argument("--only", choices=["speed", "resume", "counts"])
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    pythons = interpreters(options.pythons)
    if options.peers:
        pythons = {peer: pythons[peer] for peer in options.peers.split(",")}
    print(json.dumps({"peers": sorted(pythons)}), flush=True)
    if options.only in (None, "speed"):
        speed(options, pythons)
    if options.only == "speed":
        return
    folders = small_shards(options.scratch / "small")
    for peer in COPIED:
        if peer in pythons and not (options.scratch / peer / folders[0].name).exists():
            run(pythons[peer], "copy", peer, *folders, "--copies", options.scratch)
    if options.only in (None, "resume"):
        resume(options, pythons, folders)
    if options.only in (None, "counts"):
        counts(options, pythons, folders)


if __name__ == "__main__":
    main()
