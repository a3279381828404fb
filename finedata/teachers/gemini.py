"""Google's Gemini through google-genai's asynchronous client.

Pictures are sent inline as the very bytes. What a thinking model thinks is charged as output, and
counted so.

The turn goes past the library's types, by the way it documents for extra fields of the body
(`HttpOptions.extra_body`): type by type, google-genai converts nine parts of text and pictures in a
millisecond, a fifth of what a call takes.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.errors import UsageError, need
from finedata.teachers.faults import asked_wait_s, broken_connection, hide, status_error
from finedata.teachers.protocol import (
    Answer,
    RefusedAnswerError,
    TeacherError,
    UnusableAnswerError,
    Usage,
)

if TYPE_CHECKING:
    from finedata.teachers.protocol import Request

_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
# finish reasons by which the service declines, as opposed to being done or cut
_REFUSALS = {
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "LANGUAGE",
    "IMAGE_SAFETY",
}
# reasons for which an answer is not whole
_CUTS = {"MAX_TOKENS", "CONTINUATION"}
# what the library wants to see as contents; `extra_body` puts the turn in its place
_REPLACED = "-"
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


class GeminiTeacher:
    """The Gemini API.

    Args:
        base_url: Another address that speaks it; None for Google's own.

    Raises:
        UsageError: No key in GEMINI_API_KEY or GOOGLE_API_KEY.
        MissingExtraError: The library is not installed.
    """

    name = "gemini"

    def __init__(self, *, base_url: str | None = None) -> None:
        need("google.genai", extra="teachers", place="teacher gemini")
        from google import genai
        from google.genai import errors, types

        self._key = next((os.environ[name] for name in _KEYS if os.environ.get(name)), "")
        if not self._key:
            raise UsageError(
                place=" or ".join(_KEYS),
                found="nothing in the environment",
                wanted="a key of the Gemini API",
                next_command=f"export {_KEYS[0]}=...",
            )
        self._types: Any = types
        self._errors = errors
        self._plain = False
        self._library = genai
        self._base_url = base_url
        self._session: Any = None
        self._client: Any = None

    async def ask(self, request: Request) -> Answer:
        """See `Teacher.ask`."""
        with_schema = request.schema is not None and not self._plain
        try:
            return await self._ask(request, with_schema=with_schema)
        except _UnknownSchemaError:
            self._plain = True
            return await self._ask(request, with_schema=False)

    async def close(self) -> None:
        """See `Teacher.close`."""
        if self._client is not None:
            await self._client.aio.aclose()
            self._client.close()
        if self._session is not None:
            await self._session.close()

    async def _ask(self, request: Request, *, with_schema: bool) -> Answer:
        if self._client is None:
            self._client = self._opened()
        try:
            response = await self._client.aio.models.generate_content(
                model=request.model,
                contents=_REPLACED,
                config=self._config(request, with_schema=with_schema),
            )
        except self._errors.APIError as error:
            message = hide(error.message or str(error.status or ""), self._key)
            if with_schema and error.code == 400 and "schema" in message.lower():
                raise _UnknownSchemaError(place="", found=message, wanted="") from None
            if error.code == 400 and "api key" in message.lower():
                raise status_error(self.name, 401, message) from None  # Google says 400 for it
            raise status_error(
                self.name, error.code, message, retry_after_s=_asked_wait_s(error)
            ) from None
        except _wire_errors() as error:
            raise broken_connection(self.name, error, self._key) from None
        return self._answer_of(response)

    def _opened(self) -> Any:
        """The client; made inside the event loop, because its connections belong to that."""
        options: dict[str, Any] = {
            "base_url": self._base_url,
            # one attempt, said explicitly: without it the client repeats dropped connections
            "retry_options": self._types.HttpRetryOptions(attempts=1),
        }
        if "aiohttp_client" in self._types.HttpOptions.model_fields:
            with suppress(ImportError):
                import aiohttp

                # the client would make its own in a way that aiohttp warns about
                connector = aiohttp.TCPConnector(limit=0)
                self._session = aiohttp.ClientSession(connector=connector, trust_env=True)
                options["aiohttp_client"] = self._session
        return self._library.Client(
            api_key=self._key,
            vertexai=False,  # an environment set up for Vertex does not change who is asked
            http_options=self._types.HttpOptions(**options),
        )

    def _contents(self, request: Request, *, with_schema: bool) -> list[dict[str, Any]]:
        """The turn as the service reads it (ai.google.dev/api/caching#Content), pictures inline."""
        parts: list[dict[str, Any]] = []
        for picture in request.pictures:
            if picture.label:
                parts.append({"text": picture.label})
            data = base64.b64encode(picture.data).decode("ascii")
            parts.append({"inlineData": {"mimeType": picture.media_type, "data": data}})
        prompt = request.prompt
        if request.schema is not None and not with_schema:
            schema = msgspec.json.encode(request.schema).decode()
            prompt += f"\n\nAnswer with JSON alone, of this JSON schema:\n{schema}"
        parts.append({"text": prompt})
        return [{"role": "user", "parts": parts}]

    def _config(self, request: Request, *, with_schema: bool) -> Any:
        types = self._types
        fields: dict[str, Any] = dict(request.settings)
        if request.system:
            fields["system_instruction"] = request.system
        if request.schema is not None:
            fields["response_mime_type"] = "application/json"
        if with_schema:
            fields["response_json_schema"] = dict(request.schema or {})
        fields["automatic_function_calling"] = types.AutomaticFunctionCallingConfig(disable=True)
        if "automatic_continuation" in types.GenerateContentConfig.model_fields:
            # else the library asks on by itself, as long as the service says so: one call of the
            # ledger would be paid for several times, while the budget holds back one
            fields["automatic_continuation"] = False
        body: dict[str, Any] = {"contents": self._contents(request, with_schema=with_schema)}
        fields["http_options"] = types.HttpOptions(extra_body=body)
        try:
            return types.GenerateContentConfig(**fields)
        except ValueError as error:  # pydantic's
            raise UsageError(
                place="settings of the request",
                found=f"{sorted(request.settings)}",
                wanted=f"settings that google-genai knows: {error}",
            ) from error

    def _answer_of(self, response: Any) -> Answer:
        place = f"teacher {self.name}"
        usage = _usage(response.usage_metadata)
        feedback = response.prompt_feedback
        if feedback is not None and feedback.block_reason is not None:
            raise RefusedAnswerError(
                place=place,
                found=f"a refusal of the question: {_name(feedback.block_reason)}",
                wanted="an answer",
                usage=usage,
            )
        candidate = response.candidates[0] if response.candidates else None
        reason = "" if candidate is None else _name(candidate.finish_reason)
        if reason in _REFUSALS:
            raise RefusedAnswerError(
                place=place, found=f"a refusal: {reason}", wanted="an answer", usage=usage
            )
        if reason in _CUTS:
            raise UnusableAnswerError(
                place=place,
                found=f"a cut answer ({reason})",
                wanted="a whole one",
                next_command="raise max_output_tokens",
                usage=usage,
            )
        text = "" if candidate is None else _text(candidate)
        if not text.strip():
            raise UnusableAnswerError(
                place=place,
                found=f"an empty answer (finish reason {reason or 'none'})",
                wanted="a text",
                usage=usage,
            )
        return Answer(text, usage)


class _Detail(msgspec.Struct):
    retryDelay: str = ""  # its name on the wire


class _ErrorDetails(msgspec.Struct):
    details: list[_Detail] = []


class _ErrorBody(msgspec.Struct):
    """An error as Google's services send it (google.rpc.Status in JSON)."""

    error: _ErrorDetails = msgspec.field(default_factory=_ErrorDetails)


class _UnknownSchemaError(TeacherError):
    """The service does not take the schema."""


def _text(candidate: Any) -> str:
    """What it says; what it thought does not belong to the answer."""
    parts: Any = (candidate.content.parts if candidate.content is not None else None) or []
    return "".join(part.text for part in parts if part.text and not part.thought)


def _usage(counted: Any) -> Usage:
    if counted is None or counted.prompt_token_count is None:
        return Usage()
    thought, said = counted.thoughts_token_count or 0, counted.candidates_token_count or 0
    return Usage(counted.prompt_token_count, thought + said)


def _name(value: Any) -> str:
    return str(getattr(value, "value", value) or "")


def _asked_wait_s(error: Any) -> float | None:
    """What the service asks for: `RetryInfo` in the body (google.rpc), else `Retry-After`."""
    try:
        body = msgspec.convert(error.details, _ErrorBody)
    except msgspec.ValidationError:
        body = _ErrorBody()
    for detail in body.error.details:
        if (found := _SECONDS.fullmatch(detail.retryDelay)) is not None:
            return float(found.group(1))
    headers = getattr(error.response, "headers", None)
    return None if headers is None else asked_wait_s(headers)


def _wire_errors() -> tuple[type[BaseException], ...]:
    """Errors of whichever of its three HTTP libraries the client uses, and of broken bodies."""
    found: list[type[BaseException]] = [OSError, ValueError]  # TimeoutError, JSON, pydantic
    names = {"aiohttp": "ClientError", "httpx": "HTTPError", "httpx2": "HTTPError"}
    loaded = names.keys() & sys.modules.keys()
    return (*found, *(getattr(sys.modules[module], names[module]) for module in loaded))
