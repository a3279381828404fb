"""The plan's look at one raw episode: everything that could fail it later is tried here.

It tells form, identity, layout, length, language and clock, or raises the error that makes it a
failed episode. Pictures are counted, never decoded; of videos only the index is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.convert.accounting import not_converted_flags
from finedata.convert.cameras import absent_cameras
from finedata.convert.clock import read_clock
from finedata.convert.forms import UnknownFormError
from finedata.convert.language.read import read_language
from finedata.convert.planning.layout import part_layout
from finedata.convert.planning.layout_columns import kept_features
from finedata.convert.videos.clips import plan_clips
from finedata.errors import (
    CorruptRecordError,
    FeatureError,
    LengthError,
    MissingFeatureError,
    UnmatchedCameraError,
)
from finedata.readers.npy import RefusedPickleError
from finedata.schema.converter import Pick

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from finedata.convert.clock import Clock
    from finedata.convert.context import ConvertOptions
    from finedata.convert.forms import EpisodeView
    from finedata.convert.planning.layout import PartLayout
    from finedata.convert.source_episode import SourceEpisode
    from finedata.convert.videos.clips import ClipPlan
    from finedata.errors import SourceError
    from finedata.readers.files import SourceFolder
    from finedata.schema.converter import CameraSpec, EpisodeSpec, SuccessSpec, Variant
    from finedata.schema.language_spec import EpisodeLanguage


class ZeroStepsError(LengthError):
    """The episode has no step."""


@dataclass(frozen=True, slots=True)
class ExaminedEpisode:
    """What the plan needs to know of an episode, told by `examine`.

    Attributes:
        locator: The canonical locator that its id is the hash of.
        layout: The part it belongs to.
        frames_read: Steps in the source.
        frames: Steps that will be written (fewer only with the quirk `truncate_to_shortest`).
        language: Instructions and steps.
        clock: Its rate.
        clips: Where its videos are.
        success: The source's verdict.
        split: The source's own split.
        picture_bytes: Bytes of all chosen cameras' pictures.
        last_step_marks: How many steps are marked as the last one; -1 where nothing is marked.
        cameras_missing: Cameras that are declared, and of which the part has no column.
        flags: What is odd, or is not converted.
    """

    locator: str
    layout: PartLayout
    frames_read: int
    frames: int
    language: EpisodeLanguage
    clock: Clock
    clips: tuple[ClipPlan, ...]
    success: bool | None
    split: str
    picture_bytes: int
    last_step_marks: int
    cameras_missing: tuple[str, ...]
    flags: frozenset[str]


def failure_reason(error: SourceError) -> str:
    """The receipt's reason for an error that `examine` raised."""
    reasons = [
        (UnknownFormError, "unknown_form"),
        (RefusedPickleError, "refused_pickle"),
        (ZeroStepsError, "zero_steps"),
        (MissingFeatureError, "missing_feature"),
        (LengthError, "unequal_lengths"),
        (FeatureError, "wrong_type"),
        (CorruptRecordError, "unparsable"),
    ]
    return next((reason for kind, reason in reasons if isinstance(error, kind)), "unparsable")


def examine(
    episode: SourceEpisode,
    options: ConvertOptions,
    *,
    folder: SourceFolder,
    source_number: int,
) -> ExaminedEpisode:
    """Check an episode's structure.

    Args:
        episode: The episode, from `read_episode`.
        options: Choices of the conversion.
        folder: Its source's.
        source_number: Number of its source in the run.

    Raises:
        MissingFeatureError: A needed feature is not there (a camera may be absent).
        LengthError: Features disagree about the number of steps, or there is none.
        FeatureError: A feature has the wrong type or too few columns.
    """
    raw, view, variant = episode.raw, episode.view, episode.variant
    cameras, unmatched = _matched(view, episode.cameras)
    lengths, picture_bytes = _lengths(view, variant, cameras)
    frames_read, frames = _agreed_length(lengths, quirks=variant.quirks)
    clock = read_clock(view, variant.time, frames=frames)
    layout = part_layout(
        view,
        variant,
        cameras,
        options,
        source=source_number,
        variant_number=episode.number,
        fps=clock.fps,
    )
    language = read_language(
        raw,
        variant.language,
        folder=folder,
        file=episode.shard.file,
        path={
            key.removeprefix("path/"): text
            for key, text in view.fields.items()
            if key.startswith("path/")
        },
        frames=frames,
    )
    clips, clip_flags = plan_clips(view, layout, options, folder=folder, frames=frames)
    missing = absent_cameras(raw, variant, cameras, options)
    flags = unmatched | set(clock.flags) | set(language.flags) | clip_flags
    flags |= not_converted_flags(raw, variant) | _of_unknown_width(view, episode.declared, variant)
    flags |= {"other_not_converted"} if layout.left_out else set()
    flags |= {"camera_missing"} if missing else set()
    return ExaminedEpisode(
        locator=_locator(view, variant.episode),
        layout=layout,
        frames_read=frames_read,
        frames=frames,
        language=language,
        clock=clock,
        clips=clips,
        success=_success(view, variant.success),
        split=episode.shard.split or view.fields.get("path/split", ""),
        picture_bytes=picture_bytes,
        last_step_marks=_last_step_marks(view, variant),
        cameras_missing=missing,
        flags=frozenset(flags),
    )


