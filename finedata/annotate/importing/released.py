"""Annotations as other projects released them: the one reader of their files.

    meta/FineGrainedInstruction.jsonl     FineVLA, in each LeRobot dataset
    Human_Review                          FineVLA, a JSON list or JSON Lines
    reasoning/{file}_{episode}.json       ReFineVLA, one list of {step: trace}
    language_persistent, language_events  LeRobot, columns of its data files

Read leniently where the files are known to vary (a key is misspelt, numbers come as texts, a list
of steps as numbered keys), and strictly in what they say: a line that is no record is an error with
its place, never passed over. Which episode of a dataset is meant is not decided here.

Sources: FineVLA's loader (`lerobot_datasets.py`) and scripts (`normalize.py`,
`prepare_demo_data.py`); ReFineVLA (arXiv 2505.19080, appendix B); LeRobot's `datasets/language.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pyarrow.parquet as pq

from finedata.annotate.asking.answers import words
from finedata.errors import ConformError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "FineGrained",
    "HumanReview",
    "LanguageRows",
    "Reasoning",
    "read_fine_grained",
    "read_human_review",
    "read_language",
    "read_reasoning",
]

# "human_reveiw" is how some of FineVLA's own files have it.
_REVIEW = ("human_review", "human_reveiw")
_REASONING = re.compile(r"(?P<file>\d+)_(?P<record>\d+)")
_STEP_KEY = re.compile(r"step[\s_-]*(\d+)", re.IGNORECASE)
_LANGUAGE = ("language_persistent", "language_events")


class FineGrained(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `FineGrainedInstruction.jsonl`.

    Attributes:
        place: File and line.
        episode: The episode's number in its LeRobot dataset.
        steps: Never empty.
        episode_id: finedata's own, where finedata wrote the file.
    """

    place: str
    episode: int
    steps: list[str]
    episode_id: str | None = None


class HumanReview(msgspec.Struct, frozen=True, kw_only=True):
    """A record with `Human_Review`.

    Attributes:
        place: File and record, from 1.
        sample_id: `{prefix}-{subset}-{episode}`, or finedata's episode_id where it wrote the file.
        steps: What the person left standing or wrote, never empty.
        instruction: The raw instruction; empty where there is none.
        robot: As the file names it; empty where it does not.
        given: The whole record, for whoever writes it again.
    """

    place: str
    sample_id: str
    steps: list[str]
    instruction: str = ""
    robot: str = ""
    given: dict[str, Any] = {}


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """The traces of one episode.

    Attributes:
        place: The file.
        file: Number of the source's shard.
        record: Number of the record in it.
        traces: Step to text as it was saved; empty where the call had failed.
        episode_id: finedata's own, where `index.jsonl` beside says it.
    """

    place: str
    file: int
    record: int
    traces: dict[int, str]
    episode_id: str | None = None


class LanguageRows(msgspec.Struct, frozen=True, kw_only=True):
    """The language rows of one episode of a LeRobot dataset.

    Attributes:
        place: The data file.
        episode: The episode's number.
        persistent: Rows that hold from their time on, each once, in order of time.
        events: Frame to its events.
        times_s: Time of each frame, in seconds from the first.
    """

    place: str
    episode: int
    persistent: list[dict[str, Any]]
    events: dict[int, list[dict[str, Any]]]
    times_s: list[float]


def read_fine_grained(path: Path) -> list[FineGrained]:
    """Read a `FineGrainedInstruction.jsonl`.

    Raises:
        ConformError: A line is no such record, or an episode is there twice with other steps.
        UsageError: There is no such file.
    """
    found: dict[int, FineGrained] = {}
    for place, record in _records(path):
        number = _whole(record.get("episode_id", record.get("episode_index")))
        if number is None:
            raise _refused(place, record, "a whole number as episode_id")
        mine = record.get("finedata_episode_id")
        one = FineGrained(
            place=place,
            episode=number,
            steps=_steps(place, record, "FineGrainedInstruction"),
            episode_id=mine if isinstance(mine, str) else None,
        )
        before = found.setdefault(number, one)
        if before.steps != one.steps:
            raise ConformError(
                place=place,
                found=f"episode {number} again, with other steps than in {before.place}",
                wanted="every episode once",
            )
    return list(found.values())


