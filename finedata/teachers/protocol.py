"""What every teacher is: it answers one request, and does nothing else.

A request is content and nothing else, so its hash names the call for ever: the same question about
the same frames with the same settings is asked, and paid for, once. Teachers know one wire
protocol each and neither retry nor count: that is the scheduler's work, for all alike.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from finedata.errors import FinedataError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Answer",
    "Picture",
    "RefusedAnswerError",
    "Request",
    "Teacher",
    "TeacherError",
    "TeacherSetupError",
    "TemporaryTeacherError",
    "UnusableAnswerError",
    "Usage",
]


@dataclass(frozen=True)
class Picture:
    """One encoded picture as it is sent.

    Attributes:
        data: JPEG or PNG bytes, or a whole MP4 where `media_type` says so.
        media_type: `image/jpeg`, `image/png` or `video/mp4`.
        label: Said before it, e.g. `camera front, 1.25 s`; empty for nothing.
    """

    data: bytes
    media_type: str = "image/jpeg"
    label: str = ""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Request:
    """One question to a teacher.

    Attributes:
        episode_id: The episode it is about; not part of the call's name.
        stage: Stage of the pipeline, e.g. `facts/steps` or `trace`.
        model: Model, as the teacher names it.
        prompt: The whole text.
        system: System text; empty for none.
        pictures: In the order in which they are sent, before the prompt.
        schema: JSON schema of the answer; None for free text.
        settings: What changes the answer: temperature, max_output_tokens, top_p, seed.
        prompt_sha256: SHA-256 of the prompt's template file.
        values: What the template was filled with; not part of the call's name, as the prompt is.
        again: How many unusable answers to it came before; not part of the call's name. Set by
            the scheduler, so that a server does not repeat a bad answer from its own memory.
    """

    episode_id: str
    stage: str
    model: str
    prompt: str
    system: str = ""
    pictures: tuple[Picture, ...] = ()
    schema: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    prompt_sha256: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    again: int = 0

    @cached_property
    def call_id(self) -> str:
        """SHA-256 of everything that is sent; key order and episode play no part."""
        sent = {
            "stage": self.stage,
            "model": self.model,
            "prompt": self.prompt,
            "system": self.system,
            "pictures": [(p.media_type, p.label, p.sha256) for p in self.pictures],
            "schema": self.schema,
            "settings": self.settings,
        }
        return hashlib.sha256(msgspec.json.encode(sent, order="deterministic")).hexdigest()

    @property
    def idempotency_key(self) -> str:
        """What a server may recognise a repeated request by."""
        return f"{self.call_id}-{self.again}" if self.again else self.call_id


@dataclass(frozen=True)
class Usage:
    """What a call used; None where the server does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Answer:
    """What came back: the text as it came, never empty."""

    text: str
    usage: Usage = Usage()


class TeacherError(FinedataError):
    """The teacher did not answer, and asking again would not help.

    Args:
        usage: What was charged for all the same; None where nothing was.
    """

    def __init__(self, *, usage: Usage | None = None, **texts: Any) -> None:
        super().__init__(**texts)
        self.usage = usage


class TeacherSetupError(TeacherError):
    """No call can succeed as things are: a wrong key, an unknown model. The run stops."""


class RefusedAnswerError(TeacherError):
    """The teacher refuses to answer this request (safety)."""


class UnusableAnswerError(TeacherError):
    """An answer came and was charged, and is of no use: empty, cut, or not what was asked for.

    Asking again may help, so the scheduler does, a bounded number of times.
    """


class TemporaryTeacherError(TeacherError):
    """The teacher may answer later: busy, broken or unreachable.

    Args:
        retry_after_s: How long the server asks to wait; None where it does not say.
        maybe_charged: Whether the server may have worked, and charged, all the same.
    """

    def __init__(
        self, *, retry_after_s: float | None = None, maybe_charged: bool = False, **texts: Any
    ) -> None:
        super().__init__(**texts)
        self.retry_after_s = retry_after_s
        self.maybe_charged = maybe_charged


class Teacher(Protocol):
    """One wire protocol; see `finedata.teachers.open_teacher`."""

    name: str

    async def ask(self, request: Request) -> Answer:
        """Ask once.

        Raises:
            TemporaryTeacherError: 429, 5xx, a timeout, a dropped connection.
            RefusedAnswerError: A safety refusal.
            UnusableAnswerError: An empty or cut answer, which was charged.
            TeacherSetupError: A wrong key, an unknown model.
            TeacherError: Anything else: the server does not take the request.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
