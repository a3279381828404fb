"""How fast teachers are asked, against a loopback server with 300 ms latency and 64 at once.

The limit is what the server allows: 64 / 0.3 s. A client of a few lines (aiohttp, no ledger, no
library) runs before and after, because a busy machine lowers what anybody reaches.

python benchmarks/annotate.py throughput [--calls 3000] [--teachers openai gemini]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.teachers.protocol import Picture, Request

LATENCY_S = 0.3
LIMIT = 64
PICTURES = 4


def frames(count: int) -> tuple[Picture, ...]:
    """Noisy JPEGs of 256 x 256, about 20 kB each, as robots' cameras give."""
    import numpy as np
    from PIL import Image

    from finedata.teachers.protocol import Picture

    random = np.random.default_rng(0)
    found: list[Picture] = []
    for index in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((256, 256)).save(buffer, "JPEG", quality=90)
        found.append(Picture(buffer.getvalue(), label=f"{index / 4:.2f} s"))
    return tuple(found)


def requests(count: int) -> Iterator[Request]:
    """Questions with pictures, made as they are asked for."""
    from teachers.asking import request_of

    shown = frames(PICTURES)
    return (request_of(number, pictures=shown) for number in range(count))


async def ask_ours(name: str, url: str, root: Path, count: int) -> None:
    """The whole of it: scheduler, ledger, the vendor's library."""
    from teachers.ask_all import ask_all
    from teachers.asking import PRICE, address, check_echo

    from finedata.teachers.calls.ledger import CallLedger
    from finedata.teachers.opening import open_teacher

    teacher = open_teacher(name, base_url=address(name, url))
    ended: dict[str, int] = {}
    begun, cpu, finished = time.perf_counter(), time.process_time(), []
    with CallLedger(root) as calls:
        async for outcome in ask_all(
            requests(count),
            teacher=teacher,
            calls=calls,
            check=check_echo,
            price=PRICE,
            concurrency=LIMIT,
        ):
            ended[outcome.status] = ended.get(outcome.status, 0) + 1
            finished.append(time.perf_counter())
    await teacher.close()
    report(name, count, begun, cpu, finished)
    if ended != {"ok": count}:
        message = f"not all were answered: {ended}"
        raise SystemExit(message)


async def ask_bare(url: str, count: int) -> None:
    """The least that can be done: bodies made once, answers thrown away."""
    import base64
    import json

    import aiohttp

    urls = [
        f"data:image/jpeg;base64,{base64.b64encode(picture.data).decode()}"
        for picture in frames(PICTURES)
    ]
    content = [{"type": "image_url", "image_url": {"url": shown}} for shown in urls]
    body = json.dumps(
        {
            "model": "loopback",
            "messages": [{"role": "user", "content": [*content, {"type": "text", "text": "bare"}]}],
        }
    ).encode()
    begun, cpu, finished = time.perf_counter(), time.process_time(), []
    left = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for _ in left:
                async with session.post(f"{url}/v1/chat/completions", data=body) as reply:
                    await reply.read()
                finished.append(time.perf_counter())

        await asyncio.gather(*(work() for _ in range(LIMIT)))
    report("bare", count, begun, cpu, finished)


def report(name: str, count: int, begun: float, cpu: float, finished: list[float]) -> None:
    """Rates in the steady middle: without the first and the last 64, which fill and drain."""
    middle = finished[LIMIT:-LIMIT]
    rate = (len(middle) - 1) / (middle[-1] - middle[0])
    wall, used = finished[-1] - begun, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    limit = LIMIT / LATENCY_S
    print(
        f"| {name} | {count} | {rate:.1f} | {100 * rate / limit:.1f} % | {count / wall:.1f} | "
        f"{used / wall:.2f} | {1000 * used / count:.2f} | {memory:.0f} |",
        flush=True,
    )


def throughput(calls: int, names: list[str]) -> None:
    """Each client in a process of its own, in turn, against one server."""
    from teachers.loopback import key_of, read_stats, serving_process

    print(
        "| client | calls | calls/s, steady | of the limit | calls/s, whole | cores | "
        "ms CPU a call | MB |\n|---|---|---|---|---|---|---|---|"
    )
    environment = os.environ | {"OPENAI_API_KEY": "none", "GEMINI_API_KEY": "none"}
    environment["PYTHONPATH"] = str(ROOT / "tests")
    for name in ["bare", *names, "bare"]:
        options = ["--latency", str(LATENCY_S), "--limit", str(LIMIT)]
        with serving_process(*options) as url, tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                __file__,
                "client",
                "--teachers",
                name,
                "--calls",
                str(calls),
            ]
            subprocess.run([*command, "--url", url, "--root", folder], check=True, env=environment)
            stats = read_stats(url)
        if name != "bare":
            pictures = [picture.data for picture in frames(PICTURES)]
            wanted = {key_of(f"question {number}", pictures) for number in range(calls)}
            # keys are hashes of the bytes that arrived, so equal keys are equal JPEGs
            if set(stats.tallies) != wanted or stats.requests != calls:
                message = "some JPEG arrived changed, or was sent twice"
                raise SystemExit(message)
            print(
                f"  {name}: {calls * PICTURES} JPEGs arrived unchanged; peak {stats.peak} at once"
            )


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["throughput", "client"])
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--teachers", nargs="*", default=["openai", "gemini"])
    parser.add_argument("--url", help="of the part `client`, which `throughput` starts")
    parser.add_argument("--root", type=Path)
    given = parser.parse_args()
    if given.part == "throughput":
        throughput(given.calls, given.teachers)
    elif given.teachers == ["bare"]:
        asyncio.run(ask_bare(given.url, given.calls))
    else:
        asyncio.run(ask_ours(given.teachers[0], given.url, given.root, given.calls))


if __name__ == "__main__":
    main()
