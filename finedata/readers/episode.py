"""What every reader gives: one raw episode, in the source's own words.

A reader turns bytes into `RawEpisode`: named features with a leading time axis, decoded only
when asked for. Nothing here knows what the numbers mean; the converter file does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from finedata.readers.example import BytesSlices

__all__ = ["RawEpisode"]


class RawEpisode(Protocol):
    """One episode of a source, undecoded."""

    def has(self, feature: str) -> bool:
        """Whether the episode holds the feature."""
        ...

    def numbers(self, feature: str) -> np.ndarray:
        """Decode a numeric feature: (T, ...) inside the steps, (...) at episode level.

        Raises:
            FeatureError: Missing, of another type, or of an impossible size.
        """
        ...

    def texts(self, feature: str) -> list[str]:
        """Decode a text feature: one string a step, or a single one at episode level.

        Raises:
            FeatureError: Missing, of another type, or not UTF-8.
        """
        ...

    def pictures(self, feature: str) -> BytesSlices:
        """The encoded pictures of a camera, one a step, as slices of the episode's bytes.

        Raises:
            FeatureError: Missing, or not pictures.
        """
        ...
