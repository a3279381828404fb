"""The socket: who may connect, whose turn it is, and what a broken client costs.

One thread computes. Requests queue for it in the order in which they came, and a connection has one
request in the queue at most, so clients are served in turn and nobody can push others back; who has
left is skipped. Pings are answered while the policy computes, and nobody is cut off for being slow
to answer ours: a robot's first inference may compile for minutes.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from finedata.errors import UsageError, need
from finedata.serve.dialects import Talk, VlaEvalTalk
from finedata.serve.wire import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from finedata.serve.desk import Desk

__all__ = ["Listening", "is_loopback", "serve", "serving"]

_PATHS = ("", "/", "/vla-eval", "/vla-eval/")
_HEALTH = {"/healthz": "OK\n", "/health": '{"status": "ok"}\n'}
_MOST_CONNECTIONS = 256
_PING_S = 20
_CLOSE_S = 2


@dataclass(frozen=True)
class Listening:
    """Where a policy is asked.

    Attributes:
        address: For openpi's and StarVLA's clients, and ours.
        vla_eval: For vla-eval's.
        warm_s: Seconds of an answer, by the policy alone, once it was warm.
    """

    address: str
    vla_eval: str
    warm_s: float


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    desk: Desk,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str = "",
    on_ready: Callable[[Listening], None] | None = None,
) -> None:
    """Serve until interrupted.

    Args:
        desk: The policy.
        host: Where to listen. Beyond the loopback a key is required.
        port: Its port; 0 takes a free one.
        api_key: What every client must show: `Authorization: Api-Key KEY`, or `?key=KEY`.
        on_ready: Called once it listens.

    Raises:
        MissingExtraError: Without the extra `serve`.
        UsageError: Nothing can listen there, or everybody could without a key.
    """
    asyncio.run(_serve(desk, host, port, api_key, on_ready, None))


@contextmanager
def serving(
    desk: Desk, *, host: str = "127.0.0.1", port: int = 0, api_key: str = ""
) -> Generator[Listening]:
    """A server in a thread of its own, for as long as the context lasts.

    Raises:
        UsageError: See `serve`.
    """
    ready: list[Any] = []
    begun = threading.Event()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))

        def listens(found: Listening) -> None:
            ready.append(found)
            begun.set()

        await _serve(desk, host, port, api_key, listens, ended)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # raised where it was called
            ready.append(error)
        finally:
            begun.set()

    thread = threading.Thread(target=run, name="finedata-serve", daemon=True)
    thread.start()
    begun.wait()
    if isinstance(ready[0], BaseException):
        raise ready[0]
    try:
        yield ready[0]
    finally:
        stop[0]()
        thread.join()


async def _serve(
    desk: Desk,
    host: str,
    port: int,
    api_key: str,
    on_ready: Callable[[Listening], None] | None,
    ended: asyncio.Event | None,
) -> None:
    need("websockets", extra="serve", place="finedata serve")
    from websockets.asyncio.server import serve as listen

    if not api_key and not is_loopback(host):
        raise UsageError(
            parameter="api_key",
            place=f"host {host}",
            found="no key, where others than this machine can connect",
            wanted="a key that every client shows",
            next_command="FINEDATA_API_KEY=... finedata serve",
        )
    warm_s = desk.warm_up()
    room = _Room(desk, api_key)
    # What it would say of every port scanner, with a traceback.
    quiet = logging.getLogger("finedata.serve.websockets")
    quiet.setLevel(logging.CRITICAL)
    listening = listen(
        room.talk,
        host,
        port,
        process_request=room.admit,
        compression=None,  # pictures do not shrink, and it costs more than a small model
        max_size=MOST_BYTES,
        max_queue=2,
        ping_interval=_PING_S,
        ping_timeout=None,
        close_timeout=_CLOSE_S,
        origins=[None],  # no page of a browser
        server_header=None,
        logger=quiet,
    )
    async with AsyncExitStack() as stack:
        stack.callback(room.close)
        try:
            server = await stack.enter_async_context(listening)
        except OSError as error:
            raise UsageError(
                parameter="port",
                place=f"port {port} of {host}",
                found=f"{error.strerror or error}",
                wanted="a free port of this machine; 0 takes one",
            ) from error
        number = next(iter(server.sockets)).getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        base = f"ws://{name}:{number}"
        if on_ready is not None:
            on_ready(Listening(base, f"{base}/vla-eval", warm_s))
        await (ended or asyncio.Event()).wait()


class _Room:
    """The connections of a server, and the one thread that computes for them."""

    def __init__(self, desk: Desk, api_key: str) -> None:
        self._desk, self._key = desk, api_key.encode()
        self._turn = asyncio.Lock()  # first come, first served
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="finedata-policy")
        self._count = 0

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain HTTP, and turn away who may not connect."""
        address = urlsplit(request.path)
        if address.path in _HEALTH:
            return connection.respond(HTTPStatus.OK, _HEALTH[address.path])
        if address.path not in _PATHS:
            return connection.respond(
                HTTPStatus.NOT_FOUND, f"{address.path[:80]} is none of / and /vla-eval\n"
            )
        if self._key:
            scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() not in ("api-key", "bearer"):
                shown = parse_qs(address.query).get("key", [""])[0]
            # What is no text in a header is one of surrogates, by websockets before 16.
            if not hmac.compare_digest(shown.strip().encode(errors="surrogateescape"), self._key):
                return connection.respond(
                    HTTPStatus.UNAUTHORIZED, "wanted: Authorization: Api-Key KEY, or ?key=KEY\n"
                )
        if self._count >= _MOST_CONNECTIONS:
            return connection.respond(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{self._count} connections already\n"
            )
        return None

    async def talk(self, connection: ServerConnection) -> None:
        """One connection, to its end."""
        from websockets.exceptions import ConnectionClosed

        request = connection.request
        assert request is not None
        address = urlsplit(request.path)
        embodiment = parse_qs(address.query).get("embodiment", [""])[0]
        kind = VlaEvalTalk if address.path.startswith("/vla-eval") else Talk
        talk = kind(self._desk, embodiment=embodiment)
        self._count += 1
        try:
            greeting = talk.greeting()
            if greeting is not None:
                await connection.send(greeting)
            async for frame in connection:
                if not await self._answer(connection, talk, frame):
                    break
        except ConnectionClosed:
            pass  # it left in the middle
        finally:
            self._count -= 1

    async def _answer(
        self, connection: ServerConnection, talk: Talk | VlaEvalTalk, frame: bytes | str
    ) -> bool:
        """Answer one message; returns whether the connection goes on."""
        from websockets.protocol import State

        async with self._turn:
            if connection.state is not State.OPEN:
                return False
            loop = asyncio.get_running_loop()
            reply = await loop.run_in_executor(self._thread, talk.reply, frame)
        if reply.frame is not None:
            await connection.send(reply.frame)
        if reply.closes:
            await connection.close(code=1011, reason="the text frame before says why")
        return not reply.closes
