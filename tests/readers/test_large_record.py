"""A large record is left in its file, and gives to the byte what it gives in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sources.droid
from conftest import Corpus
from convert.trees import tree_digest
from corpora.example import encode_example
from corpora.tfrecord import frame_record
from hypothesis import given
from hypothesis import strategies as st

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.errors import CorruptRecordError, SourceError
from finedata.readers.byte_slices import BytesSlices
from finedata.readers.episode import Shard
from finedata.readers.files import open_folder
from finedata.readers.rlds import large_record
from finedata.readers.rlds.example import Feature, parse_example
from finedata.readers.rlds.features import FeatureInfo
from finedata.readers.rlds.large_record import LargePayload, LargeSlices
from finedata.readers.rlds.source import RldsEpisode, RldsSource

INFOS = {
    "steps/state": FeatureInfo("steps/state", "tensor", "float32", (2,), 1),
    "steps/image": FeatureInfo("steps/image", "image", "uint8", (None, None, 3), 1),
    "steps/depth": FeatureInfo("steps/depth", "image", "uint8", (None, None, 3), 1),
    "steps/words": FeatureInfo("steps/words", "text", "string", (), 1),
}
PICTURES = [b"one" * 50, b"", b"three" * 9, b"4"]
VALUES = {
    "steps/depth": [b"deep" * 90] * 4,
    "steps/image": PICTURES,
    "steps/state": np.arange(8, dtype=np.float32),
    "steps/count": np.array([3, -1]),
    "steps/words": [b"go", b"go", b"stop", b""],
}
EXAMPLE = encode_example(VALUES)


class Bytes:
    """A file in memory that counts what is read of it, and may be cut while it is in use."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.data[offset : offset + length]

    def close(self) -> None: ...


def large(data: bytes, *, lead: int = 7) -> tuple[LargePayload, Bytes]:
    """The payload `data` behind `lead` other bytes, and others after it."""
    reader = Bytes(b"\xee" * lead + data + b"\xee" * 5)
    return LargePayload(reader, offset=lead, length=len(data)), reader


@pytest.fixture(params=[1, 16, 1 << 14])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(large_record, "_WINDOW_BYTES", request.param)
    return request.param


