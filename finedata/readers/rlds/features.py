"""What TFDS' `features.json` declares of each leaf, and how a stored feature is decoded by it.

A leaf's name is its path joined by slashes, which is also its key on disk; leaf names may hold
slashes themselves (BC-Z's `future/xyz_residual`), so names are looked up whole and never
split. `decode_feature` turns an undecoded feature into what its declaration says: float64 is
stored as float32, booleans and all integers as int64 (uint64 bit by bit), nested sequences as
flat values and row lengths, and an `encoding` of `zlib` or `bytes` as one blob per tensor.

Source: tensorflow_datasets 4.9.10, `core/example_serializer.py`, `core/example_parser.py`,
`core/features/tensor_feature.py`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from finedata.errors import FeatureError, LengthError, MissingFeatureError, SourceError
from finedata.readers.damage import HEAD_BYTES, impostor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.readers.rlds.example import Feature

Encoding = Literal["none", "bytes", "zlib"]


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """What features.json declares for one leaf.

    Attributes:
        name: Path joined by slashes: the key on disk.
        kind: `tensor` (numbers), `text` or `image`.
        dtype: The declared NumPy dtype's name; `string` for text.
        shape: Shape of one value; `None` where the length varies.
        sequences: How many sequences surround the value (1 inside `steps`).
        encoding: How a tensor's bytes are packed.
    """

    name: str
    kind: Literal["tensor", "text", "image"]
    dtype: str
    shape: tuple[int | None, ...]
    sequences: int
    encoding: Encoding = "none"


@dataclass(frozen=True, slots=True)
class Ragged:
    """A sequence of sequences: flat values and the row lengths of each level, outermost first."""

    values: np.ndarray | list[bytes]
    row_lengths: tuple[np.ndarray, ...]


def parse_features_json(text: bytes, *, place: str) -> dict[str, FeatureInfo]:
    """Read a features.json.

    Args:
        text: The file's bytes.
        place: Its name, for messages.

    Returns:
        Leaf name to declaration, in the file's order. Kinds of features that hold neither
        numbers that NumPy knows, text nor pictures are left out: asking for one is an error then.

    Raises:
        SourceError: Not JSON, or not a features.json.
    """
    try:
        root = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        other = impostor(text[:HEAD_BYTES], size=len(text))
        raise _not_features(place, other or f"text that is not JSON ({error})") from error
    if not isinstance(root, dict) or "featuresDict" not in root:
        raise _not_features(place, "JSON without `featuresDict` at its top")
    found: dict[str, FeatureInfo] = {}
    try:
        _walk(root, "", 0, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_features(place, f"a feature it cannot describe ({error!r})") from error
    return found


def _not_features(place: str, found: str) -> SourceError:
    return SourceError(place=place, found=found, wanted="a features.json as written by TFDS")


def _walk(node: Any, name: str, sequences: int, found: dict[str, FeatureInfo]) -> None:
    if "featuresDict" in node:
        for key, child in node["featuresDict"]["features"].items():
            _walk(child, f"{name}/{key}" if name else key, sequences, found)
    elif "sequence" in node:
        _walk(node["sequence"]["feature"], name, sequences + 1, found)
    elif "tensor" in node:
        tensor = node["tensor"]
        dtype: str = tensor["dtype"]
        kind = "text" if dtype in ("string", "object", "bytes") else "tensor"
        if kind == "tensor" and not _is_numeric(dtype):
            return
        encoding: Encoding = tensor.get("encoding", "none") or "none"
        found[name] = FeatureInfo(name, kind, dtype, _shape(tensor), sequences, encoding)
    elif "text" in node:
        found[name] = FeatureInfo(name, "text", "string", (), sequences)
    elif "image" in node:
        image = node["image"]
        found[name] = FeatureInfo(
            name, "image", image.get("dtype", "uint8"), _shape(image), sequences
        )
    elif "classLabel" in node:
        found[name] = FeatureInfo(name, "tensor", "int64", (), sequences)


def _is_numeric(dtype: object) -> bool:
    """Whether NumPy knows these numbers; bfloat16 is read as float32."""
    if not isinstance(dtype, str):
        raise TypeError(dtype)
    try:
        return dtype == "bfloat16" or np.dtype(dtype).kind in "biufc"
    except (TypeError, ValueError):
        return False


def _shape(node: Any) -> tuple[int | None, ...]:
    """Dimensions are strings; "-1" and null are unknown."""
    shape: dict[str, Any] = node.get("shape") or {}
    dimensions = shape.get("dimensions", [])
    sizes = [-1 if size is None else int(size) for size in dimensions]
    return tuple(None if size < 0 else size for size in sizes)


def decode_feature(
    features: Mapping[str, Feature], info: FeatureInfo
) -> np.ndarray | list[bytes] | Ragged:
    """Decode one feature as it is declared.

    Args:
        features: The record, from `parse_example`.
        info: The declaration.

    Returns:
        An array of the declared dtype (float64 was stored as float32) and shape, with a leading
        axis where the leaf is inside a sequence; a list of bytes for text and pictures; a
        `Ragged` inside two sequences or more.

    Raises:
        FeatureError: Missing, of another type, or of a size that its shape cannot have.
    """
    if info.sequences >= 2:
        levels = [
            _present(features, f"{info.name}/ragged_row_lengths_{level}").ints()
            for level in range(info.sequences - 1)
        ]
        flat = _present(features, f"{info.name}/ragged_flat_values")
        return Ragged(_decode_flat(flat, info), tuple(levels))
    values = _decode_flat(_present(features, info.name), info)
    if info.sequences == 0 and not info.shape and isinstance(values, np.ndarray):
        if values.size != 1:
            raise _wrong_size(info, values.size)
        return values.reshape(())
    return values


def _present(features: Mapping[str, Feature], name: str) -> Feature:
    feature = features.get(name)
    if feature is None:
        raise MissingFeatureError(
            place=f"feature {name}",
            found="no such feature in the record",
            wanted="what features.json declares",
        )
    return feature


def _decode_flat(feature: Feature, info: FeatureInfo) -> np.ndarray | list[bytes]:
    if info.kind in ("text", "image"):
        return _typed(feature, info, "bytes").values()
    if info.encoding != "none":
        return _decode_blobs(_typed(feature, info, "bytes").values(), info)
    dtype = np.dtype("float32" if info.dtype == "bfloat16" else info.dtype)
    if dtype.kind in "fc":
        flat = _typed(feature, info, "float").floats()
        return _reshaped(flat.astype(dtype, copy=False), info)
    # uint64 was stored bit by bit; the cast wraps it back.
    flat = _typed(feature, info, "int64").ints()
    return _reshaped(flat.astype(dtype, copy=False), info)


def _typed(feature: Feature, info: FeatureInfo, kind: str) -> Feature:
    if feature.kind not in (kind, "empty"):
        raise FeatureError(
            place=f"feature {info.name}",
            found=f"a list of {feature.kind}",
            wanted=f"a list of {kind} ({info.dtype} in features.json)",
        )
    return feature


def _decode_blobs(blobs: list[bytes], info: FeatureInfo) -> np.ndarray:
    """Tensors stored as one blob each: raw, or compressed with zlib (OXE's kuka)."""
    try:
        raw = [zlib.decompress(blob) for blob in blobs] if info.encoding == "zlib" else blobs
        rows = [
            np.frombuffer(blob, np.dtype(info.dtype)).reshape(_open(info.shape)) for blob in raw
        ]
        return np.stack(rows) if rows else np.zeros((0, *_open(info.shape)), np.dtype(info.dtype))
    except (zlib.error, ValueError, TypeError) as error:
        raise FeatureError(
            place=f"feature {info.name}",
            found=f"a blob that does not decode ({error})",
            wanted=f"{info.dtype} {info.shape} packed as {info.encoding}",
        ) from error


def _reshaped(flat: np.ndarray, info: FeatureInfo) -> np.ndarray:
    """Give the flat values their shape; a sequence puts its own axis in front."""
    unknown = sum(size is None for size in info.shape)
    shape = list(_open(info.shape))
    if info.sequences:
        shape = [-1, *shape]
        unknown += 1
    if unknown > 1:
        return flat
    known = int(np.prod([size for size in shape if size >= 0], dtype=np.int64))
    if (unknown == 0 and flat.size != known) or (unknown == 1 and known and flat.size % known):
        raise _wrong_size(info, flat.size)
    if flat.size == 0:
        shape = [0 if size == -1 else size for size in shape]
    return flat.reshape(shape)


def _open(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """A shape for reshape: -1 where the size is open."""
    return tuple(-1 if size is None else size for size in shape)


def _wrong_size(info: FeatureInfo, size: int) -> LengthError:
    return LengthError(
        place=f"feature {info.name}",
        found=f"{size} numbers",
        wanted=f"a whole number of values of shape {info.shape}",
    )
