"""A Hub on this machine, for tests and benchmarks: every request that the real client sends.

It stores what is uploaded, checks what it is told, limits what it is asked for, and can be told to
fail: `Fault(kind, pattern, times)` is taken by the first request of the kind whose "METHOD /path"
the pattern matches.

    status   answer with a status and nothing done (`status=429` with `headers`)
    lost     do it, then close the connection without an answer
    cut      read half of the body, then close
    half     send half of the body of the answer, then close
    late     answer with the status, and do it all the same
    wrong    answer with other bytes of the same length

Run it alone with `python tests/hub/loopback.py --store DIR --port 8000 --latency 0.02`.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent))

from hub.answers import Handler, Seen
from hub.repositories import Entry, Refused, Repository

_PAGE = 1000
_PIECE = 1 << 16


@dataclass
class Fault:
    """See the module."""

    kind: str
    pattern: str
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "Internal Error - We're working hard to fix this as soon as possible!"


class Hub:
    """The server; a context manager.

    Args:
        store: Folder of the bytes.
        tokens: Token to `write` or `read`.
        limits: Kind of request (`api`, `resolvers`, `commits`) to (how many, in how many seconds).
        latency_s: Before every answer.
        chunk_bytes: LFS objects above this size are taken in numbered parts.
        cdn: Whether LFS bytes are served by another host, to which `resolve` redirects.
        most_per_commit: Commits of more lines than this time out (504).
    """

    def __init__(
        self,
        store: Path,
        *,
        tokens: dict[str, str] | None = None,
        limits: dict[str, tuple[int, float]] | None = None,
        latency_s: float = 0.0,
        chunk_bytes: int | None = None,
        cdn: bool = False,
        most_per_commit: int | None = None,
        port: int = 0,
    ) -> None:
        self.store = store
        self.tokens = {"hf_loopback_write": "write"} if tokens is None else tokens
        self.limits = limits or {}
        self.latency_s = latency_s
        self.chunk_bytes = chunk_bytes
        self.cdn = cdn
        self.ranges = True
        self.most_per_commit = most_per_commit
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.stored = Counter[str]()
        self.on_request: Callable[[int, str], None] | None = None
        self.lock = threading.RLock()
        self._windows: dict[str, deque[float]] = {}
        self._server = _Server(("127.0.0.1", port), Handler, self)
        self._cdn = _Server(("127.0.0.1", 0), Handler, self)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        # Another origin: the same machine by another name.
        self.cdn_endpoint = f"http://localhost:{self._cdn.server_address[1]}"

    def __enter__(self) -> Self:
        for server in (self._server, self._cdn):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._server, self._cdn):
            server.shutdown()
            server.close_connections()
            server.server_close()

    def serve_forever(self) -> None:
        """Until the process is ended."""
        threading.Thread(target=self._cdn.serve_forever, daemon=True).start()
        self._server.serve_forever()

    def repository(self, name: str) -> Repository:
        found = self.repositories.get(name)
        if found is None:
            raise Refused(404, "Repository Not Found", code="RepoNotFound")
        return found

    def make(self, name: str, *, private: bool = False) -> Repository:
        made = Repository(name, private, self.store)
        self.repositories[name] = made
        return made

    def tree(self, name: str, revision: str = "main") -> dict[str, Entry]:
        """Path to entry."""
        return self.repository(name).resolve(revision).tree

    def content(self, name: str, path: str, revision: str = "main") -> bytes:
        found = self.repository(name)
        return found.bytes_of(found.entry(revision, path)).read_bytes()

    def count(self, pattern: str) -> int:
        """How many requests came whose "METHOD /path" the pattern matches."""
        return sum(bool(re.search(pattern, f"{one.method} {one.path}")) for one in self.seen)

    def take_fault(self, request: str, kinds: tuple[str, ...]) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.kind in kinds and fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def within_limit(self, kind: str) -> tuple[bool, dict[str, str]]:
        """Whether a request of a kind is within its limit, and the headers that say so."""
        if kind not in self.limits:
            return True, {}
        most, window_s = self.limits[kind]
        with self.lock:
            times, now = self._windows.setdefault(kind, deque()), time.monotonic()
            while times and times[0] <= now - window_s:
                times.popleft()
            inside = len(times) < most
            if inside:
                times.append(now)
            left, wait = most - len(times), int(times[0] + window_s - now) + 1 if times else 0
        return inside, {
            "RateLimit": f'"{kind}";r={left};t={wait}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={most};w={int(window_s)}',
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type, hub: Hub) -> None:
        self.hub = hub
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what many tests are about."""


def main() -> None:
    """Serve until ended; the address is the first line of the output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    found = parser.parse_args()
    hub = Hub(found.store, port=found.port, latency_s=found.latency)
    print(hub.endpoint, flush=True)
    hub.serve_forever()


if __name__ == "__main__":
    main()
