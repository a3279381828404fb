"""Which form of a source an episode has, and the episode as that form sees it.

The first variant of the converter whose signature holds decides. Its `EpisodeView` adds what the
file's name says (`path/task`, `file/record`), takes the samples nearest to the camera frames where
a form asks for it, and decodes each feature once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from msgspec.structs import replace

from finedata.errors import FeatureError, LengthError, SourceError
from finedata.motion import nearest_by_ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.readers.episode import (
        CameraKind,
        Found,
        PictureList,
        RawEpisode,
        Shard,
        VideoClip,
    )
    from finedata.schema.converter import (
        ActionSpec,
        CameraSpec,
        EpisodeSpec,
        Pick,
        StateSpec,
        Variant,
        VectorSpec,
        When,
    )

Side = TypeVar("Side", "StateSpec", "ActionSpec")

_SHARD_NUMBER = re.compile(r"-(\d+)-of-\d+$")


class UnknownFormError(SourceError):
    """No variant of the converter knows this form."""


@dataclass(frozen=True, slots=True)
class EpisodeView:
    """An episode as a variant sees it.

    Attributes:
        raw: The episode.
        fields: What the file's name says: `path/...` and `file/...`.
        aligned_to: Camera frames that every stream is brought to; `None` leaves lengths alone.
    """

    raw: RawEpisode
    fields: Mapping[str, str]
    aligned_to: int | None = None
    _numbers: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray], repr=False)

    def has(self, feature: str) -> bool:
        """Whether the episode holds the feature, or its name says it."""
        return feature in self.fields or self.raw.has(feature)

    def feature_names(self) -> list[str]:
        """The features that the source holds."""
        return self.raw.feature_names()

    def numbers(self, feature: str) -> np.ndarray:
        """A numeric feature, decoded once; see `RawEpisode.numbers`."""
        known = self._numbers.get(feature)
        if known is None:
            known = self.raw.numbers(feature)
            if self.aligned_to is not None and known.ndim and len(known) != self.aligned_to:
                if not len(known):
                    raise LengthError(
                        place=f"feature {feature}", found="zero samples", wanted="at least one"
                    )
                known = known[_strided(len(known), self.aligned_to)]
            self._numbers[feature] = known
        return known

    def texts(self, feature: str) -> list[str]:
        """A text feature; see `RawEpisode.texts`."""
        if feature in self.fields:
            return [self.fields[feature]]
        return self.raw.texts(feature)

    def columns_of(self, feature: str) -> tuple[str, ...] | None:
        """See `RawEpisode.columns_of`."""
        return self.raw.columns_of(feature)

    def camera_kind(self, feature: str) -> CameraKind | None:
        """See `RawEpisode.camera_kind`."""
        return self.raw.camera_kind(feature)

    def pictures(self, feature: str) -> PictureList:
        """See `RawEpisode.pictures`."""
        return self.raw.pictures(feature)

    def picture_shape(self, feature: str) -> tuple[int, int, int] | None:
        """See `RawEpisode.picture_shape`."""
        return self.raw.picture_shape(feature)

    def picture_info(self, feature: str) -> dict[str, Any] | None:
        """See `RawEpisode.picture_info`."""
        return self.raw.picture_info(feature)

    def video(self, feature: str) -> VideoClip:
        """See `RawEpisode.video`."""
        return self.raw.video(feature)

    def digest(self, pictures: Mapping[str, tuple[str, np.ndarray]]) -> str:
        """See `RawEpisode.digest`."""
        return self.raw.digest(pictures)

    def close(self) -> None:
        """See `RawEpisode.close`."""
        self.raw.close()

    def pick(self, spec: Pick) -> np.ndarray:
        """The columns that a converter names, (T, n), as stored.

        Raises:
            FeatureError: Missing, not one row of numbers a step, or without those columns.
        """
        table = self.table(spec.feature)
        if spec.named:
            return table[:, self._named_columns(spec.feature, spec.named, table.shape[1])]
        if spec.columns is None:
            return table
        first, last = spec.columns
        if table.shape[1] < last:
            raise FeatureError(
                place=f"feature {spec.feature}",
                found=f"values of shape {table.shape[1:]}",
                wanted=f"at least {last} columns",
            )
        return table[:, first:last]

    def table(self, feature: str) -> np.ndarray:
        """A numeric feature as (T, n)."""
        values = self.numbers(feature)
        if values.ndim == 1:
            return values[:, None]
        if values.ndim != 2 or not values.shape[1]:
            raise FeatureError(
                place=f"feature {feature}",
                found=f"values of shape {values.shape[1:]}",
                wanted="one row of numbers a step",
            )
        return values

    def single(self, feature: str, *, at: int = 0) -> Any:
        """One number of a feature, the first unless `at` says which.

        Raises:
            FeatureError: It is missing, no number, or empty.
        """
        values = np.asarray(self.numbers(feature)).reshape(-1)
        if not values.size:
            raise FeatureError(place=f"feature {feature}", found="nothing", wanted="a number")
        return values[at].item()

    def column(self, feature: str, *, column: int, named: str | None) -> np.ndarray:
        """One column, (T,)."""
        table = self.table(feature)
        if named is not None:
            (column,) = self._named_columns(feature, (named,), table.shape[1])[:1]
        if column >= table.shape[1]:
            raise FeatureError(
                place=f"feature {feature}",
                found=f"values of shape {table.shape[1:]}",
                wanted=f"at least {column + 1} columns",
            )
        return table[:, column]

    def _named_columns(self, feature: str, patterns: Sequence[str], width: int) -> list[int]:
        names = self.columns_of(feature)
        if names is None or len(names) != width:
            raise FeatureError(
                place=f"feature {feature}",
                found=f"{width} columns and {'no' if names is None else len(names)} names",
                wanted="a name for each column",
                next_command="finedata sources copy SOURCE ./mine.toml  # and give `columns`",
            )
        found: list[int] = []
        for pattern in patterns:
            matching = [i for i, name in enumerate(names) if fnmatchcase(name, pattern)]
            if not matching:
                raise FeatureError(
                    place=f"feature {feature}",
                    found=f"columns {', '.join(names)}",
                    wanted=f"one named {pattern}",
                )
            found += matching
        return found


def _strided(length: int, frames: int) -> np.ndarray:
    """Which samples of a stream belong to the camera's frames.

    A simulation that steps n times a picture has n samples for each and some more at the end;
    a stream that is shorter than the pictures gives the nearest one.
    """
    if length >= frames:
        return np.arange(frames) * (length // frames)
    return nearest_by_ratio(length, frames)


def path_fields(spec: EpisodeSpec, shard: Shard, *, number: int, record: int) -> dict[str, str]:
    """What the file's name says of an episode; see `EpisodeSpec`."""
    stem = shard.file.rsplit("/", 1)[-1]
    match = _SHARD_NUMBER.search(stem)
    fields = {
        "file/path": shard.file,
        "file/name": stem,
        "file/split": shard.split,
        "file/number": str(int(match.group(1))) if match else str(number),
        "file/record": str(record),
    }
    for pattern in spec.path:
        found = _match_from_end(pattern, shard.file)
        if found is not None:
            return fields | {f"path/{name}": text for name, text in found.items()}
    return fields


