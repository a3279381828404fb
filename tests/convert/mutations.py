"""Random damage to valid sources: what is mutated, how, and what must hold afterwards.

A family writes small sources (`Unit`s) and says how many of them share one conversion. Damaged
ones are converted and the output is held against itself: counts, receipts, rows, and the source
read again (`verify`). Runs in this process, or for HDF5 in one of its own:
`python -m convert.mutations rdt 400 7` stops at the first that is broken; with one word more it
goes on and tells them all.
"""

from __future__ import annotations

import faulthandler
import functools
import importlib
import json
import shutil
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from corpora.declaration import shard_file_name, write_declaration
from corpora.record import encode_bridge_episode
from corpora.tfrecord import FRAME_OVERHEAD, frame_record

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.errors import FinedataError
from finedata.store.dataset import open_dataset
from finedata.store.pictures import black_jpeg

__all__ = ["FAMILIES", "Broken", "Family", "mutate", "run_mutations"]

Tree = dict[str, bytes]
_SECONDS = 20
_SHARED_SHARE = 0.3
_OPTIONS = (
    *[ConvertOptions(image_stats=False)] * 5,
    ConvertOptions(),
    ConvertOptions(image_stats=False, fix_colour=True),
    ConvertOptions(image_stats=False, resize=(16, 16), transcode="h264"),
)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63 - 1, 2**70),
    *(1e308, -0.5, "", "..", "../../etc/passwd", "/etc/passwd"),
    *("\x00", "{episode_index:9999999999d}", "\ud83d\ude00", [], [[]], {}, {"": None}),
)


class Broken(AssertionError):
    """A mutation that ended in something else than an error at the start or a whole dataset."""


class TimeLimitError(BaseException):
    """A conversion that took too long; nothing in between may catch it."""


@dataclass(frozen=True)
class Unit:
    """One small valid source: its files, and how many episodes it holds."""

    tree: Tree
    episodes: int


@dataclass(frozen=True)
class Family:
    """Units of one kind of file, and how several are put side by side.

    Attributes:
        name: The reader's.
        converter: Converter that reads them.
        units: What is damaged; each has its own files.
        place: File of a unit and the unit's number to the file's place in the source.
        shared: Files of the first unit that are there once, whatever the number of units.
        fewer: Whether damage may hide episodes (a description that is not believed).
    """

    name: str
    converter: str
    units: tuple[Unit, ...]
    place: Callable[[str, int], str]
    shared: tuple[str, ...] = ()
    batch: int = 24
    fewer: bool = False


