"""Asking a policy that is served: by `finedata serve`, or by openpi's server."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from finedata.errors import FinedataError, UsageError, need
from finedata.serve.wire import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import numpy as np

__all__ = ["Action", "Connection", "connect"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Action:
    """What a policy says.

    Attributes:
        actions: (steps, width): what to do now and in the steps after, absolute.
        names: Of the numbers; empty where the server does not tell.
        reasoning: Why, where the policy says it: `text`, and its `parts`.
        timing: Milliseconds by name, as the server measured them.
    """

    actions: np.ndarray
    names: tuple[str, ...]
    reasoning: Mapping[str, Any] | None
    timing: Mapping[str, float]


class Connection:
    """A connection; see `connect`. Used with `with`, or closed.

    Attributes:
        address: Of the server.
        metadata: What the server said of itself.
    """

    def __init__(self, address: str, *, api_key: str = "", timeout_s: float = 60.0) -> None:
        need("websockets", extra="serve", place="finedata.connect")
        from websockets.exceptions import InvalidHandshake, InvalidURI
        from websockets.sync.client import connect

        self.address, self._timeout_s = address, timeout_s
        self._stack, self._reset = ExitStack(), False
        headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        try:
            self._socket = self._stack.enter_context(
                connect(
                    address,
                    compression=None,
                    max_size=None,
                    additional_headers=headers,
                    open_timeout=timeout_s,
                    ping_interval=None,  # the first inference may take minutes
                    proxy=None,
                )
            )
            self.metadata: dict[str, Any] = unpack(self._received())
        except InvalidURI as error:
            raise UsageError(place=address, found="no address", wanted="ws://HOST:PORT") from error
        except (OSError, InvalidHandshake) as error:
            raise FinedataError(
                place=address,
                found=str(error),
                wanted="a server that lets us in",
                next_command="finedata serve RUN, with the same key",
            ) from error
        self._names = {
            name: tuple(one["actions"])
            for name, one in self.metadata.get("finedata", {}).get("embodiments", {}).items()
        }

    def act(self, observation: Mapping[str, Any], *, reasoning: bool = False) -> Action:
        """Ask what to do.

        Args:
            observation: Pictures by role, (height, width, 3) uint8 RGB; `state`, and `prompt`.
                `embodiment` where the policy knows several. Nested maps and `observation/...` are
                understood; see docs/serve.md.
            reasoning: And why.

        Raises:
            FinedataError: The server refuses, or is gone.
        """
        from websockets.exceptions import ConnectionClosed

        asked = dict(observation)
        if reasoning:
            asked["reasoning"] = True
        if self._reset:
            asked["reset"] = True
        try:
            self._socket.send(pack(asked))
            said = self._received()
        except (ConnectionClosed, OSError) as error:
            raise FinedataError(
                place=self.address, found=str(error) or type(error).__name__, wanted="an answer"
            ) from error
        if isinstance(said, str):
            raise FinedataError(
                place=self.address, found=said, wanted="an observation that the policy knows"
            )
        self._reset = False
        found = unpack(said)
        if "actions" not in found:
            raise FinedataError(
                place=self.address,
                found=f"an answer of {', '.join(found) or 'nothing'}",
                wanted="actions: a server that speaks openpi's dialect",
            )
        name = str(observation.get("embodiment", "")) or next(iter(self._names), "")
        return Action(
            actions=found["actions"].copy(),  # as read it could not be written to
            names=self._names.get(name, ()),
            reasoning=found.get("reasoning"),
            timing=found.get("server_timing", {}),
        )

    def reset(self) -> None:
        """Say with the next observation that an episode begins."""
        self._reset = True

    def close(self) -> None:
        """End the connection."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _received(self) -> bytes | str:
        try:
            return self._socket.recv(timeout=self._timeout_s)
        except TimeoutError as error:
            self._stack.close()
            raise FinedataError(
                place=self.address, found=f"nothing in {self._timeout_s:g} s", wanted="an answer"
            ) from error


def connect(address: str, *, api_key: str = "", timeout_s: float = 60.0) -> Connection:
    """Connect to a policy that is served.

    Args:
        address: `ws://HOST:PORT`, or `HOST:PORT`.
        api_key: The server's key.
        timeout_s: Longest wait for an answer.

    Raises:
        FinedataError: Nobody answers there, or the key is wrong.

    Example:
        >>> with connect("ws://127.0.0.1:8000") as policy:  # doctest: +SKIP
        ...     policy.act({"front": picture, "prompt": "put the cup on the plate"}).actions
    """
    full = address if "://" in address else f"ws://{address}"
    return Connection(full, api_key=api_key, timeout_s=timeout_s)