def _match_from_end(pattern: str, path: str) -> dict[str, str] | None:
    """Fit a pattern of `{name}`, `*` and literal segments to the last segments of a path."""
    wanted, given = pattern.split("/"), path.split("/")
    if len(given) < len(wanted):
        return None
    found: dict[str, str] = {}
    for want, have in zip(wanted, given[-len(wanted) :], strict=True):
        expression = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(want)).replace(r"\*", ".*")
        match = re.fullmatch(expression, have)
        if match is None:
            return None
        found |= match.groupdict()
    return found


def choose_variant(
    raw: RawEpisode, variants: Sequence[Variant], *, shard: Shard, reader: str
) -> int:
    """The number of the first variant whose signature holds.

    Raises:
        UnknownFormError: None does.
    """
    for number, variant in enumerate(variants):
        if variant.reader == reader and _holds(variant.when, raw, shard.file):
            return number
    names = [variant.name for variant in variants if variant.reader == reader]
    features = raw.feature_names()
    shown = ", ".join(features[:12]) + (", ..." if len(features) > 12 else "")
    raise UnknownFormError(
        place=shard.file,
        found=f"a form that no variant knows; it holds {shown or 'no feature'}",
        wanted=f"one of {', '.join(names)}",
        next_command="finedata sources draft DIR > mine.toml  # and edit it",
    )


