"""The page's SQL box: a condition is run in a child process that is killed at its limits.

`store.sealed_sql` lets a condition read nothing but the dataset's tables. It may still ask for all
pairs of a million rows, so it gets a process of its own, with so much time and memory and so many
rows, and the server stays as it was whatever becomes of that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.errors import FinedataError, UsageError
from finedata.store.dataset import open_dataset

if TYPE_CHECKING:
    from pathlib import Path


class Limits(msgspec.Struct, frozen=True):
    """What one condition may cost.

    Attributes:
        seconds: Of the clock.
        memory_bytes: Of address space.
        rows: Ids in the answer.
    """

    seconds: float = 10.0
    memory_bytes: int = 6 << 30
    rows: int = 1_000_000


class _Refused(msgspec.Struct):
    found: str
    wanted: str


def ids_where(root: Path, condition: str, *, limits: Limits | None = None) -> list[str]:
    """Ids of the episodes for which a SQL condition over `episodes` holds.

    Raises:
        UsageError: The condition is wrong or refused, or was stopped at a limit.
    """
    allowed = limits or Limits()
    command = [sys.executable, "-m", "finedata.review.sealed", str(root), str(allowed.memory_bytes)]
    environment = os.environ | {"POLARS_MAX_THREADS": "2", "RAYON_NUM_THREADS": "2"}
    try:
        done = subprocess.run(
            command,
            input=condition.encode(),
            capture_output=True,
            timeout=allowed.seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _stopped(at=f"{allowed.seconds:g} s", wanted="less time") from None
    if done.returncode == 2:
        refused = msgspec.json.decode(done.stdout, type=_Refused)
        raise UsageError(place="the SQL box", found=refused.found, wanted=refused.wanted)
    if done.returncode:
        raise _stopped(at=f"{allowed.memory_bytes >> 20} MiB of memory", wanted="less memory")
    ids = msgspec.json.decode(done.stdout, type=list[str])
    if len(ids) > allowed.rows:
        raise _stopped(at=f"{len(ids)} rows", wanted=f"at most {allowed.rows}")
    return ids


def _stopped(*, at: str, wanted: str) -> UsageError:
    return UsageError(
        place="the SQL box",
        found=f"a condition that was stopped at {at}",
        wanted=f"one that needs {wanted}",
        next_command="finedata query runs any query without limits",
    )


def _child(root: str, memory_bytes: int) -> int:
    if find_spec("resource"):  # only POSIX has it; elsewhere nothing but the time is limited
        limits: Any = import_module("resource")
        limits.setrlimit(limits.RLIMIT_AS, (memory_bytes, memory_bytes))
    try:
        ids = open_dataset(root).episode_ids_where(sys.stdin.read())
    except FinedataError as error:
        told = _Refused(error.found, error.wanted)
        sys.stdout.buffer.write(msgspec.json.encode(told))
        return 2
    sys.stdout.buffer.write(msgspec.json.encode(ids))
    return 0


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1], int(sys.argv[2])))
