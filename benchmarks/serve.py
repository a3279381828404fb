"""What a server costs over its policy: latency, memory, fairness; see docs/serve.md.

    python benchmarks/serve.py [--requests 1000] [--clients 20] [--rounds 20]

Everything runs in this process and on the loopback: a policy that does nothing (all that is left
is ours), then a tiny one with two cameras of 224 pixels. *Over the model* is a request's whole
time, as its client sees it, less the policy's own (`model_ms`, which has the cutting into patches
in it). Memory is resident, of this process, before and behind the requests. Of the clients that
ask at once, each asks the same number of times; how far apart they ever are is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

# In the place of this folder, whose modules have the names of tests' packages.
sys.path[0] = str(Path(__file__).parent.parent / "tests")

from serve.fake import STATE, FakePredictor, desk  # noqa: E402
from shard.stream.tiny_shards import TinySet, make_shards  # noqa: E402

import finedata as fd  # noqa: E402
from finedata.serve.server import serving  # noqa: E402

SIZE, CAMERAS = 224, ("front", "wrist")


def observation(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 255, (2, SIZE, SIZE, 3)).astype(np.uint8)
    pictures = dict(zip(CAMERAS, shown, strict=True))
    return {**pictures, "state": STATE, "prompt": "put the cup on the plate"}


def resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def latency(name: str, address: str, requests: int) -> None:
    """Whole and over the model, in ms; resident memory before and behind."""
    asked = observation()
    over: list[float] = []
    whole: list[float] = []
    with fd.connect(address) as policy:
        for _ in range(50):
            policy.act(asked)
        before, cpu = resident_kb(), time.process_time()
        for _ in range(requests):
            began = time.perf_counter()
            said = policy.act(asked)
            took = 1000 * (time.perf_counter() - began)
            whole.append(took)
            over.append(took - said.timing["model_ms"])
        cpu = 1000 * (time.process_time() - cpu) / requests
        grown = resident_kb() - before
    print(
        f"{name}: {requests} requests, whole {statistics.median(whole):.3f} ms median, over the "
        f"model {statistics.median(over):.3f} (p95 {np.quantile(over, 0.95):.3f}), CPU of client "
        f"and server {cpu:.3f} ms each; memory grew by {grown} kB"
    )


def fairness(address: str, fake: FakePredictor, *, clients: int, rounds: int) -> None:
    """Clients that ask at once: how far apart their counts ever are."""
    order: list[str] = []
    predict = fake.predict

    def noted(asked: Any, **more: Any) -> Any:
        order.append(asked[0][1].text)
        return predict(asked, **more)

    fake.predict = noted  # pyright: ignore[reportAttributeAccessIssue]
    barrier = threading.Barrier(clients)

    def ask(number: int) -> None:
        asked = observation(number) | {"prompt": str(number)}
        with fd.connect(address) as policy:
            barrier.wait()
            for _ in range(rounds):
                policy.act(asked)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    counts = dict.fromkeys(map(str, range(clients)), 0)
    apart = 0
    for name in order:
        counts[name] += 1
        apart = max(apart, max(counts.values()) - min(counts.values()))
    print(
        f"{clients} clients at once, {rounds} requests each: {clients * rounds / took:,.0f} "
        f"requests/s, never more than {apart} requests apart"
    )


def tiny_policy(folder: Path) -> Any:
    """A tiny policy of two cameras, trained for one step."""
    sets = [TinySet("a", "rest", [20], cameras=CAMERAS, size=(SIZE, SIZE), tar_samples=50)]
    shards = make_shards(folder / "shards", sets)
    recipe = fd.recipe("tiny_oft", mix="raw=1", pictures=SIZE, max_tokens=320, steps=1,
                       batch=4, micro_batch=4)  # fmt: skip
    recipe.train(shards, out=folder / "run", workers=0, device="cpu")
    return fd.policy(folder / "run", device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    fake = FakePredictor(cameras=CAMERAS)
    predict = fake.predict

    def forgetful(asked: Any, **more: Any) -> Any:
        fake.seen.clear()  # what tests look at would grow
        return predict(asked, **more)

    fake.predict = forgetful  # pyright: ignore[reportAttributeAccessIssue]
    with serving(desk(fake)) as listening:
        latency("a policy that does nothing", listening.address, options.requests)
        fairness(listening.address, fake, clients=options.clients, rounds=options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        policy = tiny_policy(Path(folder))
        with policy.serving() as listening:
            latency("a tiny policy", listening.address, options.requests)


if __name__ == "__main__":
    main()
