"""Changes to finished datasets: one thing of one file is altered, removed, repeated or exchanged.

`run_output_mutations` converts a small source of each family once and asks `verify` of each change.
A change that leaves what the file says as it was (a number by itself, a row by an equal one) is
none. What verify says it does not compare (versions of libraries) is not altered.
"""

from __future__ import annotations

import functools
import importlib
import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.errors import FinedataError

__all__ = ["SOURCES", "run_output_mutations"]

# Name -> (converter, module, function, knobs).
SOURCES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "lerobot_video": ("lerobot", "generic_lerobot", "write", {"length": 6}),
    "lerobot_pictures": ("lerobot", "generic_lerobot", "write", {"length": 6, "pictures": True}),
    "lerobot_v2": ("lerobot", "generic_lerobot", "write", {"length": 6, "version": "v2.1"}),
    "rlds": ("bridge_v2", "bridge", "write", {}),
    "hdf5": ("rdt", "rdt", "write", {"episodes": 2, "frames": 4, "size": (9, 13), "still": 1}),
    "rh20t": ("rh20t", "rh20t", "write", {"episodes": 2, "frames": 4, "cameras": 2, "cfgs": (5,)}),
    "galaxea": ("galaxea", "galaxea", "write", {"datasets": 1, "episodes": 2, "length": 6}),
}
# What a dataset says of the software that made it is not compared.
_OWN = ("finedata_version", "libraries")


@functools.cache
def _made(name: str) -> tuple[Path, Path]:
    """(source, dataset) of a family, made once in this process."""
    converter, module, function, knobs = SOURCES[name]
    folder = Path(tempfile.mkdtemp(prefix=f"outputs-{name}-"))
    source = folder / "source"
    source.mkdir()
    getattr(importlib.import_module(f"sources.{module}"), function)(source, **knobs)
    convert(converter, input=source, out=folder / "out")
    shutil.rmtree(folder / "out" / ".finedata")
    return source, folder / "out"