def mutate(rng: np.random.Generator, name: str, data: bytes) -> bytes:
    """Damage a file: bytes of any, values of JSON."""
    if name.endswith((".json", ".jsonl")) and rng.random() < 0.5:
        return _mutate_json(rng, name, data)
    if ".tfrecord-" in name and rng.random() < 0.7:
        return _mutate_records(rng, data)
    if not data:
        return rng.bytes(8)
    kind = rng.integers(8)
    out = bytearray(data)
    at = int(rng.integers(len(out)))
    span = int(rng.integers(1, 65))
    if kind <= 2:  # a few flipped bits
        for _ in range(int(rng.integers(1, 5))):
            out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        return bytes(out[:at])
    elif kind == 4:
        out[at:at] = rng.bytes(span)
    elif kind == 5:
        del out[at : at + span]
    elif kind == 6:  # two blocks change places
        other = int(rng.integers(len(out)))
        a, b = bytes(out[at : at + span]), bytes(out[other : other + span])
        out[at : at + span], out[other : other + span] = b, a
    else:  # a number of impossible size, or none
        value = (b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f")[rng.integers(4)]
        out[at : at + len(value)] = value
    return bytes(out)


def _mutate_json(rng: np.random.Generator, name: str, data: bytes) -> bytes:
    """Replace or remove one value somewhere in the tree."""
    lines = data.split(b"\n") if name.endswith(".jsonl") else [data]
    filled = [number for number, line in enumerate(lines) if line.strip()]
    number = filled[int(rng.integers(len(filled)))]
    tree = json.loads(lines[number])
    places = list(_places({"": tree}))
    parent, key = places[int(rng.integers(len(places)))]
    if rng.random() < 0.25 and parent is not None and key != "":
        del parent[key]
    else:
        parent[key] = _ODD_VALUES[int(rng.integers(len(_ODD_VALUES)))]
        if key == "" and len(places) and places[0][0] is parent:
            tree = parent[key]
    lines[number] = json.dumps(tree).encode()
    return b"\n".join(lines)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _mutate_records(rng: np.random.Generator, data: bytes) -> bytes:
    """Damage a payload and give it a right checksum."""
    payloads = []
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        payloads.append(data[at + 12 : at + 12 + length])
        at += length + FRAME_OVERHEAD
    which = int(rng.integers(len(payloads)))
    for _ in range(int(rng.integers(1, 4))):
        payloads[which] = mutate(rng, "payload", payloads[which])
    return b"".join(map(frame_record, payloads))


def run_mutations(
    name: str, *, count: int, seed: int, broken: list[str] | None = None
) -> Counter[str]:
    """Damage units of a family `count` times and convert them, several at once.

    Args:
        name: The family.
        count: How often.
        seed: Decides what is damaged, and how.
        broken: Gathers what ended otherwise, and the run goes on.

    Returns:
        How often which outcome was met: `written`, a receipt's reason, or an error's name.

    Raises:
        Broken: A mutation ended otherwise; the message says how to repeat it.
    """
    family = FAMILIES[name]()
    rng = np.random.default_rng([seed, sum(name.encode())])
    outcomes: Counter[str] = Counter()
    done = 0
    while done < count:
        units, damaged = draw(family, rng, count=min(family.batch, count - done))
        options = _OPTIONS[int(rng.integers(len(_OPTIONS)))]
        try:
            outcomes += _converted(family, units, damaged, options, hint=f"{name} {done} of {seed}")
        except Broken as error:
            if broken is None:
                raise
            broken.append(str(error))
        done += len(units)
    outcomes["mutations"] = done
    return outcomes


def draw(family: Family, rng: np.random.Generator, *, count: int) -> tuple[list[Unit], list[Tree]]:
    """Units for one conversion and what is left of them; one alone where what they share goes."""
    if family.shared and rng.random() < _SHARED_SHARE:
        return [family.units[0]], [_damaged(rng, family.units[0], family.shared)]
    units = [family.units[number % len(family.units)] for number in range(count)]
    own = [[name for name in unit.tree if name not in family.shared] for unit in units]
    return units, [_damaged(rng, *pair) for pair in zip(units, own, strict=True)]


def _damaged(rng: np.random.Generator, unit: Unit, names: Sequence[str]) -> Tree:
    name = names[int(rng.integers(len(names)))]
    return unit.tree | {name: mutate(rng, name, unit.tree[name])}


def _converted(
    family: Family,
    units: list[Unit],
    damaged: list[Tree],
    options: ConvertOptions,
    *,
    hint: str,
) -> Counter[str]:
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        _write(family, damaged, source)
        try:
            with _time_limit():
                outcomes = _outcomes(family, units, source, out, options)
        except (Exception, TimeLimitError) as error:
            if len(damaged) > 1:
                for unit, tree in zip(units, damaged, strict=True):
                    _converted(family, [unit], [tree], options, hint=hint)
            kept = Path(tempfile.gettempdir()) / f"broken-{family.name}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(source, kept)
            changed = [name for name in damaged[0] if damaged[0][name] != units[0].tree.get(name)]
            msg = f"{hint}: {type(error).__name__}: {error} ({changed} in {kept})"
            raise Broken(msg) from error
        return outcomes


def _write(family: Family, trees: list[Tree], source: Path) -> None:
    for number, tree in enumerate(trees):
        for name, data in tree.items():
            place = name if name in family.shared else family.place(name, number)
            path = source / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(data)


def _outcomes(
    family: Family, units: list[Unit], source: Path, out: Path, options: ConvertOptions
) -> Counter[str]:
    """Convert, and hold what came out against itself.

    Raises:
        Broken: It does not agree with itself, or the run stopped after it had begun.
    """
    try:
        summary = convert(family.converter, input=source, out=out, options=options)
    except FinedataError as error:
        # One that is damaged must not keep the others out.
        if out.exists() or len(units) > 1:
            raise
        return Counter({type(error).__name__: 1})
    dataset = open_dataset(out)
    receipts = dataset.receipts.collect().to_dicts()
    reasons = Counter(row["reason"] or "written" for row in receipts)
    wanted = sum(unit.episodes for unit in units)
    _require(summary.found == len(receipts), f"{summary.found} found, {len(receipts)} receipts")
    _require(
        summary.episodes == reasons["written"] and summary.found == sum(reasons.values()),
        f"{summary} against {reasons}",
    )
    _require(family.fewer or summary.found >= wanted, f"{summary.found} found of {wanted}")
    _require(summary.episodes <= wanted, f"{summary.episodes} written of {wanted}")
    for row in receipts:
        if row["status"] == "written":
            agrees = row["frames_read"] == row["frames_written"] + row["frames_dropped"]
            _require(agrees, f"frames of {row}")
            _require(row["frames_written"] >= 1, f"no frames in {row}")
        else:
            _require(row["frames_written"] == 0 and bool(row["message"]), f"{row}")
    report = verify(out, input=source)
    _require(not report.problems, f"{report.problems[:3]}")
    _require(report.episodes == summary.episodes, f"{report.episodes} verified")
    return reasons


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise Broken(message)


@contextmanager
def _time_limit() -> Iterator[None]:
    """A Python error after some seconds; the end of the process where even that is not heard."""

    def ring(*_: object) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)  # of this process: others may be at work
    faulthandler.dump_traceback_later(30 * _SECONDS, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, before)


# The families


