"""An encoder of another room fills arrays of a batch, of replaced samples too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from shard.stream.tiny_shards import TinySet, make_shards

from finedata.shard.shards import Shards
from finedata.shard.stream.opening import stream
from finedata.shard.stream.settings import Encoding


class Summing:
    """Writes the length of the words and the sum of the first picture's pixels."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @classmethod
    def of(cls, settings):
        return cls(settings["factor"])

    def arrays(self):
        return {"words": ((), "int32"), "sums": ((2,), "int64")}

    def encode(self, text, pictures, picture_mask, out):
        out["words"][:] = [len(words) * self.factor for words in text]
        out["sums"][:, 0] = pictures["front"].sum((1, 2, 3), dtype=np.int64)
        out["sums"][:, 1] = picture_mask["front"]


ENCODING = Encoding(encoder=f"{__name__}:Summing", settings={"factor": 3})


def held(batch) -> bool:
    sums = batch.pictures["front"].sum((1, 2, 3), dtype=np.int64)
    return (
        batch.encoded["words"].tolist() == [3 * len(words) for words in batch.text]
        and (batch.encoded["sums"][:, 0] == sums).all()
        and (batch.encoded["sums"][:, 1] == batch.picture_mask["front"]).all()
    )


def test_batches_have_what_the_encoder_made(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "s", [TinySet("a", "rep", [5, 9], missing=frozenset({1}))])
    seen = 0
    for batch in stream(shards, mix="raw=1", batch=4, stop=28, encoding=ENCODING):
        assert held(batch)
        seen += len(batch)
    assert seen == 28
    assert not next(iter(stream(shards, mix="raw=1", batch=4))).encoded


def test_what_takes_the_place_of_a_bad_sample_is_encoded(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "s", [TinySet("a", "rep", [5, 9])])
    opened = Shards.open(shards)
    (name,) = opened.sets
    offset = opened.index(name, 0).numbers("member_offset", 2, 3)[0, 0]
    path = opened.tar_path(name, 0)
    content = bytearray(path.read_bytes())
    content[offset + 30] ^= 255
    path.write_bytes(content)
    with stream(
        shards, mix="raw=1", batch=7, stop=14, on_bad="next", encoding=ENCODING
    ) as opened_stream:
        assert all(held(batch) for batch in opened_stream)
        assert len(opened_stream.receipt().bad) == 1
