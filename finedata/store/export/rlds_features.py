"""What an RLDS export declares of itself: `features.json` and `dataset_info.json`.

Both are what `builder_from_directory` of tensorflow-datasets accepts; dimensions are strings, as
protobuf's JSON writes int64.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from finedata.store.lerobot.layout import picture_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.store.dataset_file import SourceEntry
    from finedata.store.lerobot.layout import Feature

DATASET_VERSION = "1.0.0"
MAIN_COLUMNS = {
    "timestamp": "timestamp",
    "action_valid": "action_valid",
    "is_intervention": "is_intervention",
    "source_time_s": "source_time_s",
}
"""Scalar columns of the dataset that become features of a step, by their name there."""

_CORE = "tensorflow_datasets.core.features."


def dataset_name(part: str) -> str:
    """A name that TFDS takes: lower-case letters, digits and underscores, a letter first."""
    cleaned = re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_")
    return cleaned if cleaned[:1].isalpha() else f"finedata_{cleaned}".rstrip("_")


def step_vectors(features: Mapping[str, Feature]) -> dict[str, str]:
    """Vectors of the dataset and the key of each in a step.

    `observation.x` becomes `observation/x`; `action` stays, and `action.x` becomes `action_x`,
    because `action` is a vector and cannot be a group as well.
    """
    keys: dict[str, str] = {}
    for name, feature in features.items():
        is_vector = str(feature.dtype).startswith("float") and len(feature.shape) == 1
        if name.startswith(picture_column("")) or not is_vector:
            continue
        if name.startswith("observation."):
            keys[name] = f"observation/{name.removeprefix('observation.')}"
        elif name == "action":
            keys[name] = "action"
        elif name.startswith("action."):
            keys[name] = f"action_{name.removeprefix('action.')}"
    return keys


def features_json(
    features: Mapping[str, Feature],
    *,
    cameras: Mapping[str, tuple[tuple[int, ...], str]],
    infos: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The content of features.json.

    Args:
        features: Every stored column.
        cameras: Exported name to ((height, width, channels), `jpeg`, `png` or `png16`).
        infos: Exported name to what info.json says of a camera: of 16 bits it is described, as
            RLDS has no place for the scale of a depth.
    """
    observation: dict[str, Any] = {}
    steps: dict[str, Any] = {
        "is_first": _scalar("bool", "True on the first step."),
        "is_last": _scalar("bool", "True on the last step."),
        "is_terminal": _scalar("bool", "True on the last step."),
        "reward": _scalar("float32", "1 on the last step, 0 where the episode is known to fail."),
        "discount": _scalar("float32", "1."),
        "language_instruction": _text("The instruction; empty where there is none."),
    }
    for column, key in step_vectors(features).items():
        feature = features[column]
        names = " ".join(feature.names or ())
        entry = (
            _scalar("float32", names)
            if feature.shape == (1,)
            else _vector(feature.shape[0], f"In this order: {names}" if names else "")
        )
        group, _, name = key.rpartition("/")
        (observation if group else steps)[name] = entry
    for column, key in MAIN_COLUMNS.items():
        if column in features:
            is_bool = str(features[column].dtype) == "bool"
            steps[key] = _scalar("bool" if is_bool else "float32", f"finedata's column {column}.")
    for name, (shape, codec) in cameras.items():
        observation[name] = _image(shape, codec, (infos or {}).get(name, {}))
    steps["observation"] = _group(observation)
    metadata = {
        "episode_id": _text("finedata's id of the episode."),
        "source": _text("The corpus that it is from."),
        "embodiment": _text("The robot."),
        "licence": _text("The licence of the source."),
        "fps": _scalar("float32", "Steps a second."),
        "success": _scalar("int64", "1 or 0 as the source says; -1 where it says nothing."),
        **{
            f"has_{name}": _scalar("bool", "Whether the camera has real pictures.")
            for name in cameras
        },
    }
    return _group(
        {
            "steps": {
                "pythonClassName": _CORE + "dataset_feature.Dataset",
                "sequence": {"feature": _group(steps), "length": "-1"},
            },
            "episode_metadata": _group(metadata),
        }
    )


def dataset_info(
    *,
    name: str,
    sources: Sequence[SourceEntry],
    splits: Mapping[str, tuple[int, Sequence[int]]],
) -> dict[str, Any]:
    """The content of dataset_info.json.

    Args:
        name: Name of the dataset and of its files.
        sources: Where the episodes are from: titles, citations and licences are passed on.
        splits: By name: bytes of all payloads, and records of each file.
    """
    return {
        "name": name,
        "version": DATASET_VERSION,
        "description": "Exported by finedata from "
        + "; ".join(f"{source.title} {source.revision}".strip() for source in sources),
        "citation": "\n".join(source.citation for source in sources),
        "location": {"urls": [source.home for source in sources]},
        "redistributionInfo": {"license": "; ".join(source.licence for source in sources)},
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(size),
                "shardLengths": [str(count) for count in lengths],
            }
            for split, (size, lengths) in splits.items()
        ],
    }


def _group(features: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": _CORE + "features_dict.FeaturesDict",
        "featuresDict": {"features": dict(sorted(features.items()))},
    }


def _vector(size: int, description: str) -> dict[str, Any]:
    return {
        "pythonClassName": _CORE + "tensor_feature.Tensor",
        "tensor": {"shape": {"dimensions": [str(size)]}, "dtype": "float32", "encoding": "none"},
        "description": description,
    }


def _scalar(dtype: str, description: str) -> dict[str, Any]:
    return {
        "pythonClassName": _CORE + "scalar.Scalar",
        "tensor": {"shape": {}, "dtype": dtype, "encoding": "none"},
        "description": description,
    }


def _text(description: str) -> dict[str, Any]:
    return {
        "pythonClassName": _CORE + "text_feature.Text",
        "text": {},
        "description": description,
    }


def _image(shape: tuple[int, ...], codec: str, info: Mapping[str, Any]) -> dict[str, Any]:
    deep = codec == "png16"
    said = f" {json.dumps(info, sort_keys=True)}" if info else ""
    return {
        "pythonClassName": _CORE + "image_feature.Image",
        "image": {
            "shape": {"dimensions": [str(size) for size in shape]},
            "dtype": "uint16" if deep else "uint8",
            "encodingFormat": "png" if deep else codec,
        },
        "description": f"16 bits, as the source has them.{said}" if deep else "RGB.",
    }
