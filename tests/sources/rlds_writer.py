"""RLDS as TFDS writes it: declared features and episodes come in, a version folder goes out.

    FOLDER/<name>/<version>/features.json
    FOLDER/<name>/<version>/dataset_info.json
    FOLDER/<name>/<version>/<name>-<split>.tfrecord-00000-of-00002 ...

A fixture declares its features as a nested dictionary of leaves (`tensor`, `text`, `image`) and
hands over one flat dictionary per episode, whose keys are those on disk. Bytes are framed by the
demo corpus's own encoder and framing, which the readers do not use.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from corpora.example import encode_example
from corpora.tfrecord import write_tfrecord
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "Place",
    "black_pictures",
    "digests",
    "embedding",
    "encoded",
    "image",
    "pictures",
    "places",
    "step_flags",
    "tensor",
    "text",
    "write_rlds",
]

_CORE = "tensorflow_datasets.core.features."


@dataclass(frozen=True)
class Place:
    """Where a record lies: `key` names it where the source itself has no name for an episode."""

    split: str
    shard: int
    record: int

    @property
    def key(self) -> str:
        """Split, number of the shard in it, number of the record in that: `train/0#1`."""
        return f"{self.split}/{self.shard}#{self.record}"


def places(count: int, shards: Mapping[str, int]) -> list[Place]:
    """Deal `count` episodes out, in order, over so many shards of each split."""
    files = [(split, shard) for split, number in shards.items() for shard in range(number)]
    runs = np.array_split(np.arange(count), len(files))
    return [
        Place(split, shard, record)
        for (split, shard), run in zip(files, runs, strict=True)
        for record in range(len(run))
    ]


def tensor(*shape: int, dtype: str = "float32", encoding: str = "none") -> dict[str, Any]:
    """Declare numbers. Dimensions are strings, and the shape of a scalar is empty."""
    declared: dict[str, Any] = {"dimensions": [str(size) for size in shape]} if shape else {}
    return {
        "pythonClassName": _CORE + ("tensor_feature.Tensor" if shape else "scalar.Scalar"),
        "tensor": {"shape": declared, "dtype": dtype, "encoding": encoding},
    }


def text() -> dict[str, Any]:
    """Declare a string."""
    return {"pythonClassName": _CORE + "text_feature.Text", "text": {}}


def image(
    height: int,
    width: int,
    channels: int = 3,
    *,
    dtype: str = "uint8",
    encoding_format: str | None = "jpeg",
) -> dict[str, Any]:
    """Declare a picture; older files say nothing of the format (`None`)."""
    declared: dict[str, Any] = {
        "shape": {"dimensions": [str(height), str(width), str(channels)]},
        "dtype": dtype,
    }
    if encoding_format is not None:
        declared["encodingFormat"] = encoding_format
    return {"pythonClassName": _CORE + "image_feature.Image", "image": declared}


def write_rlds(
    folder: Path,
    *,
    name: str,
    version: str,
    features: Mapping[str, Any],
    episodes: Sequence[Mapping[str, Any]],
    shards: Mapping[str, int] | None = None,
) -> Path:
    """Write a source; returns the version folder.

    Args:
        folder: The source goes into `folder/name/version`.
        name: TFDS's name of it.
        version: Its version.
        features: Nested leaves of the episode level; those under `steps` are per step.
        episodes: By key on disk, a NumPy array (flattened when written) or a list of bytes.
        shards: By split, how many files; one of `train` by default. `places` says what goes where.
    """
    target = folder / name / version
    target.mkdir(parents=True)
    shards = {"train": 1} if shards is None else shards
    declared = set(_leaves(features, ""))
    records: dict[tuple[str, int], list[bytes]] = {
        (split, shard): [] for split, number in shards.items() for shard in range(number)
    }
    for place, episode in zip(places(len(episodes), shards), episodes, strict=True):
        odd = declared ^ set(episode)
        if odd:
            message = f"declared or written only: {sorted(odd)}"
            raise ValueError(message)
        records[place.split, place.shard].append(encode_example(dict(sorted(episode.items()))))
    for (split, shard), payloads in records.items():
        file = f"{name}-{split}.tfrecord-{shard:05d}-of-{shards[split]:05d}"
        write_tfrecord(target / file, payloads)
    _write_json(target / "features.json", _node(features))
    _write_json(
        target / "dataset_info.json",
        {
            "fileFormat": "tfrecord",
            "moduleName": f"{name}.{name}_dataset_builder",
            "name": name,
            "releaseNotes": {version: "Initial release."},
            "splits": [_split(split, number, records) for split, number in shards.items()],
            "version": version,
        },
    )
    return target


def step_flags(length: int) -> dict[str, np.ndarray]:
    """The per-step flags and the reward that every RLDS set has."""
    first, last = np.zeros(length, bool), np.zeros(length, bool)
    first[0], last[-1] = True, True
    return {
        "steps/is_first": first,
        "steps/is_last": last,
        "steps/is_terminal": last,
        "steps/reward": last.astype(np.float32),
    }


def pictures(
    rng: np.random.Generator, count: int, size: tuple[int, int], *, form: str = "JPEG"
) -> list[bytes]:
    """`count` pictures (height, width): a spot that wanders over a coloured slope."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    slope = np.stack([rows * 255 // height, columns * 255 // width, rows * 0 + 90], axis=-1)
    slope = (slope + rng.integers(0, 60, 3)) % 256
    start, step = rng.uniform(0.2, 0.5, 2), rng.uniform(0.1, 0.5, 2) / max(count, 1)
    made = []
    for number in range(count):
        row, column = (start + number * step) * (height, width)
        near = (rows - row) ** 2 + (columns - column) ** 2 < (height / 8) ** 2
        made.append(encoded(np.where(near[..., None], (250, 20, 40), slope), form=form))
    return made