@pytest.fixture
def everything_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is a large one, and every window and piece ends somewhere inside it."""
    monkeypatch.setattr(large_record, "_LARGE_BYTES", 0)
    monkeypatch.setattr(large_record, "_WINDOW_BYTES", 100)
    monkeypatch.setattr(large_record, "_PIECE_BYTES", 1000)


@given(data=st.data(), content=st.binary(max_size=200), size=st.sampled_from([1, 5, 64, 1000]))
def test_it_is_indexed_and_sliced_like_bytes(
    data: st.DataObject, content: bytes, size: int
) -> None:
    number = st.none() | st.integers(-250, 250)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_record, "_WINDOW_BYTES", size)
        payload, _ = large(content)
        assert len(payload) == len(content)
        for _ in range(8):
            cut = slice(data.draw(number), data.draw(number))
            assert payload[cut] == content[cut]
            index = data.draw(st.integers(-250, 250))
            if -len(content) <= index < len(content):
                assert payload[index] == content[index]
            else:
                with pytest.raises(IndexError):
                    payload[index]
        first = data.draw(st.integers(0, len(content)))
        patch.setattr(large_record, "_PIECE_BYTES", 7)
        pieces = list(payload.pieces(first, len(content)))
        assert b"".join(pieces) == content[first:]
        assert all(len(piece) <= 7 for piece in pieces)


def test_a_walk_reads_little_and_a_long_slice_reads_itself_only() -> None:
    payload, reader = large(bytes(1 << 20))
    for index in range(5000):
        payload[index]
    assert reader.reads == [(7, 1 << 14)]
    payload[100_000:400_000]
    assert reader.reads[1:] == [(100_007, 300_000)]


def test_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="without a step"):
        large(b"abc")[0][::2]


def test_a_file_that_shrinks_is_an_error_with_its_numbers() -> None:
    payload, reader = large(bytes(100_000))
    reader.data = reader.data[:50_007]
    assert payload[:50_000] == bytes(50_000)
    for use in (lambda: payload[50_000], lambda: payload[:], lambda: payload[60_000:60_001]):
        with pytest.raises(OSError, match="the file shrank while in use"):
            use()


def values(feature: Feature) -> list[object]:
    if feature.kind == "bytes":
        return list(feature.values())
    return (feature.floats() if feature.kind == "float" else feature.ints()).tolist()


@pytest.mark.parametrize("packed", [True, False])
def test_an_example_is_read_the_same(window: int, packed: bool) -> None:
    data = encode_example(VALUES, packed=packed)
    payload, _ = large(data)
    here, there = parse_example(data), parse_example(payload)
    assert {name: (f.kind, f.start, f.end) for name, f in there.items()} == {
        name: (f.kind, f.start, f.end) for name, f in here.items()
    }
    for name, feature in there.items():
        assert feature.buffer is payload
        assert values(feature) == values(here[name])


def test_a_list_of_pictures_is_the_same_in_the_file(window: int) -> None:
    del window
    slices = parse_example(large(EXAMPLE)[0])["steps/image"].slices()
    whole = parse_example(EXAMPLE)["steps/image"].slices()
    assert isinstance(slices, LargeSlices)
    assert isinstance(whole, BytesSlices)
    for first, last in [(0, 4), (1, 3), (1, 2), (2, 2), (3, 9)]:
        mine, other = slices.slab(first, last), whole.slab(first, last)
        assert len(mine) == len(other)
        assert mine.lengths.tolist() == other.lengths.tolist()
        assert [mine[i] for i in range(len(mine))] == [other[i] for i in range(len(other))]
        assert mine.joined() == other.joined()
        assert mine.joined(instead_of_empty=b"-") == other.joined(instead_of_empty=b"-")
        held = mine.in_memory()
        assert [held[i] for i in range(len(held))] == PICTURES[first:last]


def test_a_slab_is_one_read_of_its_own_bytes() -> None:
    pictures = [bytes([i]) * 20_000 for i in range(50)]
    payload, reader = large(encode_example({"steps/image": pictures}))
    slices = parse_example(payload)["steps/image"].slices()
    reader.reads.clear()
    assert slices.slab(10, 30).joined() == b"".join(pictures[10:30])
    ((_, length),) = reader.reads
    assert 20 * 20_000 <= length <= 20 * 20_010


def test_unusual_layouts_and_garbage_are_as_in_memory() -> None:
    doubled = EXAMPLE + encode_example({"steps/new": np.array([5])})
    found = parse_example(large(doubled)[0])
    assert found["steps/new"].ints().tolist() == [5]
    assert found["steps/image"].values() == PICTURES
    for garbage in (b"\x0a", b"\xff" * 20, b"not protobuf at all"):
        with pytest.raises(CorruptRecordError) as here:
            parse_example(garbage)
        with pytest.raises(CorruptRecordError) as there:
            parse_example(large(garbage)[0])
        assert str(there.value) == str(here.value)


def source_of(folder: Path, payloads: list[bytes]) -> RldsSource:
    folder.mkdir()
    data = b"".join(map(frame_record, payloads))
    (folder / "x.tfrecord").write_bytes(data)
    shard = Shard("x.tfrecord", len(data), "train", len(payloads))
    return RldsSource(open_folder(folder), "", INFOS, (shard,), ())


def everything_of(source: RldsSource) -> list[object]:
    """What scanning and reading anew say of every record."""
    seen: list[object] = []
    shard = source.open_shard(0)
    for found, scanned in source.scan(0):
        seen.append(found)
        if scanned is None:
            continue
        for episode in (scanned, shard.episode(found)):
            image = episode.pictures("steps/image")
            seen += [
                episode.numbers("steps/state").tolist(),
                episode.texts("steps/words"),
                image.joined(),
                episode.digest({}),
                episode.digest({"steps/image": ("ab" * 32, image.lengths)}),
            ]
            episode.close()
    shard.close()
    return seen


def test_records_and_digests_are_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    other = encode_example(VALUES | {"steps/state": np.ones(8, np.float32)})
    source = source_of(tmp_path / "source", [EXAMPLE, b"no example", other, EXAMPLE + EXAMPLE])
    before = everything_of(source)
    assert len(before) == 4 + 3 * 2 * 5
    request.getfixturevalue("everything_large")
    assert everything_of(source) == before


@pytest.mark.usefixtures("everything_large")
def test_a_shard_that_shrinks_under_the_work_is_the_sources_error(tmp_path: Path) -> None:
    source = source_of(tmp_path / "source", [EXAMPLE])
    ((found, scanned),) = source.scan(0)
    assert scanned is not None
    shard = source.open_shard(0)
    episode = shard.episode(found)
    path = tmp_path / "source" / "x.tfrecord"
    path.write_bytes(path.read_bytes()[:200])
    uses: list[Callable[[], object]] = [
        lambda: episode.numbers("steps/state"),
        lambda: episode.pictures("steps/depth").joined(),
        lambda: episode.digest({}),
        lambda: source.open_shard(0).episode(found).digest({}),
    ]
    for use in uses:
        with pytest.raises(SourceError, match=r"record 0 of x\.tfrecord.*as when it was planned"):
            use()
    shard.close()
    with pytest.raises(SourceError, match=r"record 0 of x\.tfrecord.*could be read when"):
        episode.digest({})


@pytest.mark.parametrize("again", [False, True])
def test_a_closed_episode_is_let_go_of(tmp_path: Path, again: bool) -> None:
    """Whoever keeps episodes, as loops do until the next one is there, keeps no bytes of them."""
    size = 4_000_000
    pictures = encode_example({"steps/image": [bytes(size)]})
    source = source_of(tmp_path / "source", [pictures] * 3)
    kept: list[RldsEpisode] = []
    shard = source.open_shard(0)
    tracemalloc.start()
    for found, episode in source.scan(0):
        assert episode is not None
        episode.close()
        kept.append(episode)
        if again:
            kept.append(shard.episode(found))
            kept[-1].close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    shard.close()
    # The scan keeps its record until the next one is asked for; the work may read it once more.
    assert peak < (2.5 if again else 1.5) * size


@pytest.mark.usefixtures("everything_large")
def test_of_a_large_record_little_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_record, "_WINDOW_BYTES", 1 << 14)
    monkeypatch.setattr(large_record, "_PIECE_BYTES", 1 << 16)
    pictures = [bytes([i]) * 40_000 for i in range(200)]
    source = source_of(tmp_path / "source", [encode_example({"steps/image": pictures})] * 2)
    tracemalloc.start()
    for _, episode in source.scan(0):
        assert episode is not None
        slices = episode.pictures("steps/image")
        for first in range(0, 200, 10):
            slices.slab(first, first + 10).joined()
        episode.digest({})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000 < 200 * 40_000


@pytest.mark.usefixtures("everything_large")
def test_the_demo_corpus_converts_to_the_same_bytes(
    corpus: Corpus, converted: Path, tmp_path: Path
) -> None:
    """Its broken records among them: receipts name the same reasons in the same words."""
    convert("bridge_v2", input=corpus.folder, out=tmp_path / "out")
    assert tree_digest(tmp_path / "out") == tree_digest(converted)
    assert verify(tmp_path / "out", input=corpus.folder, decode=True).problems == []


@pytest.mark.parametrize("choices", [{}, {"resize": (16, 24)}])
def test_droid_converts_to_the_same_bytes(
    tmp_path: Path, request: pytest.FixtureRequest, choices: dict[str, tuple[int, int]]
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    sources.droid.write(folder)
    options = ConvertOptions(**choices)
    convert("droid", input=folder, out=tmp_path / "before", options=options)
    request.getfixturevalue("everything_large")
    convert("droid", input=folder, out=tmp_path / "after", options=options)
    assert tree_digest(tmp_path / "after") == tree_digest(tmp_path / "before")