def read_human_review(path: Path) -> list[HumanReview]:
    """Read records with `Human_Review`: a JSON list, or JSON Lines.

    Raises:
        ConformError: There is no record, one has no sample_id or no steps, or one is there twice.
        UsageError: There is no such file.
    """
    found: dict[str, HumanReview] = {}
    for place, record in _records(path):
        sample_id = record.get("sample_id")
        if isinstance(sample_id, int):
            sample_id = str(sample_id)
        if not isinstance(sample_id, str) or not sample_id.strip():
            raise _refused(place, record, "a text as sample_id")
        key = next((key for key in record if key.casefold() in _REVIEW), "Human_Review")
        meta = record.get("meta")
        about = cast("dict[str, Any]", meta) if isinstance(meta, dict) else record
        one = HumanReview(
            place=place,
            sample_id=sample_id.strip(),
            steps=_steps(place, record, key),
            instruction=_text(about.get("instruction_raw")),
            robot=_text(about.get("robot_type")),
            given=record,
        )
        if one.sample_id in found:
            raise ConformError(
                place=place,
                found=f"{one.sample_id} again, as in {found[one.sample_id].place}",
                wanted="every sample once",
            )
        found[one.sample_id] = one
    if not found:
        raise ConformError(
            place=str(path),
            found="no record",
            wanted="records with sample_id and Human_Review, as a JSON list or JSON Lines",
            next_command="finedata review export DIR --out FILE  # writes such a file",
        )
    return list(found.values())


def read_reasoning(folder: Path) -> Iterator[Reasoning]:
    """Read `reasoning/*.json`, in the order of their names.

    Args:
        folder: The folder of the files, or the one that holds `reasoning/`.

    Raises:
        ConformError: A file is no list of one-key objects.
        UsageError: There is no such file.
    """
    inside = folder / "reasoning" if (folder / "reasoning").is_dir() else folder
    files = [path for path in sorted(inside.glob("*.json")) if _REASONING.search(path.stem)]
    if not files:
        raise UsageError(
            place=str(inside), found="no file", wanted="reasoning/{file_id}_{episode_id}.json"
        )
    index = inside.parent / "index.jsonl"
    lines = _records(index) if index.is_file() else ()
    named = {line.get("file"): line.get("finedata_episode_id") for _, line in lines}
    for path in files:
        name = cast("re.Match[str]", _REASONING.search(path.stem))
        yield Reasoning(
            place=str(path),
            file=int(name["file"]),
            record=int(name["record"]),
            traces=_traces(path),
            episode_id=named.get(path.name),
        )


def read_language(root: Path) -> Iterator[LanguageRows]:
    """Read the language columns of a LeRobot dataset, an episode at a time.

    Raises:
        ConformError: A data file cannot be read.
        UsageError: No data file has such a column.
    """
    files = sorted(root.glob("data/*/*.parquet"))
    with_rows = [path for path in files if set(_LANGUAGE) & set(_names(path))]
    if not with_rows:
        raise UsageError(
            place=str(root),
            found=f"{len(files)} data files, none with {' or '.join(_LANGUAGE)}",
            wanted="a LeRobot dataset with columns of language",
        )
    for path in with_rows:
        yield from _language_of(path)


def _language_of(path: Path) -> Iterator[LanguageRows]:
    there = [name for name in _LANGUAGE if name in _names(path)]
    columns = ["episode_index", "frame_index", "timestamp", *there]
    episodes: dict[int, LanguageRows] = {}
    known: dict[int, set[tuple[Any, ...]]] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=columns):  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
            for row in batch.to_pylist():
                number = int(row["episode_index"])
                one = episodes.setdefault(
                    number,
                    LanguageRows(
                        place=str(path), episode=number, persistent=[], events={}, times_s=[]
                    ),
                )
                one.times_s.append(float(row["timestamp"]))
                if events := row.get("language_events"):
                    one.events[int(row["frame_index"])] = events
                for said in row.get("language_persistent") or ():
                    key = tuple(said.get(k) for k in ("role", "content", "style", "timestamp"))
                    if key not in known.setdefault(number, set()):
                        known[number].add(key)
                        one.persistent.append(said)
    for number in sorted(episodes):
        episodes[number].persistent.sort(key=lambda said: float(said["timestamp"] or 0.0))
        yield episodes[number]


