"""Streams against the bare decoder, on shards of 2 cameras at 256x256 and 224.

Run on purpose: `python benchmarks/stream.py SHARDS`, SHARDS having JPEG pictures. "Bare" is decode
+ resize of the same bytes, in memory, by as many processes as the stream has workers, with no
hand-over. Rounds are interleaved, since the machine drifts; CPU time is told besides. Other loaders
are in `stream_tables.py`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from stream_tables import WARM, run

import finedata as fd
from finedata.shard.files import member_crc32c
from finedata.shard.shards import Shards

BATCH = 32


def reading(shards: Shards) -> float:
    """Bytes a second of CPU: members from the page cache, checked, in the order of the tars."""
    done, begin = 0, time.process_time()
    for one in shards.sets.values():
        for tar in range(len(one.tars)):
            index, content = shards.index(one.name, tar), shards.tar(one.name, tar)
            rows = np.arange(one.tars[tar].samples)
            columns = [
                index.take(f"member_{n}", rows).tolist() for n in ("offset", "size", "crc32c")
            ]
            for offset, size, crc in zip(*columns, strict=True):
                for k, at in enumerate(offset):
                    data = bytes(content[at : at + size[k]])
                    if member_crc32c(data) != crc[k]:
                        raise SystemExit(one.name)
                    done += len(data)
    return done / (time.process_time() - begin)


def joined(root: Path) -> dict[str, float]:
    """Microseconds of CPU a sample: drawing, and joining numbers and words."""
    stream = fd.stream(root, mix="raw=1", batch=BATCH)
    samples = stream.sequence.samples(0, 8_192)
    pieces = [samples.slice(at, at + BATCH) for at in range(0, 8_192, BATCH)]

    def of(call: object) -> float:
        times: list[float] = []
        for _ in range(7):
            begin = time.process_time()
            call()  # pyright: ignore
            times.append(time.process_time() - begin)
        return round(median(times) / 8_192 * 1e6, 2)

    return {
        "draw_us": of(lambda: stream.sequence.samples(0, 8_192)),
        "numbers_us": of(lambda: [stream.numbers(piece) for piece in pieces]),
        "words_us": of(lambda: [stream.words(piece) for piece in pieces]),
    }


def order() -> dict[str, float]:
    """A simulated billion of samples in 137,000 shards: memory, and time of a position."""
    from finedata.shard.order.source import SourceOrder

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = np.full(137_000, 7_300, np.int64)
    source = SourceOrder(counts, identity="0", view="raw", source="a", seed=0)
    places = np.random.default_rng(0).integers(0, 3 * source.size, 200)
    source.place(places[:1])
    times: list[float] = []
    for place in places:
        source.place(np.array([place % source.size]))
        begin = time.perf_counter()
        source.place(np.array([place % source.size]))
        times.append(time.perf_counter() - begin)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "samples": source.size,
        "more_resident_mb": round((after - before) / 1024, 1),
        "position_ms": round(median(times) * 1e3, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shards", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    chosen = parser.parse_args()
    print(json.dumps({"order": order()}))
    shards = Shards.open(chosen.shards)
    print(json.dumps({"join": joined(chosen.shards)}))
    print(json.dumps({"reading_gb_per_cpu_s": round(reading(shards) / 1e9, 2)}))
    found: dict[str, list[dict[str, float]]] = {"bare": [], "finedata": []}
    for _ in range(chosen.rounds):
        for name, values in found.items():
            tars = next(chosen.shards.glob("tars/*"))
            said = run(
                sys.executable, "run", name, tars, "--decoder", "ours", "--batches", WARM,
                "--seconds", chosen.seconds, "--workers", chosen.workers,
            )[2]  # fmt: skip
            values.append(json.loads(said))
    for name, values in found.items():
        print(json.dumps({"what": name, **{k: [one[k] for one in values] for k in values[0]}}))
    for key, name in (("samples_per_s", "stream_over_bare"), ("cpu_ms", "bare_over_stream_cpu")):
        pairs = [
            a[key] / b[key] if key == "samples_per_s" else b[key] / a[key]
            for a, b in zip(found["finedata"], found["bare"], strict=True)
        ]
        print(json.dumps({name: [round(p, 3) for p in pairs], "median": round(median(pairs), 3)}))


if __name__ == "__main__":
    main()
