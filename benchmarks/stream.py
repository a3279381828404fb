"""Streams against the bare decoder and against peers, on shards of 2 cameras at 256x256 and 224.

Run on purpose: `python benchmarks/stream.py SHARDS [--peers]`, SHARDS having JPEG pictures. "Bare"
is decode + resize of the same bytes, in memory, by as many processes as the stream has workers,
with no hand-over. Rounds are interleaved, since the machine drifts; CPU time is told besides.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from statistics import median

import numpy as np

import finedata as fd
from finedata.shard.shards import Shards, member_crc32c
from finedata.shard.stream.pictures import decode_into

BATCH = 32


def bare(data: list[list[bytes]], size: tuple[int, int], seconds: float) -> float:
    """Samples a second of decode + resize into one place."""
    pixels = np.empty((len(data[0]), *size, 3), np.uint8)
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for sample in data[:64]:
            for k, content in enumerate(sample):
                decode_into(pixels[k], content, codec="jpeg")
        done += len(data[:64])
    return done / (time.perf_counter() - begin)


def bare_many(
    data: list[list[bytes]], size: tuple[int, int], workers: int, seconds: float
) -> float:
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return sum(pool.starmap(bare, [(data, size, seconds)] * workers))


def read_samples(shards: Shards, count: int) -> list[list[bytes]]:
    """Pictures of some samples of the first set."""
    one = next(iter(shards.sets.values()))
    members = [one.members.index(camera.member) for camera in one.cameras]
    index, content = shards.index(one.name, 0), shards.tar(one.name, 0)
    found: list[list[bytes]] = []
    for place in range(min(count, one.tars[0].samples)):
        offset, size = (index.value(f"member_{name}", place) for name in ("offset", "size"))
        found.append([bytes(content[offset[k] : offset[k] + size[k]]) for k in members])
    return found


def streamed(root: Path, size: tuple[int, int], workers: int, seconds: float) -> float:
    with fd.stream(root, mix="raw=1", batch=BATCH, size=size, workers=workers) as stream:
        given = iter(stream)
        for _ in range(4):
            next(given)
        done, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            done += len(next(given))
        return done / (time.perf_counter() - begin)


def cpu_ms(root: Path, data: list[list[bytes]], size: tuple[int, int], workers: int) -> dict:
    """Milliseconds of CPU a sample, bare and streamed, the start of the workers taken off.

    It remains comparable on a machine that does other things too.
    """

    def spent() -> float:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        used = [resource.getrusage(kind) for kind in kinds]
        return sum(one.ru_utime + one.ru_stime for one in used)

    def stream_of(batches: int) -> float:
        begin = spent()
        with fd.stream(root, mix="raw=1", batch=BATCH, size=size, workers=workers) as stream:
            given = iter(stream)
            for _ in range(batches):
                next(given)
        return spent() - begin

    begin = time.process_time()
    pixels = np.empty((len(data[0]), *size, 3), np.uint8)
    for _ in range(2):
        for sample in data:
            for k, content in enumerate(sample):
                decode_into(pixels[k], content, codec="jpeg")
    alone = (time.process_time() - begin) / (2 * len(data))
    few, many = stream_of(8), stream_of(40)
    inside = (many - few) / (32 * BATCH)
    return {
        "bare": round(alone * 1e3, 3),
        "stream": round(inside * 1e3, 3),
        "bare_over_stream": round(alone / inside, 3),
    }


def webdataset(root: Path, size: tuple[int, int], workers: int, seconds: float) -> float:
    """Stock webdataset in one process, with our decoder as its handler."""
    import webdataset as wds

    del workers
    tars = sorted(map(str, root.glob("tars/*/*.tar")))

    def decode(key: str, data: bytes) -> np.ndarray | None:
        if not key.endswith("jpg"):
            return None
        pixels = np.empty((*size, 3), np.uint8)
        decode_into(pixels, data, codec="jpeg")
        return pixels

    data = wds.WebDataset(tars, shardshuffle=False, repeat=True).shuffle(1000).decode(decode)
    given = iter(data.batched(BATCH))
    next(given)
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        next(given)
        done += BATCH
    return done / (time.perf_counter() - begin)


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
    from finedata.shard.order import SourceOrder

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
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--peers", action="store_true")
    chosen = parser.parse_args()
    print(json.dumps({"order": order()}))
    shards = Shards.open(chosen.shards)
    print(json.dumps({"join": joined(chosen.shards)}))
    print(json.dumps({"reading_gb_per_cpu_s": round(reading(shards) / 1e9, 2)}))
    data, size = read_samples(shards, 256), (chosen.size, chosen.size)
    for _ in range(chosen.rounds):
        print(json.dumps({"cpu_ms": cpu_ms(chosen.shards, data, size, chosen.workers)}))
    rates: dict[str, list[float]] = {}
    for _ in range(chosen.rounds):
        turns = {
            "bare": lambda: bare_many(data, size, chosen.workers, chosen.seconds),
            "stream": lambda: streamed(chosen.shards, size, chosen.workers, chosen.seconds),
        }
        if chosen.peers:
            turns["bare, one process"] = lambda: bare(data, size, chosen.seconds)
            turns["webdataset, one process, our decoder"] = lambda: webdataset(
                chosen.shards, size, 1, chosen.seconds
            )
            turns["stream, no workers"] = lambda: streamed(chosen.shards, size, 0, chosen.seconds)
        for name, call in turns.items():
            rates.setdefault(name, []).append(round(call(), 1))
    for name, values in rates.items():
        print(json.dumps({"what": name, "samples_per_s": values, "median": median(values)}))
    pairs = [s / b for s, b in zip(rates["stream"], rates["bare"], strict=True)]
    print(
        json.dumps(
            {"stream_over_bare": [round(p, 3) for p in pairs], "median": round(median(pairs), 3)}
        )
    )


if __name__ == "__main__":
    main()
