"""Structured answers, read tolerantly: what a model means, typed, or an error with a place.

The type is the caller's, by msgspec. Models put JSON into code fences, talk before and after it and
leave commas at the end; none of that changes what they say, so it is forgiven. A text that ends
early, or says something of another shape, is not: half is none.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from finedata.teachers.protocol import UnusableAnswerError

__all__ = ["parse_answer", "parse_json"]

_T = TypeVar("_T")
_FENCE = re.compile(r"```[a-zA-Z0-9_+-]*[ \t]*\r?\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)
_CUT_LITERAL = re.compile(r"\s*(?:-|\.|[eE][+-]?|t|tr|tru|f|fa|fal|fals|n|nu|nul)?\s*")
_LONGEST_TAIL = 2_000  # openers tried in talk around the JSON


def parse_answer(text: str, type_: type[_T], *, place: str = "answer") -> _T:
    r"""Read an answer as a value of a type.

    Args:
        text: What came back: JSON, in a code fence or in talk, trailing commas allowed.
        type_: A msgspec struct or any type that msgspec decodes; its constraints hold.
        place: What the error names.

    Raises:
        UnusableAnswerError: No JSON, JSON that ends early, or another shape than `type_`.

    Example:
        >>> parse_answer('Sure!\n```json\n{"a": [1, 2,],}\n```', dict[str, list[int]])
        {'a': [1, 2]}
    """
    value = parse_json(text, place=place)
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise UnusableAnswerError(
            place=place, found=f"JSON of another shape: {error}", wanted=_name(type_)
        ) from error


def parse_json(text: str, *, place: str = "answer") -> Any:
    """The one JSON object or array of an answer; see `parse_answer`.

    Tried in this order: the whole text, each code fence, and from each opening bracket on. Of
    several values in talk the longest is meant: a model that thinks aloud ends with the answer and
    mentions only pieces of it before. What stands in `<think>` tags is no answer, however whole.

    Raises:
        UnusableAnswerError: There is none, or the last one that begins does not end, or the answer
            ends while it thinks.
    """
    if not text.strip():
        raise UnusableAnswerError(place=place, found="an empty text", wanted="JSON")
    if not isinstance(_decoded(text.strip()), (dict, list)):
        text = _said(text, place)
    for candidate in (text.strip(), *(match.group(1) for match in _FENCE.finditer(text))):
        value = _decoded(candidate)
        if isinstance(value, (dict, list)):
            return value  # pyright: ignore[reportUnknownVariableType]  (JSON)
    bare = _without_trailing_commas(text)
    first = next((i for i, char in enumerate(bare) if char in "{["), None)
    if first is None:
        raise UnusableAnswerError(
            place=place, found=f"no JSON, but {text.strip()[:80]!r}", wanted="JSON"
        )
    found = _longest(bare, place)
    if found is None:
        raise _broken(bare, first, place)
    return found


def _said(text: str, place: str) -> str:
    """The text after its thoughts; some servers leave out the tag that opens them."""
    _, closed, rest = text.rpartition("</think>")
    if closed:
        return rest
    if text.lstrip().startswith("<think>"):
        raise UnusableAnswerError(
            place=place,
            found=f"thoughts without an end, of {len(text)} characters",
            wanted="an answer after them",
        )
    return text


def _longest(text: str, place: str) -> Any:
    """The longest of the outermost objects and arrays, or None where nothing is one.

    A value that begins and does not end hides what is inside it, and what was before was not yet
    the answer: that is an error.
    """
    decoder = json.JSONDecoder()
    at, found, length = 0, None, 0
    for _ in range(_LONGEST_TAIL):
        start = min((i for i in (text.find("{", at), text.find("[", at)) if i >= 0), default=-1)
        if start < 0:
            break
        try:
            value, at_end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            if _ends_early(text, error):
                raise _broken(text, start, place) from error
            at = start + 1
        except RecursionError as error:
            raise _broken(text, start, place) from error
        else:
            if at_end - start > length:
                found, length = value, at_end - start
            at = at_end
    return found


def _ends_early(text: str, error: json.JSONDecodeError) -> bool:
    """Whether the text ran out inside a value, rather than holding something that is no JSON."""
    return (
        _CUT_LITERAL.fullmatch(text, error.pos) is not None
        or error.msg.startswith("Unterminated string")
        or (error.msg.startswith("Invalid \\u") and len(text) - error.pos < 7)
    )


def _decoded(text: str) -> Any:
    """The value of a text that is JSON and nothing else, or None."""
    for candidate in (text, _without_trailing_commas(text)):
        try:
            return msgspec.json.decode(candidate)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
    return None


def _without_trailing_commas(text: str) -> str:
    return _STRING_OR_COMMA.sub(lambda found: "" if found.group() == "," else found.group(), text)


def _broken(text: str, first: int, place: str) -> UnusableAnswerError:
    try:
        json.JSONDecoder().raw_decode(text, first)
        what = "JSON that could not be told from the talk around it"
    except json.JSONDecodeError as error:
        early = "that ends early" if _ends_early(text, error) else "that is broken"
        what = f"JSON {early}, at character {error.pos} of {len(text)}: {error.msg}"
    except RecursionError:
        what = "JSON that is nested too deeply"
    return UnusableAnswerError(place=place, found=what, wanted="whole JSON")


def _name(type_: Any) -> str:
    return f"the shape of {getattr(type_, '__name__', type_)}"
