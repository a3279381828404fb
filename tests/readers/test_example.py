"""The hand-walked Example equals what protobuf and TFDS' own messages say, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from corpora.example import encode_example
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.proto import tf_example_pb2

from finedata.errors import CorruptRecordError
from finedata.readers.rlds.example import parse_example

VALUES = {
    "floats": np.array([1.5, -0.0, np.inf, np.nan], np.float32),
    "ints": np.array([0, 1, -1, 2**62, -(2**63)], np.int64),
    "flags": np.array([True, False]),
    "texts": [b"", b"one", b"x" * 300],
    "a/slash/name": np.array([7.0], np.float32),
    "no floats": np.array([], np.float32),
    "no ints": np.array([], np.int64),
    "no texts": [],
}


@pytest.mark.parametrize("packed", [True, False])
def test_reads_every_kind(packed: bool) -> None:
    features = parse_example(encode_example(VALUES, packed=packed))
    assert set(features) == set(VALUES)
    np.testing.assert_array_equal(features["floats"].floats(), VALUES["floats"])
    np.testing.assert_array_equal(features["ints"].ints(), VALUES["ints"])
    np.testing.assert_array_equal(features["flags"].ints(), [1, 0])
    assert features["texts"].values() == VALUES["texts"]
    assert len(features["no floats"].floats()) == len(features["no ints"].ints()) == 0
    assert features["no texts"].values() == []


def test_slices_point_into_the_record() -> None:
    payload = encode_example(VALUES)
    slices = parse_example(payload)["texts"].slices()
    assert slices.buffer is payload
    assert [slices[i] for i in range(3)] == VALUES["texts"]
    assert slices.joined() == b"".join(VALUES["texts"])


def protobuf_example() -> tf_example_pb2.Example:
    message = tf_example_pb2.Example()
    message.features.feature["a"].float_list.value.extend([1.0, 2.0])
    message.features.feature["b"].bytes_list.value.extend([b"p", b"qq"])
    return message


def test_reads_what_protobuf_writes() -> None:
    features = parse_example(protobuf_example().SerializeToString())
    np.testing.assert_array_equal(features["a"].floats(), [1.0, 2.0])
    assert features["b"].values() == [b"p", b"qq"]


def test_legal_but_unusual_layouts_go_through_protobuf() -> None:
    # Two messages one after the other are legal: repeated fields are merged, the last entry wins.
    second = tf_example_pb2.Example()
    second.features.feature["c"].int64_list.value.append(5)
    second.features.feature["a"].float_list.value.append(9.0)
    payload = protobuf_example().SerializeToString() + second.SerializeToString()
    features = parse_example(payload)
    assert set(features) == {"a", "b", "c"}
    np.testing.assert_array_equal(features["a"].floats(), [9.0])
    # An unknown field beside a known one is legal too.
    with_unknown = payload + b"\x7a\x02hi"
    assert set(parse_example(with_unknown)) == {"a", "b", "c"}


def test_empty_payload_has_no_feature() -> None:
    assert parse_example(b"") == {}


@pytest.mark.parametrize("payload", [b"\x0a", b"\x0a\x05abc", b"\xff" * 20, b"not protobuf at all"])
def test_garbage_is_refused(payload: bytes) -> None:
    with pytest.raises(CorruptRecordError, match=r"tf\.train\.Example"):
        parse_example(payload)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_mutations_are_read_like_protobuf_or_refused(data: st.DataObject) -> None:
    payload = bytearray(encode_example(VALUES))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        features = parse_example(bytes(payload))
        ours = {name: feature.kind for name, feature in features.items()}
        for feature in features.values():
            if feature.kind == "float":
                feature.floats()
            elif feature.kind == "int64":
                feature.ints()
            elif feature.kind == "bytes":
                feature.values()
    except CorruptRecordError:
        return
    # What we accept, protobuf accepts as well, with the same features of the same kinds.
    theirs = tf_example_pb2.Example.FromString(bytes(payload)).features.feature
    kinds = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64", None: "empty"}
    assert ours == {name: kinds[value.WhichOneof("kind")] for name, value in theirs.items()}