def _names(path: Path) -> list[str]:
    try:
        schema: Any = pq.read_schema(path)  # pyright: ignore[reportUnknownMemberType]  (the same)
        return list(schema.names)
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), path, str(error), "a Parquet file") from error


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and record of every line, or of every entry of a list.

    Raises:
        ConformError: It is no JSON, or an entry is no object.
        UsageError: There is no such file.
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UsageError(
            place=str(path), found=str(error), wanted="a file of released annotations"
        ) from error
    whole = content.lstrip()[:1] == b"["
    pieces: list[tuple[str, bytes]] = (
        [(str(path), content)]
        if whole
        else [
            (f"{path}, line {number}", line)
            for number, line in enumerate(content.splitlines(), start=1)
            if line.strip()
        ]
    )
    for place, piece in pieces:
        try:
            decoded: Any = msgspec.json.decode(piece)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise _unreadable(place, path, str(error), "JSON in UTF-8") from error
        entries: list[Any] = decoded if whole else [decoded]
        for number, entry in enumerate(entries, start=1):
            at = f"{place}, record {number}" if whole else place
            if not isinstance(entry, dict):
                raise ConformError(place=at, found=repr(entry)[:80], wanted="an object")
            yield at, cast("dict[str, Any]", entry)


def _steps(place: str, record: dict[str, Any], key: str) -> list[str]:
    """The steps under a key: a list, numbered keys, or one text."""
    given: Any = record.get(key)
    if isinstance(given, dict):
        numbered = {
            int(match[1]): text
            for name, text in cast("dict[str, Any]", given).items()
            if (match := _STEP_KEY.fullmatch(name.strip()))
        }
        given = [numbered[number] for number in sorted(numbered)]
    if isinstance(given, str):
        given = [given]
    texts = cast("list[Any]", given) if isinstance(given, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise _refused(place, record, f"a list of texts as {key}")
    steps = [step for step in map(words, texts) if step]
    if not steps:
        raise _refused(place, record, f"a step with words as {key}")
    return steps


def _traces(path: Path) -> dict[int, str]:
    """Steps of one file: a list of one-key objects, or one object."""
    try:
        decoded: Any = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(str(path), path, str(error), "JSON in UTF-8") from error
    entries = cast("list[Any]", decoded) if isinstance(decoded, list) else [decoded]
    found: dict[int, str] = {}
    for entry in entries:
        pairs = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        if not pairs:
            raise ConformError(
                place=str(path), found=f"{entry!r}"[:80], wanted="an object of a step and its trace"
            )
        for key, text in pairs.items():
            step = _whole(key)
            if step is None or not isinstance(text, str | None):
                raise ConformError(
                    place=str(path), found=f"{key!r}: {text!r}"[:80], wanted="a step and its trace"
                )
            if found.setdefault(step, text or "") != (text or ""):
                raise ConformError(
                    place=str(path), found=f"step {step} twice", wanted="every step once"
                )
    return found


def _whole(value: Any) -> int | None:
    """A number that is whole and not negative, also where it is written as a text."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str:
    """A text; a list of texts in a row."""
    if isinstance(value, list):
        return "; ".join(map(str, cast("list[Any]", value)))
    return value if isinstance(value, str) else ""


def _unreadable(place: str, path: Path, found: str, wanted: str) -> ConformError:
    """A file that is damaged, most often cut: nothing of it is taken."""
    return ConformError(
        place=place,
        found=found,
        wanted=f"{wanted}, whole; nothing was written",
        next_command=f"fetch {path.name} again ({path.stat().st_size if path.exists() else 0:,} "
        "bytes are here), then the same command",
    )


def _refused(place: str, record: dict[str, Any], wanted: str) -> ConformError:
    return ConformError(place=place, found=repr(record)[:120], wanted=wanted)
