"""What a stream draws, against a plain reference: order, ratio, position, receipt."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard.stream.plain_stream import plain_sequence
from shard.stream.tiny_shards import TinySet, make_shards, write_document, write_words

from finedata.errors import ConformError, UsageError
from finedata.schema.stream_receipt import StreamReceipt
from finedata.shard.shards import Shards
from finedata.shard.stream import stream as stream_module
from finedata.shard.stream.opening import stream
from finedata.shard.stream.record import Record
from finedata.shard.stream.sequence import Sequence
from finedata.shard.stream.stream import Stream

SETS = [
    TinySet("a", "rep", [5, 9, 6], fine=frozenset({0, 1})),
    TinySet("a", "rest", [4, 4]),
    TinySet("b", "rep", [12, 3], fine=frozenset({0, 1})),
    TinySet("b", "rep", [6], side="heldout", fine=frozenset({0})),
    TinySet("b", "failed", [3]),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", SETS)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with two text revisions, the second of more episodes."""
    root = make_shards(tmp_path_factory.mktemp("shards") / "twice", SETS)
    before = Shards.open(root).document
    more = [replace(one, fine=frozenset(range(len(one.lengths)))) for one in SETS]
    write_document(root, list(before.sets), [*before.texts, write_words(root, more, words="!")])
    return root


def names(opened: Stream) -> list[tuple]:
    found = []
    for batch in opened:
        place = batch.n.tolist(), batch.view, batch.episode_id, batch.frame_index.tolist()
        found += zip(*place, strict=True)
    return found


@settings(max_examples=20, deadline=None)
@given(
    fg=st.integers(0, 5),
    raw=st.fractions(Fraction(1, 7), 4, max_denominator=9),
    seed=st.integers(-3, 3),
    group=st.integers(1, 5),
    world=st.sampled_from([1, 2, 4]),
    per_rank=st.integers(1, 7),
    policy=st.sampled_from(["reviewed", "not_contradicted"]),
    text=st.sampled_from([0, 1]),
    sources=st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4)),
    # More than two epochs of the fine-grained view where it is most of what is asked for.
    total=st.integers(1, 90),
    stops=st.lists(st.integers(0, 90), max_size=2),
)
def test_any_topology_and_any_stop_give_the_plain_sequence(
    twice: Path, fg: int, raw: Fraction, seed: int, group: int, world: int, per_rank: int,
    policy: str, text: int, sources: tuple[int, int] | None, total: int, stops: list[int],
):  # fmt: skip
    shards = Shards.open(twice)
    mix = {"fg": Fraction(fg), "raw": raw}
    weights = None if sources is None else dict(zip("ab", map(Fraction, sources), strict=True))
    wanted = plain_sequence(
        twice, mix, total, seed=seed, group=group, policy=policy, text=text, sources=weights
    )
    revision = shards.document.texts[text].revision
    given_: list[tuple] = []
    state = None
    for turn, stop in enumerate([*sorted(stop for stop in stops if stop < total), total]):
        # Ranks and batch change at every stop.
        ranks = world if turn % 2 == 0 else 1
        parts = []
        for rank in range(ranks):
            part = stream(
                shards, mix=mix, seed=seed, group=group, policy=policy, horizon=2,
                batch=per_rank * ranks, rank=rank, world=ranks, stop=stop, text=revision,
                sources=weights and dict.fromkeys(mix, weights),
            )  # fmt: skip
            if state is not None:
                part.load_state_dict(state)
            parts.append((part, names(part)))
        given_ += sorted(row for _, rows in parts for row in rows)
        states = [part.state_dict() for part, _ in parts]
        assert all(one == states[0] for one in states)
        state = json.loads(json.dumps(states[0]))
    assert [(view, episode, frame) for _, view, episode, frame in given_] == wanted
    assert [n for n, *_ in given_] == list(range(total))


def test_every_epoch_gives_every_sample_once_and_in_another_order(tiny: Path):
    shards = Shards.open(tiny)
    sequence = Sequence(shards, mix="raw=1", seed=3)
    size = sum(order.size for order in sequence.mixture.views[0].orders)
    first, second = (
        [(e, f) for _, _, e, f in sequence.names(sequence.samples(k * size, (k + 1) * size))]
        for k in range(2)
    )
    assert sorted(first) == sorted(second)
    assert len(set(first)) == size == 20 + 8 + 15
    assert first != second


def test_another_ratio_changes_no_order_within_a_source(tiny: Path):
    shards = Shards.open(tiny)

    def of_raw(mix: str) -> list[tuple]:
        rows = Sequence(shards, mix=mix)
        return [(e, f) for _, v, e, f in rows.names(rows.samples(0, 80)) if v == "raw"][:30]

    assert of_raw("fg=1,raw=1") == of_raw("fg=1,raw=3") == of_raw("raw=1")


