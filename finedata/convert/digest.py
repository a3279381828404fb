"""The digest of a source record: one number that changes when any byte of it does.

Pictures are nearly all of a record, and their sha256 is taken anyway for the receipt. So the
record's digest is a tree, as in git: sha256 over the record's bytes in order, in which each
list of pictures stands as the sha256 of its pictures joined, followed by their lengths. Every byte
is covered once and hashed once.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.convert.pictures import CameraPictures
    from finedata.readers.rlds import RldsEpisode
    from finedata.schema.converter import CameraSpec

__all__ = ["record_sha256"]


def record_sha256(
    payload: bytes,
    raw: RldsEpisode,
    cameras: tuple[CameraSpec, ...],
    examined: Mapping[str, CameraPictures],
) -> str:
    """The tree digest of a record.

    Args:
        payload: The record's bytes.
        raw: The same, as an episode.
        cameras: The cameras that were examined.
        examined: Camera name to its pictures; a digest found there is not taken again.
    """
    known = {
        camera.feature: examined[camera.name]
        for camera in cameras
        if examined[camera.name].verbatim
    }
    digest = hashlib.sha256()
    view = memoryview(payload)
    position = 0
    for name, feature in sorted(raw.raw.items(), key=lambda item: item[1].start):
        info = raw.infos.get(name)
        if info is None or info.kind != "image" or feature.buffer is not payload:
            continue
        if name in known:
            pictures, lengths = bytes.fromhex(known[name].sha256), known[name].lengths
        else:
            slices = feature.slices()
            pictures, lengths = hashlib.sha256(slices.joined()).digest(), slices.lengths
        digest.update(view[position : feature.start])
        digest.update(pictures)
        digest.update(lengths.astype("<i8").tobytes())
        position = feature.end
    digest.update(view[position:])
    return digest.hexdigest()
