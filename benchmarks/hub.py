"""The Hub, measured at a loopback server with 20 ms before every answer and the Hub's free limits.

    python benchmarks/hub.py --scratch DIR [--only publish,kill,count,stream] [--small 10000]

publish  10,000 small and 50 large files: bytes sent over bytes there, requests, memory, commits.
kill     1,000 small and 10 large files, killed at 20 random requests, each time published again:
         is the tree that of an unbroken run, and how many bytes went up more than once.
count    facts by dimension of 1,000,000 remote facts: bytes over bytes there, and requests.
stream   shards of a demo corpus from afar, with a cache that holds all and one that holds half:
         bytes, requests, seconds waited for batches after the first tars, beside the local stream;
         then a text revision: bytes that its publication sends over the bytes of the shards.

Server and client are processes of their own; peaks are the client's. Nothing is rerun.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Not this folder, which comes first: the tests' package has this file's name.
sys.path[0] = str(ROOT / "tests")

LATENCY_S = 0.02
LIMITS = {"api": (1000, 300.0), "resolvers": (5000, 300.0), "commits": (100, 3600.0)}
REPO = "org/name"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--only", default="publish,kill,count,stream")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=50)
    parser.add_argument("--large-mb", type=int, default=12)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--client", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(options.client, options.scratch)
        return
    options.scratch.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        {"publish": publish, "kill": kill, "count": count, "stream": stream}[name](options)


def environment(hub: Any) -> dict[str, str]:
    return os.environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": "hf_loopback_write",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def served(folder: Path, **options: Any) -> Any:
    from hub.loopback import Hub

    shutil.rmtree(folder, ignore_errors=True)
    return Hub(folder, latency_s=LATENCY_S, **options)


def client(what: str, folder: Path) -> None:
    """Publish the files of a folder, in a process whose memory is measured."""
    from finedata.hub.files import Upload
    from finedata.hub.send import send

    began = time.monotonic()
    uploads = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found = path.stat()
            name = path.relative_to(folder).as_posix()
            kind = name.split("/")[0]
            uploads.append(Upload(name, kind, path, found.st_size, found.st_mtime_ns))
    uploads.sort(key=lambda one: (one.rank, one.path))
    summary = send(
        uploads,
        card=lambda _: Upload("README.md", "card", None, 12, content=b"---\n---\ntext"),
        repo_id=what,
        owns=lambda _: False,
        tag="v3.0",
    )
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": round(time.monotonic() - began, 1),
                "cpu_s": round(used.ru_utime + used.ru_stime, 1),
                "peak_mb": round(used.ru_maxrss / 1024),
                "requests": summary.requests,
                "commits": summary.commits,
                "sent_bytes": summary.request_bytes,
                "waited_s": summary.waited_s,
            }
        )
    )


def run_client(hub: Any, folder: Path, repo: str = REPO) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--scratch", str(folder), "--client", repo]
    return subprocess.Popen(command, env=environment(hub), stdout=subprocess.PIPE, text=True)


def make_files(folder: Path, *, small: int, large: int, large_mb: int) -> int:
    """Small JSON files in folders of a thousand, large tars; their bytes."""
    if not folder.is_dir():
        rng = random.Random(0)
        for number in range(small):
            path = folder / f"meta/{number // 1000:03d}/file-{number:06d}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"n": number, "x": rng.random()}))
        (folder / "tars").mkdir()
        for number in range(large):
            (folder / f"tars/train-{number:06d}.tar").write_bytes(rng.randbytes(large_mb << 20))
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def publish(options: argparse.Namespace) -> None:
    folder = options.scratch / "files"
    total = make_files(folder, small=options.small, large=options.large, large_mb=options.large_mb)
    with served(options.scratch / "hub", limits=LIMITS) as hub:
        out, _ = run_client(hub, folder).communicate()
        found = json.loads(out)
        kinds = Counter("stored" if "/lfs/" in one.path else "api" for one in hub.seen)
        received = sum(one.received for one in hub.seen)
        refused = sum(one.status == 429 for one in hub.seen)
    print(
        f"publish: {options.small} small, {options.large} large files, {total / 1e6:.0f} MB: "
        f"{received / total:.4f} x the bytes; {kinds['api']} requests to the API, "
        f"{kinds['stored']} to the store, {refused} refused; {found}"
    )


def kill(options: argparse.Namespace) -> None:
    folder = options.scratch / "few"
    make_files(folder, small=1_000, large=10, large_mb=9)
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    with served(options.scratch / "hub") as hub:
        run_client(hub, folder, "org/whole").communicate()
        wanted = hub.tree("org/whole")
        requests, same, most = len(hub.seen), 0, 0
        rng = random.Random(1)
        for number in range(options.kills):
            shutil.rmtree(hub.store / "lfs")
            hub.stored.clear()
            hub.seen.clear()
            repo, at = f"org/run{number}", rng.randrange(3, requests)
            running = [run_client(hub, folder, repo)]

            def end(seen: int, _: str, at: int = at, running: Any = running) -> None:
                if seen == at:
                    running[0].send_signal(signal.SIGKILL)

            hub.on_request = end
            running[0].communicate()
            hub.on_request = None
            run_client(hub, folder, repo).communicate()
            same += hub.tree(repo) == wanted and set(hub.repository(repo).tags) == {"v3.0"}
            put = Counter[str]()
            for one in hub.seen:
                if re.match(r"/lfs/\w+$", one.path) and one.method == "PUT":
                    put[one.path] += one.received
            sizes = {f"/lfs/{one.sha256}": one.size for one in wanted.values() if one.sha256}
            most = max(most, sum(sent - sizes[path] for path, sent in put.items()))
    print(
        f"kill: {same} of {options.kills} trees as of the unbroken run of {requests} requests; at "
        f"most {most / largest:.2f} of the largest file's bytes sent again"
    )


def corpus(scratch: Path) -> Path:
    """A dataset of the demo's making, with facts."""
    from corpora.corpus import write_bridge_corpus
    from shard.curation import curate

    import finedata

    root = scratch / "bridge"
    if not root.is_dir():
        write_bridge_corpus(scratch / "source", episodes=40, image_size=160, mean_length=40)
        address = scratch / "source" / "bridge_dataset" / "1.0.0"
        finedata.source("bridge_v2", address).convert(root)
        curate(root)
        finedata.open(root).annotate_kinematic()
    return root


