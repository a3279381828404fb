"""What a converter file says of a feature: what it is used for, or why it is left out.

The file is the user's own declaration and is stored in the dataset. Only its words are read here:
which episode has which form, and what a pattern finds there, the reader and the converter decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from finedata.schema.language_spec import RunsSpec, SlotsSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.schema.converter import Converter, Variant

_TEMPLATE = re.compile(r"\{([^{}]+)\}")
_TASKS_OF = re.compile(r"tasks\[(.+)\]")


@dataclass(frozen=True, slots=True)
class Use:
    """What a converter file does with the features that match a pattern.

    Attributes:
        pattern: The feature, or a pattern with `*`.
        kind: `number`, `camera`, `text`, `fact` (of the episode, not of its frames), `keep`, or
            `left_out`.
        stored: What comes of it, by its name in the output; empty where only frames tell.
        flag: For `left_out`, the receipt's flag that says so.
    """

    pattern: str
    kind: str
    stored: str
    flag: str = ""

    def holds(self, feature: str) -> bool:
        """Whether the feature is meant."""
        return self.pattern == feature or fnmatchcase(feature, self.pattern)


def uses_of(converter: Converter, reader: str) -> dict[str, list[Use]]:
    """Every use of every form that a reader serves; what is left out comes last.

    Returns:
        Name of the form to its uses.
    """
    return {
        variant.name: [*_uses(variant), *_left_out(variant)]
        for variant in converter.variants
        if variant.reader == reader
    }


def _uses(variant: Variant) -> Iterator[Use]:
    for arm in variant.arms:
        for side, column in ((arm.state, "observation.state"), (arm.action, "action")):
            for pick in (side.position, side.rotation, side.joints, side.gripper, side.hand):
                if pick is not None:
                    yield Use(pick.feature, "number", column)
    for vector in variant.vectors:
        for piece in vector.pieces:
            yield Use(piece.feature, "number", vector.name)
    for camera in variant.cameras:
        yield Use(camera.feature, "camera", "" if camera.name == "*" else camera.name)
    yield from _facts(variant)
    yield from _language(variant)
    for pattern in variant.keep:
        yield Use(pattern, "keep", "")


def _facts(variant: Variant) -> Iterator[Use]:
    time, success = variant.time, variant.success
    if time.timestamps is not None:
        yield Use(time.timestamps, "number", "source_time_s")
    for name, stored in (
        (time.fps_feature, "episodes.fps"),
        (time.first_step, "receipts.frames_read"),
        (time.last_step, "receipts.flags"),
        (variant.embodiment_feature, "episodes.embodiment"),
        (None if success is None else success.feature, "episodes.success"),
        (None if success is None else success.known, "episodes.success"),
        (None if success is None else success.text, "episodes.success"),
    ):
        if name is not None:
            yield Use(name, "fact", stored)
    if variant.intervention is not None:
        yield Use(variant.intervention.feature, "number", "is_intervention")
    for name in _TEMPLATE.findall(variant.episode.locator):
        yield Use(name, "fact", "episodes.episode_id")


def _language(variant: Variant) -> Iterator[Use]:
    spec = variant.language
    for name in spec.instructions:
        yield Use(_column(name), "text", "instructions")
    if spec.original is not None:
        yield Use(_column(spec.original), "text", "instructions.text_original")
    for steps in spec.steps:
        if isinstance(steps, RunsSpec | SlotsSpec):
            yield Use(_column(steps.feature), "text", "steps")
        if isinstance(steps, SlotsSpec):
            yield Use(_column(steps.vocabulary), "text", "steps")
    templates = [spec.fallback or ""]
    for lookup in spec.lookup:
        templates += [*lookup.files, lookup.key or ""]
    for steps in spec.steps:
        if not isinstance(steps, RunsSpec | SlotsSpec):
            templates += [*steps.files, steps.key]
    for template in templates:
        for name in _TEMPLATE.findall(template):
            yield Use(name, "fact", "instructions")


def ignored_texts(converter: Converter) -> frozenset[str]:
    """Texts that mean nothing, as the converter declares: lower case, without outer white space."""
    found: set[str] = set()
    for variant in converter.variants:
        forms = [variant.language, *variant.language.steps]
        found |= {text.strip().casefold() for form in forms for text in form.ignore}
    return frozenset(found)


def _column(feature: str) -> str:
    """The column of numbers behind a text that is looked up in a table of tasks."""
    match = _TASKS_OF.fullmatch(feature)
    if feature == "task":
        return "task_index"
    # A style of a column of language is said of the column.
    return match.group(1) if match else feature.partition("[")[0]


def _left_out(variant: Variant) -> Iterator[Use]:
    for kind, patterns in variant.not_converted.items():
        for pattern in patterns:
            yield Use(pattern, "left_out", "", f"{kind}_not_converted")
