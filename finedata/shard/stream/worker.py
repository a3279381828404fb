"""A worker of a stream: reads the samples that it is sent into shared memory, until nobody sends.

It is a program of its own and not a fork: a fork of a process with threads (any that has imported
pyarrow, or trains) may stop for ever, and a spawned function must be pickled.
"""

from __future__ import annotations

import mmap
import signal
import socket
import sys

import msgspec
import numpy as np

from finedata.errors import FinedataError
from finedata.shard.shards import Shards
from finedata.shard.stream.fill import Filler
from finedata.shard.stream.messages import Done, Refusal, Task, receive, send
from finedata.shard.stream.sequence import Samples
from finedata.shard.stream.settings import Wanted


def main() -> None:
    """Arguments: descriptor of the socket, of the memory, samples of a slot."""
    connection_fd, memory_fd, batch = map(int, sys.argv[1:4])
    # An interrupt reaches the whole terminal group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=connection_fd)
    memory = np.frombuffer(mmap.mmap(memory_fd, 0), np.uint8)
    first = receive(connection)
    if first is None:
        return
    wanted = msgspec.msgpack.decode(first, type=Wanted)
    filler = Filler(Shards.open(wanted.shards), wanted)
    layout = filler.layout(batch)
    while (content := receive(connection)) is not None:
        task = msgspec.msgpack.decode(content, type=Task)
        samples = Samples.of(np.frombuffer(task.columns, "<i8").reshape(10, -1))
        begin = task.slot * layout.total_bytes
        slot = memory[begin : begin + layout.total_bytes]
        try:
            arrays = layout.arrays(slot, len(samples))
            bad = filler.fill(samples, arrays)
            text, trace = filler.words(samples)
            filler.encode(text, arrays)
            done = Done(text, trace, bad)
        except FinedataError as error:
            done = Done([], [], [], _refusal(error))
        try:
            send(connection, done)
        except OSError:
            return  # the stream has ended


def _refusal(error: FinedataError) -> Refusal:
    return Refusal(type(error).__name__, error.place, error.found, error.wanted, error.next_command)


if __name__ == "__main__":
    main()