def run_output_mutations(name: str, *, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Change an output `count` times; how often which kind was found, and what was not."""
    source, out = _made(name)
    rng = np.random.default_rng([seed, sum(name.encode())])
    found: Counter[str] = Counter()
    missed: list[str] = []
    files = sorted(path for path in out.rglob("*") if path.is_file())
    while sum(found.values()) + len(missed) < count:
        with tempfile.TemporaryDirectory(prefix="output-") as folder:
            copy = Path(folder) / "out"
            shutil.copytree(out, copy)
            path = copy / files[int(rng.integers(len(files)))].relative_to(out)
            kind = _change(rng, path)
            if not kind:
                continue
            try:
                seen = bool(verify(copy, input=source).problems)
                if not seen and "stats/observation.images" in kind:
                    seen = bool(verify(copy, input=source, decode=True).problems)
            except FinedataError:
                seen = True
        where = f"{kind} in {path.relative_to(copy)}"
        if seen:
            found[kind.split(":")[0]] += 1
        else:
            missed.append(where)
    return found, missed


def _change(rng: np.random.Generator, path: Path) -> str:
    """Change a file; what was done, in words, or nothing where nothing changed."""
    if rng.random() < 0.02:
        path.unlink()
        return "a file removed"
    if path.suffix == ".parquet":
        return _change_table(rng, path)
    if path.suffix == ".json":
        return _change_json(rng, path)
    return _change_bytes(rng, path)


def _change_table(rng: np.random.Generator, path: Path) -> str:
    table = pq.read_table(path)
    rows, kind = table.num_rows, int(rng.integers(10))
    row = int(rng.integers(rows))
    column = int(rng.integers(table.num_columns))
    name = table.schema.field(column).name
    if kind == 0:
        changed, said = (
            pa.concat_tables([table.slice(0, row), table.slice(row + 1)]),
            "a row removed",
        )
    elif kind == 1:
        changed, said = pa.concat_tables([table, table.slice(row, 1)]), "a row repeated"
    elif kind == 2:
        other = int(rng.integers(rows))
        order = list(range(rows))
        order[row], order[other] = order[other], order[row]
        changed, said = table.take(pa.array(order)), "two rows exchanged"
        if path.parts[-2] in ("instructions", "steps", "curation"):
            return ""  # tables that are keyed by ids have no order
    elif kind == 3:
        changed, said = table.drop_columns([name]), f"a column removed: {name}"
    else:
        values = table.column(column).to_pylist()
        other = _other(rng, values[row], values[int(rng.integers(rows))])
        of_video = name.startswith("stats/") and name.split("/")[1] in _videos(path.parents[3])
        if name in _OWN or of_video:  # videos' statistics by episode: said not to be checked
            return ""
        said = f"a cell: {name}: {values[row]!r:.60} to {other!r:.60}"
        values[row] = other
        try:
            column_array = pa.array(values, table.schema.field(column).type)
        except (pa.ArrowException, OverflowError, TypeError):
            return ""
        changed = table.set_column(column, table.schema.field(column), column_array)
    pq.write_table(changed, path)
    # A null in a column that has none is written as what it was.
    return "" if pq.read_table(path).equals(table) else said


def _videos(part: Path) -> set[str]:
    return {path.name for path in part.glob("videos/*")}


def _other(rng: np.random.Generator, value: Any, beside: Any) -> Any:
    """Another value of a cell: that of another row, nothing, or a little more."""
    if rng.random() < 0.3:
        return beside
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value + float(rng.choice([1.0, -1.0, 1e-3]))
    if isinstance(value, int):
        return value + int(rng.choice([1, -1]))
    if isinstance(value, str):
        return value[:-1] if value and rng.random() < 0.5 else value + "x"
    if isinstance(value, bytes):
        at = int(rng.integers(len(value))) if value else 0
        return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] if value else b"x"
    if isinstance(value, list) and value:
        at = int(rng.integers(len(value)))
        return [*value[:at], _other(rng, value[at], value[-1]), *value[at + 1 :]]
    if isinstance(value, dict) and value:
        key = sorted(value)[int(rng.integers(len(value)))]
        return value | {key: _other(rng, value[key], value[key])}
    return None


def _change_json(rng: np.random.Generator, path: Path) -> str:
    tree = json.loads(path.read_text())
    places = [(node, key, way) for node, key, way in _places(tree, "") if not way.startswith(_OWN)]
    node, key, way = places[int(rng.integers(len(places)))]
    before = json.dumps(tree, sort_keys=True)
    if rng.random() < 0.2:
        del node[key]
        said = f"a value of JSON removed: {way}"
    else:
        said = f"a value of JSON: {way}: {node[key]!r:.60}"
        node[key] = _other(rng, node[key], None)
    if json.dumps(tree, sort_keys=True) == before:
        return ""
    path.write_text(json.dumps(tree))
    return said


def _places(node: Any, way: str) -> list[tuple[Any, Any, str]]:
    found: list[tuple[Any, Any, str]] = []
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
    for key, value in items:
        where = f"{way}/{key}".lstrip("/")
        found.append((node, key, where))
        if isinstance(value, dict | list):
            found += _places(value, where)
    return found


def _change_bytes(rng: np.random.Generator, path: Path) -> str:
    """A video: cut, a bit of its pictures, or another one in its place."""
    data = path.read_bytes()
    kind = int(rng.integers(3))
    others = sorted(other for other in path.parents[2].rglob("*.mp4") if other != path)
    if kind == 0:
        changed, said = data[: int(rng.integers(len(data)))], "a video cut"
    elif kind == 1 and others:
        changed, said = others[int(rng.integers(len(others)))].read_bytes(), "another video"
    else:
        begin = data.index(b"mdat") + 8
        at = begin + int(rng.integers(max(1, (len(data) - begin) // 3)))
        changed, said = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "a bit of a video"
    if changed == data:
        return ""
    path.unlink()  # it may be a link to the source
    path.write_bytes(changed)
    return said


if __name__ == "__main__":
    counts, lost = run_output_mutations(sys.argv[1], count=int(sys.argv[2]), seed=int(sys.argv[3]))
    print(json.dumps(counts))
    print("\n".join(lost))
