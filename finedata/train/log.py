# pyright: basic, reportMissingImports=false
"""Where a run's numbers go: a line of JSON, TensorBoard, and a tracker by name if it is installed.

`log.jsonl` is the record; a run that goes on from a checkpoint first drops the lines behind it, so
the file tells of one unbroken run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.errors import need
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["LOG", "Log", "read_log"]

LOG = "log.jsonl"


class Log:
    """The log of a run.

    Args:
        run: Its folder.
        first: Lines of later steps are dropped.
        name: The run's name for trackers.
        trackers: `tensorboard`, `wandb`, `trackio`.
        config: What trackers show beside the curves.
        on_log: Called with every entry.

    Raises:
        MissingExtraError: A tracker is not installed.
    """

    def __init__(
        self,
        run: Path,
        *,
        first: int,
        name: str,
        trackers: tuple[str, ...],
        config: dict[str, Any],
        on_log: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        kept = [entry for entry in read_log(run) if entry["step"] <= first] if first else []
        write_atomic(run / LOG, b"".join(msgspec.json.encode(entry) + b"\n" for entry in kept))
        self._file = (run / LOG).open("ab")
        self._on_log = on_log
        self._board: Any = None
        self._trackers: list[Any] = []
        for tracker in trackers:
            need(tracker, extra="train", place=f"tracker {tracker}")
            if tracker == "tensorboard":
                board = import_module("torch.utils.tensorboard")
                self._board = board.SummaryWriter(str(run / "tensorboard"), purge_step=first)
            else:
                made = import_module(tracker)
                made.init(project="finedata", name=name, config=config)
                self._trackers.append(made)

    def write(self, entry: dict[str, Any]) -> None:
        """Add an entry; it has a `step`."""
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()
        if self._on_log is not None:
            self._on_log(entry)
        numbers = {k: v for k, v in _flat(entry).items() if isinstance(v, int | float)}
        step = int(numbers.pop("step"))
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        for tracker in self._trackers:
            tracker.log(numbers, step=step)

    def close(self) -> None:
        """Close all files."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        for tracker in self._trackers:
            tracker.finish()


def read_log(run: Path) -> list[dict[str, Any]]:
    """The entries of a run, a line that a killed run left unfinished aside."""
    path = run / LOG
    found: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            found.append(msgspec.json.decode(line))
        except msgspec.DecodeError:
            break
    return found


def _flat(entry: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat
