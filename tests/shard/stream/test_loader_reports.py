"""What users of six loaders have reported, tried here: litdata 649 and 694, streaming 437, 447, 617
and 700, Megatron-Bridge 5637 (energon), grain 1200, lerobot 2610 and 4568, webdataset 73.

`test_reports` has others.
"""

from __future__ import annotations

import shutil
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from shard.stream.tiny_shards import TinySet, make_shards, numbers

from finedata.shard.stream.opening import stream

SETS = [
    TinySet("a", "rep", [5, 9, 6], fine=frozenset({0, 1}), size=(8, 8)),
    TinySet("b", "rep", [12, 3], fine=frozenset({0}), size=(8, 8)),
    TinySet("b", "rep", [4, 7], side="heldout", fine=frozenset({1}), size=(8, 8)),
]
FINE = 5 + 9 + 12
RAW = 35


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", SETS)


def rows(batches) -> list[tuple]:
    return [
        row
        for batch in batches
        for row in zip(
            batch.n.tolist(), batch.view, batch.episode_id, batch.frame_index.tolist(), strict=True
        )
    ]


def test_a_mixture_resumes_behind_its_first_epochs(tiny: Path):
    # "num_samples_yielded state is greater than the dataset length"
    more = {"mix": "fg=3,raw=1", "batch": 6}
    whole = rows(stream(tiny, stop=360, **more))
    first = stream(tiny, **more)
    given = rows(islice(first, 40))
    assert len(given) * 3 / 4 > 6 * FINE
    rest = stream(tiny, stop=360, **more)
    rest.load_state_dict(first.state_dict())
    assert given + rows(rest) == whole


def test_a_loop_that_is_left_early_goes_on_every_time(tiny: Path):
    for workers in (0, 2):
        with stream(tiny, mix="raw=1", batch=5, workers=workers) as opened:
            parts = [rows(islice(opened, 3)) for _ in range(4)]
        assert [row[0] for part in parts for row in part] == list(range(60))


def test_a_state_of_a_running_stream_is_that_of_what_was_given(tiny: Path):
    with stream(tiny, mix="raw=1", batch=1, workers=2) as opened:
        given = iter(opened)
        begun = rows(islice(given, 5))
        state = opened.state_dict()
        after = rows(islice(given, 6))
        # The first goes on while another begins from its state.
        with stream(tiny, mix="raw=1", batch=1, workers=2) as other:
            other.load_state_dict(state)
            assert rows(islice(other, 6)) == after
        assert rows(islice(given, 2))[0][0] == len(begun) + len(after)


def test_a_state_at_the_very_end_of_an_epoch_begins_the_next(tiny: Path):
    first = stream(tiny, mix="raw=1", batch=7, stop=RAW)
    epoch = rows(first)
    assert len({row[2:] for row in epoch}) == RAW
    rest = stream(tiny, mix="raw=1", batch=7, stop=2 * RAW)
    rest.load_state_dict(first.state_dict())
    following = rows(rest)
    assert sorted(row[2:] for row in following) == sorted(row[2:] for row in epoch)


def test_no_rank_waits_for_another_at_the_end_of_an_epoch(tiny: Path):
    more = {"mix": "raw=1", "batch": 4, "world": 2, "stop": 3 * RAW}
    quick, slow = (stream(tiny, rank=rank, **more) for rank in range(2))
    ahead = rows(quick)
    assert len(ahead) > RAW
    got = sorted(ahead + rows(slow))
    assert [row[0] for row in got] == list(range(3 * RAW))


