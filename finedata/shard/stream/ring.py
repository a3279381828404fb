"""Slots of shared memory that workers fill and batches are views of.

The memory is anonymous (a memory file, or a file without a name): when the last process that has it
ends, by whatever signal, it is gone, and there is nothing to clean up. A slot is filled again when
no array of its batch is held any more, so a batch never changes in the hands of its user. Batches
are dealt to the workers in turn and taken back in turn: which worker reads what follows from the
number of the batch, and what is read ahead is exactly what comes next.
"""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata import errors
from finedata.shard.stream.messages import Done, Task, receive, send

if TYPE_CHECKING:
    from finedata.shard.stream.sequence import Samples
    from finedata.shard.stream.settings import Wanted

__all__ = ["Ring"]

# Batches that a worker has or has ready; one is read while another waits to be taken.
_AHEAD = 2
# Batches that a user may hold before reading ahead becomes shorter.
_HELD = 2
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Ring:
    """Workers and the memory that they fill.

    Args:
        wanted: What workers read.
        slot_bytes: Of a batch.
        batch: Samples of a batch.
        workers: How many.

    Raises:
        OutputError: There is no memory, or a process cannot be started.
    """

    def __init__(self, wanted: Wanted, *, slot_bytes: int, batch: int, workers: int) -> None:
        self._slot_bytes = slot_bytes
        count = workers * _AHEAD + _HELD
        self._free = deque(range(count))
        self._pending: deque[tuple[int, int, Samples]] = deque()
        self._workers: list[tuple[subprocess.Popen[bytes], socket.socket]] = []
        self._submitted = 0
        self._limit = workers * _AHEAD
        try:
            self._start(wanted, count * slot_bytes, batch, workers)
        except OSError as error:
            self.close()
            raise errors.OutputError(
                place="workers of the stream",
                found=str(error),
                wanted=f"{count * slot_bytes:,} bytes of memory and {workers} processes",
                next_command="a smaller batch, or fewer workers",
            ) from error

    def __len__(self) -> int:
        """How many batches are being read or ready."""
        return len(self._pending)

    def submit(self, samples: Samples) -> bool:
        """Have samples read; False where enough is read ahead, or all slots are in use."""
        if not self._free or len(self._pending) >= self._limit:
            return False
        slot = self._free.popleft()
        worker = self._submitted % len(self._workers)
        self._submitted += 1
        self._pending.append((worker, slot, samples))
        content = samples.columns().astype("<i8").tobytes()
        try:
            send(self._workers[worker][1], Task(slot, content))
        except OSError as error:
            raise self._died(worker, samples) from error
        return True

    def take(self) -> tuple[Samples, np.ndarray, Done]:
        """The samples that were submitted first, their slot (bytes, uint8) and what was read.

        Raises:
            OutputError: The worker ended.
            FinedataError: What the worker met.
        """
        worker, number, samples = self._pending[0]
        content = receive(self._workers[worker][1])
        if content is None:
            raise self._died(worker, samples)
        self._pending.popleft()
        slot = _Slot(self._memory, number * self._slot_bytes, self._slot_bytes)
        weakref.finalize(slot, self._free.append, number).atexit = False
        memory = np.asarray(slot)
        done = msgspec.msgpack.decode(content, type=Done)
        if done.refusal is not None:
            kind = getattr(errors, done.refusal.kind)
            raise kind(**{k: getattr(done.refusal, k) for k in done.refusal.__struct_fields__[1:]})
        return samples, memory, done

    def drop(self) -> None:
        """Forget what was read ahead."""
        while self._pending:
            worker, number, samples = self._pending.popleft()
            if receive(self._workers[worker][1]) is None:
                raise self._died(worker, samples)
            self._free.append(number)

    def close(self) -> None:
        """End the workers; batches that are held stay whole."""
        for _, connection in self._workers:
            # A fork of this process, were there one, would keep a socket open that is only closed.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for process, _ in self._workers:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._workers.clear()
        self._pending.clear()

    def _start(self, wanted: Wanted, total_bytes: int, batch: int, workers: int) -> None:
        memory_fd = _anonymous(total_bytes)
        try:
            self._memory = np.frombuffer(mmap.mmap(memory_fd, total_bytes), np.uint8)
            paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
            # One worker is one core's work: libraries that start threads of their own contend.
            more = {"PYTHONPATH": paths, **dict.fromkeys(_THREADS, "1")}
            for _ in range(workers):
                mine, theirs = socket.socketpair()
                with theirs:
                    process = subprocess.Popen(
                        [
                            # Not what lies in the folder where somebody works: -P.
                            *(sys.executable, "-P", "-m", "finedata.shard.stream.worker"),
                            *map(str, (theirs.fileno(), memory_fd, batch)),
                        ],
                        pass_fds=(theirs.fileno(), memory_fd),
                        stdin=subprocess.DEVNULL,
                        env=os.environ | more,
                    )
                self._workers.append((process, mine))
                send(mine, wanted)
        finally:
            os.close(memory_fd)

    def _died(self, worker: int, samples: Samples) -> errors.OutputError:
        process = self._workers[worker][0]
        try:
            code = process.wait(timeout=5)
            found = f"its end by signal {-code}" if code < 0 else f"its end with exit code {code}"
        except subprocess.TimeoutExpired:
            found = "silence"
        return errors.OutputError(
            place=f"worker {worker} of the stream, process {process.pid}",
            found=found,
            wanted=f"samples {samples.n[0]} to {samples.n[-1]}",
            next_command="load the last state and go on; fewer workers if memory was short",
        )


class _Slot:
    """A piece of memory that says when nobody looks at it any more.

    An array keeps the object alive that it was made of; a memoryview would do the same for the
    memory only, and not for itself.
    """

    def __init__(self, memory: np.ndarray, begin: int, length: int) -> None:
        self._memory = memory
        address = memory.__array_interface__["data"][0] + begin
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "shape": (length,),
            "data": (address, False),
        }


def _anonymous(total_bytes: int) -> int:
    """Descriptor of memory without a name that processes can share."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("finedata-stream")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, total_bytes)
    return descriptor
