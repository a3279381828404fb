"""RoboFine-Bench's released files, as they are: names in two spellings, fields in two types.

Met and taken: `videos` and `Videos`; datasets named otherwise in folders than in EvalSets.json;
instructions and ground truths that are a text, a list, or a list written as text; ground truths
that say "error (black screen)". A dimension that is none of the ten is refused: the released scorer
drops such facts silently.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import msgspec

from finedata.bench.benchmark import Benchmark, Row, Track, make_item
from finedata.errors import SourceError
from finedata.schema.dimension import DIMENSIONS, SLOTS
from finedata.schema.enums import ANSWER_TYPES

if TYPE_CHECKING:
    from pathlib import Path

_SAMPLES, _QUESTIONS, _FACTS = "EvalSets.json", "QAEvalSets.json", "GT_AtomicFacts.jsonl"
_FRAMES, _VIDEOS = "frame_index.jsonl", "videos"
_BROKEN = re.compile(r"\berror\b.*black", re.IGNORECASE | re.DOTALL)
_SNAPSHOT = re.compile(r"[0-9a-f]{40}")


def is_released(root: Path) -> bool:
    """Whether a folder holds the released files."""
    return _file(root, _SAMPLES) is not None


def read_released(root: Path, *, revision: str = "") -> Benchmark:
    """Read RoboFine-Bench.

    Args:
        root: Folder with EvalSets.json, and whichever of QAEvalSets.json, GT_AtomicFacts.jsonl,
            frame_index.jsonl and videos are there.
        revision: See `read_benchmark`.

    Raises:
        SourceError: A file is damaged, or names a dimension or kind of answer that nobody knows.
    """
    notes: list[str] = []
    digest = sha256()
    samples: dict[str, Row] = {}
    for entry in _entries(root, _SAMPLES, digest):
        sample = _sample(root, entry)
        if sample["sample_id"] in samples:
            raise SourceError(
                place=f"{_SAMPLES}, {sample['sample_id']}", found="it twice", wanted="each id once"
            )
        samples[sample["sample_id"]] = sample
    items: list[Row] = []
    taken: set[tuple[str, str, str]] = set()  # names of items, over all entries of a video
    for entry in _entries(root, _QUESTIONS, digest):
        sample = _known(samples, entry, _QUESTIONS, notes)
        if entry.get("status", "ok") != "ok":
            notes.append(f"{_QUESTIONS}: {sample['sample_id']} has status {entry['status']!r}")
        items += _questions(sample, entry, taken)
    for entry in _entries(root, _FACTS, digest):
        sample = _known(samples, entry, _FACTS, notes)
        if entry.get("status", "ok") != "ok":
            notes.append(f"{_FACTS}: {sample['sample_id']} has status {entry['status']!r}")
        items += _facts(sample, entry, taken)
    _read_frames(root, samples, digest, notes)
    broken = [name for name, sample in samples.items() if not sample["usable"]]
    if broken:
        notes.append(f"{len(broken)} videos are broken by their own ground truth: {broken[0]}, …")
    if not revision:
        name = root.resolve().name
        revision = name if _SNAPSHOT.fullmatch(name) else digest.hexdigest()[:16]
    return Benchmark(
        root=root,
        name="RoboFine-Bench",
        revision=revision,
        samples=sorted(samples.values(), key=lambda row: row["sample_id"]),
        items=sorted(items, key=lambda row: row["item_id"]),
        notes=notes,
        annotators=("human/RoboFine-Bench",),
    )


def _sample(root: Path, entry: Row) -> Row:
    sample_id = str(entry["sample_id"])
    meta = cast("dict[str, Any]", entry.get("meta") or {})
    duration = meta.get("duration_sec")
    truth = entry.get("GT")
    dataset = str(entry.get("dataset") or "unknown")
    return {
        "sample_id": sample_id,
        "dataset": dataset,
        "episode_id": None,
        "instruction": _texts(entry.get("instruction_raw")),
        "robot_type": str(entry["robot_type"]) if entry.get("robot_type") else None,
        "duration_s": None if duration is None else float(duration),
        "views": _views(root, dataset, sample_id, entry, meta),
        "usable": not any(_BROKEN.search(text) for text in _texts(truth)),
    }


def _views(
    root: Path, dataset: str, sample_id: str, entry: Row, meta: dict[str, Any]
) -> list[dict[str, Any]]:
    """The sample's videos, in the order of EvalSets' views, whatever their files are called."""
    keys = list(cast("dict[str, Any]", entry.get("views") or {}))
    names = [str(name) for name in cast("list[Any]", meta.get("view_names") or [])]
    folder = _folder(root, _VIDEOS)
    inside = None if folder is None else _folder(folder, dataset)
    place = None if inside is None else _folder(inside, sample_id)
    if place is None and folder is not None:  # the folder of the dataset may be called otherwise
        place = next(
            (found for one in _folders(folder) if (found := _folder(one, sample_id))), None
        )
    files = [] if place is None else sorted(place.glob("*.mp4"))
    by_stem = {_folded(file.stem): file for file in files}
    views: list[dict[str, Any]] = []
    for number, key in enumerate(keys or [file.stem for file in files]):
        name = names[number] if number < len(names) else key
        file = by_stem.get(_folded(key)) or by_stem.get(_folded(name))
        if file is None and len(files) == len(keys):
            file = files[number]
        path = f"{_VIDEOS}/{dataset}/{sample_id}/{key}.mp4"
        views.append(
            {
                "name": name,
                "path": path if file is None else file.relative_to(root).as_posix(),
                "sha256": None if file is None else _digest(file),
            }
        )
    return views


def _questions(sample: Row, entry: Row, taken: set[tuple[str, str, str]]) -> list[Row]:
    rows: list[Row] = []
    for number, qa in enumerate(cast("list[Row]", entry.get("qas") or []), start=1):
        name = str(qa.get("question_id") or f"q{number}")
        place = f"{_QUESTIONS}, {sample['sample_id']}, {name}"
        kind = str(qa.get("answer_type"))
        if kind not in ANSWER_TYPES:
            raise SourceError(place=place, found=f"answer_type {kind!r}", wanted=str(ANSWER_TYPES))
        rows.append(
            _item(sample, "vqa", name, taken)
            | {
                "dimension": _dimension(qa.get("capability"), place),
                "slot": None,
                "question": str(qa.get("question") or ""),
                "answer_type": kind,
                "options": [str(option) for option in cast("list[Any]", qa.get("options") or [])],
                "answer": str(qa.get("answer")),
                "error_type": qa.get("error_type") or qa.get("mode"),
            }
        )
    return rows


def _facts(sample: Row, entry: Row, taken: set[tuple[str, str, str]]) -> list[Row]:
    rows: list[Row] = []
    for result in cast("list[Row]", entry.get("capability_results") or []):
        place = f"{_FACTS}, {sample['sample_id']}"
        dimension = _dimension(result.get("capability"), place)
        for number, fact in enumerate(cast("list[Row]", result.get("gt_atomic_facts") or []), 1):
            name = str(fact.get("fact_id") or f"{dimension}_{number}")
            slot = fact.get("slot")
            rows.append(
                _item(sample, "caption", name, taken)
                | {
                    "dimension": dimension,
                    "slot": slot if slot in SLOTS[dimension] else None,
                    "answer": str(fact.get("value")),
                    "fact_text": str(fact.get("fact_text") or fact.get("value")),
                    "object": fact.get("object") or None,
                }
            )
    return rows


def _item(sample: Row, track: Track, name: str, taken: set[tuple[str, str, str]]) -> Row:
    """What every item has; a name that comes twice in a video gets a number."""
    unique, number = name, 1
    while (track, sample["sample_id"], unique) in taken:
        number += 1
        unique = f"{name}#{number}"
    taken.add((track, sample["sample_id"], unique))
    return make_item(sample, track, unique)


def _dimension(given: Any, place: str) -> str:
    name = re.sub(r"[^a-z]+", "_", str(given).lower().replace("&", " and ")).strip("_")
    if name not in DIMENSIONS:
        raise SourceError(
            place=place, found=f"capability {given!r}", wanted=f"one of {', '.join(DIMENSIONS)}"
        )
    return name


def _known(samples: dict[str, Row], entry: Row, file: str, notes: list[str]) -> Row:
    sample_id = str(entry.get("sample_id"))
    if sample_id not in samples:
        notes.append(f"{file}: {sample_id} is not in {_SAMPLES}; there is no video to show")
        samples[sample_id] = {
            "sample_id": sample_id,
            "dataset": "unknown",
            "episode_id": None,
            "instruction": [],
            "robot_type": None,
            "duration_s": None,
            "views": [],
            "usable": False,
        }
    return samples[sample_id]


def _read_frames(root: Path, samples: dict[str, Row], digest: Any, notes: list[str]) -> None:
    """Names of views that EvalSets.json does not give; where both do, they must be as many."""
    for entry in _entries(root, _FRAMES, digest):
        sample = _known(samples, entry, _FRAMES, notes)
        views = cast("dict[str, Any]", entry.get("views") or {})
        if not sample["views"]:
            sample["views"] = [{"name": name, "path": "", "sha256": None} for name in views]
        elif len(views) != len(sample["views"]):
            notes.append(
                f"{_FRAMES}: {sample['sample_id']} has {len(views)} views, "
                f"{_SAMPLES} {len(sample['views'])}"
            )


def _texts(value: Any) -> list[str]:
    """Texts of a field that is a text, a list, or a list written as JSON or Python."""
    if value is None:
        return []
    if isinstance(value, str):
        stripped = value.strip()
        if stripped[:1] in "[{" and stripped:
            for read in (json.loads, ast.literal_eval):
                try:
                    return _texts(read(stripped))
                except (ValueError, SyntaxError, RecursionError, MemoryError):
                    continue
        return [stripped] if stripped else []
    if isinstance(value, dict):
        return [text for one in cast("dict[str, Any]", value).values() for text in _texts(one)]
    if isinstance(value, list | tuple):
        return [str(one) for one in cast("list[Any]", value) if str(one).strip()]
    return [str(value)]


def _entries(root: Path, name: str, digest: Any) -> list[Row]:
    """Entries of a JSON array or of JSON lines; none where the file is not there."""
    path = _file(root, name)
    if path is None:
        return []
    data = path.read_bytes()
    digest.update(name.encode() + b"\0" + data)
    try:
        if name.endswith(".jsonl"):
            found = [msgspec.json.decode(line) for line in data.splitlines() if line.strip()]
        else:
            found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError) as error:
        pointer = data.startswith(b"version https://git-lfs")
        raise SourceError(
            place=str(path),
            found="a Git LFS pointer" if pointer else f"{error}",
            wanted="JSON",
            next_command="git lfs pull" if pointer else "",
        ) from error
    if not isinstance(found, list) or not all(
        isinstance(one, dict) and "sample_id" in one for one in cast("list[Any]", found)
    ):
        raise SourceError(place=str(path), found="other JSON", wanted="objects with a sample_id")
    return cast("list[Row]", found)


def _file(root: Path, name: str) -> Path | None:
    found = [one for one in root.iterdir() if one.name.lower() == name.lower() and one.is_file()]
    return min(found, default=None)


def _folder(root: Path, name: str) -> Path | None:
    """A folder by name, upper and lower case, dashes and spaces all one."""
    exact = root / name
    if name and "/" not in name and exact.is_dir():
        return exact
    return next((one for one in _folders(root) if _folded(one.name) == _folded(name)), None)


@cache
def _folders(root: Path) -> list[Path]:
    return sorted(one for one in root.iterdir() if one.is_dir())


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
