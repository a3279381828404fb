"""An episode that is a dictionary, and what the converter reads of its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from finedata.convert.language.read import EpisodeLanguage, read_language
from finedata.errors import FeatureError, MissingFeatureError
from finedata.readers.files import open_folder
from finedata.schema.enums import RECEIPT_FLAGS
from finedata.schema.language_spec import LanguageSpec


class FakeEpisode:
    """The part of `RawEpisode` that language is read with."""

    def __init__(self, features: dict[str, Any]) -> None:
        self._features = features

    def has(self, feature: str) -> bool:
        return feature in self._features

    def texts(self, feature: str) -> list[str]:
        value = self._value(feature)
        if not isinstance(value, list):
            raise FeatureError(place=feature, found="numbers", wanted="texts")
        return list(value)

    def numbers(self, feature: str) -> np.ndarray:
        value = self._value(feature)
        if isinstance(value, list):
            raise FeatureError(place=feature, found="texts", wanted="numbers")
        return np.asarray(value)

    def _value(self, feature: str) -> Any:
        if feature not in self._features:
            raise MissingFeatureError(place=feature, found="nothing", wanted="it")
        return self._features[feature]


def words(
    toml: str,
    features: dict[str, Any] | None = None,
    *,
    folder: Path = Path(__file__).parent,
    file: str = "data/episode_7.hdf5",
    path: dict[str, str] | None = None,
    frames: int = 10,
) -> EpisodeLanguage:
    raw: Any = FakeEpisode(features or {})
    found = read_language(
        raw,
        msgspec.toml.decode(toml, type=LanguageSpec),
        folder=open_folder(folder),
        file=file,
        path=path or {},
        frames=frames,
    )
    assert set(found.flags) <= set(RECEIPT_FLAGS)
    return found


def texts_of(found: EpisodeLanguage) -> list[str]:
    assert [entry.kind for entry in found.instructions] == (
        ["goal", *["alternative"] * (len(found.instructions) - 1)] if found.instructions else []
    )
    return [entry.text for entry in found.instructions]


def steps_of(found: EpisodeLanguage) -> list[tuple[int, int, str, str | None]]:
    return [(step.start_frame, step.end_frame, step.text, step.problem) for step in found.steps]


CSV = """
[[lookup]]
files = ["absent.csv", "instructions.csv"]
key = "{path/task}"
key_field = "task"
texts = ["instruction"]
"""
