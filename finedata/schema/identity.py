"""Identities: the names by which every table, mirror and machine knows one episode and one task.

In comes text (a locator, an instruction, a file and record number), out comes a short stable
name. No clock, host or path takes part, so two machines that convert two mirrors of one corpus
agree, and every table can be joined on `episode_id`. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256

from finedata.errors import FeatureError, SpecError

__all__ = ["broken_episode_id", "episode_id", "hash16", "normalise_instruction", "task_id"]

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


def _checked_source(source: str) -> str:
    if _SOURCE_NAME.fullmatch(source) is None:
        raise SpecError(
            place="source name",
            found=repr(source),
            wanted="ASCII letters, digits, `_` and `-`, not beginning with `-`",
            next_command="rename the converter file and its `name`",
        )
    return source