def test_a_new_text_revision_changes_words_and_no_order(tiny: Path, tmp_path: Path):
    root = shutil.copytree(tiny, tmp_path / "s")
    before = Shards.open(root)
    old = stream(before, mix="fg=1,raw=1", batch=10, stop=40)
    rows = names(old)
    text = write_words(root, SETS, words=" slowly")
    write_document(root, list(before.document.sets), [*before.document.texts, text])
    new = stream(root, mix="fg=1,raw=1", batch=10, stop=40)
    assert names(new) == rows
    assert (old.sequence.digest == new.sequence.digest, old.content == new.content) == (True, False)
    state = old.state_dict()
    with pytest.raises(UsageError, match="content of the state"):
        new.load_state_dict(state)
    willing = stream(root, mix="fg=1,raw=1", batch=10, stop=50, other_content=True)
    willing.load_state_dict(state)
    (batch,) = willing
    assert any("slowly" in text for text in batch.text)
    name = before.document.texts[0].revision
    pinned = stream(root, mix="fg=1,raw=1", batch=10, stop=50, text=name)
    pinned.load_state_dict(state)


def test_the_receipt_counts_what_was_drawn_and_seals_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("finedata.shard.stream.record.CHAIN_STEP", 16)
    opened = stream(tiny, mix="fg=1,raw=2", batch=6, stop=90)
    rows = names(opened)
    receipt = msgspec.json.decode(msgspec.json.encode(opened.receipt()), type=StreamReceipt)
    counted: dict[tuple[str, str], int] = {}
    for _, view, episode, _ in rows:
        counted[view, episode[0]] = counted.get((view, episode[0]), 0) + 1
    told: dict[tuple[str, str], int] = {}
    for one in receipt.drawn:
        told[one.view, one.source] = told.get((one.view, one.source), 0) + one.samples
        assert (one.text == "") == (one.view == "raw")
    assert told == counted
    assert max(one.epoch for one in receipt.drawn if one.view == "raw") == 1
    digest, chain = "0" * 64, {}
    for begin in range(0, 90, 16):
        lines = "".join(f"{n} {v} {e} {f}\n" for n, v, e, f in rows[begin : begin + 16])
        digest = sha256(f"{digest}\n{lines}".encode()).hexdigest()
        chain[min(begin + 16, 90)] = digest
    assert {link.n: link.sha256 for link in receipt.chain} == chain
    assert opened.state_dict()["chain"] == chain[80]
    other = stream(tiny, mix="fg=1,raw=2", batch=9, stop=90)
    other.load_state_dict(opened.state_dict() | {"n": 81, "chain": chain[80]})
    names(other)
    assert [link.n for link in other.receipt().chain] == [80, 90]
    assert other.receipt().chain[-1].sha256 == chain[90]


def test_a_state_is_small_and_of_one_sequence(tiny: Path):
    opened = stream(tiny, mix="fg=1,raw=1", batch=10)
    opened.load_state_dict(opened.state_dict() | {"n": 10**12})
    record = Record(opened.sequence, first=10**12, chain="f" * 64)
    assert len(json.dumps({**opened.state_dict(), "chain": record.chain(10**12)})) < 300
    for change in ({"seed": 1}, {"mix": "fg=1,raw=2"}, {"group": 2}):
        other = stream(tiny, **{"mix": "fg=1,raw=1", "batch": 10, **change})
        with pytest.raises(UsageError, match="sequence of the state"):
            other.load_state_dict(opened.state_dict())
    for wrong in ({}, {"n": -1, "sequence": "a", "content": "b"}, {"n": 1, "x": 2}):
        with pytest.raises(ConformError, match="state of a stream"):
            opened.load_state_dict(wrong)


def test_iterating_again_goes_on(tiny: Path):
    opened = stream(tiny, mix="raw=1", batch=5)
    first = next(iter(opened)).n.tolist()
    assert (first, next(iter(opened)).n.tolist()) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
    assert opened.n == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mix": "fg"}, "name=weight"),
        ({"mix": "fg=1,fg=2"}, "each name once"),
        ({"mix": {"fine": 1}}, "fg, raw"),
        ({"mix": {}}, "no view"),
        ({"mix": "fg=-1,raw=1"}, "zero or more"),
        ({"mix": "fg=0,raw=0"}, "above zero"),
        ({"mix": "fg=x"}, "weight of fg"),
        ({"mix": "unlabelled=1"}, "no sample in any source"),
        ({"batch": 3, "world": 2}, "the ranks divide"),
        ({"batch": 0}, "the ranks divide"),
        ({"rank": 1}, "the ranks divide"),
        ({"on_bad": "skip"}, "raise, next"),
        ({"workers": -1}, "zero or more"),
        ({"group": 0}, "one shard"),
        ({"horizon": 0}, "1 or more"),
        ({"normalise": "max"}, "quantile"),
        ({"words": {"fg": "poem"}}, "numbered"),
        ({"words": {"all": "goal"}}, "unlabelled"),
        ({"drop_facts": 0.5}, "words are facts"),
        ({"paraphrase": 2.0}, "probability"),
        ({"size": (0, 3)}, "height and width"),
        ({"text": "gone"}, "text revision"),
        ({"sources": {"fg": {"z": 1}}}, "sources of view fg"),
        ({"sources": {"x": {"a": 1}}}, "fg, raw"),
    ],
)
def test_wrong_arguments_are_refused(tiny: Path, change: dict, words: str):
    with pytest.raises(UsageError, match=words):
        stream(tiny, **{"mix": "fg=1,raw=1", "batch": 4, **change})


