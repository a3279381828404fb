"""An episode made of arrays: the whole of `RawEpisode`, nothing behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from finedata.errors import FeatureError, MissingFeatureError
from finedata.readers.byte_slices import BytesSlices
from finedata.readers.episode import CameraKind, VideoClip


def slices(pictures: list[bytes]) -> BytesSlices:
    """Pictures with something between them, as in a record."""
    lengths = np.array([len(picture) for picture in pictures], np.int64)
    starts = np.cumsum(lengths + 3) - lengths
    return BytesSlices(b"".join(b"---" + p for p in pictures), starts, lengths)


@dataclass
class FakeEpisode:
    """Numbers, texts and cameras by name, and how often each was decoded."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    cameras: dict[str, list[bytes]] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    decoded: list[str] = field(default_factory=list)
    closed: bool = False

    def has(self, feature: str) -> bool:
        return feature in self.feature_names()

    def feature_names(self) -> list[str]:
        return [*self.arrays, *self.words, *self.cameras]

    def numbers(self, feature: str) -> np.ndarray:
        self.decoded.append(feature)
        if feature in self.arrays:
            return self.arrays[feature]
        kind = FeatureError if self.has(feature) else MissingFeatureError
        raise kind(place=f"feature {feature}", found="no numbers", wanted="numbers")

    def texts(self, feature: str) -> list[str]:
        if feature in self.words:
            return self.words[feature]
        kind = FeatureError if self.has(feature) else MissingFeatureError
        raise kind(place=f"feature {feature}", found="no text", wanted="text")

    def columns_of(self, feature: str) -> tuple[str, ...] | None:
        return self.columns.get(feature)

    def camera_kind(self, feature: str) -> CameraKind | None:
        """Like RLDS: what is declared is known, whether or not the episode holds it."""
        return "pictures" if feature in self.cameras or feature in self.shapes else None

    def pictures(self, feature: str) -> BytesSlices:
        if feature not in self.cameras:
            raise MissingFeatureError(place=feature, found="no pictures", wanted="pictures")
        return slices(self.cameras[feature])

    def picture_shape(self, feature: str) -> tuple[int, int, int] | None:
        return self.shapes.get(feature)

    def video(self, feature: str) -> VideoClip:
        raise FeatureError(place=feature, found="no video", wanted="a video")

    def digest(self, pictures: Mapping[str, tuple[str, np.ndarray]]) -> str:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True
