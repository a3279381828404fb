"""Speaking with the Hugging Face Hub: whose words an error has, and how fast requests may follow.

huggingface_hub does the speaking. What is decided here: every refusal is said in our own words and
never with a token in it (a server may echo one, and its library's exceptions carry requests); and
`RateLimit` headers are obeyed before the limit is reached, so that many small requests slow down
instead of failing. Waits are bounded: what would take longer is an error that says how long.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from finedata.errors import FinedataError, OutputError, SourceError, UsageError, need

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = [
    "LONGEST_WAIT_S",
    "TRIES",
    "Traffic",
    "endpoint",
    "hub_errors",
    "import_hub",
    "insist",
    "is_passing",
    "is_timeout",
    "measured",
    "status_of",
    "token",
    "wait_of",
]

TRIES = 6
LONGEST_WAIT_S = 3600.0
"""Longest wait for a limit, in seconds: the Hub counts commits by the hour."""
Answer = TypeVar("Answer")
_PATIENCE_S = 0.05
_SILENCE_S = 300.0
_LIMIT = re.compile(r'"(\w+)"\s*;\s*r\s*=\s*(\d+)\s*;\s*t\s*=\s*(\d+)')
_TOKEN = re.compile(r"hf_\w+|Bearer\s+\S+")
_GATEWAY_TIMEOUTS = (408, 504)


def import_hub(place: str) -> Any:
    """The module `huggingface_hub`.

    Raises:
        MissingExtraError: It is not installed.
    """
    need("huggingface_hub", extra="hub", place=place)
    # `utils` is no attribute of the package until somebody imports it.
    import_module("huggingface_hub.utils")
    return import_module("huggingface_hub")


def endpoint() -> str:
    """Address of the Hub: `HF_ENDPOINT`, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def token(place: str) -> str | None:
    """The user's token, as huggingface_hub finds it; None where there is none."""
    with hub_errors(place):
        return import_hub(place).get_token()