def _fixture(module: str, function: str = "write", /, **knobs: Any) -> Unit:
    """What a fixture writer of a source gives, as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        write = getattr(importlib.import_module(f"sources.{module}"), function)
        truths = write(Path(folder), **knobs)
        tree = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    return Unit(tree, len(truths))


def _below(name: str, number: int) -> str:
    return f"unit_{number}/{name}"


@functools.cache
def _rlds() -> Family:
    """Twelve shards of two records; only the two JSON files are shared."""
    shards: list[Tree] = []
    for shard in range(12):
        records = [
            frame_record(
                encode_bridge_episode(
                    state=np.linspace(0.1, 0.2, 14, dtype=np.float32).reshape(2, 7),
                    action=np.zeros((2, 7), np.float32),
                    pictures={"image_0": [black_jpeg(8, 8)] * 2},
                    instruction="go",
                    file_path="/a/b/out.npy",
                    source_episode_id=2 * shard + number,
                )
            )
            for number in range(2)
        ]
        shards.append({shard_file_name("train", shard, 12): b"".join(records)})
    with tempfile.TemporaryDirectory() as folder:
        sizes = [(2, len(data)) for tree in shards for data in tree.values()]
        write_declaration(Path(folder), image_size=8, cameras=1, splits={"train": sizes})
        described = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    units = tuple(Unit(described | shard, 2) for shard in shards)
    return Family(
        "rlds", "bridge_v2", units, lambda name, _: name, shared=tuple(described), batch=12
    )


@functools.cache
def _lerobot() -> Family:
    small = {"episodes": 2, "length": 3}
    return Family(
        "lerobot",
        "lerobot",
        # An episode is known by its rows, so no two units may have the same.
        tuple(
            _fixture("generic_lerobot", version=version, pictures=pictures, seed=seed, **small)
            for seed in range(6)
            for version, pictures in (
                ("v2.1", False),
                ("v3.0", False),
                ("v3.0", True),
                ("v2.0", True),
            )
        ),
        _below,
        fewer=True,
    )


@functools.cache
def _robocoin() -> Family:
    return Family(
        "robocoin",
        "robocoin",
        (
            _fixture("robocoin", episodes=2, length=6),
            _fixture("robocoin", "write_early", episodes=2, length=6),
        ),
        _below,
        fewer=True,
    )


@functools.cache
def _galaxea() -> Family:
    return Family(
        "galaxea",
        "galaxea",
        (_fixture("galaxea", datasets=1, episodes=1, length=6),),
        lambda name, number: name.replace("_006/", f"_{number:03d}/", 1),
        fewer=True,
    )


@functools.cache
def _rdt() -> Family:
    return Family(
        "rdt",
        "rdt",
        (
            _fixture("rdt", episodes=1, frames=3, size=(9, 13), still=1),
            _fixture("rdt", episodes=1, frames=3, size=(9, 13), still=1, rows=True),
        ),
        lambda name, number: name.replace("/pour_water/", f"/pour_{number}/"),
    )


@functools.cache
def _demonstrations() -> Family:
    """Two demonstrations in each file: damage of the file may cost both, of one group only one."""
    units = tuple(_fixture("robomimic", lengths=(3, 4), pictures=p) for p in (True, False))
    paper = Path(__file__).parents[1] / "faults/demonstrations.toml"
    return Family("demonstrations", str(paper), units, _below, fewer=True)


@functools.cache
def _robomind_v1() -> Family:
    def place(name: str, number: int) -> str:
        for task in ("bread_in_basket", "17_pick_carrot", "open_and_close_01"):
            name = name.replace(f"/{task}/", f"/{task}_{number}/")
        return name

    units = tuple(
        _fixture("robomind_v1", episodes=1, frames=3, size=(9, 13), embodiments=(kind,))
        for kind in ("franka_1rgb", "agilex_3rgb", "simulation")
    )
    return Family("robomind_v1", "robomind_v1", units, place)


@functools.cache
def _robomind_v2() -> Family:
    units = tuple(
        _fixture("robomind_v2", episodes=1, frames=3, size=(9, 13), robots=(robot,), depth=False)
        for robot in ("agilex", "tienkung")
    )
    return Family(
        "robomind_v2",
        "robomind_v2",
        units,
        lambda name, number: name.replace("/0415_", f"/{number:04d}_"),
    )


@functools.cache
def _rh20t() -> Family:
    unit = _fixture("rh20t", episodes=1, frames=4, cameras=2, cfgs=(5,))
    return Family(
        "rh20t",
        "rh20t",
        (unit,),
        lambda name, number: name.replace("_user_0007_", f"_user_{number:04d}_"),
        shared=("configs.json", "task_description.json"),
    )


FAMILIES: dict[str, Callable[[], Family]] = {
    "rlds": _rlds,
    "lerobot": _lerobot,
    "robocoin": _robocoin,
    "galaxea": _galaxea,
    "rdt": _rdt,
    "demonstrations": _demonstrations,
    "robomind_v1": _robomind_v1,
    "robomind_v2": _robomind_v2,
    "rh20t": _rh20t,
}


if __name__ == "__main__":
    failures: list[str] = []
    count_of, seed_of = int(sys.argv[2]), int(sys.argv[3])
    kept = None if len(sys.argv) < 5 else failures
    found = run_mutations(sys.argv[1], count=count_of, seed=seed_of, broken=kept)
    print(*failures, sep="\n", file=sys.stderr)
    print(json.dumps(found | {"broken": len(failures)} if failures else found))