@pytest.mark.parametrize(
    ("policy", "words"),
    [("not_contradicted", r"annotate facts DATASET, then"), ("reviewed", r"review DATASET, then")],
)
def test_an_empty_fine_grained_view_says_what_fills_it(tmp_path: Path, policy: str, words: str):
    # Episode 0 of each set is not reviewed, so nothing passes that policy.
    fine = frozenset({0}) if policy == "reviewed" else frozenset()
    root = make_shards(tmp_path / "s", [TinySet("a", "rep", [5, 4], fine=fine)])
    for mix in ("fg=1,raw=1", "released:fg=1,raw=1"):
        with pytest.raises(UsageError) as met:
            stream(root, mix=mix, batch=4, policy=policy)
        (line,) = [line for line in str(met.value).splitlines() if "--text" in line]
        assert re.search(words, line)
        assert f"finedata shard {root} --text DATASET" in line


def test_a_weight_of_zero_never_comes_and_sources_may_be_weighted(tiny: Path):
    opened = stream(
        tiny, mix={"fg": 0, "raw": 1}, batch=40, sources={"raw": {"a": 1, "b": 3}}, stop=40
    )
    (batch,) = opened
    assert set(batch.view) == {"raw"}
    assert batch.source.count("b") == 30


def test_the_held_out_side_and_other_tiers_come_only_on_request(tiny: Path):
    (batch,) = stream(tiny, mix="raw=1", batch=43, stop=43)
    assert {name.split("-")[1] for name in batch.episode_id} == {"rep", "rest"}
    (batch,) = stream(tiny, mix="fg=1", batch=6, stop=6, side="heldout")
    assert sorted(batch.frame_index.tolist()) == list(range(6))
    (batch,) = stream(tiny, mix="failed=1", batch=3, stop=3)
    assert batch.text == ["", "", ""]
    assert {name.split("-")[1] for name in batch.episode_id} == {"failed"}


def test_a_goal_that_nobody_gave_is_an_error_and_no_empty_text(tmp_path: Path):
    root = make_shards(tmp_path / "s", [TinySet("a", "unlabelled", [3])])
    (batch,) = stream(root, mix="unlabelled=1", batch=3, stop=3)
    assert batch.text == ["", "", ""]
    with pytest.raises(ConformError, match=r"episode a-unlabelled-0000(.|\n)*an instruction"):
        next(iter(stream(root, mix="unlabelled=1", batch=3, words={"unlabelled": "goal"})))


def test_drawing_in_blocks_changes_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = names(stream(tiny, mix="fg=1,raw=1", batch=7, stop=70))
    monkeypatch.setattr(stream_module, "_BLOCK", 5)
    assert names(stream(tiny, mix="fg=1,raw=1", batch=7, stop=70)) == wanted
    monkeypatch.setattr(stream_module, "_BLOCK", 11)
    assert names(stream(tiny, mix="fg=1,raw=1", batch=4, stop=70)) == wanted


def test_a_damaged_bitmap_is_named(tiny: Path, tmp_path: Path):
    root = shutil.copytree(tiny, tmp_path / "s")
    path = next(root.glob("text/*/a-main-rep-train/fg.bits"))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ConformError, match=r"fg.bits.*one bit a sample"):
        stream(root, mix="fg=1", batch=4)
    path.unlink()
    with pytest.raises(ConformError, match="nothing"):
        stream(root, mix="fg=1", batch=4)
    stream(root, mix="raw=1", batch=4)


def test_a_bitmap_that_is_not_what_shards_json_counted_is_named(tiny: Path, tmp_path: Path):
    root = shutil.copytree(tiny, tmp_path / "s")
    path = next(root.glob("text/*/a-main-rep-train/fg.bits"))
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    opened = stream(root, mix="fg=1", batch=14)
    with pytest.raises(ConformError, match=r"train-000000.tar: found \d bits"):
        list(islice(opened, 3))


def test_a_text_revision_that_lacks_tars_is_named(tiny: Path, tmp_path: Path):
    root = shutil.copytree(tiny, tmp_path / "s")
    document = json.loads((root / "shards.json").read_text())
    document["texts"][0]["sets"][0]["not_contradicted"].pop()
    (root / "shards.json").write_text(json.dumps(document))
    with pytest.raises(ConformError, match=r"set a-main-rep-train: found counts of \d tars"):
        stream(root, mix="fg=1", batch=4)
    stream(root, mix="fg=1", batch=4, policy="reviewed")
