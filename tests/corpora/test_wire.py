"""Framing and wire format against others: the protobuf library, the checksums of RFC 3720."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from corpora.example import encode_example
from corpora.tfrecord import FRAME_OVERHEAD, frame_record, masked_crc32c, write_tfrecord
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.errors import UsageError


def _example_class():
    """`tf.train.Example` from its published fields, for the protobuf library."""
    file = descriptor_pb2.FileDescriptorProto(name="demo_oracle.proto", package="oracle")
    types = descriptor_pb2.FieldDescriptorProto
    for name, kind in (
        ("BytesList", types.TYPE_BYTES),
        ("FloatList", types.TYPE_FLOAT),
        ("Int64List", types.TYPE_INT64),
    ):
        message = file.message_type.add(name=name)
        field = message.field.add(name="value", number=1, type=kind, label=types.LABEL_REPEATED)
        field.options.packed = kind != types.TYPE_BYTES
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), 1):
        feature.field.add(
            name=name.lower(),
            number=number,
            type=types.TYPE_MESSAGE,
            type_name=f".oracle.{name}",
            oneof_index=0,
            label=types.LABEL_OPTIONAL,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=types.TYPE_STRING, label=types.LABEL_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=types.TYPE_MESSAGE,
        type_name=".oracle.Feature",
        label=types.LABEL_OPTIONAL,
    )
    features.field.add(
        name="feature",
        number=1,
        type=types.TYPE_MESSAGE,
        type_name=".oracle.Features.FeatureEntry",
        label=types.LABEL_REPEATED,
    )
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features",
        number=1,
        type=types.TYPE_MESSAGE,
        type_name=".oracle.Features",
        label=types.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.Example"))


Example = _example_class()

values = st.one_of(
    st.lists(st.binary(max_size=300), max_size=5),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(lambda v: np.array(v, np.int64)),
    st.lists(st.booleans(), max_size=200).map(lambda v: np.array(v, bool)),
    st.lists(st.floats(width=32, allow_nan=False), max_size=5).map(
        lambda v: np.array(v, np.float32)
    ),
)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.text(max_size=150), values, max_size=5), st.booleans())
def test_protobuf_reads_what_was_encoded(features, packed):
    parsed = Example.FromString(encode_example(features, packed=packed))
    assert set(parsed.features.feature) == set(features)
    for name, value in features.items():
        feature = parsed.features.feature[name]
        kind = feature.WhichOneof("kind")
        found = list(getattr(feature, kind).value)
        if isinstance(value, list):
            assert (kind, found) == ("byteslist", value)
        elif value.dtype.kind == "f":
            assert (kind, found) == ("floatlist", value.tolist())
        else:
            assert (kind, found) == ("int64list", value.astype(int).tolist())


def test_packed_bytes_are_those_of_protobuf():
    features = {
        "number": np.arange(-1, 300),
        "real": np.linspace(0, 1, 7),
        "raw": [b"", b"x" * 500],
    }
    for name, value in features.items():
        ours = encode_example({name: value})
        assert Example.FromString(ours).SerializeToString() == ours


def test_unpacked_is_longer_and_means_the_same():
    features = {"real": np.linspace(0, 1, 7, dtype=np.float32), "number": np.arange(3)}
    packed, unpacked = encode_example(features), encode_example(features, packed=False)
    assert len(unpacked) > len(packed)
    assert Example.FromString(unpacked) == Example.FromString(packed)


def test_uint64_is_bit_cast_and_matrices_are_flattened():
    parsed = Example.FromString(
        encode_example({"u": np.array([2**64 - 1], np.uint64), "m": np.arange(6.0).reshape(2, 3)})
    )
    assert list(parsed.features.feature["u"].int64list.value) == [-1]
    assert list(parsed.features.feature["m"].floatlist.value) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("value", [np.array(["text"]), ["text"], np.array([1j])])
def test_other_values_are_refused(value):
    with pytest.raises(UsageError, match="feature odd"):
        encode_example({"odd": value})


def test_known_checksums():
    # RFC 3720, appendix B.4: crc32c of 32 zeros and of 32 times 0xff; then TensorFlow's mask.
    for data, crc in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)):
        assert masked_crc32c(data) == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def test_frame_layout(tmp_path):
    payloads = [b"", b"abc", bytes(1000)]
    path = tmp_path / "file"
    size = write_tfrecord(path, iter(payloads))
    data = path.read_bytes()
    assert size == len(data) == sum(map(len, payloads)) + FRAME_OVERHEAD * len(payloads)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    for payload in payloads:
        frame, data = data[: len(payload) + 16], data[len(payload) + 16 :]
        assert frame == frame_record(payload)
        assert struct.unpack_from("<Q", frame)[0] == len(payload)
        assert frame[12:-4] == payload
        assert struct.unpack_from("<I", frame, 8)[0] == masked_crc32c(frame[:8])
        assert struct.unpack("<I", frame[-4:])[0] == masked_crc32c(payload)


def test_half_a_file_never_has_the_name(tmp_path):
    def payloads():
        yield b"one"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_tfrecord(tmp_path / "file", payloads())
    assert not (tmp_path / "file").exists()
