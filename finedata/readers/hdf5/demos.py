"""Which groups of an HDF5 file are a recording each, and what the file declares of them.

robomimic, LIBERO, MimicGen and ManiSkill put many demonstrations into one file, as `data/demo_0`,
`data/demo_1`, ... or `traj_0`, `traj_1`, ...; each is an episode, known by that name. The names of
the groups are the only sign there is: no attribute of theirs says it. What the file says twice is
compared: `num_samples` of a demonstration with the rows of its datasets, `num_demos` and the lists
below `mask` with the groups that are there.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finedata.errors import CorruptRecordError

if TYPE_CHECKING:
    from finedata.readers.hdf5.file import Hdf5File

_DEMONSTRATION = re.compile(r"(?:demo|episode|ep|traj|trajectory|rollout)_(\d{1,9})")
_MOST_TEXT = 1 << 20
_DEEPEST = 8


def demonstrations(file: Hdf5File) -> list[str]:
    """Paths of the groups that are a recording each, in the order of their numbers.

    Empty where the file itself is the recording. Of groups `demo_1` and `demo_01` the first by
    name goes first.

    Raises:
        CorruptRecordError: Damaged.
    """
    for parent in ("", "data"):
        every = file.names_in(parent)
        # One that is damaged counts, or those after it would get its number.
        named = [name for name in every if _DEMONSTRATION.fullmatch(name)]
        names = [name for name in named if file.is_group(f"{parent}/{name}")]
        others = [name for name in every if name not in named]
        if len(names) > 1 or (names and not any(file.is_group(f"{parent}/{n}") for n in others)):
            names.sort(key=lambda name: (int(name.rsplit("_", 1)[1]), name))
            return [f"{parent}/{name}".lstrip("/") for name in names]
    return []


def absent_demonstrations(file: Hdf5File, there: list[str]) -> list[tuple[str, str]]:
    """Demonstrations that the file names or counts and does not hold: (name, where it is said)."""
    parent = there[0].rpartition("/")[0]
    names = {path.rpartition("/")[2] for path in there}
    found: dict[str, str] = {}
    for mask in sorted(_datasets(file, "mask")):
        for name in _texts(file, f"mask/{mask}"):
            if name not in names and _DEMONSTRATION.fullmatch(name):
                found.setdefault(name, f"mask/{mask}")
    count = _number(file, parent, "num_demos")
    more = 0 if count is None else count - len(names) - len(found)
    # A count of nonsense is not believed: nobody has as many files as that.
    if 0 < more <= 10 * len(names) + 100:
        found |= {f"number {k + 1} of {more}": f"{parent}@num_demos" for k in range(more)}
    return list(found.items())


def samples_differ(file: Hdf5File, group: str) -> bool:
    """Whether `num_samples` of a demonstration is the length of none of its datasets."""
    declared = _number(file, group, "num_samples")
    if declared is None:
        return False
    lengths = {
        node.shape[0]
        for _, node in file.walk_below(group)
        if isinstance(node, file.h5py.Dataset) and node.shape
    }
    return bool(lengths) and declared not in lengths


def json_values(text: str) -> dict[str, str | float]:
    """The texts and numbers of a JSON object in a text, by key: inner keys after a dot.

    A list of texts is the text that they are pieces of. Empty where it is no object.
    """
    if not text.lstrip().startswith("{") or len(text) > _MOST_TEXT:
        return {}
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, str | float] = {}
    _leaves(tree, "", found, _DEEPEST)
    return found


def _leaves(node: Any, way: str, found: dict[str, str | float], deep: int) -> None:
    if isinstance(node, dict) and deep:
        for key, value in cast("dict[str, Any]", node).items():
            _leaves(value, f"{way}.{key}" if way else key, found, deep - 1)
    elif isinstance(node, str) and way:
        found[way] = node
    elif isinstance(node, list) and node and way:
        pieces = cast("list[Any]", node)
        if all(isinstance(piece, str) for piece in pieces):
            found[way] = "".join(pieces)
    elif isinstance(node, int | float) and not isinstance(node, bool) and abs(node) < 2**63:
        found[way] = node


def _datasets(file: Hdf5File, parent: str) -> list[str]:
    try:
        return [
            path.rpartition("/")[2]
            for path, node in file.walk_below(parent)
            if isinstance(node, file.h5py.Dataset)
        ]
    except CorruptRecordError:
        return []


def _texts(file: Hdf5File, path: str) -> list[str]:
    """The names in a dataset of fixed-length texts; none where it is something else."""
    try:
        dataset = file.dataset(path)
        if dataset is None or dataset.dtype.kind != "S" or dataset.ndim != 1:
            return []
        with file.guard(path):
            return [bytes(name).decode(errors="replace") for name in dataset[()].tolist()]
    except CorruptRecordError:
        return []


def _number(file: Hdf5File, path: str, name: str) -> int | None:
    """A whole number in an attribute; `None` where there is none."""
    try:
        holder = file.find(path)
        with file.guard(f"{path}@{name}"):
            if holder is None or name not in holder.attrs:
                return None
            stored = holder.attrs.get_id(name)
            if stored.dtype.kind not in "iuf" or stored.shape != ():
                return None
            value = float(np.asarray(holder.attrs[name]))
    except CorruptRecordError:
        return None
    return int(value) if value.is_integer() else None
