"""One sequence for any ranks and workers, stopped anywhere and resumed with others of both."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from shard.stream.tiny_shards import TinySet, make_shards

from finedata.shard.stream.opening import stream

SETS = [
    TinySet("a", "rep", [5, 9, 6], fine=frozenset({0, 1}), size=(8, 8)),
    TinySet("a", "rest", [4, 4], size=(8, 8)),
    TinySet("b", "rep", [12, 3], fine=frozenset({0, 1}), size=(8, 8)),
]
TOTAL = 400
MIX = "fg=1,raw=2"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", SETS)


def run(root: Path, world: int, workers: int, *, stop: int, state: dict | None = None):
    """Samples (n, view, episode, frame) of all ranks up to `stop`, and the state then."""
    rows: list[tuple] = []
    states = []
    for rank in range(world):
        with stream(
            root, mix=MIX, batch=16, horizon=1, seed=5, rank=rank, world=world, workers=workers,
            stop=stop,
        ) as opened:  # fmt: skip
            if state is not None:
                opened.load_state_dict(state)
            for batch in opened:
                numbers = batch.n.tolist(), batch.frame_index.tolist()
                rows += zip(
                    numbers[0], batch.view, batch.episode_id, numbers[1], batch.text, strict=True
                )
            states.append(opened.state_dict())
    assert all(one == states[0] for one in states)
    return sorted(rows), json.loads(json.dumps(states[0]))


def id_hash(rows: list[tuple]) -> str:
    return sha256(json.dumps(rows).encode()).hexdigest()


def one_hash(root: Path, topologies: list[tuple[int, int]], stops: int) -> None:
    chance = random.Random(0)
    rows, _ = run(root, 1, 0, stop=TOTAL)
    wanted = id_hash(rows)
    assert [row[0] for row in rows] == list(range(TOTAL))
    for world, workers in topologies[1:]:
        assert id_hash(run(root, world, workers, stop=TOTAL)[0]) == wanted
    for _ in range(stops):
        n = chance.randrange(1, TOTAL)
        before, after = chance.choice(topologies), chance.choice(topologies)
        first, state = run(root, *before, stop=n)
        rest, _ = run(root, *after, stop=TOTAL, state=state)
        assert id_hash(first + rest) == wanted, (n, before, after)


def test_a_few_topologies_and_stops_give_one_sequence(tiny: Path):
    one_hash(tiny, [(1, 0), (2, 1), (8, 0)], 3)


@pytest.mark.slow
def test_all_topologies_and_37_stops_give_one_sequence(tiny: Path):
    one_hash(tiny, [(world, workers) for world in (1, 2, 8) for workers in (0, 1, 4)], 37)


def test_more_readers_than_tars_give_every_sample_once(tmp_path: Path):
    # One tar of three samples for four ranks with two workers each.
    root = make_shards(tmp_path / "s", [TinySet("a", "rep", [3], fine=frozenset({0}))])
    rows: list[tuple] = []
    for rank in range(4):
        with stream(
            root, mix="raw=1", batch=4, horizon=1, rank=rank, world=4, workers=2, stop=12
        ) as opened:
            rows += [
                row
                for batch in opened
                for row in zip(batch.n.tolist(), batch.frame_index.tolist(), strict=True)
            ]
    frames = [frame for _, frame in sorted(rows)]
    assert len(frames) == 12
    assert all(sorted(frames[at : at + 3]) == [0, 1, 2] for at in range(0, 12, 3))


def test_an_epoch_shorter_than_a_batch_repeats_in_whole_epochs(tiny: Path):
    (batch,) = stream(tiny, mix="fg=1", batch=100, stop=100)
    size = 5 + 9 + 12 + 3
    names = list(zip(batch.source, batch.episode_id, batch.frame_index.tolist(), strict=True))
    for source, samples in (("a", 14), ("b", 15)):
        own = [name for name in names if name[0] == source]
        for at in range(0, len(own) - samples + 1, samples):
            assert len(set(own[at : at + samples])) == samples
    assert size == len(set(names))


PROGRAM = """
import sys
from finedata.shard.stream.opening import stream
with stream(sys.argv[1], mix="fg=1,raw=1", batch=10, stop=50, horizon=3, action="relative",
            normalise="quantile", picture_history=1, workers=1) as opened:
    print(*[(batch.episode_id, batch.vectors["action"].tobytes().hex(),
             batch.pictures["front"].tobytes().hex()) for batch in opened])
"""


def test_streams_that_begin_together_share_what_they_keep(tmp_path: Path):
    root = make_shards(tmp_path / "s", SETS)
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(root)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [program.communicate()[0] for program in programs]
    assert [program.returncode for program in programs] == [0, 0, 0]
    assert said[0] == said[1] == said[2] != b""
    kept = sorted(path.name.partition("-")[0] for path in (root / ".finedata").glob("*/*"))
    assert [name for name in kept if not name.endswith(".json")] == ["a", "a", "b"]
    assert len(kept) == 4
