"""The account of HDF5 recordings: every dataset and attribute that h5py's own walk meets.

One file is one episode, or each of its groups that end in a number is. What a dataset holds decides
its type: uint8 frames or encoded pictures are a camera, strings are text, other numbers are
numbers; names decide nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finedata.convert.account.things import (
    DAMAGE,
    Declared,
    Inventory,
    Pictures,
    SourceEpisode,
    UnreadError,
    said,
)
from finedata.readers.hdf5.guard import GuardedFile, open_guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from finedata.readers.files import SourceFolder

_ENDINGS = (".hdf5", ".h5")
# robomimic's, LIBERO's and ManiSkill's names, and their like.
_NUMBERED = re.compile(r"(demo|episode|ep|traj|trajectory|rollout)_[0-9]{1,9}")
_LONGEST_INSTRUCTION = 4096
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG")


def hdf5_inventory(folder: SourceFolder) -> Inventory:
    """List what the HDF5 files below a folder hold.

    Raises:
        OSError: The disk or the network failed.
    """
    names = [
        file.name
        for file in sorted(folder.files())
        if file.name.lower().endswith(_ENDINGS) and not file.name.split("/")[-1].startswith("._")
    ]
    inventory = Inventory({}, lambda: iter(()))
    inventory.episodes = lambda: _episodes(folder, names, inventory)
    return inventory


def _episodes(
    folder: SourceFolder, names: list[str], inventory: Inventory
) -> Iterator[SourceEpisode]:
    for name in names:
        # A damaged file can end the process: it is opened only where it was converted.
        groups = _recordings(folder, name, inventory) if name in inventory.written else []
        for number, group in enumerate(groups or [""]):
            shown = group.rsplit("/", 1)[-1] or name.rsplit("/", 1)[-1]
            episode = SourceEpisode(name, number, shown)
            episode.look = _Looking(folder, episode, inventory, group, frozenset(groups) - {group})
            yield episode


def _recordings(folder: SourceFolder, name: str, inventory: Inventory) -> list[str]:
    """The groups of a file that are a recording each, by the first names of all paths in it."""
    import h5py  # pyright: ignore[reportMissingTypeStubs]  (it has none)

    met: list[str | bytes] = []
    masks: dict[str, str] = {}
    count: int | None = None
    try:
        with _opened(folder, name) as file:
            file.visit(met.append)
            for path in map(_text, met):
                if path.startswith("mask/") and isinstance(file[path], h5py.Dataset):
                    said_names: Any = np.ravel(file[path][()]).tolist()
                    masks |= {one.decode(errors="replace"): path for one in said_names if one}
            data = file.get("data", file)
            count = int(data.attrs["num_demos"]) if "num_demos" in data.attrs else None
    except (*DAMAGE, AttributeError, RuntimeError) as error:
        inventory.notes.append(f"{name}: its groups were not all looked at: {said(error)}")
    paths = [_text(path) for path in met]
    for inside in ("", "data/"):
        heads = {path[len(inside) :].split("/")[0] for path in paths if path.startswith(inside)}
        heads.discard("")
        groups = {one for one in heads if any(p.startswith(f"{inside}{one}/") for p in paths)}
        found = sorted((one for one in heads if _NUMBERED.fullmatch(one)), key=_by_number)
        if len(found) > 1 or (found and set(found) == groups):
            declared = {one: place for one, place in masks.items() if _NUMBERED.fullmatch(one)}
            lacking = {one: place for one, place in declared.items() if one not in found}
            inventory.absent |= {f"{name}, {one}": place for one, place in lacking.items()}
            if count is not None and count > len(found) + len(lacking):
                inventory.notes.append(f"{name}: num_demos is {count}, {len(found)} are there")
            return [inside + one for one in found]
    return []


def _text(path: str | bytes) -> str:
    """A path; h5py gives bytes where a name is not UTF-8."""
    return path.decode(errors="replace") if isinstance(path, bytes) else path


def _by_number(name: str) -> tuple[int, str]:
    return int(name.rsplit("_", 1)[1]), name


@contextmanager
def _opened(folder: SourceFolder, name: str) -> Generator[Any]:
    import h5py  # pyright: ignore[reportMissingTypeStubs]  (it has none)

    with closing(folder.open(name)) as reader:
        guarded = GuardedFile(reader)
        with closing(open_guarded(h5py, guarded, name)) as file:
            yield file
        if guarded.failure is not None:
            raise guarded.failure


class _Looking:
    """Fills an episode with what its file, or its group of the file, holds."""

    def __init__(
        self,
        folder: SourceFolder,
        episode: SourceEpisode,
        inventory: Inventory,
        group: str,
        others: frozenset[str],
    ) -> None:
        self._folder, self._episode, self._inventory = folder, episode, inventory
        self._group, self._others = group, others

    def __call__(self) -> None:
        try:
            with _opened(self._folder, self._episode.file) as file:
                self._walk(file)
        except (*DAMAGE, RuntimeError) as error:
            raise UnreadError(said(error)) from error

    def _walk(self, file: Any) -> None:
        import h5py  # pyright: ignore[reportMissingTypeStubs]  (it has none)

        found: dict[str, Any] = {"": file}
        file.visititems(found.__setitem__)
        lengths: Counter[int] = Counter()
        pictures: set[int] = set()
        for place, one in found.items():
            path, node = _text(place), one
            name = self._name(path)
            if name is None:
                continue
            for key, value in node.attrs.items():
                self._attribute(f"{name}@{key}", value)
            is_dataset: bool = isinstance(one, h5py.Dataset)
            if not is_dataset:
                continue
            kind = self._kind(node, h5py)
            self._add(name, kind, _Values(self._folder, self._episode.file, path))
            if node.ndim:
                lengths[len(node)] += 1
            if kind == "camera" and not name.startswith("/"):
                pictures.add(len(node))
                self._episode.cameras[name] = Pictures(
                    len(node),
                    _Read(self._folder, self._episode.file, path),
                    frames=node.ndim == 4,
                    padded=True,
                )
            elif kind == "text" and node.size == 1:
                self._text(name, np.ravel(node[()])[0])
        if len(pictures) == 1:
            self._episode.length = pictures.pop()
        declared = file[self._group].attrs.get("num_samples") if self._group else None
        if declared is not None and np.shape(declared) == () and int(declared) not in lengths:
            seen = f"num_samples is {int(declared)}, and rows are {sorted(lengths)}"
            self._episode.doubts["declared_length_differs"] = seen

    def _name(self, path: str) -> str | None:
        """A path as it counts from the recording; with a slash before it where it is the file's."""
        if not self._group:
            return path
        if any(path == other or path.startswith(f"{other}/") for other in self._others):
            return None
        if path == self._group or path.startswith(f"{self._group}/"):
            return path[len(self._group) + 1 :]
        return f"/{path}"

    def _attribute(self, name: str, value: Any) -> None:
        self._add(name, "numbers", _nothing)
        if not isinstance(value, str | bytes):
            return
        self._text(name, value)
        try:
            tree: Any = json.loads(value)
        except (ValueError, RecursionError):
            return
        inside = cast("dict[str, Any]", tree) if isinstance(tree, dict) else {}
        for key, one in inside.items():
            if isinstance(one, list):
                one = "".join(piece for piece in cast("list[Any]", one) if isinstance(piece, str))
            if isinstance(one, str):
                self._episode.values.setdefault(f"{name}#{key}", _nothing)
                self._text(f"{name}#{key}", one)

    def _text(self, name: str, value: Any) -> None:
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        text = text.rstrip("\0")
        if text.strip() and len(text) <= _LONGEST_INSTRUCTION:
            self._declare(name, "text")
            self._episode.texts.setdefault(text, name)

    def _declare(self, name: str, kind: Any) -> None:
        describes = "@" in name or name.startswith("/")
        declared = Declared(name, kind, self._episode.file, describes=describes)
        self._inventory.things.setdefault(name, declared)

    def _add(self, name: str, kind: Any, read: Callable[[], Any]) -> None:
        self._declare(name, kind)
        if kind != "camera":
            self._episode.values[name] = read

    @staticmethod
    def _kind(node: Any, h5py: Any) -> str:
        if node.shape is None or not node.ndim:
            return "text" if node.dtype.kind in "SUO" else "numbers"
        if node.dtype == np.uint8 and node.ndim == 4 and node.shape[-1] == 3:
            return "camera"
        if not len(node):
            return "numbers"
        pictures = node.dtype == np.uint8 and node.ndim == 2
        pictures |= node.dtype.kind in "SV" and node.ndim == 1
        pictures |= h5py.check_vlen_dtype(node.dtype) == np.uint8
        if pictures and bytes(np.asarray(node[0]).tobytes()[:4]).startswith(_MAGIC):
            return "camera"
        return "text" if node.dtype.kind in "SUO" else "numbers"


