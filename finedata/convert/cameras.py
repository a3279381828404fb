"""Which cameras an episode has: the converter's patterns against the features of the episode.

Whether a feature is a camera is for the source to say (`RawEpisode.camera_kind`), never for its
name. A camera's own name is made safe, and stays distinct: of a name in another script, or of two
that would be one, the digest of the feature's name is a part. Which feature it was stands in
finedata.json (`renamed` of its part).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.convert.context import ConvertOptions
    from finedata.convert.forms import EpisodeView
    from finedata.readers.episode import RawEpisode
    from finedata.schema.converter import CameraSpec, Variant

_UNSAFE = re.compile(r"[^a-z0-9_]+")


def resolved_cameras(
    raw: RawEpisode | EpisodeView, variant: Variant, options: ConvertOptions
) -> tuple[CameraSpec, ...]:
    """The cameras of an episode: patterns become the cameras they match; only those asked for.

    A camera that the episode lacks is in the result only where the source declares its size for all
    episodes (RLDS does): its pictures will be black. Any other belongs to another part.
    """
    found: list[CameraSpec] = []
    stars = _star_names(variant, [n for n in raw.feature_names() if raw.camera_kind(n) is not None])
    for camera in variant.cameras:
        taken = {known.feature for known in found}
        if camera.name != "*":
            if camera.feature not in taken and _has_camera(raw, camera.feature):
                found.append(camera)
            continue
        found += [
            msgspec.structs.replace(camera, name=name, feature=feature)
            for feature, (pattern, name) in stars.items()
            if pattern == camera.feature and feature not in taken
        ]
    if options.cameras:
        found = [camera for camera in found if camera.name in options.cameras]
    return tuple(found)


def absent_cameras(
    raw: RawEpisode, variant: Variant, cameras: Sequence[CameraSpec], options: ConvertOptions
) -> tuple[str, ...]:
    """Names of the cameras that the source or the converter declares and that are not `cameras`.

    They have no picture in this episode, and none of which the part could have a column.
    """
    resolved = {camera.feature for camera in cameras}
    declared = [name for name, kind in raw.declared_absent().items() if kind == "camera"]
    there = [n for n in raw.feature_names() if raw.camera_kind(n) is not None]
    stars = _star_names(variant, [*there, *declared])
    names = {feature: name for feature, (_, name) in stars.items() if feature in declared}
    names |= {
        camera.feature: camera.name
        for camera in variant.cameras
        if camera.name != "*" and not raw.has(camera.feature)
    }
    absent = {name for feature, name in names.items() if feature not in resolved}
    absent -= {camera.name for camera in cameras}
    return tuple(sorted(absent & set(options.cameras) if options.cameras else absent))


def _star_names(variant: Variant, features: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Features that a pattern matches: the first such pattern, and the camera's name."""
    named = {camera.feature: camera.name for camera in variant.cameras if camera.name != "*"}
    found: dict[str, tuple[str, str]] = {}
    for camera in variant.cameras:
        head, _, tail = camera.feature.partition("*")
        for feature in features if camera.name == "*" else ():
            if feature in found or feature in named or not fnmatchcase(feature, camera.feature):
                continue
            middle = feature[len(head) : len(feature) - len(tail)] or feature.split(".")[-1]
            found[feature] = camera.feature, middle
    counts = Counter(safe_name(middle, instead="") for _, middle in found.values())
    counts.update(named.values())
    names: dict[str, tuple[str, str]] = {}
    for feature, (pattern, middle) in found.items():
        name = safe_name(middle, instead="camera")
        lost = any(letter.isalnum() and not letter.isascii() for letter in middle)
        if lost or counts[safe_name(middle, instead="")] > 1:
            name = f"{name}_{hashlib.sha256(feature.encode()).hexdigest()[:6]}"
        names[feature] = pattern, name
    return names


def _has_camera(raw: RawEpisode | EpisodeView, feature: str) -> bool:
    """Whether an episode holds a camera, or its source declares the camera for all of them."""
    if raw.has(feature):
        return True
    return raw.camera_kind(feature) is not None and raw.picture_shape(feature) is not None


def check_camera_names(variants: Sequence[Variant], options: ConvertOptions) -> None:
    """Refuse a `--cameras` that names what no variant has.

    Raises:
        UsageError: It does.
    """
    names = [camera.name for variant in variants for camera in variant.cameras]
    if "*" in names:
        return  # only the episodes can tell
    for name in options.cameras:
        if name not in names:
            known = ",".join(dict.fromkeys(names))
            raise UsageError(
                parameter="cameras",
                found=f"{name!r}",
                wanted=f"some of {known.replace(',', ', ')}",
                next_command=f"--cameras {known}",
            )


def safe_name(text: str, *, instead: str) -> str:
    """Text as a name of robots, cameras and converters: lower case, digits and underscores.

    `instead` stands for a text of which nothing is left.
    """
    return _UNSAFE.sub("_", text.lower()).strip("_") or instead