def fitted_variant(raw: RawEpisode, variant: Variant) -> Variant:
    """The variant without what may be absent and is not in this episode; one vector a name."""
    arms = tuple(
        replace(arm, state=_fitted(raw, arm.state), action=_fitted(raw, arm.action))
        for arm in variant.arms
    )
    vectors = _fitted_vectors(raw, variant.vectors)
    if (arms, vectors) == (variant.arms, variant.vectors):
        return variant
    return replace(variant, arms=arms, vectors=vectors)


def _fitted_vectors(raw: RawEpisode, vectors: Sequence[VectorSpec]) -> tuple[VectorSpec, ...]:
    """Of each name the first vector whose pieces are there, as wide as it says."""
    view = EpisodeView(raw, {})
    fitted: dict[str, VectorSpec] = {}
    for vector in vectors:
        if vector.name in fitted or not all(raw.has(piece.feature) for piece in vector.pieces):
            continue
        # Decoding costs: most vectors take whatever width there is.
        if vector.width is None or vector.width == _pieces_width(view, vector):
            fitted[vector.name] = vector
    return tuple(fitted.values())


def _pieces_width(view: EpisodeView, vector: VectorSpec) -> int:
    return sum(view.pick(piece).shape[1] for piece in vector.pieces)


def _fitted(raw: RawEpisode, side: Side) -> Side:
    parts = {
        "position": side.position,
        "rotation": side.rotation,
        "joints": side.joints,
        "gripper": side.gripper,
        "hand": side.hand,
    }
    absent = {
        name: None
        for name, part in parts.items()
        if part is not None and part.optional and not raw.has(part.feature)
    }
    return replace(side, **absent) if absent else side


def _holds(when: When, raw: RawEpisode, file: str) -> bool:
    if when.path is not None and not fnmatchcase(f"/{file}", when.path):
        return False
    if not all(raw.has(name) for name in when.features):
        return False
    if any(raw.has(name) for name in when.absent):
        return False
    for name, width in when.width.items():
        if not raw.has(name) or _width(raw.numbers(name)) != width:
            return False
    for name, allowed in when.text.items():
        if not raw.has(name) or not any(text in allowed for text in raw.texts(name)[:1]):
            return False
    return True


def _width(values: np.ndarray) -> int:
    return int(np.prod(values.shape[1:])) if values.ndim else 1


def view_episode(
    raw: RawEpisode,
    variant: Variant,
    cameras: Sequence[CameraSpec],
    *,
    shard: Shard,
    number: int,
    found: Found,
) -> EpisodeView:
    """The episode as a variant sees it.

    Args:
        raw: The episode.
        variant: Its form.
        cameras: Its cameras, resolved.
        shard: The shard that holds it.
        number: The shard's number in the source.
        found: Its place there.
    """
    fields = path_fields(variant.episode, shard, number=number, record=found.number)
    aligned = None
    if variant.time.align == "stride_to_cameras":
        lengths = [
            len(raw.pictures(camera.feature))
            for camera in cameras
            if raw.has(camera.feature) and raw.camera_kind(camera.feature) == "pictures"
        ]
        aligned = min(lengths, default=0) or None
    return EpisodeView(raw, fields, aligned)
