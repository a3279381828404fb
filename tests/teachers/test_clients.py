"""The real client libraries against the loopback server: what is sent, what each reply means."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from teachers import asking
from teachers.loopback import Loopback, serving

import finedata.teachers
from finedata.errors import UsageError
from finedata.teachers.faults import asked_wait_s, hide
from finedata.teachers.opening import TEACHERS, open_teacher
from finedata.teachers.protocol import (
    Answer,
    Picture,
    RefusedAnswerError,
    Request,
    TeacherError,
    TeacherSetupError,
    TemporaryTeacherError,
    UnusableAnswerError,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("openai", "gemini")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, asking.KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)


def ask(name: str, server: Loopback, *requests: Request, timeout_s: float = 10.0) -> list[Any]:
    """The answers, or the errors."""

    async def run(url: str) -> list[Any]:
        teacher = open_teacher(name, base_url=asking.address(name, url))
        found: list[Any] = []
        for request in requests:
            try:
                async with asyncio.timeout(timeout_s):
                    found.append(await teacher.ask(request))
            except (TeacherError, TimeoutError) as error:
                found.append(error)
        await teacher.close()
        return found

    server.keep_seen = True
    with serving(server) as url:
        return asyncio.run(run(url))


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 80).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_question_arrives_as_it_was_asked(name: str) -> None:
    pictures = (Picture(jpeg(), label="camera front, 0.25 s"), Picture(b"\x89PNG", "image/png"))
    request = Request(
        episode_id="e",
        stage="facts",
        model="a-model",
        prompt="What happens?",
        system="You are careful.",
        pictures=pictures,
        schema={"type": "object", "properties": {"a": {"type": "string"}}},
        settings={"temperature": 0.2, "max_output_tokens": 77, "top_p": 0.9, "seed": 5},
    )
    server = Loopback(answer=lambda seen: '{"a": "b"}', key=asking.KEY, input_tokens=321)
    [answer] = ask(name, server, request)
    assert answer.text == '{"a": "b"}'
    assert answer.usage.input_tokens == 321
    assert answer.usage.output_tokens >= 10
    [seen] = server.seen
    assert (seen.model, seen.prompt, seen.system) == (
        "a-model",
        "What happens?",
        "You are careful.",
    )
    assert [hashlib.sha256(data).hexdigest() for data in seen.pictures] == [
        picture.sha256 for picture in pictures
    ], "the bytes of the pictures were changed"
    assert seen.schema == request.schema
    if name == "openai":
        assert seen.idempotency_key == request.call_id


REPLIES: list[tuple[str, type[TeacherError], str]] = [
    ("429", TemporaryTeacherError, "429"),
    ("429_retry_after", TemporaryTeacherError, "429"),
    ("500", TemporaryTeacherError, "500"),
    ("503", TemporaryTeacherError, "503"),
    ("drop", TemporaryTeacherError, ""),
    ("cut_body", TemporaryTeacherError, ""),
    ("empty", UnusableAnswerError, "empty"),
    ("cut", UnusableAnswerError, "cut"),
    ("continued", UnusableAnswerError, "cut"),
    ("refused", RefusedAnswerError, "refusal"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("fault", "kind", "found"), REPLIES)
def test_each_fault_has_its_error(
    name: str, fault: str, kind: type[TeacherError], found: str
) -> None:
    server = Loopback(faults={fault: 1.0}, retry_after_s=17)
    [error] = ask(name, server, asking.request_of(1))
    assert type(error) is kind
    assert found in error.found
    assert server.stats.requests == 1, "the client tried again by itself"
    if isinstance(error, TemporaryTeacherError):
        assert error.retry_after_s == (17 if fault == "429_retry_after" else None)
        assert error.maybe_charged == (fault in ("drop", "cut_body"))
    else:
        assert error.usage is not None
        assert error.usage.input_tokens


@pytest.mark.parametrize("name", NAMES)
def test_a_slow_drip_can_be_cut_off(name: str) -> None:
    server = Loopback(faults={"slow_drip": 1.0}, drip_s=20.0)
    [error] = ask(name, server, asking.request_of(1), timeout_s=0.3)
    assert isinstance(error, TimeoutError)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_there(name: str) -> None:
    async def run() -> Any:
        teacher = open_teacher(name, base_url=asking.address(name, "http://127.0.0.1:9"))
        with pytest.raises(TemporaryTeacherError) as caught:
            await teacher.ask(asking.request_of(1))
        await teacher.close()
        return caught.value

    assert "teacher" in str(asyncio.run(run()))


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_key_stops_and_is_not_shown(name: str) -> None:
    server = Loopback(key="another key")
    [error] = ask(name, server, asking.request_of(1))
    assert type(error) is TeacherSetupError
    assert "API key" in str(error)
    assert asking.KEY not in str(error)


@pytest.mark.parametrize("name", NAMES)
def test_a_server_without_schemas_is_told_in_words(name: str) -> None:
    server = Loopback(knows_schema=False, answer=lambda seen: "{}")
    first, second = ask(name, server, asking.request_of(1), asking.request_of(2))
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    # asked in vain once, and never again
    assert [seen.schema for seen in server.seen] == [None, None]
    assert all('"pictures"' in seen.prompt for seen in server.seen)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_key_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(variable)
    with pytest.raises(UsageError, match="API_KEY"):
        open_teacher(name)


@pytest.mark.parametrize(
    "call",
    [
        lambda: open_teacher("nobody"),
        lambda: open_teacher("replay"),
        lambda: open_teacher("local"),
        lambda: open_teacher("replay", base_url="http://x"),
        lambda: open_teacher("gemini", device="cpu"),
    ],
)
def test_wrong_options_are_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(UsageError):
        call()


def test_every_teacher_of_the_room_is_named_and_no_other() -> None:
    assert TEACHERS.keys() >= {"gemini", "openai", "local", "replay"}
    room = Path(finedata.teachers.__file__).parent
    made = {
        path.stem
        for path in room.glob("*.py")
        if re.search(r"^class \w+Teacher\b", path.read_text(), re.M)
    }
    assert set(TEACHERS) == made


def test_what_a_server_asks_for() -> None:
    assert asked_wait_s({}) is None
    assert asked_wait_s({"retry-after": "2.5"}) == 2.5
    assert asked_wait_s({"retry-after": "9", "retry-after-ms": "150"}) == 0.15
    assert asked_wait_s({"retry-after": "soon"}) is None
    assert asked_wait_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert (asked_wait_s({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}) or 0) > 1e6
    assert hide("key sk-123456\n bad " + "x" * 1000, "sk-123456").startswith("key *** bad xxx")
    assert Usage() == Usage(None, None)
