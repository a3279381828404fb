"""`.npy` files: NumPy is the oracle for good ones; bad ones end in a typed error, in no call."""

from __future__ import annotations

import builtins
import copyreg
import functools
import io
import math
import operator
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.errors import CorruptRecordError, SourceError
from finedata.readers.npy import RefusedPickleError, read_npy


def header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(11 + len(text)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def packed(pickled: bytes) -> bytes:
    return header("|O", "()") + pickled


def saved(value: Any, protocol: int = 4) -> bytes:
    """As numpy.save writes what is no array, in any protocol."""
    wrapped = np.empty((), object)
    wrapped[()] = value
    return packed(pickle.dumps(wrapped, protocol=protocol))


def plain(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def native(array: np.ndarray) -> np.dtype[Any]:
    return array.dtype.newbyteorder("=")


def same(left: Any, right: Any) -> bool:
    """Equal in type, order and every bit, but for the byte order, which NumPy makes its own."""
    if isinstance(left, np.ndarray) and left.dtype != object:
        return (
            isinstance(right, np.ndarray)
            and native(left) == native(right)
            and left.shape == right.shape
            and left.astype(native(left)).tobytes() == right.astype(native(right)).tobytes()
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, np.ndarray):
        return left.shape == right.shape and same(left.ravel().tolist(), right.ravel().tolist())
    if isinstance(left, float):
        return struct.pack("d", left) == struct.pack("d", right)
    return bool(left == right)


TREE = {
    "036422060215": [
        {"timestamp": 1_631_270_645_123, "tcp": np.arange(7.0), "robot_ft": np.ones(6, np.float32)},
        {"timestamp": np.int64(5), "tcp": None, "more": (1, (2.5, -math.inf), "é", b"\xff", True)},
    ],
    "f0172289": {
        1_631_270_645_123: {"gripper_command": [95.0, 0, -70_000]},
        np.int64(7): np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        -5: [np.float32(0.5), np.bool_(True), np.str_("word"), np.bytes_(b"raw")],
    },
    "arrays": [np.array([]).reshape(0, 3), np.array(["a", "bcd"]), np.array(3, np.uint8)],
    "objects": np.array([[None, "x"], [1, [2]]], object),
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_tree_is_what_numpy_reads(protocol: int) -> None:
    data = saved(TREE, protocol)
    assert same(read_npy(data, place="x"), np.load(io.BytesIO(data), allow_pickle=True).item())


def test_protocol_2_writes_bytes_as_text() -> None:
    tree = {"a": np.arange(5.0), "b": [np.float64(2.5), b"\xfe"]}
    assert same(read_npy(saved(tree, 2), place="x"), tree)


def test_numpy_1_called_its_modules_otherwise() -> None:
    data = saved({"a": np.arange(3)}, 3)
    old = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != data
    assert same(read_npy(old, place="x"), {"a": np.arange(3)})


def test_arrays_are_read_only_views() -> None:
    found = read_npy(saved({"a": np.arange(4)}), place="x")["a"]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_shared_members_stay_shared() -> None:
    row = [1.0, 2.0]
    found = read_npy(saved({"a": row, "b": row}), place="x")
    assert found == {"a": row, "b": row}
    assert found["a"] is found["b"]


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 80), 1 << 80) | st.floats() | st.text()
    | st.binary(max_size=20) | st.sampled_from([np.arange(3.0), np.zeros((2, 2), np.uint8)]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner)
    | st.tuples(inner, inner),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(tree=TREES, protocol=st.integers(3, 5))
def test_any_tree_of_plain_values(tree: Any, protocol: int) -> None:
    assert same(read_npy(saved(tree, protocol), place="x"), tree)


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "|u1", "<i8", "|b1", "<c16", "<U3", "|S4"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3)])
def test_plain_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    found = read_npy(plain(array), place="x")
    assert found.dtype == array.dtype
    assert same(found, array)


def test_plain_array_in_fortran_order() -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert same(read_npy(plain(array), place="x"), array)


