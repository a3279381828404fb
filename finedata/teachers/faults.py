"""What goes wrong on the wire, said in the words of the scheduler, and without the key.

Status codes, headers and exceptions of client libraries become the errors of `protocol`, which say
whether asking again can help. Servers quote keys in their messages, so every text passes `hide`.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from finedata.teachers.protocol import TeacherError, TeacherSetupError, TemporaryTeacherError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_MESSAGE = 500
_SETUP = (401, 403, 404)
_TEMPORARY = (408, 409, 425, 429)


def hide(text: str, key: str) -> str:
    """A server's message without the key and of bounded length."""
    hidden = text.replace(key, "***") if len(key) > 4 else text
    return " ".join(hidden.split())[:_LONGEST_MESSAGE]


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for: a number, or an HTTP date (RFC 9110, 10.2.3)."""
    milliseconds = headers.get("retry-after-ms")
    text = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        if text is None:
            return None
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text or "").timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def status_error(
    teacher: str, status: int, message: str, *, retry_after_s: float | None = None
) -> TeacherError:
    """The error of an HTTP status.

    408, 409, 425, 429 and 5xx may pass; 401, 403 and 404 mean that no call can succeed; whatever
    else is about this one request.
    """
    place, found = f"teacher {teacher}", f"HTTP {status}: {message}"
    if status in _TEMPORARY or status >= 500:
        return TemporaryTeacherError(
            place=place, found=found, wanted="an answer", retry_after_s=retry_after_s
        )
    if status in _SETUP:
        return TeacherSetupError(
            place=place,
            found=found,
            wanted="a key that is valid and a model that is served",
            next_command="check the key in the environment, --model and --base-url",
        )
    return TeacherError(place=place, found=found, wanted="a request that the server takes")


def broken_connection(teacher: str, error: BaseException, key: str) -> TemporaryTeacherError:
    """The error of a connection that could not be made, broke, or carried no whole answer."""
    what = f"{type(error).__name__}: {hide(str(error), key)}".rstrip(": ")
    return TemporaryTeacherError(
        place=f"teacher {teacher}", found=what, wanted="an answer", maybe_charged=True
    )
