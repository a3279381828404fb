"""What a policy looks at in an episode, and what another one looked at, on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finedata.errors import UsageError, need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from finedata.report.attention import Box
    from finedata.store.episode import Episode
    from finedata.train.predict import Predictor
    from finedata.train.recorded import RecordedDepth

__all__ = ["AttentionSummary", "attention"]


@dataclass(frozen=True, kw_only=True)
class AttentionSummary:
    """What was drawn.

    Attributes:
        out: The page.
        episode_id: The episode.
        frame: The frame.
        text: What the policies were told.
        layers: Policy to layers with matrices, from 0.
        on_pictures: Policy to query to the share of attention on pictures.
        inside: Policy to query to box to the share inside it, of the mean over layers and heads.
    """

    out: str
    episode_id: str
    frame: int
    text: str
    layers: dict[str, list[int]]
    on_pictures: dict[str, dict[str, float]]
    inside: dict[str, dict[str, dict[str, float]]]


def attention(
    run: str | Path,
    dataset: str | Path,
    *,
    episode: str,
    out: str | Path,
    frame: int = 0,
    against: str | Path | None = None,
    text: str = "",
    queries: Sequence[str] = ("actions",),
    boxes: Sequence[str] = (),
    cameras: Mapping[str, str] | None = None,
    shards: str | Path | None = None,
    k: int = 5,
    device: str = "",
) -> AttentionSummary:
    """Draw what a policy looks at, and what another one does, at a frame of an episode.

    Args:
        run: A run, or a checkpoint of one.
        dataset: The dataset that has the episode.
        episode: Its id.
        out: The HTML file.
        frame: The frame.
        against: Another run, e.g. the checkpoint before, drawn at its left.
        text: What the policies are told; the episode's instruction by default.
        queries: `actions`, or words of that text.
        boxes: `NAME=ROLE:X0,Y0,X1,Y1`, shares of width and height.
        cameras: Picture role to the dataset's camera, where the names differ.
        shards: What the policies were trained on: its roles say which camera is which, and where
            depth and matrices are that a policy must be shown.
        k: How many weights the map `top` is the mean of.
        device: Where the policies compute.

    Raises:
        UsageError: No such episode, frame, camera or word, a model without attention matrices, or a
            policy that must be shown depth without shards.
    """
    if cameras and shards is not None:
        raise UsageError(parameter="camera", found="both it and shards", wanted="one of them")
    need("torch", "transformers", "safetensors", extra="train", place="attention maps")
    from finedata.report.attention import read_box, share_inside, write_attention_page
    from finedata.shard.shards import Shards
    from finedata.train.attention import attention_of
    from finedata.train.predict import Predictor
    from finedata.train.recorded import part_of_episode, seen_by_roles
    from finedata.train.robot import Observation

    read = [read_box(box) for box in boxes]
    named = {"before": against, "after": run} if against is not None else {"policy": run}
    found: dict[str, Any] = {}
    pictures: dict[str, np.ndarray] = {}
    for name, place in named.items():
        predictor = Predictor.load(Path(str(place)), device=device)
        one = _episode(dataset, episode, frame)
        if shards is None:
            stored = _cameras(one, predictor.cameras, cameras or {})
            shown, depths = {role: _picture(one, name, frame) for role, name in stored.items()}, {}
        else:
            part = part_of_episode(Shards.open(Path(shards)), episode)
            stored, depths = seen_by_roles(one, predictor.cameras, part)
            lacking = dict.fromkeys(predictor.cameras)
            shown = lacking | {role: _picture(one, name, frame) for role, name in stored.items()}
        pictures |= {role: pixels for role, pixels in shown.items() if pixels is not None}
        _check_boxes(read, predictor.cameras)
        text = text or one.task
        if predictor.needs_depth and shards is None:
            raise UsageError(
                parameter="shards",
                found="none that say where depth is, for a policy that must be shown it",
                wanted="the shards it was trained on",
                next_command="--shards SHARDS",
            )
        space = _space(predictor, shown, depths, frame) if predictor.in_space else {}
        observation = Observation(pictures=shown, text=text, **space)
        found[name] = attention_of(predictor, observation, queries=tuple(queries), k=k)
    shared = {
        name: pixels
        for name, pixels in pictures.items()
        if all(name in next(iter(one.maps.values()))["mean"] for one in found.values())
    }
    place = f"{episode}, frame {frame}"
    write_attention_page(Path(out), found, shared, text=text, place=place, k=k, boxes=read)
    return AttentionSummary(
        out=str(out),
        episode_id=episode,
        frame=frame,
        text=text,
        layers={name: list(one.layers) for name, one in found.items()},
        on_pictures={name: dict(one.on_pictures) for name, one in found.items()},
        inside={
            name: {
                query: {box.name: share_inside(maps["mean"][box.camera], box) for box in read}
                for query, maps in one.maps.items()
            }
            for name, one in found.items()
        },
    )


def _episode(place: str | Path, episode: str, frame: int) -> Episode:
    """An episode that has a frame.

    Raises:
        UsageError: There is none.
    """
    from finedata.api.opening import open

    one = open(place)[episode]
    if not 0 <= frame < len(one):
        raise UsageError(
            parameter="frame", found=str(frame), wanted=f"0 to {len(one) - 1}, as {episode} has"
        )
    return one


def _cameras(
    one: Episode, roles: Sequence[str], cameras: Mapping[str, str]
) -> dict[str, str | None]:
    """Picture role to the camera as it is stored, None of one that the episode lacks.

    Raises:
        UsageError: There is no such camera.
    """
    from finedata.store.episode import shown_camera

    stored = {shown_camera(name): name for name in one.cameras}
    missing = {shown_camera(name) for name in one.row["cameras_missing"]}
    found: dict[str, str | None] = {}
    for role in roles:
        name = stored.get(shown_camera(cameras.get(role, role)))
        if name is None:
            raise UsageError(
                parameter="camera",
                place=f"role {role}",
                found=f"cameras {', '.join(stored)}",
                wanted="the one that it is",
                next_command=f"--camera {role}={next(iter(stored), 'NAME')}",
            )
        # Pictures of a missing camera are placeholders.
        found[role] = None if shown_camera(name) in missing else name
    return found


def _picture(one: Episode, camera: str | None, frame: int) -> np.ndarray | None:
    """A picture in right colours; None of no camera.

    Raises:
        UsageError: It does not decode.
    """
    if camera is None:
        return None
    pixels = next(iter(one.iter_frames(camera, [frame])))
    if pixels is None:
        raise UsageError(
            place=f"{one.episode_id} frame {frame}",
            found="a picture that does not decode",
            wanted="another frame",
        )
    return pixels


def _space(
    predictor: Predictor,
    shown: Mapping[str, np.ndarray | None],
    depths: Mapping[str, RecordedDepth],
    frame: int,
) -> dict[str, Any]:
    """`depths`, in metres, None of a camera that has none, and `matrices` of an observation.

    Raises:
        UsageError: A model estimated the depth when sharding.
    """
    metres: dict[str, Any] = {}
    if predictor.needs_depth:
        metres = dict.fromkeys(predictor.cameras)
        metres |= {role: next(depth.iter_metres([frame])) for role, depth in depths.items()}
    matrices = {
        role: matrix
        for role, depth in depths.items()
        if (picture := shown.get(role)) is not None
        and (matrix := depth.matrix_of(picture, frame=frame)) is not None
    }
    return {"depths": metres, "matrices": matrices}


def _check_boxes(boxes: Sequence[Box], cameras: Sequence[str]) -> None:
    for box in boxes:
        if box.camera not in cameras:
            raise UsageError(
                parameter="box",
                found=f"{box.name} on {box.camera}",
                wanted=f"a camera of the policy: {', '.join(cameras)}",
            )
