"""The plan's look at one raw episode: everything that could fail it later is tried here.

A raw episode and a converter come in; its identity, length and language go out, or the error
that makes it a failed one. Pictures are counted, never decoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import CorruptRecordError, FeatureError, LengthError, MissingFeatureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.errors import SourceError
    from finedata.readers.episode import RawEpisode
    from finedata.schema.converter import ArmSpec, CameraSpec, Converter, EpisodeSpec

__all__ = ["EpisodeFacts", "ZeroStepsError", "examine", "failure_reason", "numeric_features"]


class ZeroStepsError(LengthError):
    """The episode has no step."""


@dataclass(frozen=True, slots=True)
class EpisodeFacts:
    """What the plan needs to know of an episode.

    Attributes:
        locator: The canonical locator that its id is the hash of.
        frames_read: Steps in the source.
        frames: Steps that will be written (fewer only with the quirk `truncate_to_shortest`).
        instructions: Distinct non-empty instructions, the best first.
        instruction_varies: Whether one language feature changes within the episode.
        picture_bytes: Bytes of all chosen cameras' pictures.
        last_step_marks: How many steps are marked as the last one; -1 where nothing is marked.
    """

    locator: str
    frames_read: int
    frames: int
    instructions: tuple[str, ...]
    instruction_varies: bool
    picture_bytes: int
    last_step_marks: int


def failure_reason(error: SourceError) -> str:
    """The receipt's reason for an error that `examine` raised."""
    reasons = [
        (ZeroStepsError, "zero_steps"),
        (MissingFeatureError, "missing_feature"),
        (LengthError, "unequal_lengths"),
        (FeatureError, "wrong_type"),
        (CorruptRecordError, "unparsable"),
    ]
    return next((reason for kind, reason in reasons if isinstance(error, kind)), "unparsable")


def examine(raw: RawEpisode, converter: Converter, cameras: tuple[CameraSpec, ...]) -> EpisodeFacts:
    """Check an episode's structure.

    Raises:
        MissingFeatureError: A needed feature is not there (a camera may be absent).
        LengthError: Features disagree about the number of steps, or there is none.
        FeatureError: A feature has the wrong type or too few columns.
    """
    lengths = {converter.time.first_step: len(raw.numbers(converter.time.first_step))}
    for name, width in numeric_features(converter.arms).items():
        values = raw.numbers(name)
        if values.ndim != 2 or values.shape[1] < width:
            raise FeatureError(
                place=f"feature {name}",
                found=f"values of shape {values.shape[1:]}",
                wanted=f"at least {width} columns",
            )
        lengths[name] = len(values)
    picture_bytes = 0
    for camera in cameras:
        if raw.has(camera.feature):
            pictures = raw.pictures(camera.feature)
            lengths[camera.feature] = len(pictures)
            picture_bytes += int(pictures.lengths.sum())
    language = [raw.texts(name) for name in converter.language.instructions if raw.has(name)]
    lengths |= {
        name: len(texts)
        for name, texts in zip(converter.language.instructions, language, strict=False)
    }
    frames_read, frames = _agreed_length(lengths, quirks=converter.quirks)
    return EpisodeFacts(
        locator=_locator(raw, converter.episode),
        frames_read=frames_read,
        frames=frames,
        instructions=_distinct(texts for steps in language for texts in steps),
        instruction_varies=any(len(set(steps)) > 1 for steps in language),
        picture_bytes=picture_bytes,
        last_step_marks=_last_step_marks(raw, converter),
    )


def numeric_features(arms: tuple[ArmSpec, ...]) -> dict[str, int]:
    """The numeric features that the arms need, and how many columns of each."""
    needed: dict[str, int] = {}
    for arm in arms:
        for side in (arm.state, arm.action):
            for pose in (side.position, side.rotation):
                if pose is not None:
                    needed[pose.feature] = max(needed.get(pose.feature, 0), pose.columns[1])
            if side.gripper is not None:
                name, width = side.gripper.feature, side.gripper.column + 1
                needed[name] = max(needed.get(name, 0), width)
    return needed


def _agreed_length(lengths: dict[str, int], *, quirks: tuple[str, ...]) -> tuple[int, int]:
    """(steps read, steps to write)."""
    longest, shortest = max(lengths.values()), min(lengths.values())
    if longest == 0:
        raise ZeroStepsError(place="the episode", found="zero steps", wanted="at least one")
    if longest != shortest and "truncate_to_shortest" not in quirks:
        first, *_ = lengths
        odd = next(name for name, length in lengths.items() if length != lengths[first])
        raise LengthError(
            place=f"feature {odd}",
            found=f"{lengths[odd]} steps",
            wanted=f"{lengths[first]}, as many as {first}",
        )
    if shortest == 0:
        raise ZeroStepsError(
            place=f"feature {min(lengths, key=lambda name: lengths[name])}",
            found="zero steps",
            wanted="at least one",
        )
    return longest, shortest


def _locator(raw: RawEpisode, spec: EpisodeSpec) -> str:
    def value(match: re.Match[str]) -> str:
        feature = match.group(1)
        try:
            text = raw.texts(feature)[0]
        except MissingFeatureError:
            raise
        except FeatureError:
            text = str(np.asarray(raw.numbers(feature)).reshape(-1)[0].item())
        prefix = next((cut for cut in spec.strip_prefixes if text.startswith(cut)), "")
        return text.removeprefix(prefix)

    return re.sub(r"\{([^}]+)\}", value, spec.locator)


def _distinct(texts: Iterator[str]) -> tuple[str, ...]:
    """Non-empty texts, each once, in order of appearance."""
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


def _last_step_marks(raw: RawEpisode, converter: Converter) -> int:
    name = converter.time.last_step
    if name is None or not raw.has(name):
        return -1
    return int(np.count_nonzero(raw.numbers(name)))
