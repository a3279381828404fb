"""Who may ask, and what a page may do: checks that stand before every answer.

A server on the loopback can still be asked by any page that is open in the same browser. So the
Host header must be ours (a name that an attacker points at this machine is not), a write must come
from our own page (Origin, and a token that only our pages hold), and a policy forbids every script
but ours: a fact that holds a script tag is text. Where the server listens to more than the
loopback, everybody shows a token first; it comes once in the address and then as a cookie.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_COOKIE = "finedata_token"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_READS = ("GET", "HEAD")
_MOST_BODY = 1_000_000


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    return host in _LOOPBACK or host.startswith("127.")


class Guard:
    """Checks of who asks, for one server.

    Args:
        host: Where it listens.
        port: Its port.
        token: What everybody must show; empty for the loopback.

    Attributes:
        csrf: What every write must carry in the header `x-finedata`.
    """

    def __init__(self, *, host: str, port: int, token: str = "") -> None:
        self.csrf = secrets.token_urlsafe(24)
        self._token = token
        self._hosts = {
            f"{f'[{name}]' if ':' in name else name}:{port}" for name in {*_LOOPBACK, host}
        }
        # a token is worth more than a name: whoever holds it may come under any
        self._any_host = bool(token)

    def refusal(self, request: Request) -> Response | None:
        """The answer to who may not ask; None for who may."""
        host = request.headers.get("host", "")
        if not self._any_host and host not in self._hosts:
            return PlainTextResponse("this server does not answer to that name", 421)
        if self._token and not self._shows_token(request):
            given = request.query_params.get("token", "")
            if request.method == "GET" and _same(given, self._token):
                rest = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
                query = f"?{urlencode(rest)}" if rest else ""
                answer = RedirectResponse(f"{request.url.path}{query}", 303)
                answer.set_cookie(_COOKIE, self._token, httponly=True, samesite="strict", path="/")
                return answer
            return PlainTextResponse(
                "open the address with ?token=... that the server printed", 401
            )
        if request.method in _READS:
            return None
        if request.headers.get("origin") not in (f"http://{host}", f"https://{host}"):
            return PlainTextResponse("a write must come from this server's own page", 403)
        if not _same(request.headers.get("x-finedata", ""), self.csrf):
            return PlainTextResponse("the page is of an earlier server; load it again", 403)
        if int(request.headers.get("content-length") or _MOST_BODY + 1) > _MOST_BODY:
            return PlainTextResponse("too long", 413)
        return None

    def _shows_token(self, request: Request) -> bool:
        shown = request.cookies.get(_COOKIE, "")
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return _same(shown, self._token) or _same(bearer, self._token)

    def around(self, app: ASGIApp) -> ASGIApp:
        """An application behind these checks, every answer with the policy."""
        from starlette.requests import Request

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return

            async def with_policy(message: Message) -> None:
                if message["type"] == "http.response.start":
                    policy = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                    message["headers"] = [*message.get("headers", ()), *policy]
                await send(message)

            refused = self.refusal(Request(scope))
            await (app if refused is None else refused)(scope, receive, with_policy)

        return guarded


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
