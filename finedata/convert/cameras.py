"""Which cameras an episode has: the converter's patterns against the features of the episode.

An episode and a variant come in; the cameras that its part will have go out, patterns replaced by
what they match and names made safe.
"""

from __future__ import annotations

import re
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

__all__ = ["check_camera_names", "resolved_cameras", "safe_name"]

_UNSAFE = re.compile(r"[^a-z0-9_]+")


def resolved_cameras(
    raw: RawEpisode | EpisodeView, variant: Variant, options: ConvertOptions
) -> tuple[CameraSpec, ...]:
    """The cameras of an episode: patterns become the cameras they match; only those asked for.

    A camera that the episode lacks is in the result only where the source declares its size for all
    episodes (RLDS does): its pictures will be black. Any other belongs to another part.
    """
    found: list[CameraSpec] = []
    for camera in variant.cameras:
        taken = {known.feature for known in found}
        if camera.name != "*":
            if camera.feature not in taken and _has_camera(raw, camera.feature):
                found.append(camera)
            continue
        head, _, tail = camera.feature.partition("*")
        for feature in raw.feature_names():
            if feature in taken or not fnmatchcase(feature, camera.feature):
                continue
            if raw.camera_kind(feature) is None:
                continue
            middle = feature[len(head) : len(feature) - len(tail)]
            name = safe_name(middle, instead="camera")
            if name not in [known.name for known in found]:
                found.append(msgspec.structs.replace(camera, name=name, feature=feature))
    if options.cameras:
        found = [camera for camera in found if camera.name in options.cameras]
    return tuple(found)


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
                place="--cameras",
                found=f"{name!r}",
                wanted=f"some of {known.replace(',', ', ')}",
                next_command=f"--cameras {known}",
            )


def safe_name(text: str, *, instead: str) -> str:
    """Text as a name of robots, cameras and converters: lower case, digits and underscores.

    `instead` stands for a text of which nothing is left.
    """
    return _UNSAFE.sub("_", text.lower()).strip("_") or instead
