"""One codec a camera: what fits keeps its bytes, the rest is encoded, nothing is unreadable."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from store.export.independent import decoded

from finedata.store.export.rlds_pictures import RldsPictures
from finedata.store.lerobot.layout import Feature


@dataclass
class FakeEpisode:
    pictures: dict[str, list[bytes]]
    videos: dict[str, object] = field(default_factory=dict)


def encoded(codec: str, *, size: tuple[int, int] = (12, 8), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 120 if mode == "L" else (200, 100, 50)).save(buffer, codec)
    return buffer.getvalue()


def test_what_does_not_fit_is_made_to_fit() -> None:
    png, grey, small = encoded("PNG"), encoded("PNG", mode="L"), encoded("PNG", size=(6, 4))
    counts: Counter[str] = Counter()
    cameras = {"front": Feature("image", (8, 12, 3), ("height", "width", "channels"))}
    writer = RldsPictures(cameras, counts)
    stored = [b"nothing", png, encoded("JPEG"), grey, small, png[:40]]
    found = writer.encoded(FakeEpisode({"front": stored}), camera="front")
    assert writer.declared() == {"front": ((8, 12, 3), "png")}
    assert found[1] == png
    for picture in found[1:]:
        with Image.open(io.BytesIO(picture)) as image:
            assert image.format == "PNG"
            assert (image.size, image.mode) == ((12, 8), "RGB")
    np.testing.assert_array_equal(decoded(found[3]), np.full((8, 12, 3), 120))
    np.testing.assert_array_equal(decoded(found[4]), decoded(png))
    assert not decoded(found[0]).any()
    assert not decoded(found[5]).any()
    assert counts == {"undecodable_pictures": 2, "pictures_encoded": 5}
