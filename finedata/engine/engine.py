"""What an engine must be able to do, so that nothing above it knows where work runs.

`finedata.engine.local.LocalEngine` is this machine's processes. Another engine (a cluster's) needs
these four names and nothing else; functions are at the top of a module, arguments and results are
plain values, so all of them travel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Engine"]


class Engine(Protocol):
    """Runs tasks, in any order, on as many workers as it has."""

    @property
    def workers(self) -> int:
        """How many tasks it works on at once; what is kept in flight is a multiple of it."""
        ...

    @property
    def pending(self) -> int:
        """Tasks submitted and not yet handed back."""
        ...

    def submit(self, ticket: object, function: Callable[[Any], Any], argument: object) -> None:
        """Queue `function(argument)`; its result comes back beside `ticket`."""
        ...

    def next_finished(self) -> tuple[object, Any]:
        """Wait for a task to finish: its ticket and its result.

        Raises:
            OutputError: A worker died.
            Exception: Whatever the function raised.
        """
        ...
