"""The two JSON files beside an RLDS corpus, as they lie beside BridgeData-V2.

Comes in: picture size, number of cameras, records per file. Goes out: dictionaries that
tensorflow-datasets accepts (`builder_from_directory`). Their quirks are those of the real corpus:
dimensions are strings, a scalar's shape is empty, and the descriptions of `state` and `action`
are leftovers of a template that speak of joints where the numbers are end-effector poses.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from corpora.tfrecord import FRAME_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "CORPUS_NAME",
    "CORPUS_VERSION",
    "bridge_dataset_info",
    "bridge_features_json",
    "camera_names",
    "shard_file_name",
    "write_declaration",
]

CORPUS_NAME = "bridge_dataset"
CORPUS_VERSION = "1.0.0"

_EMBEDDING_SIZE = 512
_CORE = "tensorflow_datasets.core.features."
_TEMPLATE_STATE = "Robot state: 7x joint angles, 2x gripper position, 1x door angle."
_TEMPLATE_ACTION = "Robot action: 7x joint velocities, 2x gripper velocities, 1x terminate."

Declaration: TypeAlias = dict[str, object]


def camera_names(cameras: int) -> tuple[str, ...]:
    """The picture features under `steps/observation/`: `image_0`, `image_1` and so on."""
    return tuple(f"image_{number}" for number in range(cameras))


def shard_file_name(split: str, index: int, count: int) -> str:
    """TFDS's name of a file: `bridge_dataset-train.tfrecord-00000-of-00004` is 0 of 4."""
    return f"{CORPUS_NAME}-{split}.tfrecord-{index:05d}-of-{count:05d}"


def bridge_features_json(*, image_size: int = 256, cameras: int = 4) -> Declaration:
    """What features.json of BridgeData-V2's RLDS build declares.

    Args:
        image_size: Height and width of the pictures, in pixels. The real corpus has 256.
        cameras: How many `image_*` features there are. The real corpus has 4.

    Returns:
        A dictionary to be written as JSON.
    """
    pictures = {name: _image(image_size, "Camera picture, RGB.") for name in camera_names(cameras)}
    steps = {
        "action": _tensor(7, _TEMPLATE_ACTION),
        "discount": _scalar("float32", "Discount, 1 by default."),
        "is_first": _scalar("bool", "True on the first step."),
        "is_last": _scalar("bool", "True on the last step."),
        "is_terminal": _scalar("bool", "True on the last step, where it ends the task."),
        "language_embedding": _tensor(_EMBEDDING_SIZE, "Embedding of the instruction."),
        "language_instruction": _text("Instruction in English."),
        "observation": _dict({**pictures, "state": _tensor(7, _TEMPLATE_STATE)}),
        "reward": _scalar("float32", "1 on the last step of a demonstration, else 0."),
    }
    metadata = {
        "episode_id": _scalar("int32", "Number of the episode inside file_path."),
        "file_path": _text("Path of the original file."),
        **{
            f"has_{name}": _scalar("bool", "Whether the camera was there.")
            for name in camera_names(cameras)
        },
        "has_language": _scalar("bool", "Whether there is an instruction."),
    }
    sequence: Declaration = {"feature": _dict(steps), "length": "-1"}
    return _dict(
        {
            "episode_metadata": _dict(metadata),
            "steps": {
                "pythonClassName": _CORE + "dataset_feature.Dataset",
                "sequence": sequence,
            },
        }
    )


def bridge_dataset_info(*, splits: Mapping[str, Sequence[tuple[int, int]]]) -> Declaration:
    """What dataset_info.json declares.

    Args:
        splits: By name of the split, one `(records, bytes of the file)` per file, in order.

    Returns:
        A dictionary to be written as JSON. `numBytes` counts payloads only, as TFDS does.
    """
    return {
        "description": "A small corpus, made up, in the form of BridgeData-V2's RLDS build.",
        "fileFormat": "tfrecord",
        "moduleName": "bridge_dataset.bridge_dataset_dataset_builder",
        "name": CORPUS_NAME,
        "releaseNotes": {CORPUS_VERSION: "Initial release."},
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": name,
                "numBytes": str(sum(size - FRAME_OVERHEAD * count for count, size in shards)),
                "shardLengths": [str(count) for count, _ in shards],
            }
            for name, shards in splits.items()
        ],
        "version": CORPUS_VERSION,
    }


def write_declaration(
    folder: Path,
    *,
    image_size: int,
    cameras: int,
    splits: Mapping[str, Sequence[tuple[int, int]]],
) -> None:
    """Write features.json and dataset_info.json into `folder`; see the two functions above."""
    for name, content in (
        ("features.json", bridge_features_json(image_size=image_size, cameras=cameras)),
        ("dataset_info.json", bridge_dataset_info(splits=splits)),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _dict(features: Mapping[str, Declaration]) -> Declaration:
    return {
        "pythonClassName": _CORE + "features_dict.FeaturesDict",
        "featuresDict": {"features": dict(features)},
    }


def _tensor(size: int, description: str) -> Declaration:
    return {
        "pythonClassName": _CORE + "tensor_feature.Tensor",
        "tensor": {"shape": {"dimensions": [str(size)]}, "dtype": "float32", "encoding": "none"},
        "description": description,
    }


def _scalar(dtype: str, description: str) -> Declaration:
    return {
        "pythonClassName": _CORE + "scalar.Scalar",
        "tensor": {"shape": {}, "dtype": dtype, "encoding": "none"},
        "description": description,
    }


def _text(description: str) -> Declaration:
    return {
        "pythonClassName": _CORE + "text_feature.Text",
        "text": {},
        "description": description,
    }


def _image(size: int, description: str) -> Declaration:
    return {
        "pythonClassName": _CORE + "image_feature.Image",
        "image": {
            "shape": {"dimensions": [str(size), str(size), "3"]},
            "dtype": "uint8",
            "encodingFormat": "jpeg",
        },
        "description": description,
    }
