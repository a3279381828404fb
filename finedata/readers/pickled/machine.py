"""What of a pickle is understood: what builds plain values. Nothing of it is ever executed.

A pickle is a program. Here it runs on a machine of our own that knows the forty or so opcodes which
build dicts, lists, tuples, numbers, text and NumPy arrays, and no others; the names that it may
mention are those of `finedata.readers.pickled.values.NAMES`. What a pickle may unfold to is
bounded by its size. The two errors say what was found; the file's reader adds whose file it was.

Opcodes: `pickletools` of the standard library.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, cast

from finedata.readers.pickled.values import (
    NAMES,
    Name,
    Shell,
    checked_array,
    checked_dtype,
    flat_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Shared members are written once and unfold wherever they are used.
MAX_UNFOLDING = 64


class DamagedPickleError(Exception):
    """The bytes are no whole pickle; the text says what was found."""


class ForbiddenPickleError(Exception):
    """The pickle asks for something outside the allow-list; the text says for what."""


def run_pickle(data: bytes, start: int) -> Any:
    """Build the value of a pickle.

    Args:
        data: The whole file; arrays in the result are views of it.
        start: Where in it the pickle begins. It must end where the file does.

    Returns:
        The value. It may nest too deeply, hold itself, or be no plain value: that is for the
        caller to check.

    Raises:
        DamagedPickleError: Truncated, or no pickle.
        ForbiddenPickleError: It asks for a name or an operation that is not allow-listed.
        ValueError, TypeError, LookupError, struct.error: Parts that do not fit together.
    """
    return _Machine(data, start).run()


_MARK: Final = object()
# Opcodes that exist and are refused: they make objects, or come from protocols 0 and 1.
_REFUSED: Final = frozenset(b"ioPQ\x81\x82\x83\x84\x92\x8f\x90\x91\x97\x98dlISVLFpgTU\x8b2")


class _Machine:
    """Runs one pickle. `step[opcode]` reads its argument at `at` and changes the stack."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.at = start
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # Bytes that encoded text and object arrays may take beside the file's own.
        self.budget = MAX_UNFOLDING * len(data)

    def run(self) -> Any:
        """Run up to STOP; the file must end there."""
        data, size = self.data, len(self.data)
        steps = [_STEPS.get(code) for code in range(256)]
        while self.at < size:
            code = data[self.at]
            self.at += 1
            step = steps[code]
            if step is not None:
                step(self)
            elif code == 0x2E:  # STOP
                if self.at != size:
                    left = size - self.at
                    msg = f"{left} bytes after the end of the pickle"
                    raise DamagedPickleError(msg)
                if len(self.stack) != 1:
                    msg = "a pickle that leaves no single value"
                    raise DamagedPickleError(msg)
                return self._whole(self.stack[0])
            elif code in _REFUSED:
                msg = f"the pickle operation {bytes((code,))!r}"
                raise ForbiddenPickleError(msg)
            else:
                msg = f"no pickle operation (byte {code}) at {self.at - 1}"
                raise DamagedPickleError(msg)
        msg = f"the end of the file ({size} bytes) inside a pickle"
        raise DamagedPickleError(msg)

    def _number(self, form: str) -> Any:
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def _bytes(self, form: str) -> bytes:
        length = self._number(form)
        if length > len(self.data) - self.at:
            msg = f"a value of {length} bytes beyond the end of the file"
            raise DamagedPickleError(msg)
        value = self.data[self.at : self.at + length]
        self.at += length
        return value

    def _whole(self, value: Any) -> Any:
        if type(value) is not Shell:
            return value
        if value.value is None:
            msg = "an array or a type that was never filled"
            raise ValueError(msg)
        return value.value

    def _since_mark(self) -> list[Any]:
        stack = self.stack
        at = len(stack) - 1
        while stack[at] is not _MARK:
            at -= 1  # past the first, -1 and on: an IndexError in the end
        if at < 0:
            msg = "a pickle without a mark"
            raise ValueError(msg)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            msg = "a mark in place of a value"
            raise ValueError(msg)
        return value

    # One method an opcode, or a few of a kind

    def proto(self) -> None:
        version = self._number("<B")
        if version > 5:
            msg = f"pickle protocol {version}"
            raise DamagedPickleError(msg)

    def frame(self) -> None:
        self._number("<Q")

    def mark(self) -> None:
        self.stack.append(_MARK)

    def pop(self) -> None:
        self.stack.pop()

    def global_(self) -> None:
        end = self.data.index(b"\n", self.at)
        stop = self.data.index(b"\n", end + 1)
        module = self.data[self.at : end].decode()
        name = self.data[end + 1 : stop].decode()
        self.at = stop + 1
        self._find(module, name)

    def stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._find(module, name)

    def _find(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            msg = "a name that is no text"
            raise TypeError(msg)
        known = NAMES.get((module, name))
        if known is None:
            msg = f"{module[:80]}.{name[:80]}"
            raise ForbiddenPickleError(msg)
        self.stack.append(known)

    def reduce(self) -> None:
        arguments, name = self._pop(), self._pop()
        if type(name) is not Name or type(arguments) is not tuple:
            msg = "a call of something that is no allow-listed name"
            raise ForbiddenPickleError(msg)
        whole = [self._whole(argument) for argument in cast("tuple[Any, ...]", arguments)]
        made = name.make(*whole)
        if isinstance(made, (bytes, dict)):
            self._spend(len(cast("bytes", made)))
        self.stack.append(made)

    def build(self) -> None:
        state, shell = self._pop(), self._pop()
        if type(shell) is not Shell or type(state) is not tuple or shell.value is not None:
            msg = "a state for something that is no NumPy array"
            raise ForbiddenPickleError(msg)
        parts = cast("tuple[Any, ...]", state)
        if shell.text is None:
            _, shape, dtype, fortran, data = parts
            if type(data) is list:
                self._spend(8 * len(cast("list[Any]", data)))
            shell.value = checked_array(shape, self._whole(dtype), fortran, data)
        else:
            if len(parts) < 5 or parts[1] not in ("<", ">", "|", "=") or any(parts[2:5]):
                msg = "an array type with fields or without byte order"
                raise ValueError(msg)
            shell.value = checked_dtype(shell.text, parts[1])
        self.stack.append(shell.value)

    def _spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            msg = f"values that unfold to more than {MAX_UNFOLDING} files"
            raise DamagedPickleError(msg)

    def append(self) -> None:
        value, target = self._pop(), self.stack[-1]
        _expect(target, list).append(self._whole(value))

    def appends(self) -> None:
        items = self._since_mark()
        _expect(self.stack[-1], list).extend(map(self._whole, items))

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        _expect(self.stack[-1], dict)[flat_key(key)] = self._whole(value)

    def set_items(self) -> None:
        items = self._since_mark()
        target = _expect(self.stack[-1], dict)
        for index in range(0, len(items), 2):
            target[flat_key(items[index])] = self._whole(items[index + 1])

    def tuple_(self) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _short_tuple(self, size: int) -> None:
        items = [self._pop() for _ in range(size)]
        self.stack.append(tuple(reversed(items)))

    def memoize(self) -> None:
        self._put(len(self.memo))

    def _put(self, index: int) -> None:
        value = self.stack[-1]
        if value is _MARK:
            msg = "a mark in place of a value"
            raise ValueError(msg)
        self.memo[index] = value

    def _get(self, index: int) -> None:
        value = self.memo[index]
        # An array that was shared: NumPy fills it before anything can refer to it.
        self.stack.append(self._whole(value) if type(value) is Shell else value)

    def text(self, form: str) -> None:
        self.stack.append(self._bytes(form).decode())

    def raw(self, form: str) -> None:
        self.stack.append(self._bytes(form))

    def number(self, form: str) -> None:
        self.stack.append(self._number(form))

    def long(self) -> None:
        self.stack.append(int.from_bytes(self._bytes("<B"), "little", signed=True))


def _expect(target: Any, kind: type[Any]) -> Any:
    if type(target) is not kind:
        msg = f"members for a {type(target).__name__} instead of a {kind.__name__}"
        raise TypeError(msg)
    return target


# Names of the opcodes as in pickletools: what is absent here is not admitted.
_STEPS: Final[dict[int, Callable[[_Machine], None]]] = {
    0x80: _Machine.proto,
    0x95: _Machine.frame,
    ord("("): _Machine.mark,
    ord("0"): _Machine.pop,
    ord("N"): lambda m: m.stack.append(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("K"): lambda m: m.number("<B"),
    ord("M"): lambda m: m.number("<H"),
    ord("J"): lambda m: m.number("<i"),
    0x8A: _Machine.long,
    ord("G"): lambda m: m.number(">d"),
    0x8C: lambda m: m.text("<B"),
    ord("X"): lambda m: m.text("<I"),
    0x8D: lambda m: m.text("<Q"),
    ord("C"): lambda m: m.raw("<B"),
    ord("B"): lambda m: m.raw("<I"),
    0x8E: lambda m: m.raw("<Q"),
    0x96: lambda m: m.raw("<Q"),  # a bytearray; nothing here writes into it
    ord("]"): lambda m: m.stack.append([]),
    ord("}"): lambda m: m.stack.append({}),
    ord(")"): lambda m: m.stack.append(()),
    ord("t"): _Machine.tuple_,
    0x85: lambda m: m._short_tuple(1),  # pyright: ignore[reportPrivateUsage]  (its own table)
    0x86: lambda m: m._short_tuple(2),  # pyright: ignore[reportPrivateUsage]
    0x87: lambda m: m._short_tuple(3),  # pyright: ignore[reportPrivateUsage]
    ord("a"): _Machine.append,
    ord("e"): _Machine.appends,
    ord("s"): _Machine.set_item,
    ord("u"): _Machine.set_items,
    0x94: _Machine.memoize,
    ord("q"): lambda m: m._put(m._number("<B")),  # pyright: ignore[reportPrivateUsage]
    ord("r"): lambda m: m._put(m._number("<I")),  # pyright: ignore[reportPrivateUsage]
    ord("h"): lambda m: m._get(m._number("<B")),  # pyright: ignore[reportPrivateUsage]
    ord("j"): lambda m: m._get(m._number("<I")),  # pyright: ignore[reportPrivateUsage]
    ord("c"): _Machine.global_,
    0x93: _Machine.stack_global,
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
}
