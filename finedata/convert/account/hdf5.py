"""The account of HDF5 recordings: every dataset and attribute that h5py's own walk meets.

One file is one episode. What a dataset holds decides its type: uint8 frames or encoded pictures are
a camera, strings are text, other numbers are numbers; names decide nothing.
"""

from __future__ import annotations

from contextlib import closing
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
from finedata.readers.files import file_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.readers.files import SourceFolder

__all__ = ["hdf5_inventory"]

_ENDINGS = (".hdf5", ".h5")
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
        episode = SourceEpisode(name, 0, name.rsplit("/", 1)[-1])
        # A damaged file can end the process: it is opened only where it was converted.
        episode.look = _Looking(folder, episode, inventory)
        yield episode


class _Looking:
    """Fills an episode with what its file holds."""

    def __init__(self, folder: SourceFolder, episode: SourceEpisode, inventory: Inventory) -> None:
        self._folder, self._episode, self._inventory = folder, episode, inventory

    def __call__(self) -> None:
        import h5py  # pyright: ignore[reportMissingTypeStubs]  (it has none)

        try:
            with (
                closing(file_object(self._folder.open(self._episode.file))) as opened,
                h5py.File(opened, "r") as file,
            ):
                self._walk(cast("Any", file), h5py)
        except (*DAMAGE, RuntimeError) as error:
            raise UnreadError(said(error)) from error

    def _walk(self, file: Any, h5py: Any) -> None:
        found: dict[str, Any] = {}
        file.visititems(found.__setitem__)
        lengths: set[int] = set()
        for name in file.attrs:
            self._add(f"@{name}", "numbers")
        for path, node in found.items():
            for name in node.attrs:
                self._add(f"{path}@{name}", "numbers")
            if not isinstance(node, h5py.Dataset):
                continue
            kind = self._kind(node, h5py)
            self._add(path, kind)
            if kind == "camera":
                lengths.add(len(node))
                frames = node.ndim == 4
                self._episode.cameras[path] = Pictures(
                    len(node),
                    _Read(self._folder, self._episode.file, path),
                    frames=frames,
                    padded=True,
                )
            elif kind == "text" and node.size == 1:
                text = np.ravel(node[()])[0]
                text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
                if text.strip("\0 "):
                    self._episode.texts.setdefault(text.rstrip("\0"), path)
        if len(lengths) == 1:
            self._episode.length = lengths.pop()

    def _add(self, name: str, kind: Any) -> None:
        self._inventory.things.setdefault(name, Declared(name, kind, self._episode.file))
        if kind != "camera":
            self._episode.values[name] = _nothing

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
    """HDF5 sources keep nothing as it is: every number is made into another one."""
    return []


class _Read:
    """Reads a camera's pictures as they are stored."""

    def __init__(self, folder: SourceFolder, file: str, path: str) -> None:
        self._folder, self._file, self._path = folder, file, path

    def __call__(self) -> list[bytes]:
        import h5py  # pyright: ignore[reportMissingTypeStubs]  (it has none)

        try:
            with (
                closing(file_object(self._folder.open(self._file))) as opened,
                h5py.File(opened, "r") as file,
            ):
                dataset: Any = cast("Any", file)[self._path]
                if dataset.ndim == 4:
                    return [dataset[k].tobytes() for k in range(len(dataset))]
                rows = dataset[()]
                return [np.asarray(row).tobytes() for row in rows]
        except (*DAMAGE, RuntimeError) as error:
            raise UnreadError(said(error)) from error
