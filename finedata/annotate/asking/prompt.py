"""Prompts: text files in `prompts/`, versioned in their names, filled in with one episode's facts.

A prompt is known by its name (`facts_atoms.v1`) and the SHA-256 of its bytes. The verb list and the
slot table are generated from their declarations, so that a prompt never promises what the check
refuses. A published file is never changed: a better prompt is a new version beside it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from finedata.annotate.asking.columns import asked_columns, asked_text
from finedata.annotate.checks.verbs import VerbList, verb_table
from finedata.errors import UsageError
from finedata.schema.dimension import DIMENSION_MEANINGS, SLOT_MEANINGS, SLOTS

if TYPE_CHECKING:
    from collections.abc import Mapping

PROMPTS: dict[str, str] = {
    "sequence": "facts_sequence.v2",
    "steps": "facts_steps.v2",
    "refine": "facts_refine.v2",
    "atoms": "facts_atoms.v2",
    "trace": "trace.v1",
}
"""Stage -> the version of its prompt that is used now."""

_RELEASED: dict[str, str] = {
    "sequence": "facts_sequence.v1",
    "steps": "facts_steps.v1",
    "refine": "facts_refine.v1",
    "atoms": "facts_atoms.v1",
}
# Runs with the released verbs ask as they always did: their answers are paid for.

BIMANUAL = "bimanual.v1"
"""The supplement for robots with two arms."""

_FORM = "Answer with one JSON object"
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def prompt_name(stage: str, verbs: VerbList) -> str:
    """The prompt of a stage, for a list of verbs."""
    return (_RELEASED if verbs == "released" else {}).get(stage, PROMPTS[stage])


@dataclass(frozen=True)
class Prompt:
    """A prompt's template.

    Attributes:
        name: File name without `.md`; with `+bimanual.v1` where the supplement is in it.
        text: The template, with `{{name}}` where values go.
        sha256: SHA-256 of the file's bytes, and of the supplement's after them where it is in it.
    """

    name: str
    text: str
    sha256: str


@cache
def load_prompt(name: str, *, bimanual: bool = False) -> Prompt:
    """Load a prompt of the package.

    Args:
        name: File name without `.md`.
        bimanual: Whether the robot has two arms: then the supplement is filled in.

    Raises:
        UsageError: There is no such file.
    """
    data = _read(name)
    text = data.decode()
    asked = asked_text(asked_columns()) if name.startswith("facts_atoms") else ""
    if asked:
        # Before the form of the answer; the hash is of all that is sent.
        text = text.replace(_FORM, f"{asked}\n\n{_FORM}")
        data, name = data + asked.encode(), f"{name}+asked"
    if not bimanual or "{{bimanual}}" not in text:
        return Prompt(name, text.replace("{{bimanual}}\n", ""), hashlib.sha256(data).hexdigest())
    supplement = _read(BIMANUAL)
    return Prompt(
        name=f"{name}+{BIMANUAL}",
        text=text.replace("{{bimanual}}\n", supplement.decode()),
        sha256=hashlib.sha256(data + supplement).hexdigest(),
    )


def _read(name: str) -> bytes:
    folder = files("finedata.annotate") / "prompts"
    path = folder / f"{name}.md"
    if not path.is_file():
        known = sorted(file.name.removesuffix(".md") for file in folder.iterdir())
        raise UsageError(place="prompt", found=f"{name!r}", wanted=f"one of {', '.join(known)}")
    return path.read_bytes()


def fill(prompt: Prompt, values: Mapping[str, str], *, verbs: VerbList = "full") -> str:
    """Fill in a prompt; the verb list and the slot table are known.

    Args:
        prompt: The template.
        values: Name of a place to its text. Braces inside a value are text, never a place.
        verbs: The list of verbs that it shows.

    Raises:
        UsageError: A place has no value, or a value no place.
    """
    known = {"verbs": lambda: verb_table(verbs), "slots": slot_table}
    places = set(_PLACE.findall(prompt.text))
    unknown = sorted((places - set(values) - set(known)) | (set(values) - places))
    if unknown:
        raise UsageError(
            place=f"prompt {prompt.name}", found=f"{unknown[0]!r}", wanted="one value a place"
        )
    return _PLACE.sub(
        lambda match: values[match[1]] if match[1] in values else known[match[1]](), prompt.text
    )


def slot_table() -> str:
    """The ten dimensions with their slots and meanings, as the prompts show them."""
    lines: list[str] = []
    for number, (dimension, slots) in enumerate(SLOTS.items(), start=1):
        lines.append(f"{number}. {dimension}: {DIMENSION_MEANINGS[dimension]}")
        lines += [f"   - {slot}: {SLOT_MEANINGS[slot]}" for slot in slots]
    return "\n".join(lines)
