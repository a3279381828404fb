"""The hand-written Example against protobuf's own parser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_datasets.proto import tf_example_pb2

from finedata.errors import FeatureError
from finedata.store.export.tfrecord import encode_example, frame_record

VALUES = st.one_of(
    hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_nan=False)),
    hnp.arrays(np.int64, st.integers(0, 40)),
    hnp.arrays(np.bool_, st.integers(0, 40)),
    st.lists(st.binary(max_size=300), max_size=5),
)


@given(st.dictionaries(st.text(max_size=200), VALUES, max_size=5))
def test_protobuf_reads_what_we_write(features: dict) -> None:
    parsed = tf_example_pb2.Example.FromString(encode_example(features)).features.feature
    assert set(parsed) == set(features)
    for name, value in features.items():
        kind = parsed[name].WhichOneof("kind")
        assert list(getattr(parsed[name], kind).value) == list(value)
    again = encode_example(dict(reversed(features.items())))
    assert again == encode_example(features)


def test_double_becomes_single_and_others_are_refused() -> None:
    payload = encode_example({"a": np.array([[0.1], [2.0]])})
    found = tf_example_pb2.Example.FromString(payload).features.feature["a"].float_list.value
    np.testing.assert_array_equal(np.float32(found), np.float32([0.1, 2.0]))
    with pytest.raises(FeatureError, match="complex"):
        encode_example({"a": np.array([1j])})


def test_a_record_is_what_tensorflow_documents() -> None:
    # The bytes that TensorFlow's own writer gives for the payload b"abc".
    record = frame_record(b"abc")
    assert record[:8] == b"\x03\0\0\0\0\0\0\0"
    assert record[12:15] == b"abc"
    assert len(record) == 19
