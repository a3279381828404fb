"""A server over one dataset, until it is interrupted."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.errors import UsageError, need

if TYPE_CHECKING:
    from collections.abc import Callable

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
    on_ready: Callable[[Served], None] | None = None,
) -> None:
    """Serve the pages of a dataset until interrupted; nothing is written.

    Args:
        dataset: The dataset.
        host: Where to listen. Beyond the loopback everybody shows the token of the address.
        port: Its port; 0 takes a free one.
        on_ready: Called once it listens.

    Raises:
        MissingExtraError: Without the extra `review`.
        UsageError: Nothing can listen there.
    """
    need("jinja2", "starlette", "uvicorn", extra="review", place="finedata view")
    import uvicorn

    from finedata.review.app import make_app
    from finedata.review.guard import Guard, is_loopback

    listening = _listen(host, port)
    with listening:
        port = listening.getsockname()[1]
        token = "" if is_loopback(host) else secrets.token_urlsafe(18)
        app = make_app(dataset, Guard(host=host, port=port, token=token))
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{port}/{f'?token={token}' if token else ''}"
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none"
        )
        if on_ready is not None:
            on_ready(Served(address, str(dataset.root), writes=False))
        uvicorn.Server(config).run(sockets=[listening])


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
