"""features.json: our decoding equals TFDS' own `deserialize_example_np` on every odd case."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from corpora.example import encode_example
from google.protobuf import __version__ as protobuf_version
from packaging.version import Version

from finedata.errors import FeatureError, LengthError, MissingFeatureError, SourceError
from finedata.readers.rlds.example import parse_example
from finedata.readers.rlds.features import Ragged, decode_feature, parse_features_json


def tensor(dtype: str, shape: tuple[int, ...] = (), encoding: str = "none") -> dict[str, Any]:
    sizes = {"dimensions": [str(size) for size in shape]} if shape else {}
    return {
        "pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor",
        "tensor": {"shape": sizes, "dtype": dtype, "encoding": encoding},
    }


def text() -> dict[str, Any]:
    return {
        "pythonClassName": "tensorflow_datasets.core.features.text_feature.Text",
        "text": {},
    }


def sequence(inner: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
        "sequence": {"feature": inner, "length": "-1"},
    }


def steps(features: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": "tensorflow_datasets.core.features.dataset_feature.Dataset",
        "sequence": {"feature": mapping(features), "length": "-1"},
    }


def mapping(features: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


T = 4
RNG = np.random.default_rng(0)
BLOBS = RNG.random((T, 3)).astype(np.float32)

SPEC = mapping(
    {
        "steps": steps(
            {
                "double": tensor("float64", (2,)),
                "flag": tensor("bool"),
                "small": tensor("int32", (3,)),
                "huge": tensor("uint64"),
                "words": text(),
                "action": mapping({"future/xyz_residual": tensor("float32", (6,))}),
                "packed": tensor("float32", (3,), "zlib"),
                "raw": tensor("float32", (3,), "bytes"),
                "points": sequence(tensor("float32", (2,))),
                "notes": sequence(text()),
            }
        ),
        "number": tensor("int64"),
        "name": text(),
    }
)

# TFDS hands protobuf's container to NumPy, which reads it number by number before protobuf 7.34 and
# then refuses what it takes for a negative one.
ORACLE_READS_HUGE = Version(protobuf_version) >= Version("7.34")

RECORD = {
    "steps/double": RNG.random((T, 2)),
    "steps/flag": np.array([True, False, False, True]),
    "steps/small": np.arange(T * 3).reshape(T, 3) - 5,
    "steps/huge": np.array([0, 1, 2**63, 2**64 - 1], np.uint64).view(np.int64),
    "steps/words": [b"a", "\u00e9".encode(), b"", b"a"],
    "steps/action/future/xyz_residual": RNG.random((T, 6)).astype(np.float32),
    "steps/packed": [zlib.compress(row.tobytes()) for row in BLOBS],
    "steps/raw": [row.tobytes() for row in BLOBS],
    "steps/points/ragged_flat_values": RNG.random((5, 2)).astype(np.float32),
    "steps/points/ragged_row_lengths_0": np.array([2, 0, 3, 0]),
    "steps/notes/ragged_flat_values": [b"n1", b"n2"],
    "steps/notes/ragged_row_lengths_0": np.array([0, 1, 0, 1]),
    "number": np.array([42]),
    "name": [b"whole"],
}


@pytest.fixture(scope="module")
def infos() -> dict[str, Any]:
    return parse_features_json(json.dumps(SPEC).encode(), place="features.json")


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("spec")
    spec = json.dumps(SPEC)
    if not ORACLE_READS_HUGE:
        spec = spec.replace(json.dumps({"huge": tensor("uint64")})[1:-1] + ", ", "", 1)
        assert "huge" not in spec
    (folder / "features.json").write_text(spec)
    connector = tfds.features.FeaturesDict.from_config(str(folder))
    return connector.deserialize_example_np(encode_example(RECORD))


def test_names_keep_slashes_of_their_own(infos: dict[str, Any]) -> None:
    assert "steps/action/future/xyz_residual" in infos
    assert infos["steps/points"].sequences == 2
    assert infos["number"].sequences == 0


@pytest.mark.parametrize(
    "name",
    ["double", "flag", "small", "huge", "packed", "raw", "action/future/xyz_residual"],
)
def test_numbers_equal_the_oracle(infos: dict[str, Any], oracle: dict[str, Any], name: str) -> None:
    ours = decode_feature(parse_example(encode_example(RECORD)), infos[f"steps/{name}"])
    theirs = [
        step["action"]["future/xyz_residual"] if name.startswith("action") else step[name]
        for step in oracle["steps"]
        if name != "huge" or ORACLE_READS_HUGE
    ] or list(RECORD["steps/huge"].view(np.uint64))
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.asarray(theirs[0]).dtype
    np.testing.assert_array_equal(ours, np.stack(theirs))


def test_words_equal_the_oracle(infos: dict[str, Any], oracle: dict[str, Any]) -> None:
    ours = decode_feature(parse_example(encode_example(RECORD)), infos["steps/words"])
    assert ours == [step["words"] for step in oracle["steps"]] == RECORD["steps/words"]


def test_float64_was_stored_as_float32(infos: dict[str, Any]) -> None:
    ours = decode_feature(parse_example(encode_example(RECORD)), infos["steps/double"])
    assert ours.dtype == np.float64
    np.testing.assert_array_equal(ours, RECORD["steps/double"].astype(np.float32))


def test_ragged_keeps_its_rows(infos: dict[str, Any]) -> None:
    features = parse_example(encode_example(RECORD))
    points = decode_feature(features, infos["steps/points"])
    assert isinstance(points, Ragged)
    np.testing.assert_array_equal(points.values, RECORD["steps/points/ragged_flat_values"])
    np.testing.assert_array_equal(points.row_lengths[0], [2, 0, 3, 0])
    notes = decode_feature(features, infos["steps/notes"])
    assert isinstance(notes, Ragged)
    assert notes.values == [b"n1", b"n2"]


def test_episode_level_scalar(infos: dict[str, Any], oracle: dict[str, Any]) -> None:
    features = parse_example(encode_example(RECORD))
    assert decode_feature(features, infos["number"]) == oracle["number"] == 42
    assert decode_feature(features, infos["name"]) == [oracle["name"]]


def broken(**changes: Any) -> dict[str, Any]:
    return parse_example(encode_example(RECORD | {f"steps/{k}": v for k, v in changes.items()}))


def test_missing_feature_is_named(infos: dict[str, Any]) -> None:
    features = parse_example(encode_example({"number": np.array([1])}))
    with pytest.raises(MissingFeatureError, match="steps/double"):
        decode_feature(features, infos["steps/double"])


def test_wrong_type_is_named(infos: dict[str, Any]) -> None:
    with pytest.raises(FeatureError, match=r"steps/double.*list of int64"):
        decode_feature(broken(double=np.arange(8)), infos["steps/double"])


def test_impossible_size_is_named(infos: dict[str, Any]) -> None:
    with pytest.raises(LengthError, match="7 numbers"):
        decode_feature(broken(double=np.zeros(7)), infos["steps/double"])


@pytest.mark.parametrize("blob", [b"not zlib", zlib.compress(b"abc")])
def test_blob_that_does_not_decode(infos: dict[str, Any], blob: bytes) -> None:
    with pytest.raises(FeatureError, match="steps/packed"):
        decode_feature(broken(packed=[blob] * T), infos["steps/packed"])


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"\xf7": 1}',
        b'{"a": ' + b"[" * 100_000,
        b'{"featuresDict": {"features": {"a": 3}}}',
        json.dumps(mapping({"a": tensor(7)})).encode(),  # pyright: ignore[reportArgumentType]
        json.dumps(mapping({"a": tensor(None)})).encode(),  # pyright: ignore[reportArgumentType]
    ],
)
def test_not_a_features_json(content: bytes) -> None:
    with pytest.raises(SourceError, match=r"features\.json"):
        parse_features_json(content, place="features.json")


def test_real_features(real_bridge: Path) -> None:
    infos = parse_features_json((real_bridge / "features.json").read_bytes(), place="real")
    assert infos["steps/observation/state"].shape == (7,)
    assert infos["steps/observation/image_0"].kind == "image"
    assert infos["steps/observation/image_0"].shape == (64, 64, 3)
    assert infos["episode_metadata/file_path"].kind == "text"


def test_bfloat16_is_read_as_float32() -> None:
    spec = json.dumps(mapping({"brain": tensor("bfloat16", (2,))})).encode()
    info = parse_features_json(spec, place="x")["brain"]
    record = parse_example(encode_example({"brain": np.array([0.5, -2.0])}))
    values = decode_feature(record, info)
    assert isinstance(values, np.ndarray)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [0.5, -2.0])


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "int4", "datetime64[s]", "no such thing", ""])
def test_numbers_that_numpy_does_not_know_are_left_out(dtype: str) -> None:
    spec = json.dumps(mapping({"odd": tensor(dtype), "number": tensor("int64")})).encode()
    assert list(parse_features_json(spec, place="x")) == ["number"]
