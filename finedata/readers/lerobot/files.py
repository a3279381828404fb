"""Which files of a folder are LeRobot datasets, and which episode or camera each file holds.

Only files that were listed are ever named here: a template or a name in a JSON file can choose
among them but never lead out of the folder. Templates in `info.json` lie (a chunk number that is
an episode number, `videos/` for `video/`), so they are tried first and the numbers in the file
names second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from finedata.readers.files import SourceFile

# (episode,) in v2.x; (chunk, file) in v3.0.
FileNumber = tuple[int, ...]

_INFO = "meta/info.json"
_EPISODE = re.compile(r"(?:^|.*[/_])episode[_-]?(\d{1,9})\.(?:parquet|mp4)", re.IGNORECASE)
_CHUNK_FILE = re.compile(
    r"(?:^|.*/)chunk[_-]?(\d{1,9})/file[_-]?(\d{1,9})\.(?:parquet|mp4)", re.IGNORECASE
)
_PLACEHOLDER = re.compile(r"\{(\w+)(?::0?(\d{1,2})d?)?\}")
_LONGEST_TEMPLATE = 300
_MOST_PLACEHOLDERS = 8


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of rows: one episode (v2.x) or many (v3.0).

    Attributes:
        name: Relative to the dataset.
        size: Bytes.
        number: The episode, or chunk and file.
        is_absent: Whether the description declares it, and it is not there.
    """

    name: str
    size: int
    number: FileNumber
    is_absent: bool = False


@dataclass(frozen=True)
class DatasetFiles:
    """The files of one dataset, names relative to it.

    Attributes:
        path: The dataset's folder relative to what was opened; empty for itself.
        sizes: Every file below it (without those of a dataset further down) and its bytes.
    """

    path: str
    sizes: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def prefix(self) -> str:
        """What to put before a name to have it relative to what was opened."""
        return f"{self.path}/" if self.path else ""

    def data_files(self, template: str | None) -> list[DataFile]:
        """Files of rows in order of their numbers; none is left out for a number met twice."""
        names = [name for name in self.sizes if name.lower().endswith(".parquet")]
        names = [name for name in names if not name.startswith("meta/")]
        inside = [name for name in names if name.startswith("data/")]
        numbers = _numbered(inside or names, template, {})
        return sorted(
            (DataFile(name, self.sizes[name], number) for name, number in numbers.items()),
            key=lambda file: (file.number, file.name),
        )

    def videos(self, keys: Iterable[str], template: str | None) -> dict[str, dict[FileNumber, str]]:
        """For each camera its video files by number."""
        names = [name for name in self.sizes if name.lower().endswith(".mp4")]
        found: dict[str, dict[FileNumber, str]] = {}
        for key in keys:
            mine = [name for name in names if _names_camera(name, key)]
            numbers = _numbered(mine, template, {"video_key": key})
            by_template = _template_matcher(template, {"video_key": key})
            # Later ones win: what the template names, then what lies highest, then by name.
            order = sorted(
                numbers,
                key=lambda name: (by_template(name) is not None, -name.count("/"), name),
            )
            found[key] = {numbers[name]: name for name in order}
        return found

    def picture(self, path: str, *, feature: str, episode: int) -> str | None:
        """The listed file that a path in an image column means, absolute paths included."""
        parts = path.replace("\\", "/").split("/")
        if ".." in parts or not parts[-1]:
            return None
        folders = (f"episode_{episode:06d}", f"episode-{episode:06d}")
        tails = ["/".join(parts[start:]) for start in range(len(parts))]
        usual = [f"images/{feature}/{folder}/{parts[-1]}" for folder in folders]
        return next((name for name in (*tails, *usual) if name in self.sizes), None)


def recognises(files: Iterable[SourceFile]) -> bool:
    """Whether a folder holds LeRobot datasets: a `meta/info.json` at whatever depth."""
    return any(_is_info(file.name) for file in files)


def find_datasets(files: Iterable[SourceFile]) -> list[DatasetFiles]:
    """Every dataset below a folder, by path; a file belongs to the deepest one above it."""
    files = list(files)
    roots = {
        file.name.removesuffix(_INFO).rstrip("/"): DatasetFiles(
            file.name.removesuffix(_INFO).rstrip("/")
        )
        for file in files
        if _is_info(file.name)
    }
    for file in files:
        parts = file.name.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            dataset = roots.get("/".join(parts[:depth]))
            if dataset is not None:
                dataset.sizes["/".join(parts[depth:])] = file.size
                break
    return [roots[path] for path in sorted(roots)]


def fill_template(template: str | None, values: dict[str, int]) -> str | None:
    """The file name that a template gives; `None` where it asks for what is not there."""
    if template is None or not _is_usable(template):
        return None
    if any(match.group(1) not in values for match in _PLACEHOLDER.finditer(template)):
        return None
    return _PLACEHOLDER.sub(
        lambda match: f"{values[match.group(1)]:0{int(match.group(2) or 0)}d}", template
    )


def _numbered(
    names: list[str], template: str | None, words: dict[str, str]
) -> dict[str, FileNumber]:
    """Names with their numbers; those without any are no data."""
    match_template = _template_matcher(template, words)
    found = {name: match_template(name) or _by_pattern(name) for name in names}
    return {name: number for name, number in found.items() if number is not None}


def _by_pattern(name: str) -> FileNumber | None:
    for pattern in (_EPISODE, _CHUNK_FILE):
        match = pattern.fullmatch(name)
        if match is not None:
            return tuple(int(number) for number in match.groups())
    return None


def _template_matcher(
    template: str | None, words: dict[str, str]
) -> Callable[[str], FileNumber | None]:
    """What reads the numbers of a name that a template could have given."""
    if template is None or not _is_usable(template):
        return lambda name: None  # noqa: ARG005  (the other matcher has a use for it)
    known: set[str] = set()

    def group(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in words:
            return re.escape(words[name])
        if name in known:
            return f"(?P={name})"
        known.add(name)
        return rf"(?P<{name}>\d{{1,9}})"

    pieces: list[str] = []
    at = 0
    for match in _PLACEHOLDER.finditer(template):
        pieces += [re.escape(template[at : match.start()]), group(match)]
        at = match.end()
    pattern = re.compile("".join(pieces) + re.escape(template[at:]))

    def numbers(name: str) -> FileNumber | None:
        match = pattern.fullmatch(name)
        if match is None:
            return None
        groups = match.groupdict()
        if "episode_index" in groups:
            return (int(groups["episode_index"]),)
        if "chunk_index" in groups and "file_index" in groups:
            return int(groups["chunk_index"]), int(groups["file_index"])
        return None

    return numbers


def _is_usable(template: str) -> bool:
    names = [match.group(1) for match in _PLACEHOLDER.finditer(template)]
    return (
        len(template) <= _LONGEST_TEMPLATE
        and len(names) <= _MOST_PLACEHOLDERS
        and all(name.isidentifier() and name.isascii() for name in names)
    )


def _names_camera(name: str, key: str) -> bool:
    """Whether a folder, or the beginning of the file's name, is the camera's."""
    return f"/{key}/" in f"/{name}" or name.rsplit("/", 1)[-1].startswith(f"{key}_episode")


def _is_info(name: str) -> bool:
    return name == _INFO or name.endswith(f"/{_INFO}")
