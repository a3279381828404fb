"""A corpus in BridgeData-V2's own bytes: a folder and a seed go in, files and truths come out.

Written without any of the code that reads it, so that converting it proves something: TFRecord
framing, protobuf wire format, geometry and pictures are all made in this room. The bytes are those
of the RLDS build 1.0.0, key for key, slips included; tensorflow-datasets reads them.

    FOLDER/bridge_dataset/1.0.0/features.json
    FOLDER/bridge_dataset/1.0.0/dataset_info.json
    FOLDER/bridge_dataset/1.0.0/bridge_dataset-train.tfrecord-00000-of-00004 ...

The same arguments give the same bytes, for one set of library versions (Pillow draws, libjpeg
encodes).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from corpora.arm import MINIMUM_LENGTH, simulate
from corpora.declaration import (
    CORPUS_NAME,
    CORPUS_VERSION,
    camera_names,
    shard_file_name,
    write_declaration,
)
from corpora.defects import break_features, break_frame, break_motion, break_pictures
from corpora.example import encode_example
from corpora.pictures import CAMERAS, Scene, black_jpeg, paint_scene, render_motion
from corpora.plan import lay_out, plan_episodes
from corpora.record import bridge_metadata_features, bridge_step_features
from corpora.tfrecord import frame_record, write_frames
from corpora.truth import EpisodeTruth, picture_digests, pose_truth
from corpora.ways import TASKS

from finedata.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from corpora.arm import Motion
    from corpora.plan import Placement, Shard

__all__ = ["EpisodeTruth", "write_bridge_corpus"]


def write_bridge_corpus(
    folder: Path,
    *,
    episodes: int = 60,
    seed: int = 0,
    image_size: int = 256,
    cameras: int = 4,
    real_cameras: int = 2,
    shards: int = 4,
    with_defects: bool = True,
    duplicate_id: bool = False,
    truncate_last: bool = False,
    mean_length: int = 38,
    splits: Sequence[tuple[str, float]] = (("train", 0.9), ("val", 0.1)),
) -> list[EpisodeTruth]:
    """Write a corpus into `folder/bridge_dataset/1.0.0/`.

    Args:
        folder: Made where it is not there.
        episodes: Number of whole episodes (`good` and `near_duplicate`): three tasks, three ways.
        seed: Decides motions, pictures and order.
        image_size: Height and width of the pictures in pixels.
        cameras: Number of `image_*` features.
        real_cameras: How many of them, from `image_0` on, see something; the rest is black.
        shards: Number of files, shared by the splits, at least one for each.
        with_defects: Whether ten broken episodes come on top, four `failed` and six `flagged`.
        duplicate_id: Whether one more record carries the key of another (`kind` good).
        truncate_last: Whether one more record, the last of all, is cut off.
        mean_length: Steps of an average episode, at 5 steps a second.
        splits: Names and fractions. An episode's `file_path` names its split.

    Returns:
        One truth per record, in the order of the records.

    Raises:
        UsageError: An argument is out of its range; nothing was written.
        OutputError: There are files in `folder/bridge_dataset/1.0.0/` already; they are untouched.

    Example:
        truths = write_bridge_corpus(Path("corpus"), episodes=6, with_defects=False)
        [t.length for t in truths if t.kind == "good"]
    """
    _check("episodes", episodes, 1)
    _check("image_size", image_size, 16)
    _check("cameras", cameras, 1, CAMERAS)
    _check("real_cameras", real_cameras, 1, cameras)
    _check("shards", shards, 1)
    _check("mean_length", mean_length, MINIMUM_LENGTH)
    drafts = plan_episodes(episodes=episodes, seed=seed, with_defects=with_defects)
    files = lay_out(
        drafts,
        splits=splits,
        shards=shards,
        duplicate_id=duplicate_id,
        truncate_last=truncate_last,
    )
    places = [place for file in files for place in file.records]
    maker = _Maker(
        seed=seed,
        image_size=image_size,
        cameras=cameras,
        real_cameras=real_cameras,
        mean_length=mean_length,
        record_of={place.draft.number: index for index, place in enumerate(places)},
    )
    target = folder / CORPUS_NAME / CORPUS_VERSION
    if target.exists() and any(target.iterdir()):
        raise OutputError(
            place=str(target),
            found="files",
            wanted="a folder that is empty or not there: a corpus is never overwritten",
            next_command="name another folder, or remove this one",
        )
    target.mkdir(parents=True, exist_ok=True)
    sizes: dict[str, list[tuple[int, int]]] = {name: [] for name, _ in splits}
    for file in files:
        path = target / shard_file_name(file.split, file.index, file.count)
        # What dataset_info.json says of a file that was cut off is what its maker had written.
        write_frames(path, maker.frames(file))
        announced = sum(t.payload_bytes + 16 for t in maker.truths[-len(file.records) :])
        sizes[file.split].append((len(file.records), announced))
    declared = {name: counts for name, counts in sizes.items() if counts}
    write_declaration(target, image_size=image_size, cameras=cameras, splits=declared)
    return maker.truths


@dataclass(eq=False)
class _Maker:
    """Makes records one after the other, and remembers scenes, truths and where it is."""

    seed: int
    image_size: int
    cameras: int
    real_cameras: int
    mean_length: int
    record_of: dict[int, int]
    truths: list[EpisodeTruth] = field(default_factory=list[EpisodeTruth])
    scenes: dict[tuple[str, int], Scene] = field(default_factory=dict[tuple[str, int], Scene])

    def frames(self, file: Shard) -> Iterator[bytes]:
        """The framed records of one file; the truth of each is there when it has been yielded."""
        offset = 0
        for number, place in enumerate(file.records):
            frame, truth = self._record(place, file, number, offset)
            self.truths.append(truth)
            offset += len(frame)
            yield frame

    def _record(
        self, place: Placement, file: Shard, number: int, offset: int
    ) -> tuple[bytes, EpisodeTruth]:
        draft = place.draft
        whole = simulate(
            draft.task,
            draft.way,
            variation=draft.variation,
            mean_length=self.mean_length,
            rng=np.random.default_rng([self.seed, 2, draft.number]),
        )
        motion = break_motion(draft.defect, whole)
        # The cameras see what happened, also where the recorded state is wrong.
        pictures = break_pictures(
            draft.defect,
            self._pictures(place, whole, len(motion.action)),
            last_real_camera=camera_names(self.cameras)[self.real_cameras - 1],
        )
        instruction = "" if draft.defect == "empty_instruction" else draft.task.instruction
        features = {
            **bridge_metadata_features(
                file_path=place.file_path,
                source_episode_id=place.source_episode_id,
                has_language=bool(instruction),
                cameras=self.cameras,
            ),
            **bridge_step_features(
                state=motion.state,
                action=motion.action,
                pictures=pictures,
                instruction=instruction,
            ),
        }
        payload = encode_example(break_features(draft.defect, features))
        frame = break_frame(draft.defect, frame_record(payload))
        truth = EpisodeTruth(
            **vars(pose_truth(motion.state, motion.action)),
            file_path=place.file_path,
            source_episode_id=place.source_episode_id,
            instruction=instruction,
            task_instruction=draft.task.instruction,
            way=draft.way.name,
            length=len(motion.action),
            kind=draft.kind,
            defect=draft.defect,
            near_duplicate_of=None if draft.original is None else self.record_of[draft.original],
            split=file.split,
            shard_file=shard_file_name(file.split, file.index, file.count),
            record_index=len(self.truths),
            record_in_shard=number,
            byte_offset=offset,
            payload_bytes=len(payload),
            payload_sha256=hashlib.sha256(frame[12 : 12 + len(payload)]).hexdigest(),
            camera_sha256=picture_digests(pictures),
        )
        return frame, truth

    def _pictures(self, place: Placement, motion: Motion, length: int) -> dict[str, list[bytes]]:
        """By camera, one JPEG for each of the first `length` steps."""
        pictures: dict[str, list[bytes]] = {}
        for camera, name in enumerate(camera_names(self.cameras)):
            if camera >= self.real_cameras:
                pictures[name] = [black_jpeg(self.image_size)] * length
                continue
            scene = self._scene(place.draft.task.shape, camera)
            film = render_motion(scene, motion, grain=place.draft.number)
            pictures[name] = list(islice(film, length))
        return pictures

    def _scene(self, shape: str, camera: int) -> Scene:
        if (shape, camera) not in self.scenes:
            task = next(task for task in TASKS if task.shape == shape)
            self.scenes[shape, camera] = paint_scene(
                shape,
                np.array(task.goal_m),
                camera=camera,
                image_size=self.image_size,
                seed=self.seed,
            )
        return self.scenes[shape, camera]


def _check(name: str, value: int, lowest: int, highest: int | None = None) -> None:
    if value < lowest or (highest is not None and value > highest):
        upper = "" if highest is None else f" and at most {highest}"
        raise UsageError(place=name, found=str(value), wanted=f"at least {lowest}{upper}")
