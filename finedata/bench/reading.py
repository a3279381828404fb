"""A benchmark is read: one that `finedata bench make` cut, or RoboFine-Bench's released files.

The first is `bench.json` and two tables, whose rows must have the digests that it names.
"""

from __future__ import annotations

from pathlib import Path

from finedata.bench.benchmark import BENCH_FILE, Benchmark, read_rows
from finedata.bench.released_files import is_released, read_released
from finedata.errors import SourceError, UsageError
from finedata.schema.bench_summary import BenchFile
from finedata.schema.documents import decode_document

__all__ = ["read_benchmark"]


def read_benchmark(root: str | Path, *, revision: str = "") -> Benchmark:
    """Read a benchmark: one that finedata cut, or RoboFine-Bench's released files.

    Args:
        root: Its folder.
        revision: What the state is called; else the name of the Hub's snapshot folder, or the
            digest of the ground truth.

    Raises:
        UsageError: It is neither.
        SourceError: A file is damaged.
    """
    path = Path(root)
    if (path / BENCH_FILE).is_file():
        return _read_cut(path, revision=revision)
    if path.is_dir() and is_released(path):
        return read_released(path, revision=revision)
    raise UsageError(
        place=str(path),
        found="no benchmark" if path.exists() else "nothing",
        wanted=f"{BENCH_FILE}, or RoboFine-Bench's EvalSets.json with its other files",
        next_command="download the dataset xlangai/RoboFine-bench, or: "
        "finedata bench make DIR --out BENCH",
    )


def _read_cut(root: Path, *, revision: str) -> Benchmark:
    place = root / BENCH_FILE
    file = decode_document(place.read_bytes(), BenchFile, place=str(place))
    found = Benchmark(
        root=root,
        name=file.name,
        revision=revision or file.items_sha256[:16],
        samples=read_rows(root / "samples.parquet", "bench_samples"),
        items=read_rows(root / "items.parquet", "bench_items"),
        notes=list(file.notes),
        annotators=tuple(file.annotators),
    )
    pinned = found.pinned()
    for name in ("samples_sha256", "items_sha256"):
        if getattr(pinned, name) != getattr(file, name):
            raise SourceError(
                place=f"{place}, {name}",
                found=f"rows with the digest {getattr(pinned, name)}",
                wanted=getattr(file, name),
                next_command="cut the benchmark again: finedata bench make",
            )
    return found
