"""What a converter file may say of language, and what reading it gives.

The `[language]` table of a converter file decodes into `LanguageSpec`: where the goal and its other
wordings are, which sidecar files have more of them, and in what shape the steps are written down.
The vocabulary names shapes of data, never a dataset. Out of it `finedata.convert.language.read`
makes an `EpisodeLanguage`, which `finedata.store.tables.annotation_rows` turns into rows; both
rooms meet here.

A template is text with `{names}`: `{path/<field>}` is a field of the path of the episode,
`{file/path}`, `{file/folder}` and `{file/name}` are the name of the episode's file relative to
the source folder, its folder and its last part; any other name is a feature of the episode, of
which the first value counts.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from finedata.schema.strict import Strict

__all__ = [
    "Actor",
    "Cleaning",
    "EpisodeLanguage",
    "FrameNameRangesSpec",
    "Instruction",
    "LabelRangesSpec",
    "LanguageSpec",
    "LookupSpec",
    "Problem",
    "RunsSpec",
    "SlotsSpec",
    "Step",
    "StepsSpec",
    "TextForm",
    "TextPart",
]

Text = Annotated[str, msgspec.Meta(min_length=1)]
LanguageTag = Annotated[
    str,
    msgspec.Meta(pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", description="BCP-47 tag, or `und`"),
]
Cleaning = Annotated[
    Literal["underscores", "hyphens", "digit_words"],
    msgspec.Meta(
        description="underscores or hyphens become spaces; words that begin with a digit go"
    ),
]
# Names of features may hold brackets, so fields are no part of a pattern.
_FIELD = re.compile(r"\{[^{}]+\}")

TextPart = Literal["text", "original", "ignore"]
StepKind = Literal["subtask", "primitive", "scene", "quality"]
Actor = Literal["left", "right", "both", "none"]
Problem = Literal["overlap", "reversed", "gap", "out_of_range"]


class TextForm(Strict, frozen=True, kw_only=True):
    """How a text of the source becomes text of ours.

    Attributes:
        separator: What joins several texts in one string, e.g. `@`.
        separated: What each part between separators is: exactly one `text`, at most one
            `original` (the same in the source's own language). A string without the separator is
            all `text`; one with another number of parts is used whole and undivided.
        ignore: Texts that mean nothing, compared without regard to case and outer white space.
        clean: Named cleanings, applied in this order to `text`; what the source wrote is kept.
        language: BCP-47 tag of `text`.
    """

    separator: Text | None = None
    separated: tuple[TextPart, ...] = ()
    ignore: tuple[str, ...] = ()
    clean: tuple[Cleaning, ...] = ()
    language: LanguageTag = "und"

    def __post_init__(self) -> None:
        """Refuse a separator without meanings of its parts, and the reverse."""
        if (self.separator is None) != (not self.separated):
            msg = "`separator` and `separated` go together"
            raise ValueError(msg)
        if self.separated and (
            self.separated.count("text") != 1 or self.separated.count("original") > 1
        ):
            msg = "`separated` needs exactly one `text` and at most one `original`"
            raise ValueError(msg)


class LookupSpec(Strict, frozen=True, kw_only=True):
    """Instructions in a CSV, JSON or JSONL file beside the episodes.

    Attributes:
        files: Templates of names relative to the source folder, tried in order; the last part of
            a name may be a pattern (`*.json`), and then every file that matches is one to try.
        texts: Columns or keys that hold a text or a list of texts, best first.
        key: Template of the record's key; absent where the whole file is one record (JSON).
        key_field: Column or key that holds the key; absent where a JSON object's own keys do.
    """

    files: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    texts: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    key: Text | None = None
    key_field: Text | None = None

    def __post_init__(self) -> None:
        """Refuse a key field without a key, and patterns in folders."""
        if self.key_field is not None and self.key is None:
            msg = "`key_field` needs a `key`"
            raise ValueError(msg)
        _check_patterns(self.files)


class RunsSpec(TextForm, frozen=True, kw_only=True, tag_field="form", tag="runs"):
    """Steps as a text a frame: each run of equal text is a step.

    One run over the whole episode that only repeats the goal is no step.
    """

    feature: Text
    kind: StepKind = "subtask"
    arm: Actor | None = None


class SlotsSpec(TextForm, frozen=True, kw_only=True, tag_field="form", tag="slots"):
    """Steps as numbers a frame, (T,) or (T, slots), each an index into a list of texts.

    A text is active where any slot has its index; fillers are texts to `ignore`, negative numbers
    are empty slots. With `arms`, slot k belongs to arm k and is read by itself.
    """

    feature: Text
    vocabulary: Text
    kind: StepKind = "subtask"
    arms: tuple[Actor, ...] = ()


class FrameNameRangesSpec(
    TextForm, frozen=True, kw_only=True, tag_field="form", tag="frame_name_ranges"
):
    """Steps in JSON records `{id, response: {task_summary, steps: [...]}}`.

    Each step is `{step_description, start_frame, end_frame}`; a frame is the name of a picture,
    whose last digits are its number from 0, and the end is inclusive, or shared with the next
    start. `task_summary` is one more wording of the goal. `key` is the template of the id.
    """

    files: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    key: Text
    kind: StepKind = "subtask"
    arm: Actor | None = None

    def __post_init__(self) -> None:
        """Refuse patterns in folders."""
        TextForm.__post_init__(self)
        _check_patterns(self.files)


class LabelRangesSpec(TextForm, frozen=True, kw_only=True, tag_field="form", tag="label_ranges"):
    """Steps in JSON records `{episode_index, annotation: {videoLabels: [...]}}`.

    Each label is `{ranges: [{start, end}], timelinelabels: [text]}`; frames count from 1, the end
    is inclusive, or shared with the next start. `key` is the template of the episode's index.
    """

    files: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    key: Text
    kind: StepKind = "subtask"
    arm: Actor | None = None

    def __post_init__(self) -> None:
        """Refuse patterns in folders."""
        TextForm.__post_init__(self)
        _check_patterns(self.files)


StepsSpec = RunsSpec | SlotsSpec | FrameNameRangesSpec | LabelRangesSpec


class LanguageSpec(TextForm, frozen=True, kw_only=True):
    """Where the language of an episode is.

    The goal is the first text that is not empty, in this order: `instructions`, `lookup`, the
    summaries of `steps`, `fallback`. Every further different text is an alternative.

    Attributes:
        instructions: Text features, best first; one that an episode lacks is passed over.
        original: Text feature that has the goal in the source's own language.
        fallback: Template of a goal for episodes that have no other, e.g. a folder's name.
        lookup: Sidecar files with instructions, best first.
        steps: Step annotations; several where the source has several kinds.
    """

    instructions: tuple[Text, ...] = ()
    original: Text | None = None
    fallback: Text | None = None
    lookup: tuple[LookupSpec, ...] = ()
    steps: tuple[StepsSpec, ...] = ()


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """One wording of an episode's goal; `original` is what the source wrote where that differs."""

    text: str
    original: str | None
    language: str
    kind: Literal["goal", "alternative"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of an episode, half-open, as the source says: never clipped or moved.

    `problem` names the source's error where it made one; see `finedata.schema.enums`.
    """

    start_frame: int
    end_frame: int
    text: str
    original: str | None
    language: str
    kind: StepKind
    arm: Actor | None = None
    problem: Problem | None = None


class EpisodeLanguage(msgspec.Struct, frozen=True, kw_only=True):
    """All language of one episode.

    Attributes:
        instructions: The goal first, then its alternatives; empty where there is none.
        steps: In the order of the converter file's `steps`, and in the source's order within.
        varies: Whether the feature that gave the goal changes within the episode.
        flags: Flags of `finedata.schema.enums.RECEIPT_FLAGS` that the language got, sorted.
    """

    instructions: tuple[Instruction, ...] = ()
    steps: tuple[Step, ...] = ()
    varies: bool = False
    flags: tuple[str, ...] = ()


def _check_patterns(files: tuple[str, ...]) -> None:
    """Only the last part of a name may be a pattern: one folder is listed, never a tree."""
    for name in files:
        folder = _FIELD.sub("", name).rpartition("/")[0]
        if any(character in folder for character in "*?["):
            msg = f"{name!r}: only the last part of a file name may be a pattern"
            raise ValueError(msg)
