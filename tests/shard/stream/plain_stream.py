"""The sequence of a stream, slowly and plainly, from DESIGN section 7: lists and fractions.

Nothing of finedata is used. Samples are read with `tarfile` from the tars' own names, eligible ones
from the table of texts; no index, bitmap, block or cache, and the keyed permutation is of Python's
whole numbers.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from fractions import Fraction
from functools import lru_cache
from math import gcd
from pathlib import Path

import pyarrow as pa

TIERS = {"fg": ["rep"], "raw": ["rep", "rest"]}


def assign(weights: dict[str, Fraction], count: int, seed: int) -> list[str]:
    """Tijdeman's chairman assignment of `count` steps, by its rule."""
    names = sorted(weights)
    total = sum(weights.values())
    share = {name: weights[name] / total for name in names}
    live = [name for name in names if share[name]]
    tie = {name: hashlib.sha256(f"{seed}\0{name}".encode()).digest() for name in names}
    taken = dict.fromkeys(names, 0)
    slack = Fraction(1, 2 * len(live) - 2) if len(live) > 1 else Fraction(0)
    chosen: list[str] = []
    for n in range(1, count + 1):
        open_ = [i for i in live if share[i] * n - taken[i] >= slack] if len(live) > 1 else live

        def due(i: str, n: int = n) -> tuple[Fraction, bytes]:
            return (1 - slack - (share[i] * n - taken[i])) / share[i], tie[i]

        best = min(open_, key=due)
        taken[best] += 1
        chosen.append(best)
    return chosen


def key_of(*parts: str | int) -> int:
    """Eight bytes of a SHA-256 over all parts, each behind its kind and length."""
    said = [f"{type(part).__name__}{len(str(part).encode())}:{part}" for part in parts]
    return int.from_bytes(hashlib.sha256("".join(said).encode()).digest()[:8], "little")


def mixed(value: int) -> int:
    """The finaliser of SplitMix64."""
    value %= 1 << 64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % (1 << 64)
    value = (value ^ value >> 27) * 0x94D049BB133111EB % (1 << 64)
    return value ^ value >> 31


def moved(index: int, size: int, key: int) -> int:
    """Eight Feistel rounds over the bits that hold size - 1, again until it is below size."""
    bits = (size - 1).bit_length()
    if not bits:
        return 0
    while True:
        low = bits // 2
        for turn in range(8):
            right, left = index % (1 << low), index >> low
            left ^= mixed(right ^ mixed(key + turn * 0x9E3779B97F4A7C15)) % (1 << bits - low)
            index = right << (bits - low) | left
            low = bits - low
        if index < size:
            return index


def shuffled(items: list, key: int) -> list:
    """An item at index i is the one that the permutation names at i."""
    return [items[moved(i, len(items), key)] for i in range(len(items))]


@lru_cache
def samples_of(path: Path) -> list[tuple[str, int]]:
    """(episode key, frame) of every sample of a tar, as it says itself."""
    with tarfile.open(path) as tar:
        keys = list(dict.fromkeys(name.split(".")[0] for name in tar.getnames()))
    return [(key[:-7], int(key[-6:])) for key in keys]


def fine_episodes(root: Path, set_name: str, revision: str, policy: str) -> set[str]:
    path = root / "text" / revision / set_name / "episodes.arrow"
    allowed = ["reviewed"] if policy == "reviewed" else ["reviewed", "not_contradicted"]
    rows = pa.ipc.open_file(path).read_all().to_pylist()
    return {row["episode_id"] for row in rows if row["policy"] in allowed}


def plain_sequence(
    root: Path,
    mix: dict[str, Fraction],
    count: int,
    *,
    seed: int,
    group: int,
    policy: str,
    text: int = -1,
    sources: dict[str, Fraction] | None = None,
) -> list[tuple[str, str, int]]:
    """(view, episode, frame) of samples 0..count-1.

    `text` is the revision's place in shards.json; `sources` weigh those of every view.
    """
    document = json.loads((root / "shards.json").read_text())
    sets = sorted(document["sets"], key=lambda one: one["name"])
    order: dict[str, list[tuple[str, int]]] = {}
    views = assign(mix, count, seed)
    for view in mix:
        tars: dict[str, list[list[tuple[str, int]]]] = {}
        for one in sets:
            if one["tier"] not in TIERS[view] or one["side"] != "train":
                continue
            for shard in one["tars"]:
                tar = samples_of(root / "tars" / one["name"] / shard["name"])
                if view == "fg":
                    revision = document["texts"][text]["revision"]
                    fine = fine_episodes(root, one["name"], revision, policy)
                    tar = [sample for sample in tar if sample[0] in fine]
                tars.setdefault(one["source"], []).append(tar)
        sizes = {source: sum(map(len, parts)) for source, parts in tars.items()}
        common = gcd(*sizes.values())
        shares = {source: Fraction(n, common) for source, n in sizes.items() if n}
        turns = assign(sources or shares, views.count(view), seed)
        streams = {
            source: epochs(
                parts, (document["identity"], view, source, seed), turns.count(source), group
            )
            for source, parts in tars.items()
        }
        order[view] = [next(streams[source]) for source in turns]
    given = {view: iter(samples) for view, samples in order.items()}
    return [(view, *next(given[view])) for view in views]


def epochs(tars, key, count, group):
    full = [tar for tar in tars if tar]
    given, epoch = 0, 0
    while given < count:
        together = shuffled(full, key_of(*key, epoch, "shards"))
        for number, begin in enumerate(range(0, len(together), group)):
            samples = [s for tar in together[begin : begin + group] for s in tar]
            for sample in shuffled(samples, key_of(*key, epoch, "samples", number)):
                yield sample
                given += 1
        epoch += 1
