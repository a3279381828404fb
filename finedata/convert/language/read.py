"""Which words of a source are an episode's goal, which are further wordings, and which are steps.

A `LanguageSpec` says where the words are: in the record, or in sidecars beside it. Words never fail
an episode: a sidecar that is absent or cannot be read is a flag, and an error of the source in its
steps is kept and named (`Step.problem`), never repaired. Only a text feature of the record
itself that does not decode is an error of the record, and a disk or network that fails for now is
an `OSError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from finedata.convert.language.steps import read_steps
from finedata.convert.language.text import Episode, Formed, find_record, form_text, form_texts
from finedata.schema.language_spec import EpisodeLanguage, Instruction, RunsSpec, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.readers.episode import RawEpisode
    from finedata.readers.files import SourceFolder
    from finedata.schema.language_spec import LanguageSpec, LookupSpec

__all__ = ["EpisodeLanguage", "Instruction", "Step", "read_language"]


# A style of LeRobot's column of language: wordings of one task, for the whole episode.
_TOGETHER = "[task_aug]"


def read_language(
    raw: RawEpisode,
    spec: LanguageSpec,
    *,
    folder: SourceFolder,
    file: str,
    path: Mapping[str, str],
    frames: int,
) -> EpisodeLanguage:
    """Read all language of one episode.

    Args:
        raw: The episode.
        spec: Where its language is.
        folder: The source folder: sidecars are read inside it and nowhere else.
        file: Name of the episode's file relative to the folder.
        path: Fields of the episode's path for `{path/<field>}` in templates, by `<field>` or by the
            whole name; a template with a field that is not there is as one with an absent feature.
        frames: Frames that are written: what steps are checked against.

    Returns:
        Goal, alternatives and steps. A text that changes within an instruction feature gives one
        instruction each, in order, unless `steps` reads that feature as runs: then what comes
        later are steps.

    Raises:
        FeatureError: A text feature of the record is no text, or not UTF-8.
        OSError: A sidecar cannot be read for now.
    """
    episode = Episode(raw=raw, folder=folder, file=file, path=path, frames=frames)
    wordings, varies = _from_features(episode, spec)
    recorded = len(wordings)
    for lookup in spec.lookup:
        wordings += _from_lookup(episode, lookup, spec)
    of_lookups, episode.flags = episode.flags, set()
    steps: list[Step] = []
    for steps_spec in spec.steps:
        goal = wordings[0].text if wordings else None
        found, summary = read_steps(episode, steps_spec, goal=goal)
        steps += found
        wordings += [] if summary is None else [summary]
    # One of several places may lack what another one has: nothing is missing then.
    annotated = len(wordings) > recorded
    flags = of_lookups - ({"annotation_missing"} if annotated else set())
    flags |= episode.flags - ({"annotation_missing"} if steps else set())
    if not wordings and spec.fallback is not None:
        fallback = form_text(episode.fill(spec.fallback) or "", spec)
        wordings = [] if fallback is None else [fallback]
    return EpisodeLanguage(
        instructions=_instructions(wordings),
        steps=tuple(steps),
        varies=varies,
        flags=tuple(sorted(flags)),
    )


def _instructions(wordings: list[Formed]) -> tuple[Instruction, ...]:
    """The first wording is the goal; further ones with another text are alternatives."""
    different = {wording.text: wording for wording in reversed(wordings)}
    return tuple(
        Instruction(
            text=text,
            original=different[text].original,
            language=different[text].language,
            kind="alternative" if position else "goal",
        )
        for position, text in enumerate(dict.fromkeys(wording.text for wording in wordings))
    )


def _from_features(episode: Episode, spec: LanguageSpec) -> tuple[list[Formed], bool]:
    runs = {steps.feature for steps in spec.steps if isinstance(steps, RunsSpec)}
    wordings: list[Formed] = []
    varies = False
    for feature in spec.instructions:
        if not episode.raw.has(feature):
            continue
        texts = episode.raw.texts(feature)
        formed = form_texts(texts, spec)
        # A text that comes and goes varies, too; wordings that hold together do not.
        one_by_one = not feature.endswith(_TOGETHER)
        different = {form_text(text, spec) for text in dict.fromkeys(texts)}
        varies = varies or (one_by_one and len(different) > 1)
        wordings += formed[:1] if feature in runs else formed
    if wordings and spec.original is not None and episode.raw.has(spec.original):
        originals = [text.strip() for text in episode.raw.texts(spec.original) if text.strip()]
        if originals:
            wordings[0] = wordings[0]._replace(original=originals[0])
    return wordings, varies


def _from_lookup(episode: Episode, lookup: LookupSpec, spec: LanguageSpec) -> list[Formed]:
    record = find_record(episode, lookup.files, key=lookup.key, key_field=lookup.key_field)
    if record is None:
        return []
    texts: list[str] = []
    try:
        fields = msgspec.json.decode(record, type=dict[str, object])
        if not any(name in fields for name in lookup.texts):
            episode.flags.add("annotation_unreadable")
        for name in lookup.texts:
            texts += msgspec.convert(_listed(fields.get(name)), type=list[str])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        episode.flags.add("annotation_unreadable")
    return form_texts(texts, spec)


def _listed(value: object) -> list[object]:
    """A text, a list, or nothing, as a list."""
    if value is None:
        return []
    return cast("list[object]", value) if isinstance(value, list) else [value]