def _nothing() -> list[Any]:
    """Attributes are not kept as they are: numbers and texts are made of them."""
    return []


class _Values:
    """Reads a dataset of numbers, or of texts."""

    def __init__(self, folder: SourceFolder, file: str, path: str) -> None:
        self._folder, self._file, self._path = folder, file, path

    def __call__(self) -> np.ndarray | list[Any]:
        try:
            with _opened(self._folder, self._file) as file:
                values = np.asarray(file[self._path][()])
        except (*DAMAGE, RuntimeError) as error:
            raise UnreadError(said(error)) from error
        if values.dtype.kind in "biuf":
            return values
        flat = np.ravel(values).tolist()
        return [
            one.rstrip(b"\0").decode(errors="replace") if isinstance(one, bytes) else one
            for one in flat
        ]


class _Read:
    """Reads a camera's pictures as they are stored."""

    def __init__(self, folder: SourceFolder, file: str, path: str) -> None:
        self._folder, self._file, self._path = folder, file, path

    def __call__(self) -> list[bytes]:
        try:
            with _opened(self._folder, self._file) as file:
                dataset = file[self._path]
                if dataset.ndim == 4:
                    return [dataset[k].tobytes() for k in range(len(dataset))]
                rows = dataset[()]
                return [np.asarray(row).tobytes() for row in rows]
        except (*DAMAGE, RuntimeError) as error:
            raise UnreadError(said(error)) from error
