"""Converting each source against the limit (`cp` and sync): rate and memory.

    python -m benchmarks.sources --mb 300 --rounds 5 --folder DIR [--only rdt,droid]
    python -m benchmarks.sources --memory --folder DIR

Comes in: a size. Goes out: a Markdown section for RESULTS.md, and every run as a line of JSON
before it. Corpora are made once, in DIR/corpora, by `benchmarks/source_corpora.py`. Every round
runs, for each source in turn and each in processes of its own: `cp -r` + `sync`; the conversion
with all statistics; the conversion without those of pictures; and the conversion of the first
episode only, which is mostly the start of Python and of the workers, the part of the seconds that
does not grow with the source. The source is read once before each run, so that all of them find it
in the page cache. Medians are over rounds, of ratios per round; nothing is rerun. `--memory`
converts one episode of 3,000 frames and three cameras instead, and then two of them in one file:
the limit is for each corpus that holds such episodes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.convert import _timed, _warm
from benchmarks.source_corpora import CORPORA, write_long_hdf5, write_long_rlds

if TYPE_CHECKING:
    from collections.abc import Callable

# What the first issue asks of RLDS, and the third of every source that carries JPEG.
WANTED = {"all": 0.35, "no image": 0.6}
MEMORY_LIMIT_MB = 1000
LIBRARIES = ("numpy", "pyarrow", "simplejpeg", "h5py", "av")
HEADINGS = ["source", "carries", "MB", "episodes", "frames", "`cp` s", "first episode s"] + [
    f"{kind}{unit}"
    for kind in ("", "no pictures: ")
    for unit in ("s", "MB/s", "/ cp", "episodes/s", "frames/s", "peak MB")
]
Row = dict[str, float]


def main() -> None:
    """Make what is missing, run the rounds, print the section."""
    options = _options()
    if options.memory:
        _measure_memory(options)
        return
    names = options.only.split(",") if options.only else list(CORPORA)
    unknown = [name for name in names if name not in CORPORA]
    if unknown:
        sys.exit(f"no source {', '.join(unknown)}; there are {', '.join(CORPORA)}")
    corpora = {name: _made(options, name) for name in names}
    runs: dict[str, list[Row]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            row = _round(options, name, corpora[name])
            runs[name].append(row)
            print(f"round {number + 1} {name}: " + json.dumps(_rounded(row)), flush=True)
    _print_section(options, corpora, runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="corpora and outputs go here")
    parser.add_argument("--mb", type=float, default=300, help="size of each corpus, 10^6 bytes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--only", default="", help="names with commas between: rdt,droid")
    parser.add_argument("--memory", action="store_true", help="one long episode; nothing else")
    return parser.parse_args()


class _Made(dict[str, int]):
    """Episodes, frames and bytes of a corpus that lies in `folder`."""

    folder: Path


def _made(options: argparse.Namespace, name: str) -> _Made:
    write = CORPORA[name].write
    folder = options.folder / "corpora" / f"{name}_{options.mb:g}mb"
    return _written(folder, partial(write, size=options.mb * 1e6))


def _written(folder: Path, write: Callable[[Path], tuple[int, int]]) -> _Made:
    """The corpus in `folder`, made where it is not there; the note beside it comes last."""
    note = folder.with_suffix(".json")
    if not note.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        begun = time.perf_counter()
        episodes, frames = write(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        note.write_text(json.dumps({"episodes": episodes, "frames": frames, "bytes": size}))
        seconds = time.perf_counter() - begun
        print(f"made {folder.name}: {size / 1e6:.0f} MB, {episodes} episodes, {seconds:.1f} s")
    made = _Made(json.loads(note.read_text()))
    made.folder = folder
    return made


def _round(options: argparse.Namespace, name: str, corpus: _Made) -> Row:
    """Seconds and peak MB of each command, one after the other."""
    row: Row = {}
    out = options.folder / "run" / "out"
    convert = _convert_command(options, CORPORA[name].converter, corpus.folder)
    commands = {
        "cp": ["sh", "-c", f"cp -r '{corpus.folder}' '{out}' && sync"],
        "all": convert,
        "no image": [*convert, "--no-image-stats"],
        "first": [*convert, "--max-episodes", "1"],
    }
    for kind, command in commands.items():
        _warm(corpus.folder)
        row[f"{kind} s"], row[f"{kind} peak MB"] = _timed(command, out.parent)
        if kind in WANTED:
            _check(name, out, corpus)
    shutil.rmtree(out, ignore_errors=True)
    return row


def _convert_command(options: argparse.Namespace, converter: str, source: Path) -> list[str]:
    finedata = str(Path(sys.executable).parent / "finedata")
    return [
        finedata, "convert", converter, "--input", str(source),
        "--out", str(options.folder / "run" / "out"),
        "--num-workers", str(options.num_workers), "--json",
    ]  # fmt: skip


def _check(name: str, out: Path, corpus: _Made) -> None:
    """A conversion that lost something is no measurement."""
    counts = json.loads((out / "finedata.json").read_text())["counts"]
    found = (counts["written"], counts["failed"], counts["frames_written"])
    if found != (corpus["episodes"], 0, corpus["frames"]):
        sys.exit(f"{name}: written, failed, frames are {found}; made were {dict(corpus)}")


def _rounded(row: Row) -> Row:
    return {key: round(value, 2) for key, value in row.items()}


def _measure_memory(options: argparse.Namespace) -> None:
    forms = {
        "RLDS (DROID)": ("droid", write_long_rlds),
        "RLDS, two in a file": ("droid", partial(write_long_rlds, episodes=2)),
        "HDF5, padded (RDT)": ("rdt", partial(write_long_hdf5, padded=True)),
        "HDF5, vlen (RoboMIND V2)": ("robomind_v2", partial(write_long_hdf5, padded=False)),
    }
    command = f"    python -m benchmarks.sources --memory --rounds {options.rounds} --folder DIR"
    lines = ["| form | MB | frames | s | peak MB | of runs | wanted |", "|---" * 7 + "|"]
    for label, (converter, write) in forms.items():
        corpus = _written(options.folder / "corpora" / f"long_{_file_name(label)}", write)
        runs: list[tuple[float, float]] = []
        for _ in range(options.rounds):
            _warm(corpus.folder)
            convert = _convert_command(options, converter, corpus.folder)
            runs.append(_timed(convert, options.folder / "run"))
            _check(label, options.folder / "run" / "out", corpus)
        seconds, peaks = (_middle([run[k] for run in runs]) for k in (0, 1))
        size, frames = corpus["bytes"] / 1e6, corpus["frames"]
        lines.append(
            f"| {label} | {size:.0f} | {frames} | {seconds:.1f} | **{peaks:.0f}** "
            f"| {', '.join(f'{run[1]:.0f}' for run in sorted(runs))} | < {MEMORY_LIMIT_MB} |"
        )
    shutil.rmtree(options.folder / "run", ignore_errors=True)
    _print_head("One long episode", command, options)
    print("\n".join(lines))


def _file_name(label: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in label.lower()).split())


def _print_section(
    options: argparse.Namespace, corpora: dict[str, _Made], runs: dict[str, list[Row]]
) -> None:
    only = f" --only {options.only}" if options.only else ""
    _print_head(
        "Each source",
        f"    python -m benchmarks.sources --mb {options.mb:g} --rounds {options.rounds}"
        f" --folder DIR{only}",
        options,
    )
    print("| " + " | ".join(HEADINGS) + " |")
    print("|---|---|" + "---:|" * (len(HEADINGS) - 2))
    for name, rows in runs.items():
        print(_table_row(name, corpora[name], rows))
    print(
        f"\nWanted where JPEG is carried: {WANTED['all']} of `cp`, {WANTED['no image']} without "
        f"picture statistics; peak below {MEMORY_LIMIT_MB} MB. The seconds hold the start of "
        "Python and of the workers (see the first episode's), which `cp` has not.\n\n"
        "Ratios of the rounds, least to greatest:\n"
    )
    print("| source | all statistics / cp | without picture statistics / cp |\n|---|---|---|")
    for name, rows in runs.items():
        cells = [
            ", ".join(f"{ratio:.2f}" for ratio in sorted(_ratios(rows, kind))) for kind in WANTED
        ]
        print(f"| {name} | {cells[0]} | {cells[1]} |")


def _print_head(title: str, command: str, options: argparse.Namespace) -> None:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    print(
        f"\n## {title}\n\n{command}\n\n"
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Linux "
        f"{platform.release()}, Python {platform.python_version()}, {libraries}; "
        f"{time.strftime('%Y-%m-%d')}; {options.num_workers} workers, {options.rounds} rounds, "
        "medians; memory is the RSS of the process tree, shared pages counted in each.\n"
    )


def _table_row(name: str, corpus: _Made, rows: list[Row]) -> str:
    size = corpus["bytes"] / 1e6
    cells = [
        name,
        CORPORA[name].carries,
        f"{size:.0f}",
        f"{corpus['episodes']}",
        f"{corpus['frames']}",
        f"{_middle([row['cp s'] for row in rows]):.2f}",
        f"{_middle([row['first s'] for row in rows]):.2f}",
    ]
    for kind in WANTED:
        seconds = _middle([row[f"{kind} s"] for row in rows])
        cells += [
            f"{seconds:.2f}",
            f"{size / seconds:.0f}",
            f"**{_middle(_ratios(rows, kind)):.2f}**",
            f"{corpus['episodes'] / seconds:.1f}",
            f"{corpus['frames'] / seconds:.0f}",
            f"{_middle([row[f'{kind} peak MB'] for row in rows]):.0f}",
        ]
    return "| " + " | ".join(cells) + " |"


def _ratios(rows: list[Row], kind: str) -> list[float]:
    return [row["cp s"] / row[f"{kind} s"] for row in rows]


def _middle(values: list[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
