"""How a goal or a step becomes a text of ours, and which flag says why there is none.

What both have in common: cleaning a text, filling the templates of a `LanguageSpec`, and finding
an episode's record in JSON files that lie beside the episodes.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from finedata.errors import FeatureError, MissingFeatureError
from finedata.readers.sidecars import inside_name, is_pattern, matching_names, open_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import msgspec

    from finedata.readers.episode import RawEpisode
    from finedata.readers.files import SourceFolder
    from finedata.readers.sidecars import Sidecar
    from finedata.schema.language_spec import TextForm

_FIELD = re.compile(r"\{([^{}]+)\}")
_DIGIT_WORD = re.compile(r"(?<!\S)\d\S*")


class Formed(NamedTuple):
    """A text of ours: what it says, what the source wrote where that differs, its language."""

    text: str
    original: str | None
    language: str


@dataclass(slots=True)
class Episode:
    """An episode while its language is read, and the flags that it gets on the way.

    Attributes:
        raw: The episode.
        folder: The source folder.
        file: Name of the episode's file relative to it.
        path: Fields of the episode's path, `task` or `path/task`.
        frames: Frames that are written.
        flags: Grows while sidecars and steps are read.
    """

    raw: RawEpisode
    folder: SourceFolder
    file: str
    path: Mapping[str, str]
    frames: int
    flags: set[str] = field(default_factory=set[str])

    def fill(self, template: str) -> str | None:
        """Fill a template; `None` where the episode lacks one of its fields or features."""
        values = {name: self._value(name) for name in _FIELD.findall(template)}
        if None in values.values():
            return None
        return _FIELD.sub(lambda match: values[match.group(1)] or "", template)

    def names(self, template: str) -> list[str]:
        """The existing or possible files that a template of a file name means.

        Raises:
            OSError: A folder cannot be listed for now.
        """
        filled = self.fill(template)
        if filled is None:
            return []
        if not is_pattern(_FIELD.sub("", template)):
            name = inside_name(filled)
            return [] if name is None else [name]
        # What a field holds is meant as it is, also where it looks like a pattern.
        head, slash, tail = template.rpartition("/")
        if head.count("{") != head.count("}"):
            head, slash, tail = "", "", template
        values = {name: glob.escape(self._value(name) or "") for name in _FIELD.findall(tail)}
        last = _FIELD.sub(lambda match: values[match.group(1)], tail)
        name = inside_name(f"{self.fill(head) or ''}{slash}{last}")
        return [] if name is None else matching_names(self.folder, name)

    def _value(self, name: str) -> str | None:
        if name.startswith(("path/", "file/")):
            return self._path_value(name)
        try:
            texts = self.raw.texts(name)
            return texts[0] if texts else None
        except MissingFeatureError:
            return None
        except FeatureError:
            values = np.asarray(self.raw.numbers(name)).reshape(-1)
            return str(values[0].item()) if values.size else None

    def _path_value(self, name: str) -> str | None:
        parent, _, last = self.file.rpartition("/")
        known = {"file/path": self.file, "file/folder": parent, "file/name": last}
        known |= {key if "/" in key else f"path/{key}": text for key, text in self.path.items()}
        return known.get(name)


def form_text(text: str, form: TextForm) -> Formed | None:
    """Make a text of ours from one of the source; `None` where it means nothing.

    Of a joined text whose `text` part is empty the `original` part is used, in the language
    `und`. `original` is kept where it was separated, or where the form changed what was written.
    """
    ignored = {other.strip().casefold() for other in form.ignore} | {""}
    written, original, language = text, None, form.language
    parts = text.split(form.separator) if form.separator else []
    if len(parts) == len(form.separated) > 1:
        written = parts[form.separated.index("text")]
        if "original" in form.separated:
            original = parts[form.separated.index("original")].strip() or None
        if not written.strip() and original is not None:
            written, original, language = original, None, "und"
    if written.strip().casefold() in ignored:
        return None
    formed = _clean(written, form)
    if not formed:
        return None
    if original is None and formed != written:
        original = written
    return Formed(formed, original, language)


def form_texts(texts: Iterable[str], form: TextForm) -> list[Formed]:
    """Form each different text once, in order of appearance."""
    formed = (form_text(text, form) for text in dict.fromkeys(texts))
    return [text for text in formed if text is not None]


def _clean(text: str, form: TextForm) -> str:
    for cleaning in form.clean:
        if cleaning == "digit_words":
            text = _DIGIT_WORD.sub(" ", text)
        else:
            text = text.replace("_" if cleaning == "underscores" else "-", " ")
    return " ".join(text.split()) if form.clean else text.strip()


def find_record(
    episode: Episode, files: Iterable[str], *, key: str | None, key_field: str | None
) -> msgspec.Raw | bytes | None:
    """The first record with the episode's key in the files that templates name, as JSON.

    An episode that the files just do not mention is no fault; otherwise the episode is flagged
    `annotation_missing` (no file, or no key to look for) or `annotation_unreadable`.

    Args:
        episode: The episode; its flags grow.
        files: Templates of names.
        key: Template of the key; `None` where a file is one record.
        key_field: See `Sidecar.records`.

    Raises:
        OSError: A sidecar cannot be read for now.
    """
    wanted = None if key is None else episode.fill(key)
    flag = "annotation_missing"
    if key is None or wanted is not None:
        for sidecar in _sidecars(episode, files):
            if sidecar.problem == "unreadable":
                flag = "annotation_unreadable"
            elif wanted is None:
                return sidecar.data
            else:
                records = sidecar.records(key_field=key_field)
                if records is None:
                    flag = "annotation_unreadable"
                elif wanted in records:
                    return records[wanted]
                elif flag == "annotation_missing":
                    flag = ""
    episode.flags |= {flag} - {""}
    return None


def _sidecars(episode: Episode, files: Iterable[str]) -> Iterator[Sidecar]:
    for template in files:
        for name in episode.names(template):
            sidecar = open_sidecar(episode.folder, name)
            if sidecar.problem != "missing":
                yield sidecar
