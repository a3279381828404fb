"""A long episode is written slab by slab, and reads as if it had been written whole."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Corpus
from convert.fake import FakeEpisode
from convert.trees import tree_digest

from finedata.convert import pictures
from finedata.convert.context import ConvertOptions
from finedata.convert.forms import EpisodeView
from finedata.convert.pictures import examine_pictures, rows_per_slab
from finedata.convert.planning.layout import CameraLayout
from finedata.convert.run import convert
from finedata.convert.slabs import PictureSlabs
from finedata.convert.verify.run import verify
from finedata.store.dataset import open_dataset
from finedata.store.pictures import black_jpeg

SHAPE = (48, 48, 3)


def camera(name: str) -> CameraLayout:
    return CameraLayout(
        name=name, feature=f"rgb/{name}", kind="pictures", shape=SHAPE, source_shape=SHAPE
    )


def episode(corpus: Corpus) -> dict[str, list[bytes]]:
    """The pictures of a demo episode, cut to 20, an empty one among them."""
    out = [black_jpeg(48, 48)] * 20
    out[3] = b""
    (file,) = corpus.folder.glob("*val*")
    data, start, found = file.read_bytes(), 0, []
    while len(found) < 20:
        first = data.index(b"\xff\xd8\xff", start)
        start = data.index(b"\xff\xd9", first) + 2
        found.append(data[first:start])
    return {"rgb/top": found, "rgb/wrist": out}


@pytest.mark.parametrize("slab_bytes", [1, 16 * 2000, 1 << 30])
def test_slabs_add_up_to_the_whole(
    corpus: Corpus, slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_SLAB_BYTES", slab_bytes)
    monkeypatch.setattr(pictures, "_LEAST_ROWS", 3)
    found = episode(corpus)
    view = EpisodeView(FakeEpisode(cameras=found), {})
    cameras = [camera("top"), camera("wrist"), camera("absent")]
    slabs = PictureSlabs(view, cameras, frames=20, options=ConvertOptions())
    joined = dict.fromkeys(("top", "wrist", "absent"), b"")
    sizes: dict[str, list[int]] = {name: [] for name in joined}
    spans = []
    for first, last, taken in slabs.slabs():
        spans.append((first, last))
        for name, (data, lengths) in taken.items():
            assert len(lengths) == last - first
            assert len(data) == lengths.sum()
            joined[name] += data
            sizes[name] += lengths.tolist()
    assert spans[0][0] == 0
    assert spans[-1][1] == 20
    assert [first for first, _ in spans[1:]] == [last for _, last in spans[:-1]]
    assert len(spans) == (7 if slab_bytes == 1 else len(spans))
    assert (len(spans) == 1) == (slab_bytes == 1 << 30)
    for name, result in slabs.results().items():
        source = found.get(f"rgb/{name}")
        whole = examine_pictures(
            None if source is None else view.pictures(f"rgb/{name}"),
            frames=20,
            shape=SHAPE,
            with_stats=True,
        )
        assert joined[name] == whole.data
        assert sizes[name] == whole.lengths.tolist() == result.lengths.tolist()
        assert result.sha256 == whole.sha256 == hashlib.sha256(whole.data).hexdigest()
        same = dataclasses.replace(result, lengths=whole.lengths, data=whole.data)
        # Counts, codec, statistics: where slabs end changes nothing.
        assert dataclasses.asdict(same) | {"lengths": 0} == dataclasses.asdict(whole) | {
            "lengths": 0
        }
    results = slabs.results()
    assert [results[name].missing for name in joined] == [False, True, True]
    assert [results[name].verbatim for name in joined] == [True, False, False]


def test_fewer_rows_than_pictures_are_not_all_of_the_sources(corpus: Corpus) -> None:
    view = EpisodeView(FakeEpisode(cameras=episode(corpus)), {})
    slabs = PictureSlabs(view, [camera("top")], frames=19, options=ConvertOptions())
    assert [(first, last) for first, last, _ in slabs.slabs()] == [(0, 19)]
    assert len(slabs.results()["top"].lengths) == 19
    assert not slabs.results()["top"].verbatim


def test_without_cameras_the_rows_are_one_slab() -> None:
    slabs = PictureSlabs(
        EpisodeView(FakeEpisode(), {}), [], frames=100_000, options=ConvertOptions()
    )
    assert list(slabs.slabs()) == [(0, 100_000, {})]
    assert slabs.results() == {}


def test_a_slab_has_its_least_rows_and_a_bounded_size() -> None:
    assert rows_per_slab(100_000) * 100_000 <= pictures._SLAB_BYTES < rows_per_slab(100_000) * 2e5
    assert rows_per_slab(1 << 40) == pictures._LEAST_ROWS
    assert rows_per_slab(0) == pictures._SLAB_BYTES


def test_a_long_episode_is_several_row_groups(
    corpus: Corpus, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_SLAB_BYTES", 1)
    monkeypatch.setattr(pictures, "_LEAST_ROWS", 7)
    out = tmp_path / "out"
    convert("bridge_v2", input=corpus.folder, out=out)
    whole, slabbed = open_dataset(converted), open_dataset(out)
    lengths = slabbed.episodes.select("length").collect().to_series().to_list()
    (file,) = out.glob("data/*/*.parquet")
    metadata = pq.read_metadata(file)
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [min(7, length - first) for length in lengths for first in range(0, length, 7)]
    assert max(lengths) > 14
    for identity in whole.episodes.select("episode_id").collect().to_series():
        before, now = whole.episode(identity), slabbed.episode(identity)
        assert now.pictures == before.pictures
        assert list(now.columns) == list(before.columns)
        for name, values in before.columns.items():
            np.testing.assert_array_equal(now.columns[name], values)
    # Everything but the data file is the same to the byte, and verify is content in its own slabs.
    names = {name for name in tree_digest(out) if not name.startswith("data/")}
    assert {name: tree_digest(out)[name] for name in names} == {
        name: digest for name, digest in tree_digest(converted).items() if name in names
    }
    monkeypatch.undo()
    assert verify(out, input=corpus.folder, decode=True).problems == []
