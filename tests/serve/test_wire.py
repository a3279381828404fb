"""Arrays on the wire: as the library msgpack reads and writes them, and what they say they are."""

from __future__ import annotations

import io
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from finedata.errors import UsageError
from finedata.serve.wire import pack, unpack

DTYPES = ["?", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", ">f4"]


def openpi(value: Any) -> Any:
    """Source: `pack_array` of openpi_client.msgpack_numpy."""
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str,
                b"shape": value.shape}  # fmt: skip
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return value


def from_openpi(value: Any) -> Any:
    """Source: `unpack_array` there."""
    if b"__ndarray__" in value:
        return np.ndarray(
            buffer=value[b"data"], dtype=np.dtype(value[b"dtype"]), shape=value[b"shape"]
        )
    return value


def vla_eval(value: Any) -> Any:
    """Source: `encode_ndarray` of vla_eval.protocol.numpy_codec; pictures are PNG by default."""
    if isinstance(value, np.ndarray):
        if value.ndim == 3 and value.dtype == np.uint8 and value.shape[2] in (1, 3, 4):
            buffer = io.BytesIO()
            Image.fromarray(value).save(buffer, format="PNG")
            return {"__image__": True, "format": "png", "data": buffer.getvalue(),
                    "shape": list(value.shape)}  # fmt: skip
        return {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str,
                "shape": list(value.shape)}  # fmt: skip
    return value


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(
            dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
        )
    )
)
def test_arrays_of_openpi_are_read_as_they_are(array: np.ndarray) -> None:
    found = unpack(msgpack.packb({"a": {"b": [array]}}, default=openpi))["a"]["b"][0]
    assert found.shape == array.shape
    assert found.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_answers_are_read_by_openpi_and_vla_eval() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = msgpack.unpackb(pack({"actions": array, "x": 1.5}), object_hook=from_openpi)
    assert np.array_equal(found["actions"], array)
    assert found["x"] == 1.5
    text = msgpack.unpackb(pack({"actions": array}, text_keys=True), raw=False)["actions"]
    assert text == {"__ndarray__": True, "data": array.tobytes(), "dtype": "<f4", "shape": [2, 3]}


def test_pictures_and_numbers_of_clients() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    found = unpack(msgpack.packb({"p": picture}, default=vla_eval))["p"]
    assert np.array_equal(found, picture)
    assert found.dtype == np.uint8
    assert unpack(msgpack.packb({"x": np.float32(2)}, default=openpi)) == {"x": 2.0}
    raw = {"__image__": True, "format": "raw", "data": picture.tobytes(), "dtype": "|u1",
           "shape": [5, 7, 3]}  # fmt: skip
    assert np.array_equal(unpack(msgpack.packb({"p": raw}))["p"], picture)


def spelled(**changes: Any) -> dict[Any, Any]:
    found = {"__ndarray__": True, "data": b"\0" * 8, "dtype": "<f4", "shape": [2]} | changes
    return {key.encode(): value for key, value in found.items()}


def png(mode: str, size: tuple[int, int], *, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (spelled(dtype="|O", shape=[1]), "dtype '|O'"),
        (spelled(dtype="|V8", shape=[1]), "dtype"),
        (spelled(dtype="<c8", shape=[1]), "dtype"),
        (spelled(dtype="<M8[s]", shape=[1]), "dtype"),
        (spelled(dtype="<U2", shape=[1]), "dtype"),
        (spelled(dtype="f4,f4", shape=[1]), "dtype"),
        (spelled(dtype=["<f4"]), "dtype"),
        (spelled(dtype=None), "dtype"),
        (spelled(shape=[-1]), "shape"),
        (spelled(shape=[-1, -2]), "shape"),
        (spelled(shape=[2**62, 4]), "shape"),
        (spelled(shape=[2**30, 2**30]), "shape"),
        (spelled(shape=[1] * 40), "shape"),
        (spelled(shape=[True, 2]), "shape"),
        (spelled(shape=["2"]), "shape"),
        (spelled(shape=2), "shape"),
        (spelled(shape=[3]), "8 bytes, wanted 12"),
        (spelled(data=b"\0" * 7), "7 bytes, wanted 8"),
        (spelled(data="12345678"), "str as data"),
        (spelled(data=None), "nothing as data"),
        ({b"__npgeneric__": True, b"data": b"x", b"dtype": "<f4"}, "bytes as data"),
        ({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}, "300"),
        ({b"__npgeneric__": True, b"data": 1, b"dtype": "|O"}, "dtype"),
        ({"__image__": True, "format": "gif", "data": b""}, "gif"),
        ({"__image__": True, "format": "png", "data": b"\x89PNG\r\n\x1a\n"}, "wanted a png"),
        ({"__image__": True, "format": "png", "data": png("RGB", (4, 4), kind="jpeg")}, "a png"),
        ({"__image__": True, "format": "png", "data": png("RGB", (4, 4))[:40]}, "a png"),
        ({"__image__": True, "format": "png", "data": png("RGBA", (4, 4))}, "4x4, RGBA"),
        ({"__image__": True, "format": "png", "data": png("1", (9000, 4))}, "9000x4"),
        ({"__image__": True, "format": "png", "data": png("1", (30_000, 30_000))}, "bomb"),
        ({"__image__": True, "format": "raw", "data": b"12", "dtype": "|O", "shape": [1]}, "|O"),
        ({b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [2], b"data": bytes(8)},
         "as the package msgpack-numpy spells it"),
        ({1: 2}, "a key 1"),
    ],
)  # fmt: skip
def test_arrays_that_lie_are_refused(value: Any, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        unpack(msgpack.packb({"x": value}))
    assert told in str(refused.value)
    assert "message.x" in str(refused.value)


@pytest.mark.parametrize("message", [b"", b"\xc1", b"\x93\x01", b"\x81\xa1", "text", b"\x01"])
def test_what_is_no_map_is_refused(message: Any) -> None:
    with pytest.raises(UsageError, match="message"):
        unpack(message)


def test_maps_in_maps_end_somewhere() -> None:
    deep: Any = {}
    for _ in range(50):
        deep = {"a": deep}
    with pytest.raises(UsageError, match="maps in maps"):
        unpack(msgpack.packb(deep))
    with pytest.raises(UsageError):
        unpack(b"\x81\xa1a" * 100_000 + b"\x01")