def test_a_broken_sample_of_one_rank_is_no_matter_of_the_others(tiny: Path, tmp_path: Path):
    root = shutil.copytree(tiny, tmp_path / "s")
    path = root / "tars" / SETS[1].name / "train-000001.tar"
    content = bytearray(path.read_bytes())
    content[600] ^= 4
    path.write_bytes(content)

    def of(folder: Path, rank: int) -> list[list[tuple]]:
        opened = stream(folder, mix="raw=1", batch=4, world=2, rank=rank, stop=RAW, on_bad="next")
        return [rows([batch]) for batch in opened]

    differing = []
    for rank in range(2):
        whole, met = of(tiny, rank), of(root, rank)
        assert [len(batch) for batch in met] == [len(batch) for batch in whole]
        pairs = zip(chain.from_iterable(whole), chain.from_iterable(met), strict=True)
        differing.append(sum(a != b for a, b in pairs))
    assert sorted(differing) == [0, 1]


def test_a_state_of_two_ranks_loses_nothing_on_one(tiny: Path):
    whole = rows(stream(tiny, mix="fg=1,raw=1", batch=6, stop=72))
    parts = [
        stream(tiny, mix="fg=1,raw=1", batch=6, world=2, rank=rank, stop=30) for rank in range(2)
    ]
    given = sorted(row for part in parts for row in rows(part))
    for part in parts:
        alone = stream(tiny, mix="fg=1,raw=1", batch=6, stop=72)
        alone.load_state_dict(part.state_dict())
        assert given + rows(alone) == whole


def test_epochs_of_a_subset_hold_nothing_else(tiny: Path):
    # Shuffling a slice and repeating it gave elements outside the slice.
    wanted = {
        (one.episode_id(k), frame)
        for one in SETS[:2]
        for k in one.fine
        for frame in range(one.lengths[k])
    }
    got = [row[2:] for row in rows(stream(tiny, mix="fg=1", batch=13, stop=5 * FINE))]
    assert set(got) == wanted
    assert len(wanted) == FINE


@pytest.mark.parametrize(("history", "horizon"), [(1, 3), (4, 9)])
def test_windows_of_chosen_episodes_end_with_them(tiny: Path, history: int, horizon: int):
    # An episode that was not the dataset's first one was all padding.
    (batch,) = stream(
        tiny, mix="raw=1", side="heldout", batch=11, stop=11, history=history, horizon=horizon
    )
    assert_windows(batch, SETS[2], history, horizon)


def test_windows_longer_than_a_hundred_frames_end_with_their_episodes(tmp_path: Path):
    one = TinySet("a", "rep", [300, 170], size=(1, 1), tar_samples=100, last_commanded=True)
    root = make_shards(tmp_path / "s", [one])
    (batch,) = stream(root, mix="raw=1", batch=470, stop=470, history=120, horizon=150)
    assert_windows(batch, one, 120, 150)


def assert_windows(batch, one: TinySet, history: int, horizon: int) -> None:
    for k, (name, frame) in enumerate(zip(batch.episode_id, batch.frame_index, strict=True)):
        episode = int(name[-4:])
        state, action = numbers(one, episode)
        last = one.lengths[episode] - 1
        before, ahead = frame + np.arange(-history, 1), frame + np.arange(horizon)
        assert np.array_equal(batch.vectors["state"][k], state[np.maximum(before, 0)])
        assert np.array_equal(batch.vector_mask["state"][k].all(-1), before >= 0)
        assert np.array_equal(batch.vectors["action"][k], action[np.minimum(ahead, last)])
        # What stands behind the end is no number, whether or not the last action was commanded.
        real = ahead <= last if one.last_commanded else ahead < last
        assert np.array_equal(batch.vector_mask["action"][k].any(-1), real)


def test_a_rank_has_other_samples_in_every_epoch(tiny: Path):
    # Ranks that kept their shards never contrasted some samples with others.
    got = rows(stream(tiny, mix="raw=1", batch=10, world=2, rank=0, stop=4 * RAW))
    of_epoch = [{row[2:] for row in got if row[0] // RAW == epoch} for epoch in range(4)]
    assert all(a != b for a, b in pairwise(of_epoch))
    assert len(set.union(*of_epoch)) > max(map(len, of_epoch))
