"""The record's digest: as documented, and no byte of the record escapes it."""

from __future__ import annotations

import hashlib

import numpy as np
from corpora.example import encode_example
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.convert.pictures import examine_pictures
from finedata.errors import SourceError
from finedata.readers.rlds.example import parse_example
from finedata.readers.rlds.features import FeatureInfo
from finedata.readers.rlds.source import RldsEpisode
from finedata.store.pictures import black_jpeg

INFOS = {
    name: FeatureInfo(name, "image", "uint8", (16, 16, 3), 1) for name in ("steps/a", "steps/b")
}
PICTURES = {"steps/a": [black_jpeg(16, 16)] * 2, "steps/b": [b"other", b"", b"camera"]}
PAYLOAD = encode_example({"x": np.arange(3.0), **PICTURES, "steps/words": [b"go"]})


def digest_of(payload: bytes) -> str:
    """The digest where one camera of two was examined, and hashed, before."""
    raw = RldsEpisode(payload, parse_example(payload), INFOS)
    pictures = raw.pictures("steps/a") if raw.has("steps/a") else None
    frames = len(pictures) if pictures is not None else 1
    examined = examine_pictures(pictures, frames=frames, shape=(16, 16, 3), with_stats=False)
    known = {"steps/a": (examined.sha256, examined.lengths)} if examined.verbatim else {}
    # What was hashed before need not be hashed again, and changes nothing.
    assert raw.digest(known) == raw.digest({})
    return raw.digest(known)


def test_it_is_the_documented_tree() -> None:
    rest = PAYLOAD
    digest = hashlib.sha256()
    for pictures in PICTURES.values():
        body = b"".join(b"\x0a" + varint(len(data)) + data for data in pictures)
        before, rest = rest.split(body)
        digest.update(before)
        digest.update(hashlib.sha256(b"".join(pictures)).digest())
        digest.update(np.array([len(data) for data in pictures], "<i8").tobytes())
    digest.update(rest)
    assert digest_of(PAYLOAD) == digest.hexdigest()


def varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, number >> 7]) if number > 127 else bytes([number])


@settings(deadline=None, max_examples=200)
@given(where=st.integers(0, len(PAYLOAD) - 1), bit=st.integers(0, 7))
def test_no_byte_escapes(where: int, bit: int) -> None:
    changed = bytearray(PAYLOAD)
    changed[where] ^= 1 << bit
    try:
        found = digest_of(bytes(changed))
    except (SourceError, IndexError):
        return
    assert found != digest_of(PAYLOAD)