@dataclass(slots=True)
class Traffic:
    """What was sent and received, and how long was waited for limits.

    Attributes:
        requests: Requests, repeated ones too.
        sent_bytes: Bytes of their bodies.
        received_bytes: Bytes of the answers' bodies, as announced.
        waited_s: Seconds waited for limits and before trying again.
        answers: Answers, refusals too.
    """

    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    waited_s: float = 0.0
    answers: int = 0
    _not_before: dict[str, float] = field(default_factory=dict[str, float], repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def before(self, request: Any) -> None:
        """Wait until a request of this kind is allowed, and count it.

        Raises:
            OutputError: That takes longer than `LONGEST_WAIT_S`.
        """
        kind = _kind(str(request.url.path))
        with self._lock:
            wait = self._not_before.pop(kind, 0.0) - time.monotonic()
            self.requests += 1
            self.sent_bytes += int(request.headers.get("content-length") or 0)
        self.wait(wait, place=f"limit of requests ({kind})")

    def after(self, response: Any) -> None:
        """Note what the answer says about limits."""
        found = _LIMIT.search(response.headers.get("ratelimit") or "")
        with self._lock:
            self.answers += 1
            self.received_bytes += int(response.headers.get("content-length") or 0)
            if found is not None and int(found[2]) == 0 and response.status_code < 400:
                self._not_before[found[1]] = time.monotonic() + int(found[3])

    def wait(self, seconds: float, *, place: str) -> None:
        """Wait so long.

        Raises:
            OutputError: It is longer than `LONGEST_WAIT_S`.
        """
        if seconds <= _PATIENCE_S:
            return
        if seconds > LONGEST_WAIT_S:
            raise OutputError(
                place=place,
                found=f"a wait of {seconds:,.0f} s",
                wanted=f"at most {LONGEST_WAIT_S:,.0f} s",
                next_command="run the same command again later: it continues where it stopped",
            )
        with self._lock:
            self.waited_s += seconds
        time.sleep(seconds)


@contextmanager
def measured(traffic: Traffic) -> Generator[Traffic]:
    """Count and pace every request that huggingface_hub sends inside the block."""
    client = import_hub("the Hub").get_session()
    hooks = {name: list(one) for name, one in client.event_hooks.items()}
    patience = client.timeout
    # Its own is to wait for ever.
    client.timeout = _SILENCE_S
    client.event_hooks = {
        "request": [*hooks.get("request", []), traffic.before],
        "response": [*hooks.get("response", []), traffic.after],
    }
    try:
        yield traffic
    finally:
        client.event_hooks = hooks
        client.timeout = patience


def insist(call: Callable[[], Answer], *, traffic: Traffic, place: str) -> Answer:
    """Ask until there is an answer that is no passing fault; at most `TRIES` times.

    Where nothing was answered yet at all, the first silence is the last: that is a machine without
    a network, or a wrong address.

    Raises:
        Exception: The last refusal, as huggingface_hub has it.
        OutputError: A wait longer than `LONGEST_WAIT_S` would be needed.
    """
    for tried in range(TRIES):
        try:
            return call()
        except Exception as error:
            passing = is_passing(error) and (status_of(error) is not None or traffic.answers > 0)
            if not passing or tried + 1 == TRIES:
                raise
            traffic.wait(wait_of(error) or float(2**tried), place=place)
    raise AssertionError


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later: limits, faults of servers, lost connections."""
    status = status_of(error)
    if status is not None:
        return status in (408, 429) or status >= 500
    return _transport_in(error) is not None


def status_of(error: BaseException) -> int | None:
    """The HTTP status in an error of huggingface_hub, or in what caused it; None without one."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if response is not None:
            return int(response.status_code)
        seen = seen.__cause__ or seen.__context__
    return None


def wait_of(error: BaseException) -> float | None:
    """How long the answer in an error asks to wait, in seconds; None where it does not say."""
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        return None
    found = _LIMIT.search(headers.get("ratelimit") or "")
    if found is not None:
        return float(found[3])
    after = headers.get("retry-after") or ""
    return float(after) if after.isdigit() else None


@contextmanager
def hub_errors(place: str, *, writing: bool = False) -> Generator[None]:
    """Say refusals of the Hub, and of the network, in our words."""
    try:
        yield
    except FinedataError:
        raise
    except Exception as error:
        said = _in_our_words(error, place, writing=writing)
        if said is None:
            raise
        # Without the cause: it holds the request, and may hold the token.
        raise said from None


def _in_our_words(error: Exception, place: str, *, writing: bool) -> FinedataError | None:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    kind = OutputError if writing else SourceError
    again = "run the same command again: it continues where it stopped" if writing else ""
    if isinstance(error, HFValidationError):
        return UsageError(
            place=place, found=_clean(error), wanted="a name that the Hub allows: org/name"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return UsageError(
            place=place,
            found="offline mode: HF_HUB_OFFLINE is set",
            wanted=f"a connection to {endpoint()}",
            next_command="unset HF_HUB_OFFLINE",
        )
    status = status_of(error)
    if status is None:
        return _of_transport(error, place, kind, again)
    right = "write to it" if writing else "read it"
    if status == 401 or isinstance(error, RepositoryNotFoundError):
        return UsageError(
            place=place,
            found=f"no such repository for who asks ({status})",
            wanted=f"a repository, and a token with the right to {right}",
            next_command="hf auth login, or set HF_TOKEN",
        )
    if status == 403 or isinstance(error, GatedRepoError):
        return UsageError(
            place=place,
            found=f"a token without the right ({status})",
            wanted=f"a token with the right to {right}",
            next_command="make one at https://huggingface.co/settings/tokens, then hf auth login",
        )
    if isinstance(error, RevisionNotFoundError):
        return UsageError(place=place, found="no such revision", wanted="a branch, tag or commit")
    if status == 412:
        return OutputError(
            place=place,
            found="a commit by somebody else in the meantime",
            wanted="the branch as it was when this run looked at it",
            next_command=again or "run the same command again",
        )
    if status == 429 or status >= 500:
        found = "too many requests (429)" if status == 429 else f"a fault of the server ({status})"
        return kind(
            place=place, found=found, wanted="an answer", next_command=again or "try again later"
        )
    message = _clean(error) if isinstance(error, HfHubHTTPError) else f"status {status}"
    return kind(place=place, found=message, wanted="an answer without error", next_command=again)


def _of_transport(
    error: Exception, place: str, kind: type[FinedataError], again: str
) -> FinedataError | None:
    """An error below HTTP; None where it is none."""
    seen = _transport_in(error)
    if seen is None:
        return None
    return kind(
        place=place,
        found=f"no connection: {_clean(seen)}",
        wanted=f"an answer of {endpoint()}",
        next_command=again or "try again when the network is there",
    )


def _transport_in(error: BaseException) -> BaseException | None:
    """The lost connection that is behind an error; None where none is."""
    seen: BaseException | None = error
    while seen is not None:
        # By name: huggingface_hub's library for HTTP is another one in other versions.
        names = {one.__name__ for one in type(seen).__mro__}
        if "TransportError" in names or isinstance(seen, ConnectionError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def is_timeout(error: BaseException) -> bool:
    """Whether the answer did not come in time, so that the work may have been done all the same."""
    names = {one.__name__ for one in type(error).__mro__}
    return "TimeoutException" in names or status_of(error) in _GATEWAY_TIMEOUTS


def _clean(error: BaseException) -> str:
    """The first line of what an error says, without anything like a token."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return _TOKEN.sub("***", first)[:300]


def _kind(path: str) -> str:
    return "resolvers" if "/resolve/" in path else "api"
