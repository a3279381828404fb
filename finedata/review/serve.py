"""A server over one dataset, until it is interrupted."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from finedata.errors import UsageError, need
from finedata.store.remote.path import remote_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from finedata.store.dataset import Dataset

__all__ = ["Served", "serve"]


@dataclass(frozen=True)
class Served:
    """Where a server listens.

    Attributes:
        address: To open in a browser, with its token where one is asked for.
        dataset: Where the dataset lies.
        writes: Whether it takes decisions.
    """

    address: str
    dataset: str
    writes: bool


def serve(
    dataset: Dataset,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    reviewer: str | None = None,
    gold: Path | None = None,
    on_ready: Callable[[Served], None] | None = None,
) -> None:
    """Serve the pages of a dataset until interrupted.

    Args:
        dataset: The dataset.
        host: Where to listen. Beyond the loopback everybody shows the token of the address.
        port: Its port; 0 takes a free one.
        reviewer: Take decisions, of this person where a browser names no other; they move from
            the journal into revisions of facts when it begins and when it ends. None writes
            nothing.
        gold: A file of known answers, asked now and then to measure reviewers; see
            `opinions.read_gold`.
        on_ready: Called once it listens.

    Raises:
        MissingExtraError: Without the extra `review`.
        UsageError: Nothing can listen there, or decisions about a dataset that is elsewhere.
        OutputError: Decisions cannot be written.
    """
    verb = "view" if reviewer is None else "review"
    need("jinja2", "starlette", "uvicorn", extra="review", place=f"finedata {verb}")
    import uvicorn

    from finedata.review.app import make_app
    from finedata.review.guard import Guard, is_loopback

    if reviewer is not None and remote_store(dataset.root) is not None:
        raise UsageError(
            place=f"finedata review {dataset.root}",
            found="a dataset that is read where it lies",
            wanted="one on this machine, into which decisions are written",
            next_command=f"finedata pull {dataset.root} --out DIR",
        )
    with _listen(host, port) as listening, ExitStack() as stack:
        _lean_memory(stack)
        port = listening.getsockname()[1]
        token = "" if is_loopback(host) else secrets.token_urlsafe(18)
        guard = Guard(host=host, port=port, token=token)
        if reviewer is None:
            app = make_app(dataset, guard)
        else:
            from finedata.review.changes import settle
            from finedata.review.opinions import read_gold
            from finedata.review.reviewing import make_review_app

            answers = {} if gold is None else read_gold(gold)
            settle(dataset)
            app, pages = make_review_app(dataset, guard, reviewer=reviewer, gold=answers)
            stack.callback(settle, dataset)
            stack.callback(pages.close)
        name = f"[{host}]" if ":" in host else host
        query = f"?token={token}" if token else ""
        address = f"http://{name}:{port}/{query}"
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none"
        )
        if on_ready is not None:
            on_ready(Served(address, str(dataset.root), writes=reviewer is not None))
        # uvicorn raises what ended it once more: as an interrupt it passes through the stack
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        uvicorn.Server(config).run(sockets=[listening])


def _lean_memory(stack: ExitStack) -> None:
    """Give back what Arrow has read: its own allocator keeps 100 MB of a million facts."""
    arrow: Any = pa  # its stub is partly untyped
    stack.callback(arrow.set_memory_pool, arrow.default_memory_pool())
    arrow.set_memory_pool(arrow.system_memory_pool())


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UsageError(
            parameter="port",
            place=f"port {port} of {host}",
            found=f"{error.strerror}",
            wanted="a free port of this machine; 0 takes one",
        ) from error
    return listening
