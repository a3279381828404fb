"""A sample that is a whole episode: a clip of each camera, all states and actions.

A clip is cut out of the dataset's video by stream copy, so no picture is decoded and none changes.
Only where there is no video (pictures stored one by one), or its size or colours are not those
asked for, is one made; that is lossy, and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.errors import ConformError
from finedata.shard.making.sample import npy, step_meta
from finedata.store.episode import is_swapped
from finedata.store.videos.remux import remux_video
from finedata.store.videos.transcode import encode_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from finedata.shard.making.plan import CameraPlan, SetPlan
    from finedata.shard.making.sample import CameraCounts
    from finedata.store.episode import Episode

_FEATURE_OF = {"state": "observation.state", "action": "action"}


def episode_members(
    episode: Episode,
    plan: SetPlan,
    *,
    scratch: Path,
    counts: Mapping[str, CameraCounts],
) -> tuple[bytes, ...]:
    """The members of an episode: `<camera>.mp4`, `state.npy`, `action.npy` (T, n), `meta.json`.

    Args:
        episode: The episode.
        plan: Its set.
        scratch: A folder for unfinished clips, which are removed again.
        counts: Camera -> where its pictures are counted.

    Raises:
        ConformError: A picture does not decode, or a file of the dataset is damaged.
        MissingExtraError: PyAV is not installed.
    """
    members = [_clip(episode, camera, scratch, counts[camera.name]) for camera in plan.cameras]
    rows = episode.rows([_FEATURE_OF[name] for name in plan.numbers])
    members += [
        npy(np.atleast_2d(rows[_FEATURE_OF[name]].T).T.astype("<f4")) for name in plan.numbers
    ]
    meta: dict[str, Any] = {
        **step_meta(episode, plan),
        "frame_index": 0,
        "time_s": 0.0,
        "valid_steps": len(episode),
    }
    return (*members, msgspec.json.encode(meta))


def _clip(episode: Episode, camera: CameraPlan, scratch: Path, counts: CameraCounts) -> bytes:
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / f"{episode.episode_id}.{camera.member}"
    span = episode.videos.get(camera.name)
    if span is not None and not camera.resized and not is_swapped(camera.name):
        rows = np.arange(span.first_frame, span.first_frame + span.frames)
        remux_video(span.path, path, fps=episode.fps, rows=rows)
        counts.untouched += len(episode)
    else:
        encode_pictures(
            _shown(episode, camera),
            path,
            fps=episode.fps,
            codec="h264",
            size=(camera.height, camera.width),
        )
        counts.encoded += len(episode)
    content = path.read_bytes()
    path.unlink()
    return content


def _shown(episode: Episode, camera: CameraPlan) -> Iterator[np.ndarray]:
    for number, frame in enumerate(episode.iter_frames(camera.name)):
        if frame is None:
            raise ConformError(
                place=f"frame {number} of camera {camera.name} of episode {episode.episode_id}",
                found="a picture that does not decode",
                wanted="a JPEG or PNG",
                next_command=f"--where \"episode_id <> '{episode.episode_id}'\" leaves it out",
            )
        yield frame