def count(options: argparse.Namespace) -> None:
    import polars as pl
    import pyarrow.parquet as pq

    import finedata
    from finedata.store.tables.table import TableFile

    root = options.scratch / "facts"
    if not root.is_dir():
        shutil.copytree(corpus(options.scratch), root)
        path = next((root / "annotations" / "facts").glob("*.parquet"))
        rows, schema = pl.read_parquet(path), pq.read_schema(path)
        path.unlink()
        times = -(-options.facts // rows.height)
        made = [
            rows.with_columns(
                fact_id=pl.format("{}", pl.col("fact_id").hash(number).cast(pl.String)),
                text=pl.col("text") + f" {number}",
            )
            for number in range(times)
        ]
        every = pl.concat(made)
        with TableFile[Any](path, "facts", copied=True) as file:
            # As annotating writes them: a row group of 100,000.
            for first in range(0, every.height, 100_000):
                file.write(every.slice(first, 100_000).to_arrow().cast(schema))
    bytes_there = sum(
        path.stat().st_size for path in (root / "annotations" / "facts").glob("*.parquet")
    )
    with served(options.scratch / "hub", limits=LIMITS) as hub:
        os.environ.update(environment(hub))
        finedata.publish([root], repo_id=REPO)
        hub.seen.clear()
        began = time.monotonic()
        there = finedata.open(f"hf://datasets/{REPO}")
        counted = there.count("facts", by="dimension")
        seconds = time.monotonic() - began
        assert counted == finedata.open(root).count("facts", by="dimension")
        sent = sum(one.sent for one in hub.seen)
        print(
            f"count: {sum(counted.values()):,} facts in {bytes_there / 1e6:.1f} MB: "
            f"{sent / bytes_there:.4f} of the bytes, {len(hub.seen)} requests, {seconds:.2f} s"
        )


def stream(options: argparse.Namespace) -> None:
    import finedata
    from finedata.shard.shards import Shards

    dataset = corpus(options.scratch)
    root = options.scratch / "shards"
    shutil.rmtree(root, ignore_errors=True)
    finedata.open(dataset).shard(root, shard_bytes=300_000, horizon=8)
    every = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    tars = sum(path.stat().st_size for path in root.rglob("*.tar"))
    samples = sum(one.samples for one in Shards.open(root).sets.values())
    with served(options.scratch / "hub", limits=LIMITS) as hub:
        os.environ.update(environment(hub))
        finedata.publish([root], repo_id=REPO)
        local = waits(root, stop=2 * samples)
        print(f"stream: {samples} samples, {tars / 1e6:.1f} MB of tars; local {local}")
        for share in (2.0, 0.5):
            hub.seen.clear()
            cache = options.scratch / f"cache-{share}"
            shutil.rmtree(cache, ignore_errors=True)
            shards = Shards.open(
                f"hf://datasets/{REPO}", cache=cache, cache_bytes=round(share * tars)
            )
            found = waits(shards, stop=2 * samples)
            sent = sum(one.sent for one in hub.seen)
            asked = Counter(one.path for one in hub.seen if one.path.endswith(".tar"))
            print(
                f"  cache of {share:g} x the tars, two epochs: {sent / every:.3f} x the bytes, "
                f"{len(hub.seen)} requests, at most {max(asked.values())} a tar; {found}"
            )
        text_revision(dataset, root, every)


def waits(shards: Any, *, stop: int) -> str:
    """Seconds waited for batches: the first, and the mean and worst of the rest."""
    import finedata

    spent: list[float] = []
    with finedata.stream(shards, mix="raw=1", batch=32, horizon=8, group=2, stop=stop) as batches:
        began = time.perf_counter()
        for _ in batches:
            spent.append(time.perf_counter() - began)
            # What a trainer does meanwhile.
            time.sleep(0.03)
            began = time.perf_counter()
    rest = spent[1:]
    return (
        f"first batch {spent[0]:.3f} s, then {1000 * sum(rest) / len(rest):.1f} ms a batch, "
        f"at most {1000 * max(rest):.0f} ms"
    )


def text_revision(dataset: Path, root: Path, every: int) -> None:
    import finedata

    changed = dataset.with_name("changed")
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(dataset, changed)
    facts = finedata.open(changed)
    path = next((changed / "annotations" / "instructions").glob("*.parquet"))
    import polars as pl
    import pyarrow.parquet as pq

    rows = pl.read_parquet(path).with_columns(text=pl.col("text") + " now")
    pq.write_table(rows.to_arrow().cast(pq.read_schema(path)), path)
    from finedata.shard.making.text import take_up_text

    take_up_text(root, [facts])
    found = finedata.publish([root], repo_id=REPO)
    print(
        f"text revision: {found.commits} commit, {found.sent_files} files, "
        f"{found.request_bytes / every:.4f} of the shards' bytes ({found.request_bytes:,} bytes; "
        f"{len(Path(root).joinpath('shards.json').read_bytes()):,} of them shards.json)"
    )


if __name__ == "__main__":
    main()
