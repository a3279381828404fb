"""Any server that speaks OpenAI's chat completions: vLLM, Qwen, LM Studio, OpenAI itself.

Pictures are sent as data URLs of the very bytes. A server that has no `json_schema` is told the
schema in words from then on.
"""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.errors import UsageError, need
from finedata.teachers.faults import asked_wait_s, broken_connection, hide, status_error
from finedata.teachers.protocol import (
    Answer,
    Picture,
    RefusedAnswerError,
    TeacherError,
    UnusableAnswerError,
    Usage,
)

if TYPE_CHECKING:
    from finedata.teachers.protocol import Request

_KEY = "OPENAI_API_KEY"
_CALLS_PER_POOL = 4
_NAMED = {"temperature", "top_p", "seed"}
_UNKNOWN_FORMAT = ("response_format", "json_schema", "guided", "structured output", "grammar")


class OpenAITeacher:
    """One OpenAI-compatible server.

    Args:
        base_url: Its address with `/v1`; None for OpenAI's own.

    Raises:
        UsageError: No key in OPENAI_API_KEY; `none` will do for a server that wants none.
        MissingExtraError: The library is not installed.
    """

    name = "openai"

    def __init__(self, *, base_url: str | None = None) -> None:
        need("openai", extra="teachers", place="teacher openai")
        import openai

        self._library = openai
        self._key = os.environ.get(_KEY, "")
        if not self._key:
            raise UsageError(
                place=_KEY,
                found="nothing in the environment",
                wanted="the key of the server, or `none` where it wants none",
                next_command=f"export {_KEY}=...",
            )
        self._vendors_own = base_url is None
        self._plain = False
        self._tls = ssl.create_default_context()
        self._base_url = base_url
        self._clients: list[tuple[Any, _Busy]] = []

    async def ask(self, request: Request) -> Answer:
        """See `Teacher.ask`."""
        with_schema = request.schema is not None and not self._plain
        try:
            return await self._ask(request, with_schema=with_schema)
        except _UnknownFormatError:
            # asked once more without; what it said was about the form, and nothing was generated
            self._plain = True
            return await self._ask(request, with_schema=False)

    async def close(self) -> None:
        """See `Teacher.close`."""
        for client, _ in self._clients:
            await client.close()

    async def _ask(self, request: Request, *, with_schema: bool) -> Answer:
        library = self._library
        client, busy = self._idlest()
        busy.calls += 1
        try:
            # what `chat.completions.create` sends, without its walk over the body and into types:
            # both take longer than everything else on this side together
            completion = await client.post(
                "/chat/completions",
                cast_to=object,
                body=self._body(request, with_schema=with_schema),
                options={"headers": {"Idempotency-Key": request.idempotency_key}},
            )
        except library.APIStatusError as error:
            message = hide(error.message, self._key)
            if with_schema and error.status_code in (400, 422) and _is_about_format(message):
                raise _UnknownFormatError(place="", found=message, wanted="") from None
            raise status_error(
                self.name,
                error.status_code,
                message,
                retry_after_s=asked_wait_s(error.response.headers),
            ) from None  # its request holds the key
        except (library.APIError, OSError, ValueError) as error:
            raise broken_connection(self.name, error, self._key) from None
        finally:
            busy.calls -= 1
        try:
            return self._answer_of(msgspec.convert(completion, _Completion))
        except msgspec.ValidationError as error:
            raise broken_connection(self.name, error, self._key) from None

    def _idlest(self) -> tuple[Any, _Busy]:
        """A client with few calls in flight.

        For each request httpx asks the system about every idle connection of its pool; with one
        pool for 64 calls that takes longer than all else, so there is one for every four.
        """
        found = min(self._clients, key=lambda client: client[1].calls, default=None)
        if found is None or found[1].calls >= _CALLS_PER_POOL:
            client = self._library.AsyncOpenAI(
                api_key=self._key,
                base_url=self._base_url,
                max_retries=0,
                http_client=self._library.DefaultAsyncHttpxClient(verify=self._tls),
            )
            found = (client, _Busy())
            self._clients.append(found)
        return found

    def _body(self, request: Request, *, with_schema: bool) -> dict[str, Any]:
        settings = dict(request.settings)
        body: dict[str, Any] = {"model": request.model}
        if (longest := settings.pop("max_output_tokens", None)) is not None:
            # OpenAI's newer models refuse `max_tokens`; older servers know nothing else
            body["max_completion_tokens" if self._vendors_own else "max_tokens"] = longest
        body |= {name: settings.pop(name) for name in _NAMED & settings.keys()}
        body |= settings  # whatever else this server knows
        prompt = request.prompt
        if with_schema:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(request.schema or {})},
            }
        elif request.schema is not None:
            schema = msgspec.json.encode(request.schema).decode()
            prompt += f"\n\nAnswer with JSON alone, of this JSON schema:\n{schema}"
        content = [part for picture in request.pictures for part in _parts(picture)]
        content.append({"type": "text", "text": prompt})
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        return body | {"messages": messages}

    def _answer_of(self, completion: _Completion) -> Answer:
        place = f"teacher {self.name}"
        counted = completion.usage or _Counted()
        usage = Usage(counted.prompt_tokens, counted.completion_tokens)
        if not completion.choices:
            raise UnusableAnswerError(
                place=place, found="no choices", wanted="an answer", usage=usage
            )
        reason, message = completion.choices[0].finish_reason, completion.choices[0].message
        if message.refusal or reason == "content_filter":
            raise RefusedAnswerError(
                place=place,
                found=f"a refusal: {hide(message.refusal or 'content_filter', self._key)}",
                wanted="an answer",
                usage=usage,
            )
        if reason == "length":
            raise UnusableAnswerError(
                place=place,
                found="a cut answer (finish_reason length)",
                wanted="a whole one",
                next_command="raise max_output_tokens",
                usage=usage,
            )
        if message.content is None or not message.content.strip():
            raise UnusableAnswerError(
                place=place, found="an empty answer", wanted="a text", usage=usage
            )
        return Answer(message.content, usage)


@dataclass
class _Busy:
    calls: int = 0


class _Counted(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    """The part of a chat completion that is looked at."""

    choices: list[_Choice] = []
    usage: _Counted | None = None


class _UnknownFormatError(TeacherError):
    """The server does not know `response_format`."""


def _is_about_format(message: str) -> bool:
    lower = message.lower()
    return any(word in lower for word in _UNKNOWN_FORMAT)


def _parts(picture: Picture) -> list[dict[str, Any]]:
    url = f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode('ascii')}"
    # `video_url` is vLLM's and Qwen's; OpenAI's own models take pictures only
    kind = "video_url" if picture.media_type.startswith("video/") else "image_url"
    shown: dict[str, Any] = {"type": kind, kind: {"url": url}}
    return [{"type": "text", "text": picture.label}, shown] if picture.label else [shown]
