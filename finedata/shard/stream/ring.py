"""Slots of shared memory that workers fill and batches are views of.

The memory is anonymous (a memory file, or a file without a name): when the last process that has it
ends, by whatever signal, it is gone, and there is nothing to clean up. A slot is filled again when
no array of its batch is held any more, so a batch never changes in the hands of its user. Batches
are taken in the order in which they were submitted, whoever reads them: a worker that is done gets
the next one, for if each had its turn a short delay of one would hold up all.
"""

from __future__ import annotations

import mmap
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata import errors
from finedata.shard.stream.messages import Done, Task, receive, send

if TYPE_CHECKING:
    from finedata.shard.stream.sequence import Samples
    from finedata.shard.stream.settings import Wanted

# Batches that a worker was sent: while it reads one, the next lies at its door.
_SENT = 2
# Batches more, for every worker but one, that the others may read while that one is late.
_SPARE = 1
# Batches that a user may hold before reading ahead becomes shorter.
_HELD = 2
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch that was submitted and not taken."""

    samples: Samples
    slot: int
    done: Done | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    """A process, and what it was sent and has not answered; it answers in this order."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    sent: deque[_Batch] = field(default_factory=deque["_Batch"])


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
        self._limit = workers * _SENT + (workers - 1) * _SPARE
        count = self._limit + _HELD
        self._free = deque(range(count))
        self._pending: deque[_Batch] = deque()
        self._unsent: deque[_Batch] = deque()
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
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
        batch = _Batch(samples, self._free.popleft())
        self._pending.append(batch)
        self._unsent.append(batch)
        self._hear(timeout=0)
        self._send()
        return True

    def take(self) -> tuple[Samples, np.ndarray, Done]:
        """The samples that were submitted first, their slot (bytes, uint8) and what was read.

        Raises:
            OutputError: A worker ended.
            FinedataError: What the worker met.
        """
        batch = self._pending[0]
        while (done := batch.done) is None:
            self._hear()
            self._send()
        self._pending.popleft()
        slot = _Slot(self._memory, batch.slot * self._slot_bytes, self._slot_bytes)
        weakref.finalize(slot, self._free.append, batch.slot).atexit = False
        memory = np.asarray(slot)
        if done.refusal is not None:
            kind = getattr(errors, done.refusal.kind)
            raise kind(**{k: getattr(done.refusal, k) for k in done.refusal.__struct_fields__[1:]})
        return batch.samples, memory, done

    def drop(self) -> None:
        """Forget what was read ahead.

        Raises:
            OutputError: A worker ended.
        """
        for batch in self._unsent:
            self._pending.remove(batch)
            self._free.append(batch.slot)
        self._unsent.clear()
        while self._pending:
            while self._pending[0].done is None:
                self._hear()
            self._free.append(self._pending.popleft().slot)

    def close(self) -> None:
        """End the workers; batches that are held stay whole."""
        self._selector.close()
        for worker in self._workers:
            # A fork of this process, were there one, would keep a socket open that is only closed.
            with suppress(OSError):
                worker.connection.shutdown(socket.SHUT_RDWR)
            worker.connection.close()
        for worker in self._workers:
            try:
                worker.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers.clear()
        self._pending.clear()
        self._unsent.clear()

    def _send(self) -> None:
        """Send the workers what waits, to the one that has least first."""
        while self._unsent:
            worker = min(self._workers, key=lambda one: len(one.sent))
            if len(worker.sent) == _SENT:
                return
            batch = self._unsent.popleft()
            worker.sent.append(batch)
            content = batch.samples.columns().astype("<i8").tobytes()
            try:
                send(worker.connection, Task(batch.slot, content))
            except OSError as error:
                raise self._died(worker) from error

    def _hear(self, *, timeout: float | None = None) -> None:
        """Wait until a worker has answered, or so many seconds."""
        for key, _ in self._selector.select(timeout):
            worker: _Worker = key.data
            content = receive(worker.connection)
            if content is None:
                raise self._died(worker)
            worker.sent.popleft().done = msgspec.msgpack.decode(content, type=Done)

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
                self._workers.append(_Worker(process, mine))
                self._selector.register(mine, selectors.EVENT_READ, self._workers[-1])
                send(mine, wanted)
        finally:
            os.close(memory_fd)

    def _died(self, worker: _Worker) -> errors.OutputError:
        process, number = worker.process, self._workers.index(worker)
        try:
            code = process.wait(timeout=5)
            found = f"its end by signal {-code}" if code < 0 else f"its end with exit code {code}"
        except subprocess.TimeoutExpired:
            found = "silence"
        n = worker.sent[0].samples.n if worker.sent else None
        return errors.OutputError(
            place=f"worker {number} of the stream, process {process.pid}",
            found=found,
            wanted="the next task" if n is None else f"samples {n[0]} to {n[-1]}",
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
