"""The sequence of a stream, slowly and plainly, from DESIGN section 7: lists and fractions.

Samples are read with `tarfile` from the tars' own names, eligible ones from the table of texts; no
index, bitmap, block or cache. Only the keyed permutation is the product's own.
"""

from __future__ import annotations

import hashlib
import tarfile
from fractions import Fraction
from math import gcd

import pyarrow as pa

from finedata.shard.permute import derive_key, permute
from finedata.shard.shards import Shards

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


def shuffled(items: list, key: int) -> list:
    """An item at index i is the one that the permutation names at i."""
    return [items[int(permute(i, size=len(items), key=key))] for i in range(len(items))]


def tars_of(shards: Shards, set_name: str) -> list[list[tuple[str, int]]]:
    """(episode key, frame) of every sample of every tar, as the tars themselves say."""
    found = []
    for shard in shards.sets[set_name].tars:
        with tarfile.open(shards.root / "tars" / set_name / shard.name) as tar:
            keys = list(dict.fromkeys(name.split(".")[0] for name in tar.getnames()))
        found.append([(key[:-7], int(key[-6:])) for key in keys])
    return found


def fine_episodes(shards: Shards, set_name: str, policy: str) -> set[str]:
    revision = shards.document.texts[-1].revision
    path = shards.root / "text" / revision / set_name / "episodes.arrow"
    allowed = ["reviewed"] if policy == "reviewed" else ["reviewed", "not_contradicted"]
    rows = pa.ipc.open_file(path).read_all().to_pylist()
    return {row["episode_id"] for row in rows if row["policy"] in allowed}


def plain_sequence(
    shards: Shards, mix: dict[str, Fraction], count: int, *, seed: int, group: int, policy: str
) -> list[tuple[str, str, int]]:
    """(view, episode, frame) of samples 0..count-1."""
    order: dict[str, list[tuple[str, int]]] = {}
    views = assign(mix, count, seed)
    for view in mix:
        chosen = sorted(
            s.name for s in shards.sets.values() if s.tier in TIERS[view] and s.side == "train"
        )
        tars: dict[str, list[list[tuple[str, int]]]] = {}
        for name in chosen:
            for tar in tars_of(shards, name):
                if view == "fg":
                    fine = fine_episodes(shards, name, policy)
                    tar = [sample for sample in tar if sample[0] in fine]
                tars.setdefault(shards.sets[name].source, []).append(tar)
        sizes = {source: sum(map(len, parts)) for source, parts in tars.items()}
        common = gcd(*sizes.values())
        turns = assign({s: Fraction(n, common) for s, n in sizes.items()}, views.count(view), seed)
        streams = {
            source: epochs(parts, (shards.identity, view, source, seed), turns.count(source), group)
            for source, parts in tars.items()
        }
        order[view] = [next(streams[source]) for source in turns]
    given = {view: iter(samples) for view, samples in order.items()}
    return [(view, *next(given[view])) for view in views]


def epochs(tars, key, count, group):
    full = [tar for tar in tars if tar]
    given, epoch = 0, 0
    while given < count:
        mixed = shuffled(full, derive_key(*key, epoch, "shards"))
        for number, begin in enumerate(range(0, len(mixed), group)):
            samples = [s for tar in mixed[begin : begin + group] for s in tar]
            for sample in shuffled(samples, derive_key(*key, epoch, "samples", number)):
                yield sample
                given += 1
        epoch += 1