def _matched(
    view: EpisodeView, cameras: Sequence[CameraSpec]
) -> tuple[tuple[CameraSpec, ...], set[str]]:
    """The cameras that show a frame of their own in every row, and a flag where one does not.

    A camera on a clock of its own that lost frames is no reason to lose the episode: it goes to
    the part that lacks this camera.
    """
    matched: list[CameraSpec] = []
    for camera in cameras:
        try:
            if view.has(camera.feature) and view.camera_kind(camera.feature) == "video":
                view.video(camera.feature)
        except UnmatchedCameraError:
            continue
        matched.append(camera)
    return tuple(matched), {"camera_left_out"} if len(matched) < len(cameras) else set()


def _lengths(
    view: EpisodeView, variant: Variant, cameras: Sequence[CameraSpec]
) -> tuple[dict[str, int], int]:
    """Steps of every feature that counts, and the bytes of all pictures."""
    lengths: dict[str, int] = {}
    if variant.time.first_step is not None:
        lengths[variant.time.first_step] = len(view.numbers(variant.time.first_step))
    for pick in picked_features(variant):
        lengths[pick.feature] = len(view.pick(pick))
    for vector in variant.vectors:
        lengths |= {piece.feature: len(view.pick(piece)) for piece in vector.pieces}
    if variant.space == "undeclared":
        kept = kept_features(view, variant).features
        lengths |= {
            name: len(view.texts(name) if feature.dtype == "string" else view.numbers(name))
            for name, feature in kept.items()
        }
    marks = variant.intervention.feature if variant.intervention is not None else None
    for name in (variant.time.timestamps, marks):
        if name is not None and view.has(name):
            lengths[name] = len(view.table(name))
    aligned = view.aligned_to
    picture_bytes = 0
    for camera in cameras:
        if not view.has(camera.feature):
            continue  # declared, and not in this episode: it will be black
        if view.camera_kind(camera.feature) == "pictures":
            pictures = view.pictures(camera.feature)
            lengths[camera.feature] = len(pictures) if aligned is None else aligned
            picture_bytes += int(pictures.lengths.sum())
        elif view.camera_kind(camera.feature) == "video":
            clip = view.video(camera.feature)
            shown = clip.frames if clip.rows is None else len(clip.rows)
            # More frames than rows do no harm: no row shows them.
            lengths[camera.feature] = min(shown, *lengths.values()) if lengths else shown
    texts = {name: view.texts(name) for name in variant.language.instructions if view.has(name)}
    # A single text is the episode's, several are the steps'.
    lengths |= {name: len(steps) for name, steps in texts.items() if name.startswith("steps/")}
    return lengths, picture_bytes


def picked_features(variant: Variant) -> Iterator[Pick]:
    """The columns that the arms need."""
    for arm in variant.arms:
        for side in (arm.state, arm.action):
            for pick in (side.position, side.rotation, side.joints, side.hand):
                if pick is not None:
                    yield pick
            grip = side.gripper
            if grip is not None:
                named = () if grip.named is None else (grip.named,)
                columns = None if named else (grip.column, grip.column + 1)
                yield Pick(feature=grip.feature, columns=columns, named=named)


def _agreed_length(lengths: dict[str, int], *, quirks: tuple[str, ...]) -> tuple[int, int]:
    """(steps read, steps to write)."""
    if not lengths:
        raise MissingFeatureError(
            place="the episode", found="no feature with steps", wanted="at least one"
        )
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
            next_command='quirks = ["truncate_to_shortest"]  # in the variant of the converter '
            f"file: cuts the episode to {shortest} steps and counts the rest as dropped",
        )
    if shortest == 0:
        raise ZeroStepsError(
            place=f"feature {min(lengths, key=lambda name: lengths[name])}",
            found="zero steps",
            wanted="at least one",
        )
    return longest, shortest


def _locator(view: EpisodeView, spec: EpisodeSpec) -> str:
    def value(match: re.Match[str]) -> str:
        feature = match.group(1)
        try:
            text = next(iter(view.texts(feature)), None)
        except MissingFeatureError:
            raise
        except FeatureError:
            text = str(view.single(feature))
        if text is None:
            raise MissingFeatureError(
                place=f"feature {feature}", found="no text", wanted="one, for the episode's id"
            )
        prefix = next((cut for cut in spec.strip_prefixes if text.startswith(cut)), "")
        return text.removeprefix(prefix)

    return re.sub(r"\{([^}]+)\}", value, spec.locator)


def _success(view: EpisodeView, spec: SuccessSpec | None) -> bool | None:
    """The source's verdict, or `None` where it gives none."""
    if spec is None:
        return None
    if spec.text is not None and view.has(spec.text):
        text = "".join(view.texts(spec.text)[:1])
        if any(part in text for part in spec.yes):
            return True
        return False if any(part in text for part in spec.no) else None
    if spec.feature is None or not view.has(spec.feature):
        return None
    if spec.known is not None and not (view.has(spec.known) and _last(view, spec.known)):
        return None
    value = _last(view, spec.feature)
    return None if np.isnan(value) else value >= spec.at_least


def _last(view: EpisodeView, feature: str) -> float:
    return float(view.single(feature, at=-1))


def _of_unknown_width(view: EpisodeView, declared: Variant, fitted: Variant) -> set[str]:
    """A flag where the episode holds a declared vector in a width that no declaration knows."""
    made = {vector.name for vector in fitted.vectors}
    lost = any(
        vector.name not in made and all(view.has(piece.feature) for piece in vector.pieces)
        for vector in declared.vectors
    )
    return {"other_not_converted"} if lost else set()


def _last_step_marks(view: EpisodeView, variant: Variant) -> int:
    name = variant.time.last_step
    if name is None or not view.has(name):
        return -1
    return int(np.count_nonzero(view.numbers(name)))
