"""Two thousand damaged sources: a clean error at the start, or a dataset whose counts add up.

What is damaged, and what must hold, is in `convert.mutations`. Every conversion holds several
damaged units side by side: one must not cost another its episodes. HDF5 is C code that could take
the interpreter with it, so its share runs in processes of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from convert.mutations import FAMILIES, Broken, mutate, run_mutations

TESTS = Path(__file__).parents[1]
# Mutations of each family in the default suite; 2,064 in all.
IN_PROCESS = {"rlds": 480, "lerobot": 372, "robocoin": 180, "galaxea": 168, "rh20t": 360}
BY_THEMSELVES = {"rdt": 216, "robomind_v1": 120, "robomind_v2": 120, "demonstrations": 48}
SEED = 20260
SLOW_FACTOR = 10


def check(name: str, outcomes: Counter[str], count: int) -> None:
    """Enough was damaged, some of it mattered, and some of it did not."""
    assert outcomes["mutations"] >= count
    assert outcomes["written"] >= count // 8, f"{name}: {outcomes}"
    refused = sum(outcomes.values()) - outcomes["mutations"] - outcomes["written"]
    assert refused >= count // 8, f"{name}: {outcomes}"


def by_itself(name: str, count: int, seed: int) -> Counter[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "convert.mutations", name, str(count), str(seed)],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}: exit {done.returncode}\n{done.stderr[-4000:]}"
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def test_there_are_two_thousand_over_all_families() -> None:
    assert {*IN_PROCESS, *BY_THEMSELVES} == set(FAMILIES)
    assert sum(IN_PROCESS.values()) + sum(BY_THEMSELVES.values()) >= 2000


@pytest.mark.parametrize("name", IN_PROCESS)
def test_mutations_end_well(name: str) -> None:
    count = IN_PROCESS[name]
    check(name, run_mutations(name, count=count, seed=SEED), count)


@pytest.mark.parametrize("name", BY_THEMSELVES)
def test_mutations_of_hdf5_end_well(name: str) -> None:
    count = BY_THEMSELVES[name]
    check(name, by_itself(name, count, SEED), count)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_twenty_thousand_mutations_end_well(name: str) -> None:
    count = SLOW_FACTOR * (IN_PROCESS | BY_THEMSELVES)[name]
    check(name, by_itself(name, count, SEED + 1), count)


def test_a_mutation_changes_bytes_and_is_repeatable() -> None:
    data = bytes(range(256)) * 4
    results = [
        [mutate(np.random.default_rng([seed]), "x.npy", data) for seed in range(40)]
        for _ in range(2)
    ]
    assert results[0] == results[1]
    assert sum(one != data for one in results[0]) >= 35


def test_a_run_that_stops_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        msg = "in the middle of the work"
        raise ValueError(msg)

    monkeypatch.setattr("finedata.convert.work.numeric_stats", stop)
    with pytest.raises(Broken, match="in the middle of the work"):
        run_mutations("rdt", count=2, seed=1)


def test_a_wrong_count_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(self: object, shard: int) -> object:
        return iter(())

    monkeypatch.setattr("finedata.readers.hdf5.source.Hdf5Source.scan", lose)
    with pytest.raises(Broken, match="0 found of"):
        run_mutations("rdt", count=2, seed=1)
