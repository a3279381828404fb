"""What the files of one RH20T scene say, and what of them is kept in memory.

`.npy` files are pickles and go through the allow-list of `finedata.readers.npy`; of a video only
the index is read, and kept, because several questions ask for it. Everything else is read when
it is asked for and not kept here: an array file holds every camera, an episode needs one.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec
import numpy as np

from finedata.errors import FeatureError, MissingFeatureError, SourceError
from finedata.readers.mp4.index import Mp4Index, read_mp4_index
from finedata.readers.npy import read_npy
from finedata.readers.rh20t.samples import milliseconds_of
from finedata.readers.rh20t.scene import COLOUR_VIDEO, decode_json

if TYPE_CHECKING:
    from finedata.readers.files import SourceFolder
    from finedata.readers.rh20t.scene import Rh20tScene

_MAX_NPY_BYTES = 1 << 30
_HASH_BLOCK_BYTES = 8 << 20
_HASHED_WHOLE = re.compile(r"metadata\.json|transformed/.+\.npy|cam_[^/]+/timestamps\.npy")


class SceneFiles:
    """The files of a scene; none stays open.

    Args:
        folder: The source.
        scene: Which of its files are the scene's.
    """

    def __init__(self, folder: SourceFolder, scene: Rh20tScene) -> None:
        self._folder = folder
        self._scene = scene
        self._indices: dict[str, Mp4Index] = {}

    def tree(self, name: str) -> dict[Any, Any]:
        """What an object `.npy` of the scene holds, by camera serial or by name.

        Raises:
            MissingFeatureError: The scene has no such file.
            CorruptRecordError: It is damaged.
            RefusedPickleError: It asks for what is not allow-listed.
            FeatureError: It is larger than any of RH20T's, or no dict.
        """
        known = self._scene.files.get(name)
        if known is None:
            place = f"{self._scene.folder}/{name}"
            raise MissingFeatureError(place=place, found="nothing there", wanted="the file")
        file, size = known
        if size > _MAX_NPY_BYTES:
            self._wrong(name, found=f"{size} bytes", wanted=f"at most {_MAX_NPY_BYTES}")
        tree = read_npy(self._folder.read_all(file), place=file)
        if not isinstance(tree, dict):
            self._wrong(name, found=f"a {type(tree).__name__}", wanted="a dict")
        return cast("dict[Any, Any]", tree)

    def metadata(self) -> dict[str, Any]:
        """What `metadata.json` holds; empty where there is none.

        Raises:
            CorruptRecordError: It is no JSON.
            FeatureError: It is no object.
        """
        if "metadata.json" not in self._scene.files:
            return {}
        name, _ = self._scene.files["metadata.json"]
        found = decode_json(self._folder.read_all(name), place=name)
        if not isinstance(found, dict):
            self._wrong("metadata.json", found=f"a {type(found).__name__}", wanted="an object")
        return cast("dict[str, Any]", found)

    def frame_times(self, serial: str) -> np.ndarray:
        """Time stamps of a camera's colour frames, int64 (n,), Unix milliseconds, as stored.

        Raises:
            FeatureError: They are missing, or no whole milliseconds.
            CorruptRecordError: Their file is damaged.
            RefusedPickleError: It asks for what is not allow-listed.
        """
        name = f"cam_{serial}/timestamps.npy"
        times = self.tree(name).get("color")
        if isinstance(times, np.ndarray):
            times = cast("list[Any]", times.tolist())
        if not isinstance(times, list):
            self._wrong(name, found="no list named 'color'", wanted="milliseconds of each frame")
        return milliseconds_of(cast("list[Any]", times), place=f"{self._scene.folder}/{name}")

    def index(self, camera: str) -> Mp4Index:
        """What the colour video of a camera (`cam_x`) says of itself; read once.

        Raises:
            SourceError: It cannot be read; the place is its name in the source.
        """
        if camera not in self._indices:
            name = self._scene.files[f"{camera}/color.mp4"][0]
            reader = self._folder.open(name)
            try:
                self._indices[camera] = read_mp4_index(reader)
            except SourceError as error:
                raise type(error)(place=name, found=error.found, wanted=error.wanted) from error
            finally:
                reader.close()
        return self._indices[camera]

    def digest(self) -> str:
        """Hex sha256 of the scene, the same wherever its folder lies in the source.

        Metadata, arrays and time stamps stand by their bytes, a video by its size and the sha256
        of its index, which changes when a frame's size, place or time does: to hash the pictures
        would be to read the whole corpus once more.
        """
        digest = hashlib.sha256()
        for name, (file, size) in sorted(self._scene.files.items()):
            if COLOUR_VIDEO.fullmatch(name):
                digest.update(f"{name}\0{size}\0{self._index_digest(name)}\0".encode())
            elif _HASHED_WHOLE.fullmatch(name):
                digest.update(f"{name}\0{size}\0".encode())
                self._hash_file(file, digest)
        digest.update(msgspec.json.encode(self._scene.descriptions, order="sorted"))
        return digest.hexdigest()

    def forget(self) -> None:
        """Drop the indices that were read."""
        self._indices.clear()

    def _index_digest(self, name: str) -> str:
        """Hex sha256 of a video's index; a damaged one must not keep the scene from a digest."""
        try:
            return self.index(name.removesuffix("/color.mp4")).sha256
        except SourceError:
            return "unreadable"

    def _hash_file(self, file: str, digest: Any) -> None:
        """Feed a whole file to the digest, a block at a time."""
        reader = self._folder.open(file)
        try:
            for offset in range(0, reader.size, _HASH_BLOCK_BYTES):
                digest.update(reader.read(offset, _HASH_BLOCK_BYTES))
        finally:
            reader.close()

    def _wrong(self, feature: str, *, found: str, wanted: str) -> NoReturn:
        raise FeatureError(place=f"{self._scene.folder}/{feature}", found=found, wanted=wanted)