class Call:
    """Pickles as a call of anything with anything."""

    def __init__(self, target: Any, *arguments: Any) -> None:
        self.reduced = (target, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class Stated(Call):
    """Pickles as a call and a state for what it gives."""

    def __init__(self, state: Any, target: Any, *arguments: Any) -> None:
        super().__init__(target, *arguments)
        self.reduced = (*self.reduced, state)


def harmful(marker: str) -> dict[str, Any]:
    code = f"__import__('os').mkdir({marker!r})"
    return {
        "os.mkdir": Call(os.mkdir, marker),
        "os.system": Call(os.system, f"mkdir {marker}"),
        "eval": Call(builtins.eval, code),
        "exec": Call(builtins.exec, code),
        "getattr": Call(getattr, Call(builtins.__import__, "os"), "mkdir"),
        "nested": {"a": [1, {"b": (Call(os.mkdir, marker),)}]},
        "a key": {Call(str, marker): 1},
        "copyreg": Call(copyreg._reconstructor, Path, object, None),
        "functools": Call(functools.partial, os.mkdir, marker),
        "operator": Call(operator.methodcaller, "mkdir"),
        "numpy.load": Call(np.load, marker),
        "numpy.fromfile": Call(np.fromfile, marker),
        "numpy.save": Call(np.save, marker, 1),
        "numpy.memmap": Call(np.memmap, marker),
        "an object": Path(marker),
        "a set": {1, 2},
        "a frozenset": frozenset([1]),
        "complex": 1j,
        "a type": np.float64,
        "a function": os.mkdir,
    }


@pytest.mark.parametrize("kind", sorted(harmful("")))
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_names_are_refused_and_never_run(kind: str, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    data = saved(harmful(str(marker))[kind], protocol)
    with pytest.raises(RefusedPickleError, match="nothing was executed") as caught:
        read_npy(data, place="scene/tcp.npy")
    assert caught.value.place == "scene/tcp.npy"
    assert not list(tmp_path.iterdir())


def test_payloads_do_run_where_nobody_refuses(tmp_path: Path) -> None:
    """The test above could not fail otherwise."""
    marker = tmp_path / "executed"
    np.load(io.BytesIO(saved(Call(os.mkdir, str(marker)))), allow_pickle=True)
    assert marker.is_dir()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x04Nbuiltins\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02K\x01Q.",
        b"Pidentity\n.",
        b"\x80\x05\x97.",
    ],
    ids=["global", "inst", "obj", "long text", "extension", "persistent", "identity", "buffer"],
)
def test_opcodes_outside_the_subset(pickled: bytes) -> None:
    with pytest.raises(SourceError):
        read_npy(packed(pickled), place="x")


def test_extensions_and_instances_are_refused_as_such() -> None:
    for pickled in (
        b"\x80\x02)\x81.",
        b"\x80\x02\x82\x01.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x02K\x01Q.",
    ):
        with pytest.raises(RefusedPickleError):
            read_npy(packed(pickled), place="x")


@pytest.mark.parametrize(
    "value",
    [
        # Bytes passed off as object pointers: NumPy itself believes the flags (the last 0).
        Stated((3, "|", None, None, None, -1, -1, 0), np.dtype, "O8", False, True),
        Call(np.ndarray, (2,)),
        Call(np.dtype, "V8"),
        Call(np.dtype, [("a", "f8")]),
        Stated((1, (10**9,), np.dtype(object), False, []), np._core.multiarray._reconstruct,
               np.ndarray, (0,), b"b"),
        Stated((1, (1,), np.dtype(object), False, b"\1" * 8), np._core.multiarray._reconstruct,
               np.ndarray, (0,), b"b"),
        Stated((1, (10**12,), np.dtype("f8"), False, b"12345678"),
               np._core.multiarray._reconstruct, np.ndarray, (0,), b"b"),
        Stated((1, (-1,), np.dtype("f8"), False, b""), np._core.multiarray._reconstruct,
               np.ndarray, (0,), b"b"),
        Call(np._core.multiarray._reconstruct, np.ndarray, (10**9,), b"b"),
        Call(np._core.multiarray.scalar, np.dtype(object), b"\1" * 8),
        np.zeros(2, [("a", "f8")]),
        np.array(["2020-01-01"], "M8[D]"),
    ],
)  # fmt: skip
def test_crafted_arrays_are_refused(value: Any) -> None:
    with pytest.raises(SourceError):
        read_npy(saved([value]), place="x")


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(9, 9, 99999999999)", "(18446744073709551616,)"]
)
@pytest.mark.parametrize("descr", ["<f8", "|O", "<U0", "|V0"])
def test_declared_sizes_are_compared_with_the_file(descr: str, shape: str) -> None:
    with pytest.raises(CorruptRecordError):
        read_npy(header(descr, shape) + bytes(80), place="x")


