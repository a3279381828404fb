"""The sampling of the papers' released code: its masses, and everything else as of any stream."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard.stream.tiny_shards import TinySet, decoded, make_shards, picture
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.errors import UsageError
from finedata.shard.order.permute import derive_key, uniform
from finedata.shard.shards import Shards
from finedata.shard.stream.diff import compare
from finedata.shard.stream.mix import read_mix
from finedata.shard.stream.opening import stream

# Every episode of these sets is a task of its own: "do 0", "do 1", ...
A = TinySet("a", "rep", [5, 9, 6, 40], fine=frozenset({0, 1}))
B = TinySet("b", "rest", [12, 3])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", [A, B])


def names(opened) -> list[tuple[str, str, int]]:
    rows = [zip(b.view, b.episode_id, b.frame_index.tolist(), strict=True) for b in opened]
    return [row for batch in rows for row in batch]


COUNT = 20_000


def test_every_task_of_a_view_has_equal_mass_and_steps_inside_are_even(tiny: Path):
    sequence = stream(tiny, mix="released:fg=3,raw=1", batch=4).sequence
    drawn = Counter((v, e, f) for _, v, e, f in sequence.names(sequence.samples(0, COUNT)))
    # Two tasks with fine-grained text, six with an instruction.
    masses = {("fg", A.episode_id(k)): 3 for k in (0, 1)}
    masses |= {("raw", A.episode_id(k)): 1 for k in range(4)}
    masses |= {("raw", B.episode_id(k)): 1 for k in range(2)}
    lengths = dict(zip(map(A.episode_id, range(4)), A.lengths, strict=True))
    lengths |= dict(zip(map(B.episode_id, range(2)), B.lengths, strict=True))
    total = sum(masses.values())
    wanted = {
        (view, episode, frame): mass / total / lengths[episode]
        for (view, episode), mass in masses.items()
        for frame in range(lengths[episode])
    }
    assert set(drawn) == set(wanted)
    for name, share in wanted.items():
        deviation = np.sqrt(COUNT * share * (1 - share))
        assert abs(drawn[name] - COUNT * share) < 5 * deviation, name


def test_draws_are_with_replacement_and_follow_the_seed(tiny: Path):
    opened = stream(tiny, mix="released", batch=5, stop=60)
    got = names(opened)
    assert len(set(got)) < len(got)
    assert got == names(stream(tiny, mix="released:fg=1,raw=1", batch=12, stop=60))
    assert got != names(stream(tiny, mix="released", batch=5, stop=60, seed=1))
    scheduled = stream(tiny, mix="fg=1,raw=1", batch=5)
    assert scheduled.sequence.digest != opened.sequence.digest
    for (_, episode, frame), batch in zip(
        got, (b for b in stream(tiny, mix="released", batch=1, stop=20)), strict=False
    ):
        one = {"a": A, "b": B}[episode[0]]
        wanted = decoded(picture(one.name, "front", int(episode[-4:]), frame, one.size))
        assert np.abs(batch.pictures["front"][0].astype(int) - wanted).max() <= 2


def test_a_state_goes_on_with_other_ranks_and_workers(tiny: Path):
    whole = names(stream(tiny, mix="released", batch=6, stop=60))
    first = stream(tiny, mix="released", batch=6)
    given = names(islice(first, 4))
    state = first.state_dict()
    rest: dict[int, list] = {}
    for rank in range(2):
        with stream(
            tiny, mix="released", batch=6, stop=60, rank=rank, world=2, workers=rank
        ) as opened:
            opened.load_state_dict(state)
            for batch in opened:
                for n, *name in zip(
                    batch.n.tolist(), batch.view, batch.episode_id, batch.frame_index.tolist(),
                    strict=True,
                ):  # fmt: skip
                    rest[n] = tuple(name)
            chain = opened.receipt().chain
    assert given + [rest[n] for n in range(24, 60)] == whole
    alone = stream(tiny, mix="released", batch=6, stop=60)
    assert len(names(alone)) == 60
    assert chain == alone.receipt().chain


def test_the_receipt_says_what_was_drawn_and_how(tiny: Path):
    opened = stream(tiny, mix="released:fg=1/2,raw=2", batch=10, stop=200)
    got = Counter((view, episode[0]) for view, episode, _ in names(opened))
    made = opened.receipt()
    assert made.sampling == "released"
    assert {(d.view, d.source): d.samples for d in made.drawn} == got
    assert [(asked.view, asked.weight) for asked in made.mix] == [("fg", "1/2"), ("raw", "2/1")]
    (fg,), raw = (asked.sources for asked in made.mix)
    assert (fg.samples, fg.sets, fg.weight) == (14, [A.name], "1/1")
    assert [(s.source, s.samples, s.weight) for s in raw] == [("a", 60, "2/3"), ("b", 15, "1/3")]
    other = stream(tiny, mix="released:fg=1,raw=2", batch=10, stop=200)
    names(other)
    found = compare(made, other.receipt(), shards=Shards.open(tiny))
    assert found.settings == ["mix"]
    rows = [
        [row[1:] for row in s.names(s.samples(0, 200))] for s in (opened.sequence, other.sequence)
    ]
    assert found.first == next(n for n in range(200) if rows[0][n] != rows[1][n])
    done = CliRunner().invoke(app, ["stream", str(tiny), "--mix", "released", "--batches", "3"])
    assert "drawn as released" in done.stdout


def test_a_bad_sample_is_replaced_by_another_draw_of_its_source(tiny: Path, tmp_path: Path):
    root = shutil.copytree(tiny, tmp_path / "s")
    path = root / "tars" / B.name / "train-000000.tar"
    content = bytearray(path.read_bytes())
    content[600] ^= 4
    path.write_bytes(content)
    more = {"mix": "released:raw=1", "batch": 8, "stop": 160}
    opened = stream(root, on_bad="next", **more)
    got, wanted = names(opened), names(stream(tiny, **more))
    bad = {one.n: one for one in opened.receipt().bad}
    assert bad
    assert {n for n in range(160) if got[n] != wanted[n]} == set(bad)
    for n, one in bad.items():
        assert got[n][1:] == (one.replaced_by_episode_id, one.replaced_by_frame_index)
        assert got[n][1][0] == wanted[n][1][0] == "b"
    assert names(stream(root, on_bad="next", workers=0, **more)) == got


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mix": "released:failed=1"}, "of fg and raw"),
        ({"mix": "released:fg=0,raw=0"}, "of fg and raw"),
        ({"mix": "released:fg=-1,raw=2"}, "of fg and raw"),
        ({"mix": "released", "sources": {"fg": {"a": 1}}}, "same weight"),
        ({"mix": "released:fg=1", "side": "heldout"}, "no sample"),
    ],
)
def test_wrong_mixtures_are_refused(tiny: Path, change: dict, words: str):
    with pytest.raises(UsageError, match=words):
        stream(tiny, **{"batch": 4, **change})


def test_released_is_no_view():
    with pytest.raises(UsageError):
        read_mix("released")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_uniform_numbers_are_even_in_every_bit(seed: int):
    drawn = uniform(np.arange(4_000), key=derive_key("t", seed))
    bits = np.unpackbits(drawn.view(np.uint8)).reshape(-1, 64)
    assert np.abs(bits.mean(0) - 0.5).max() < 0.05
    # Neighbours have nothing to do with each other.
    assert np.abs((bits[1:] == bits[:-1]).mean(0) - 0.5).max() < 0.05