def black_pictures(count: int, size: tuple[int, int]) -> list[bytes]:
    """The placeholder of a camera that was not there."""
    return [encoded(np.zeros((*size, 3)))] * count


def encoded(pixels: np.ndarray, *, form: str = "JPEG") -> bytes:
    """One picture as bytes; `uint16` pixels (H, W) become a 16-bit PNG."""
    array = pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form)
    return buffer.getvalue()


def digests(frames: Sequence[bytes]) -> tuple[str, ...]:
    """The sha256 of each picture, in hex digits."""
    return tuple(hashlib.sha256(frame).hexdigest() for frame in frames)


def embedding(instruction: str, length: int) -> np.ndarray:
    """(length, 512) float32: a stand-in for the sentence embedding, zero without instruction."""
    if not instruction:
        return np.zeros((length, 512), np.float32)
    seed = list(hashlib.sha256(instruction.encode()).digest())
    return np.tile(np.random.default_rng(seed).standard_normal(512).astype(np.float32), (length, 1))


def _leaves(node: Mapping[str, Any], prefix: str) -> list[str]:
    found: list[str] = []
    for key, child in node.items():
        is_leaf = "pythonClassName" in child
        found += [prefix + key] if is_leaf else _leaves(child, f"{prefix}{key}/")
    return found


def _node(features: Mapping[str, Any], *, top: bool = True) -> dict[str, Any]:
    inside = {
        key: child if "pythonClassName" in child else _node(child, top=False)
        for key, child in features.items()
    }
    if top:
        inside["steps"] = {
            "pythonClassName": _CORE + "dataset_feature.Dataset",
            "sequence": {"feature": inside["steps"], "length": "-1"},
        }
    return {
        "pythonClassName": _CORE + "features_dict.FeaturesDict",
        "featuresDict": {"features": inside},
    }


def _split(
    split: str, number: int, records: Mapping[tuple[str, int], Sequence[bytes]]
) -> dict[str, Any]:
    files = [records[split, shard] for shard in range(number)]
    return {
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "name": split,
        "numBytes": str(sum(len(payload) for file in files for payload in file)),
        "shardLengths": [str(len(file)) for file in files],
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
