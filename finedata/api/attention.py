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
        k: How many weights the map `top` is the mean of.
        device: Where the policies compute.

    Raises:
        UsageError: No such episode, frame, camera or word, or a model without attention matrices.
    """
    need("torch", "transformers", "safetensors", extra="train", place="attention maps")
    from finedata.report.attention import read_box, share_inside, write_attention_page
    from finedata.train.attention import attention_of
    from finedata.train.predict import Predictor
    from finedata.train.robot import Observation

    read = [read_box(box) for box in boxes]
    named = {"before": against, "after": run} if against is not None else {"policy": run}
    found: dict[str, Any] = {}
    pictures: dict[str, np.ndarray] = {}
    for name, place in named.items():
        predictor = Predictor.load(Path(str(place)), device=device)
        shown, told = _moment(dataset, episode, frame, predictor.cameras, cameras or {})
        pictures |= {role: pixels for role, pixels in shown.items() if pixels is not None}
        _check_boxes(read, predictor.cameras)
        observation = Observation(pictures=shown, text=text or told)
        found[name] = attention_of(predictor, observation, queries=tuple(queries), k=k)
        text = text or told
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


def _moment(
    place: str | Path,
    episode: str,
    frame: int,
    roles: Sequence[str],
    cameras: Mapping[str, str],
) -> tuple[dict[str, np.ndarray | None], str]:
    """Pictures by role, in right colours, None of a camera that it lacks; and the instruction.

    Raises:
        UsageError: No such episode, frame or camera.
    """
    from finedata.api.opening import open
    from finedata.store.episode import shown_camera

    one = open(place)[episode]
    if not 0 <= frame < len(one):
        raise UsageError(
            parameter="frame", found=str(frame), wanted=f"0 to {len(one) - 1}, as {episode} has"
        )
    shown = {shown_camera(name): name for name in one.cameras}
    missing = {shown_camera(name) for name in one.row["cameras_missing"]}
    found: dict[str, np.ndarray | None] = {}
    for role in roles:
        name = shown.get(shown_camera(cameras.get(role, role)))
        if name is None:
            raise UsageError(
                parameter="camera",
                place=f"role {role}",
                found=f"cameras {', '.join(shown)}",
                wanted="the one that it is",
                next_command=f"--camera {role}={next(iter(shown), 'NAME')}",
            )
        if shown_camera(name) in missing:
            found[role] = None  # its pictures are placeholders
            continue
        pixels = next(iter(one.iter_frames(name, [frame])))
        if pixels is None:
            raise UsageError(
                place=f"{episode} frame {frame}", found="a picture that does not decode",
                wanted="another frame",
            )  # fmt: skip
        found[role] = pixels
    return found, one.task


def _check_boxes(boxes: Sequence[Box], cameras: Sequence[str]) -> None:
    for box in boxes:
        if box.camera not in cameras:
            raise UsageError(
                parameter="box",
                found=f"{box.name} on {box.camera}",
                wanted=f"a camera of the policy: {', '.join(cameras)}",
            )
