"""Whether a short answer is right: what the published matcher takes for an answer, and what is one.

`released` follows RoboFine-Bench's `vqa_eval.py`: a prefix, a digit run, a substring is enough, so
"none" is a no, "not sure" is a no, "none" is the number one, and "A gripper closes" is choice A.
`strict` reads an answer that says one thing and nothing against it; anything else is no answer.
"""

from __future__ import annotations

import re
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any, cast

from finedata.teachers.parsing import parse_json
from finedata.teachers.protocol import UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_RELEASED_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
)  # fmt: skip
_WORDS = {
    word: number
    for number, word in enumerate(
        (
            *_RELEASED_WORDS,
            *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
            *("eighteen", "nineteen", "twenty"),
        )
    )
} | {"once": 1, "twice": 2, "thrice": 3}
_RELEASED_ANSWER = re.compile(r"(?:answer|\u9009\u62e9?)[:\s]*([A-Z])\b", re.IGNORECASE)
_PREFIX = re.compile(
    r"^\s*(?:the\s+)?(?:final\s+|correct\s+|right\s+)?answer\b\s*(?:is\b)?\s*[:\-]?\s*",
    re.IGNORECASE,
)
_OPTION = re.compile(r"^(?:option|choice)\s+(?=[A-Za-z](?![A-Za-z]))", re.IGNORECASE)
_BOXED = re.compile(r"^\\boxed\{\s*([^{}]*?)\s*\}$")
# words of a number that the words above do not add up to: "two hundred" is not two
_BEYOND = re.compile(
    r"\b(?:hundred|thousand|million|dozen|half|thirty|forty|fifty)\w*", re.IGNORECASE
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_YES_NO = re.compile(r"^(yes|no)(?:$|\s*[.,;:!(\-\u2013\u2014]\s*(.*)$)", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(
    rf"(?<![\w.])[-+]?\d+(?:\.\d+)?(?![\w]|\.\d)|\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE
)
_REASONED = re.compile(
    r"^[(\[]?([A-Za-z])[)\]]?(?:[.,;:]|\s+(?:because|since|as)\b)", re.IGNORECASE
)
_LETTER = re.compile(r"^[(\[]?([A-Za-z])(?:[)\].:](?:\s+(.*))?|\s*[-\u2013]\s+(.*))?$", re.DOTALL)
_QUESTION = re.compile(r"^\s*q\s*(\d+)\s*[.:]?\s*$", re.IGNORECASE)


def shown_options(question_id: str, options: Sequence[str]) -> list[str]:
    """The options as they are asked: shuffled by the question's id, as published.

    Example:
        >>> shown_options("q1", ["up", "down", "left"])
        ['left', 'up', 'down']
    """
    shown = list(options)
    Random(question_id).shuffle(shown)
    return shown


def answers_of(text: str, question_ids: Sequence[str]) -> dict[str, str]:
    """The short answer to each question in a model's answer to all questions of a video.

    Asked for is `{"answers": {question_id: short}}`. As in the published reader, `Qi` and
    `[question_id]` are taken for the id, and the object may stand without `answers`.

    Args:
        text: The answer as it came.
        question_ids: In the order in which they were asked.

    Returns:
        Question id -> answer; a question that was not answered is not there.

    Raises:
        UnusableAnswerError: There is no JSON object, or none of the questions is answered in it.
    """
    value: Any = parse_json(text, place="vqa")
    if isinstance(value, dict):
        inner: Any = cast("dict[str, Any]", value).get("answers")
        if isinstance(inner, dict | list):
            value = cast("Any", inner)
    if isinstance(value, list):  # [{"question_id": ..., "answer": ...}, ...]
        entries = [cast("dict[str, Any]", e) for e in cast("list[Any]", value) if _is_pair(e)]
        value = {str(entry["question_id"]): entry["answer"] for entry in entries}
    if not isinstance(value, dict):
        raise UnusableAnswerError(
            place="vqa", found=f"{type(value).__name__}", wanted='{"answers": {question_id: short}}'
        )
    known = set(question_ids)
    found: dict[str, str] = {}
    for key, given in cast("dict[str, Any]", value).items():
        name = key.strip().strip("[]").strip()
        number = _QUESTION.match(name)
        if name not in known and number and 1 <= int(number[1]) <= len(question_ids):
            name = question_ids[int(number[1]) - 1]
        if name in known and given is not None:
            found[name] = _text(given)
    if not found:
        raise UnusableAnswerError(
            place="vqa", found="an answer to none of the questions", wanted=", ".join(question_ids)
        )
    return found


def parse_released(answer_type: str | None, response: str, options: Sequence[str]) -> str | None:
    """What the published matcher understands; None where it understands nothing.

    Args:
        answer_type: `yes_no`, `number`, `multiple_choice`; another is compared as text.
        response: The answer to one question.
        options: As they were shown.

    Returns:
        `yes` or `no`, a run of digits, a letter, or the text in lower case.
    """
    whole = response.strip()
    text = whole.lower()
    if answer_type == "yes_no":
        for word in ("yes", "no"):
            if text.startswith(word):
                return word
        words = {word for word in ("yes", "no") if re.search(rf"\b{word}\b", text)}
        return words.pop() if len(words) == 1 else None
    if answer_type == "number":
        digits = re.search(r"\d+", whole)
        if digits:
            return digits[0]
        return next((str(n) for n, word in enumerate(_RELEASED_WORDS) if word in text), None)
    if answer_type == "multiple_choice":
        first = whole[:1].upper()
        if first and first in _LETTERS[: len(options)] and not whole[1:2].isalpha():
            return first
        # any letter, an option's or not: of "the answers ..." it is the s
        said = _RELEASED_ANSWER.search(whole)
        if said:
            return said[1].upper()
        inside = (n for n, option in enumerate(options) if option.strip().lower() in text)
        return next((_LETTERS[n] for n in inside), None)
    return text


def right_released(
    answer_type: str | None, response: str, answer: str, options: Sequence[str]
) -> bool:
    """Whether the published matcher counts an answer as right.

    It reads the answer, not what is right: "03" is not "3", "two" is 2 and is not "two", and where
    "Yes." is right nothing is. What it cannot read is compared as text, cut at 20 characters.

    Args:
        answer_type: See `parse_released`.
        response: The answer to one question.
        answer: What is right.
        options: As they were shown. A choice of which no option equals the answer is never right.
    """
    parsed, truth = parse_released(answer_type, response, options), answer.strip()
    whole = response.strip()
    if answer_type == "multiple_choice":
        same = [n for n, o in enumerate(options) if o.strip().lower() == truth.lower()]
        return bool(same) and parsed == _LETTERS[same[0]]
    if answer_type == "yes_no":
        return (whole.lower()[:20] if parsed is None else parsed) == truth.lower()
    if answer_type == "number":
        digits = re.search(r"\d+", truth)
        return (whole[:20] if parsed is None else parsed) == (digits[0] if digits else truth)
    return parsed == truth.lower()


def parse_strict(answer_type: str | None, response: str, options: Sequence[str]) -> str | None:
    """What an answer says, where it says one thing; None otherwise.

    A letter with the text of another option says two things; so do "no, wait, yes" and "2 or 3".

    Args:
        answer_type: `yes_no`, `number`, `multiple_choice`.
        response: The answer to one question.
        options: As they were shown.

    Returns:
        `yes` or `no`; a number as a fraction in lowest terms; the option's text, folded.
    """
    whole = response.strip().strip("*_`\"'").strip()
    text = _PREFIX.sub("", whole).strip("*_`\"' \t\n")
    boxed = _BOXED.match(text)
    text = boxed[1] if boxed else text
    if answer_type == "yes_no":
        found = _YES_NO.match(text)
        if found is None:
            return None
        word, rest = found[1].lower(), found[2] or ""
        other = "no" if word == "yes" else "yes"
        return None if re.search(rf"\b{other}\b", rest, re.IGNORECASE) else word
    if answer_type == "number":
        text = _THOUSANDS.sub("", text.replace("\N{MINUS SIGN}", "-"))
        numbers = {_number(one[0]) for one in _NUMBER.finditer(text)}
        return str(numbers.pop()) if len(numbers) == 1 and not _BEYOND.search(text) else None
    if answer_type == "multiple_choice":
        return _choice(_OPTION.sub("", text), options, declared=text != whole)
    return _folded(text)


def right_strict(
    answer_type: str | None, response: str, answer: str, options: Sequence[str]
) -> bool:
    """Whether an answer says what is right and nothing else; see `parse_strict`."""
    parsed = parse_strict(answer_type, response, options)
    if parsed is None:
        return False
    if answer_type == "multiple_choice":
        return parsed == _folded(answer)
    return parsed == parse_strict(answer_type, answer, options)


def _choice(text: str, options: Sequence[str], *, declared: bool) -> str | None:
    """The option that is meant; after "the answer is B." may come why, if it is no other option."""
    folded = [_folded(option) for option in options]
    whole = _folded(text)
    if folded.count(whole) == 1:
        return whole
    found = _LETTER.match(text)
    reasoned = _REASONED.match(text) if declared else None
    if found is None and reasoned is None:
        return None
    place = _LETTERS.find((found or reasoned or "")[1].upper())
    if not 0 <= place < len(options):
        return None
    said = "" if found is None else found[2] or found[3] or ""
    if not said or _folded(said) == folded[place]:
        return folded[place]
    other = any(_folded(said).startswith(one) for one in folded)
    return folded[place] if reasoned is not None and not other else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!")


def _number(word: str) -> Fraction:
    known = _WORDS.get(word.lower())
    return Fraction(known) if known is not None else Fraction(word)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        inner: Any = cast("dict[str, Any]", value).get("answer")
        return inner if isinstance(inner, str) else str(cast("Any", value))
    return value if isinstance(value, str) else str(value)


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, dict) and {"question_id", "answer"} <= set(
        cast("dict[str, Any]", entry)
    )
