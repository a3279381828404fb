"""One HDF5 file as one raw episode: datasets and attributes by path, decoded when asked for.

A feature is a dataset's path without the leading slash (`puppet/joint_position`), or an
attribute as `group@name` (`@name` at the root). Where a group is the recording
(`finedata.readers.hdf5.demos`), paths count from that group, and what the whole file says of all
its recordings has a leading slash (`/data@env_args`). Of an attribute that is a JSON object each
text and number has a name too: `/data@problem_info#language_instruction`. Nothing is unpickled: of
the values that NumPy would call objects only variable-length text and variable-length uint8 are
read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from finedata.errors import CorruptRecordError, FeatureError, MissingFeatureError
from finedata.readers.hdf5.demos import json_values
from finedata.readers.hdf5.heap import vlen_places
from finedata.readers.hdf5.pictures import Hdf5Pictures, PictureLayout, picture_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from finedata.readers.episode import Absent, CameraKind, VideoClip
    from finedata.readers.hdf5.file import Hdf5File

_DIGEST_BLOCK_BYTES = 8 << 20
_MOST_ATTRIBUTE_BYTES = 16 << 20
# The name of the group that is the recording; empty where the whole file is.
_NAME = "demonstration/name"
# A sequence of motion is small; more than this in one dataset is something else.
_MOST_NUMBER_BYTES = 1 << 30


class Hdf5Episode:
    """An HDF5 file, or one group of it, seen as one episode; see `RawEpisode`.

    Args:
        file: The open file.
        shared: Whether other episodes read from it too: it is then not closed with this one.
        group: The group that is the recording; empty where the whole file is.
        groups: Every group of the file that is a recording, this one among them.
    """

    def __init__(
        self, file: Hdf5File, *, shared: bool = False, group: str = "", groups: Sequence[str] = ()
    ) -> None:
        self._file, self._shared = file, shared
        self._group, self._groups = group, frozenset(groups)
        self._pictures: dict[str, Hdf5Pictures] = {}
        # Names, never open datasets: HDF5 keeps a cache of chunks for each that is open.
        self._names: tuple[str, ...] | None = None
        self._kinds: dict[str, CameraKind | None] = {}

    def close(self) -> None:
        """Close the file, where it is this episode's alone."""
        self._pictures.clear()
        if not self._shared:
            self._file.close()

    def has(self, feature: str) -> bool:
        """Whether there is such a dataset or attribute in this file."""
        if feature == _NAME or self._dataset(feature) is not None:
            return True
        if self._attribute_holder(feature) is not None:
            return True
        name, _, key = feature.partition("#")
        return bool(key) and key in self._inside(name)

    def feature_names(self) -> list[str]:
        """Every dataset and every attribute, sorted by path."""
        if self._names is None:
            self._names = tuple(self._found_names())
        with self._file.guard("its groups"):  # a reader that failed since has lost the file
            return list(self._names)

    def _found_names(self) -> Iterator[str]:
        of_file: list[str] = []
        for path, node in self._walk():
            if isinstance(node, str):
                continue
            names = [path] if isinstance(node, self._file.h5py.Dataset) else []
            with self._file.guard(f"attributes of /{path}"):
                found = [f"{path}@{name}" for name in sorted(node.attrs)]
            for name in found:
                names += [name, *(f"{name}#{key}" for key in self._inside(name))]
            if path.startswith("/"):
                of_file += names
            else:
                yield from names
        yield from of_file
        if self._group:
            yield _NAME

    def _walk(self) -> Iterator[tuple[str, Any]]:
        """Every node by the name that it has here; those of other recordings are none of ours."""
        if not self._group:
            yield from self._file.walk()
            return
        inside = f"{self._group}/"
        for path, node in self._file.walk(apart=self._groups - {self._group}):
            if path == self._group or path.startswith(inside):
                yield path[len(inside) :], node
            else:
                yield f"/{path}", node

    def _place(self, feature: str) -> str:
        """The path from the root of the file."""
        return feature if feature.startswith("/") else f"{self._group}/{feature}".strip("/")

    def _dataset(self, feature: str) -> Any | None:
        """The dataset of a name; see `Hdf5File.dataset`."""
        return self._file.dataset(self._place(feature))

    def _inside(self, attribute: str) -> dict[str, str | float]:
        """The texts and numbers of an attribute that is a JSON object, by key."""
        try:
            value = self._attribute(attribute)
        except FeatureError:
            return {}
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        return json_values(text) if isinstance(text, str) else {}

    def picture_info(self, feature: str) -> dict[str, Any] | None:
        """Nothing: see `RawEpisode.picture_info`."""
        del feature

    def declared_absent(self) -> dict[str, Absent]:
        """Nothing: no description says what an episode must hold."""
        return {}

    def is_derived(self, feature: str) -> bool:
        """Attributes, and what the file says of all, describe; datasets are what was recorded."""
        return "@" in feature or feature.startswith("/") or feature == _NAME

    def as_declared(self) -> bool:
        """True: nothing is declared."""
        return True

    def numbers(self, feature: str) -> np.ndarray:
        """A numeric dataset or attribute in its own dtype (native byte order) and shape.

        Raises:
            MissingFeatureError: There is none of that name.
            FeatureError: Text, pictures, objects or references.
            CorruptRecordError: Damaged.
        """
        dataset = self._dataset(feature)
        if dataset is None:
            values = np.asarray(self._attribute(feature))
            if values.dtype.kind not in "biuf":
                self._refuse(feature, "an attribute that is no number", "numbers")
            return values
        with self._file.guard(feature):
            dtype, shape = dataset.dtype, dataset.shape
            if shape is None or dtype.base.kind not in "biuf":
                self._refuse(feature, _kind_of(self._file.h5py, dataset), "numbers")
            if picture_layout(self._file.h5py, dataset) or dataset.nbytes > _MOST_NUMBER_BYTES:
                self._refuse(feature, f"pictures {shape}", "numbers")
            values = np.asarray(dataset[()])
            return values.astype(values.dtype.newbyteorder("="), copy=False)

    def texts(self, feature: str) -> list[str]:
        """A text dataset (a scalar one gives one string) or a text attribute.

        Raises:
            MissingFeatureError: There is none of that name.
            FeatureError: Not text, or not UTF-8.
            CorruptRecordError: Damaged.
        """
        dataset = self._dataset(feature)
        if dataset is None and feature == _NAME:
            return [self._group.rpartition("/")[2]]
        if dataset is None:
            values: Any = self._attribute(feature)
        else:
            with self._file.guard(feature):
                if not self._is_text(dataset.dtype):
                    self._refuse(feature, _kind_of(self._file.h5py, dataset), "text")
                if dataset.nbytes > _MOST_NUMBER_BYTES:
                    self._refuse(feature, f"{dataset.nbytes:,} bytes", "text")
                self._check_lengths(feature, dataset)
                values = dataset[()]
        if isinstance(values, self._file.h5py.Empty):
            return [""]  # how an empty string of fixed length is stored
        flat = np.ravel(np.asarray(values, dtype=object)).tolist()
        return [self._as_text(feature, value) for value in flat]

    def _check_lengths(self, feature: str, dataset: Any) -> None:
        """Before HDF5 reserves what a damaged length of a text asks for."""
        if dataset.dtype.kind == "O" and dataset.ndim <= 1:
            vlen_places(self._file, feature, dataset)

    def _as_text(self, feature: str, value: object) -> str:
        try:
            if isinstance(value, bytes):
                return value.rstrip(b"\0").decode()
            if isinstance(value, str):
                # h5py hides bytes that are not UTF-8 in surrogates.
                return value.encode().decode()
        except UnicodeError as error:
            self._refuse(feature, f"bytes ({error})", "UTF-8 text")
        self._refuse(feature, f"a {type(value).__name__}", "text")

    def columns_of(self, feature: str) -> tuple[str, ...] | None:
        """HDF5 does not name columns."""
        del feature
        return None

    def camera_kind(self, feature: str) -> CameraKind | None:
        """`pictures` where the dataset stores them; see `PictureLayout`."""
        if feature not in self._kinds:
            dataset = None if feature.startswith("/") else self._dataset(feature)
            is_camera = dataset is not None and self._layout(feature, dataset) is not None
            self._kinds[feature] = "pictures" if is_camera else None
        return self._kinds[feature]

    def pictures(self, feature: str) -> Hdf5Pictures:
        """The pictures of a camera as they are stored, without their padding.

        Raises:
            MissingFeatureError: There is no such dataset.
            FeatureError: It does not store pictures.
            CorruptRecordError: Damaged.
        """
        if feature not in self._pictures:
            dataset, layout = self._camera(feature)
            if layout is None:
                found = _kind_of(self._file.h5py, dataset)
                self._refuse(feature, found, "one encoded picture or raw frame a step")
            self._pictures[feature] = Hdf5Pictures.of(self._file, feature, dataset, layout)
        return self._pictures[feature]

    def picture_shape(self, feature: str) -> tuple[int, int, int] | None:
        """(height, width, 3) of raw frames (T, height, width, 3); else only the pictures know."""
        dataset, layout = self._camera(feature)
        if layout != "frames":
            return None
        _, height, width, channels = dataset.shape
        return height, width, channels

    def video(self, feature: str) -> VideoClip:
        """There are no videos in HDF5.

        Raises:
            FeatureError: Always.
        """
        self._refuse(feature, "an HDF5 file", "a video")

    def digest(self, pictures: Mapping[str, tuple[str, np.ndarray]]) -> str:
        """Hash every dataset, attribute and link in the order of their paths.

        Padding behind a picture does not count; bytes that belong to nothing do not either.
        """
        whole = hashlib.sha256()
        for path, node in self._walk():
            if isinstance(node, str):
                _add(whole, "link", path, node)
                continue
            # What is converted was read by the plan: damage here concerns what is left out.
            try:
                if isinstance(node, self._file.h5py.Dataset):
                    with self._file.guard(path):
                        self._file.check(path, node)
                    self._hash_dataset(whole, path, node, pictures.get(path))
                with self._file.guard(f"attributes of /{path}"):
                    names = sorted(node.attrs)
                for name in names:
                    self._hash_attribute(whole, f"{path}@{name}")
            except (CorruptRecordError, FeatureError):
                _add(whole, "unreadable", path)
        return whole.hexdigest()

    def _hash_dataset(
        self, whole: Any, path: str, dataset: Any, known: tuple[str, np.ndarray] | None
    ) -> None:
        layout = self._layout(path, dataset)
        with self._file.guard(path):
            _add(whole, "dataset", path, str(dataset.dtype), str(dataset.shape))
        if layout is not None:
            images = self.pictures(path)
            if known is None:
                joined = hashlib.sha256()
                for block in images.blocks():
                    joined.update(block.joined())
                known = joined.hexdigest(), images.lengths
            _add(whole, known[0], str(np.asarray(known[1], np.int64).tolist()))
            return
        with self._file.guard(path):
            if dataset.shape is None:
                return
            text = self._is_text(dataset.dtype)
            if dataset.dtype.hasobject and not text:
                _add(whole, "refused")
                return
            self._check_lengths(path, dataset)
            for block in _row_blocks(dataset):
                if text:
                    _add(whole, *map(repr, np.ravel(block).tolist()))
                else:
                    whole.update(np.ascontiguousarray(block).tobytes())

    def _hash_attribute(self, whole: Any, feature: str) -> None:
        try:
            value = self._attribute(feature)
        except CorruptRecordError:
            raise
        except FeatureError:
            _add(whole, "attribute", feature, "refused")
            return
        values = np.asarray(value)
        if values.dtype.hasobject:
            _add(whole, "attribute", feature, *map(repr, values.ravel().tolist()))
        else:
            _add(whole, "attribute", feature, str(values.dtype), str(values.shape))
            whole.update(values.tobytes())

    def _is_text(self, dtype: Any) -> bool:
        return self._file.h5py.check_string_dtype(dtype) is not None

    def _camera(self, feature: str) -> tuple[Any, PictureLayout | None]:
        dataset = self._dataset(feature)
        if dataset is None:
            raise self._missing(feature, "one picture a step")
        return dataset, self._layout(feature, dataset)

    def _layout(self, feature: str, dataset: Any) -> PictureLayout | None:
        with self._file.guard(feature):
            return picture_layout(self._file.h5py, dataset)

    def _attribute_holder(self, feature: str) -> Any | None:
        path, at, name = feature.rpartition("@")
        holder = self._file.find(self._place(path)) if at else None
        with self._file.guard(feature):
            # A stored type (`Datatype`) may carry attributes too.
            return holder if holder is not None and name and name in holder.attrs else None

    def _attribute(self, feature: str) -> Any:
        """An attribute's value; objects and references are refused before they are read."""
        holder = self._attribute_holder(feature)
        whole, _, key = feature.partition("#")
        if holder is None and key:
            inside = self._inside(whole)
            if key in inside:
                return inside[key]
        if holder is None:
            raise self._missing(feature, "a dataset, or an attribute as group@name")
        name = feature.rpartition("@")[2]
        with self._file.guard(feature):
            stored = holder.attrs.get_id(name)
            if stored.dtype.hasobject and not self._is_text(stored.dtype):
                self._refuse(feature, "objects or references (refused)", "numbers or text")
            if stored.shape is None:  # a null dataspace; HDF5 has no size for it
                return holder.attrs[name]
            size = stored.get_storage_size()
            if size > min(_MOST_ATTRIBUTE_BYTES, self._file.size):
                self._refuse(feature, f"an attribute of {size:,} bytes", "a small one")
            return holder.attrs[name]

    def _missing(self, feature: str, wanted: str) -> MissingFeatureError:
        return MissingFeatureError(
            place=f"{self._file.name}: feature {feature}",
            found="no such dataset or attribute in this file",
            wanted=wanted,
        )

    def _refuse(self, feature: str, found: str, wanted: str) -> NoReturn:
        raise FeatureError(
            place=f"{self._file.name}: feature {feature}", found=found, wanted=wanted
        )


def _row_blocks(dataset: Any) -> Iterator[np.ndarray]:
    if not dataset.shape:
        yield np.asarray(dataset[()])
        return
    rows = max(1, _DIGEST_BLOCK_BYTES * len(dataset) // max(1, dataset.nbytes))
    for first in range(0, len(dataset), rows):
        yield np.asarray(dataset[first : first + rows])


def _kind_of(h5py: Any, dataset: Any) -> str:
    """What a dataset holds, in words."""
    dtype, shape = dataset.dtype, dataset.shape
    if dtype.kind != "O":
        return f"{dtype} {shape}"
    if h5py.check_string_dtype(dtype) is not None:
        return f"text {shape}"
    inner = h5py.check_vlen_dtype(dtype)
    if inner == np.uint8:
        return f"pictures {shape}"
    return f"objects or references {shape} (refused)"


def _add(whole: Any, *parts: str) -> None:
    """Add texts to a hash, each with its length before it so that none runs into another."""
    for part in parts:
        data = part.encode("utf-8", "surrogateescape")
        whole.update(len(data).to_bytes(8, "little"))
        whole.update(data)
