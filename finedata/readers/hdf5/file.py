"""One HDF5 file behind a range reader: opened, walked, and never able to reach another file.

h5py's objects are found link by link, so that an external link, an external storage or a virtual
dataset is never followed. What h5py throws at damaged bytes becomes `CorruptRecordError`; an I/O
error of the reader stays the `OSError` it was. The reader may be local or remote.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from finedata.errors import CorruptRecordError, FeatureError, FinedataError, need
from finedata.readers.damage import HEAD_BYTES, impostor
from finedata.readers.hdf5.guard import GuardedFile, open_guarded

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator

    from finedata.readers.files import RangeReader

# What h5py raises at damage: HDF5's own errors are OSError, RuntimeError, KeyError or ValueError,
# and nonsense types and sizes end in the others.
_H5PY_ERRORS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    ArithmeticError,
    MemoryError,
    SystemError,
)
_MOST_LINKS_IN_A_ROW = 16
_MOST_OBJECTS = 100_000
_DEEPEST = 64
# Deflate cannot shrink by more than 1032:1; what claims more than its bytes can hold is damage.
_BEST_COMPRESSION = 1100
# Below this a dataset may also be unwritten: HDF5 then gives its fill value.
_ALWAYS_PLAUSIBLE_BYTES = 1 << 20
_VLEN_DESCRIPTOR_BYTES = 16


class Hdf5File:
    """An open HDF5 file and the only ways into it.

    Args:
        reader: The file's bytes; closed with this.
        name: What to call it in messages.

    Raises:
        CorruptRecordError: Not an HDF5 file, or a truncated one.
        MissingExtraError: h5py is not installed.
        OSError: The reader failed.
    """

    def __init__(self, reader: RangeReader, *, name: str) -> None:
        self.name = name
        self.size = reader.size
        self._reader = reader
        self._file = GuardedFile(reader)
        try:
            self.h5py = _import_h5py()
            with self.guard("its superblock"):
                self.root: Any = open_guarded(self.h5py, self._file, name)
                # What the addresses inside the file count from: the end of a user block.
                self.base = int(self.root.userblock_size)
        except CorruptRecordError as error:
            other = impostor(reader.read(0, HEAD_BYTES), size=reader.size)
            reader.close()
            if other is None or other.startswith("an HDF5"):
                raise
            raise CorruptRecordError(place=name, found=other, wanted="an HDF5 file") from error
        except BaseException:
            reader.close()
            raise

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes of the file.

        Raises:
            CorruptRecordError: They reach beyond its end.
            OSError: The reader failed.
        """
        inside = offset >= 0 and 0 <= length <= self.size - offset
        data = self._file.read_at(offset, length) if inside else b""
        self._raise_failure()
        if len(data) != length:
            raise CorruptRecordError(
                place=f"{self.name}: bytes {offset:,} to {offset + length:,}",
                found=f"a file of {self.size:,} bytes",
                wanted="bytes inside it",
            )
        return data

    def close(self) -> None:
        """Close HDF5's handle and the reader behind it."""
        try:
            self.root.close()
        except _H5PY_ERRORS:
            pass  # nothing was written; a damaged file may refuse even to be closed
        finally:
            self._reader.close()

    @contextmanager
    def guard(self, place: str) -> Generator[None]:
        """Turn whatever h5py raises inside into an error of ours.

        Raises:
            CorruptRecordError: HDF5 cannot make sense of the bytes.
            OSError: The disk or the network failed.
        """
        self._raise_failure()
        try:
            yield
        except FinedataError:
            self._raise_failure()
            raise
        except _H5PY_ERRORS as error:
            self._raise_failure()
            raise CorruptRecordError(
                place=f"{self.name}: {place}",
                found=f"bytes that HDF5 cannot read ({_in_words(error)})",
                wanted="an undamaged HDF5 file",
            ) from error
        self._raise_failure()

    def _raise_failure(self) -> None:
        """A reader that failed once has left zeros in HDF5's memory: nothing is good after it."""
        if self._file.failure is not None:
            raise self._file.failure

    def find(self, path: str) -> Any | None:
        """The group or dataset at a path; `None` where there is none in this very file."""
        with self.guard(path):
            return self._find(self.root, path, _MOST_LINKS_IN_A_ROW)

    def _find(self, start: Any, path: str, links_left: int) -> Any | None:
        node = self.root if path.startswith("/") else start
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if not isinstance(node, self.h5py.Group):
                return None
            node = self._step(node, part, links_left)
            if node is None:
                return None
        return node

    def _step(self, group: Any, part: str, links_left: int) -> Any | None:
        kind, target = self._link(group, part)
        if kind == "hard":
            return group[part]
        if kind == "soft" and links_left:
            return self._find(group, target, links_left - 1)
        return None

    def _link(self, group: Any, part: str) -> tuple[str, str]:
        """What a name of a group is: `hard`, `soft` with its target, `other` or `missing`."""
        links, key = group.id.links, part.encode()
        if not links.exists(key):
            return "missing", ""
        kind = links.get_info(key).type
        if kind == self.h5py.h5l.TYPE_HARD:
            return "hard", ""
        if kind == self.h5py.h5l.TYPE_SOFT:
            return "soft", links.get_val(key).decode()
        return "other", repr(links.get_val(key))

    def names_in(self, parent: str) -> list[str]:
        """Names of what lies in a group (`""`: at the top) and in this very file; none is opened.

        Raises:
            CorruptRecordError: Damaged.
        """
        with self.guard(f"groups in /{parent}"):
            group: Any = self.root
            for part in filter(None, [parent]):
                if part not in list(group) or self._link(group, part)[0] != "hard":
                    return []
                group = self._step(group, part, _MOST_LINKS_IN_A_ROW)
            if not isinstance(group, self.h5py.Group):
                return []
            return [name for name in list(group) if self._link(group, name)[0] == "hard"]

    def is_group(self, path: str) -> bool:
        """Whether a group lies at a path; what cannot be opened may be one."""
        try:
            return not self._is_dataset(self.find(path))
        except CorruptRecordError:
            return True

    def walk(self, *, apart: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
        """Every group and dataset by path, sorted; a link to elsewhere gives its text instead.

        Args:
            apart: Groups that are not looked into, nor given.

        Raises:
            CorruptRecordError: Damaged, nested too deeply, or endless.
        """
        found: list[tuple[str, Any]] = [("", self.root)]
        with self.guard("its groups"):
            self._walk(self.root, "", [self._address(self.root)], found, apart)
        return iter(sorted(found, key=lambda entry: entry[0]))

    def walk_below(self, path: str) -> Iterator[tuple[str, Any]]:
        """Every group and dataset below a group, as `walk` gives them; nothing where it is none.

        Raises:
            CorruptRecordError: Damaged, nested too deeply, or endless.
        """
        group = self.find(path)
        found: list[tuple[str, Any]] = []
        with self.guard(f"groups of /{path}"):
            if isinstance(group, self.h5py.Group):
                self._walk(group, f"{path}/", [self._address(group)], found, ())
        return iter(found)

    def _walk(
        self,
        group: Any,
        prefix: str,
        above: list[Any],
        found: list[tuple[str, Any]],
        apart: Collection[str],
    ) -> None:
        if len(above) > _DEEPEST or len(found) > _MOST_OBJECTS:
            msg = "more groups than a recording has"
            raise ValueError(msg)
        for part in list(group):
            path = prefix + part
            if path in apart:
                continue
            path.encode()  # a name that is not UTF-8 is damage
            kind, target = self._link(group, part)
            node = self._step(group, part, _MOST_LINKS_IN_A_ROW)
            if kind != "hard":
                found.append((path, node if self._is_dataset(node) else f"{kind} link {target}"))
                continue
            found.append((path, node))
            if isinstance(node, self.h5py.Group) and self._address(node) not in above:
                self._walk(node, f"{path}/", [*above, self._address(node)], found, apart)

    def _address(self, node: Any) -> Any:
        return self.h5py.h5o.get_info(node.id).addr

    def _is_dataset(self, node: Any) -> bool:
        return isinstance(node, self.h5py.Dataset)

    def dataset(self, path: str) -> Any | None:
        """The dataset at a path, its own data only.

        Raises:
            FeatureError: Its data is kept in other files.
            CorruptRecordError: Damaged, or larger than the file can hold.
        """
        node = self.find(path)
        if node is None or not self._is_dataset(node):
            return None
        with self.guard(path):
            self.check(path, node)
        return node

    def check(self, path: str, dataset: Any) -> None:
        """Refuse data in other files, and a size that the stored bytes cannot have."""
        creation = dataset.id.get_create_plist()
        if creation.get_layout() == self.h5py.h5d.VIRTUAL or creation.get_external_count():
            raise FeatureError(
                place=f"{self.name}: feature {path}",
                found="data kept in other files (refused)",
                wanted="data in this file",
            )
        shape = dataset.shape
        if shape is None:  # a null dataspace holds nothing
            return
        dtype = dataset.dtype
        item = _VLEN_DESCRIPTOR_BYTES if dtype.kind == "O" else dtype.itemsize
        claimed = math.prod(shape) * item
        stored = min(dataset.id.get_storage_size(), self.size)
        ratio = _BEST_COMPRESSION if creation.get_nfilters() else 1
        if claimed > max(_ALWAYS_PLAUSIBLE_BYTES, stored * ratio):
            raise CorruptRecordError(
                place=f"{self.name}: feature {path}",
                found=f"shape {shape} of {dtype}, but {stored:,} bytes stored",
                wanted="a shape that its bytes can have",
            )


def _in_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__


def _import_h5py() -> Any:
    need("h5py", extra="hdf5", place="reading HDF5")
    import h5py  # pyright: ignore[reportMissingTypeStubs]  (it has none)

    return h5py