@pytest.mark.parametrize(
    "descr", ["[('a', '<f8')]", "(" * 5000, "<f8', 'fortran_order': True, 'descr': '<f8"]
)
def test_other_headers(descr: str) -> None:
    with pytest.raises(CorruptRecordError, match="x: found the header"):
        read_npy(header(descr, "(1,)") + bytes(8), place="x")


def bomb() -> bytes:
    """Thirty lists, each holding the one before ten times: 10**30 values in a few hundred bytes."""
    pickled = b"\x80\x04]q\xc8"
    for level in range(200, 230):
        pickled += b"](" + b"h%c" % level * 10 + b"eq%c" % (level + 1)
    return pickled


@pytest.mark.parametrize(
    "tree",
    [
        bomb(),
        b"\x80\x04]q\xc8h\xc8a",  # a list that holds itself
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999,
        b"\x80\x04}" + b")" + b"\x85" * 300_000 + b"Ns",  # hashing this key overflows C's stack
        b"\x80\x04\x8a\x7f",
        b"\x80\x04B\xff\xff\xff\xff",
        b"\x80\x04t",
        b"\x80\x04h\x05",
        b"\x80\x04(((",
        b"\x80\x04]Na]Na",
        b"\x80\x04]N]Nu",
        b"\x80\x04}(Nu",
        b"\x80\x04\x95\x00",
        b"\x80\x04\x80\x09N",
        b"\xff",
        b"",
    ],
    ids=lambda tree: repr(tree[:12]),
)
def test_damaged_and_hostile_pickles(tree: bytes) -> None:
    array = saved("HERE")
    start, end = array.index(b"\x8c\x04HERE"), array.index(b"\x8c\x04HERE") + 6
    for data in (packed(tree + b"."), packed(tree), array[:start] + tree[2:] + array[end:]):
        with pytest.raises(CorruptRecordError):
            read_npy(data, place="x")


def test_encoded_text_has_a_budget() -> None:
    """Protocol 2: one text of 100 kB, encoded again and again in nine bytes each."""
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000
    call = b"h\x01h\x00h\x02\x86R"
    pickled = b"\x80\x04" + text + b"q\x000c_codecs\nencode\nq\x010X\x06\0\0\0latin1q\x020]("
    with pytest.raises(CorruptRecordError, match="unfold"):
        read_npy(packed(pickled + call * 5000 + b"e."), place="x")


def test_every_truncation_is_an_error() -> None:
    data = saved(TREE)
    for end in range(len(data)):
        with pytest.raises(CorruptRecordError):
            read_npy(data[:end], place="x")
    with pytest.raises(CorruptRecordError, match="1 bytes after the end"):
        read_npy(data + b"\0", place="x")


def test_flipped_bytes_end_in_a_value_or_a_typed_error() -> None:
    rng = np.random.default_rng(3)
    places: list[str] = []
    for data in (saved(TREE), saved(TREE, 2), plain(np.arange(20.0))):
        for _ in range(300):
            bad = bytearray(data)
            for at in rng.integers(0, len(bad), rng.integers(1, 4)):
                bad[at] = rng.integers(0, 256)
            try:
                read_npy(bytes(bad), place="x")
            except SourceError as error:
                places.append(error.place)
    assert len(places) > 100
    assert set(places) == {"x"}
