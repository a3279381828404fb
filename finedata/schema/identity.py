"""Identities: the names by which every table, mirror and machine knows an episode, a step, a fact.

Every formula of a name stands here and nowhere else. No clock, host or path takes part, so two
machines that convert two mirrors of one corpus agree, and every table can be joined on
`episode_id`. The name of an annotation is made once, with the row, from what the row says then; no
revision changes it, so what refers to a row still finds it after it was edited, moved or split. In
every text that is hashed, `#` stands between parts that cannot hold it; a part that can is the
last. Standard library only: light paths import this module.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256

from finedata.errors import FeatureError, SpecError

__all__ = [
    "broken_episode_id",
    "episode_id",
    "fact_head",
    "fact_id",
    "fact_tail",
    "hash16",
    "instruction_id",
    "normalise_instruction",
    "step_id",
    "task_id",
    "trace_id",
]

# No dots or slashes: an episode_id is also a WebDataset key and part of a file name.
_SOURCE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


def hash16(text: str) -> str:
    """Name a text by the first 16 hex digits (64 bits) of the SHA-256 of its UTF-8 bytes.

    Args:
        text: Any text that UTF-8 can write.

    Returns:
        16 lower-case hex digits.

    Raises:
        FeatureError: The text holds a lone surrogate, which has no UTF-8 bytes.

    Example:
        >>> hash16("")
        'e3b0c44298fc1c14'
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FeatureError(
            place=f"text to hash, character {error.start}",
            found=f"the lone surrogate {text[error.start]!r}",
            wanted="text that UTF-8 can write",
        ) from error
    return sha256(data).hexdigest()[:16]


def normalise_instruction(instruction: str) -> str:
    r"""Fold away the differences of writing that do not make another task.

    In this order: Unicode NFC, case folding, each run of white space becomes one space, the ends
    are stripped, and a trailing run of `.`, `!`, `?` and spaces is cut. Punctuation inside
    stays: "pick up, then place" is not "pick up then place".

    Args:
        instruction: The instruction as the source wrote it.

    Returns:
        The folded text; "" where nothing is left.

    Example:
        >>> normalise_instruction("  Pick up\tthe CAN. ")
        'pick up the can'
    """
    folded = unicodedata.normalize("NFC", instruction).casefold()
    return " ".join(folded.split()).rstrip(".!? ")


def task_id(instruction: str) -> str | None:
    """Name a task by its folded instruction.

    Args:
        instruction: The instruction as the source wrote it.

    Returns:
        `hash16` of `normalise_instruction(instruction)`; None when that is empty, because an
        empty instruction is not a task.

    Raises:
        FeatureError: The instruction holds a lone surrogate.

    Example:
        >>> task_id("Pick up the can.") == task_id("pick  up the CAN")
        True
    """
    folded = normalise_instruction(instruction)
    return hash16(folded) if folded else None


def episode_id(source: str, locator: str) -> str:
    """Name an episode: `<source>-<hash16 of the canonical locator>`.

    Args:
        source: Name of the converter file, e.g. `bridge`.
        locator: Canonical locator: the template of the converter file filled in, after declared
            mirror prefixes were stripped. The caller strips; nothing is folded here.

    Returns:
        The id, without dots or slashes.

    Raises:
        SpecError: The source name holds anything but ASCII letters, digits, `_` and `-`, or begins
            with `-`.
        FeatureError: The locator is empty or holds a lone surrogate.
    """
    if not locator:
        raise FeatureError(
            place=f"episode locator of source {source!r}",
            found="an empty text",
            wanted="the filled-in locator template of the converter file",
        )
    return f"{_checked_source(source)}-{hash16(locator)}"


def broken_episode_id(source: str, *, relative_file: str, record: int) -> str:
    """Name a record that is too broken to tell its own locator.

    The hashed text is exactly `f"{relative_file}#{record}"`, `record` in decimal digits. The `x`
    before the hash is not a hex digit, so such an id never equals that of a readable episode.

    Args:
        source: Name of the converter file.
        relative_file: Path relative to the input folder, with `/` on every system.
        record: Number of the record in the file, counted from 0.

    Returns:
        `<source>-x<hash16>`.

    Raises:
        SpecError: The source name is not allowed (see `episode_id`).
        FeatureError: The path holds a lone surrogate.
    """
    return f"{_checked_source(source)}-x{hash16(f'{relative_file}#{record}')}"


def step_id(episode: str, run_id: str, *, place: int) -> str:
    """Name a step: hash16 of `<episode_id>#<run_id>#<place>`.

    Args:
        episode: The episode_id.
        run_id: hash16 of the settings of the run.
        place: How many steps the run had made of the episode before this one, rejected and merged
            ones counted. For the steps that a run makes at once it is their index; a step that an
            edit adds later takes the next number, wherever it stands in the order.
    """
    return hash16(f"{episode}#{run_id}#{place}")


def fact_id(
    episode: str,
    run_id: str,
    *,
    dimension: str,
    slot: str,
    anchor: str,
    object: str | None = None,
    step: str | None = None,
    next_step: str | None = None,
    nth: int = 0,
) -> str:
    """Name a fact by what it is about, not by what it says: a corrected value keeps its name.

    hash16 of `<episode_id>#<run_id>#<dimension>#<slot>#<anchor>#<step_id>#<next step_id>#<nth>#
    <object>` in one line, where what is missing is empty and the object is case folded.

    Args:
        episode: The episode_id.
        run_id: hash16 of the settings of the run.
        dimension: One of the ten.
        slot: One of the dimension's.
        anchor: What the fact is tied to.
        object: The object it is about.
        step: step_id of its step.
        next_step: For the anchor `between`, step_id of the other step.
        nth: 0; where a person adds a fact and the name is taken, by a row that was about the same
            before it was edited, the first number that gives a free one.
    """
    head = fact_head(episode, run_id, dimension=dimension, slot=slot, anchor=anchor)
    return hash16(head + fact_tail(step, next_step, object=object, nth=nth))


def fact_head(episode: str, run_id: str, *, dimension: str, slot: str, anchor: str) -> str:
    """The first half of what `fact_id` hashes, which many facts of an episode share."""
    return f"{episode}#{run_id}#{dimension}#{slot}#{anchor}#"


def fact_tail(
    step: str | None = None,
    next_step: str | None = None,
    *,
    object: str | None = None,
    nth: int = 0,
) -> str:
    """The second half of what `fact_id` hashes; the object last, as it may hold a `#`."""
    return f"{step or ''}#{next_step or ''}#{nth}#{(object or '').casefold()}"


def instruction_id(episode: str, run_id: str, *, kind: str, order: int) -> str:
    """Name a wording: hash16 of `<episode_id>#<run_id>#<kind>#<order>`, the order when made."""
    return hash16(f"{episode}#{run_id}#{kind}#{order}")


def trace_id(episode: str, run_id: str, *, frame_index: int) -> str:
    """Name a trace: hash16 of `<episode_id>#<frame_index>#<run_id>`."""
    return hash16(f"{episode}#{frame_index}#{run_id}")


def _checked_source(source: str) -> str:
    if _SOURCE_NAME.fullmatch(source) is None:
        raise SpecError(
            place="source name",
            found=repr(source),
            wanted="ASCII letters, digits, `_` and `-`, not beginning with `-`",
            next_command="rename the converter file and its `name`",
        )
    return source
