"""What a stream keeps of what it gave: the chain, the bad samples, and the receipt made of them.

The chain follows from the plan, so it is not kept up sample by sample but when somebody asks: a
rank of sixty-four does not look up the names of the other sixty-three's samples between two steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import finedata
from finedata.schema.stream_receipt import (
    CHAIN_START,
    CHAIN_STEP,
    BadSample,
    Drawn,
    Link,
    StreamReceipt,
    chain_link,
)

if TYPE_CHECKING:
    from finedata.shard.stream.sequence import Sequence

__all__ = ["Record", "receipt_text"]


class Record:
    """The record of one run of a stream.

    Args:
        sequence: What is drawn.
        first: Number of the first sample.
        chain: The digest after the last whole link before it.
    """

    def __init__(self, sequence: Sequence, *, first: int = 0, chain: str = CHAIN_START) -> None:
        self.first = first
        self.bad: dict[int, BadSample] = {}
        self._sequence = sequence
        whole = first // CHAIN_STEP * CHAIN_STEP
        self._links = [Link(n=whole, sha256=chain)]

    def chain(self, n: int) -> str:
        """The digest after the last whole link of the first n samples."""
        while self._links[-1].n + CHAIN_STEP <= n:
            last = self._links[-1]
            stop = last.n + CHAIN_STEP
            self._links.append(Link(n=stop, sha256=self._link(last, stop)))
        return self._links[n // CHAIN_STEP - self._links[0].n // CHAIN_STEP].sha256

    def links(self, stop: int) -> list[Link]:
        """All links up to a number; the last may be of fewer samples."""
        self.chain(stop)
        whole = [link for link in self._links if link.n and link.n <= stop]
        if stop % CHAIN_STEP == 0:
            return whole
        last = self._links[stop // CHAIN_STEP - self._links[0].n // CHAIN_STEP]
        return [*whole, Link(n=stop, sha256=self._link(last, stop))]

    def receipt(
        self,
        stop: int,
        *,
        content: str,
        roles: str,
        text: str,
        texts: dict[str, str],
        words: dict[str, str],
        numbers: dict[str, str],
    ) -> StreamReceipt:
        """The receipt of samples first..stop-1."""
        sequence = self._sequence
        return StreamReceipt(
            finedata_version=finedata.__version__,
            sequence=sequence.digest,
            content=content,
            shards=sequence.shards.identity,
            address=sequence.shards.pinned,
            roles=roles,
            text=text,
            seed=sequence.seed,
            group=sequence.group,
            sampling=sequence.sampling,
            mix=sequence.asked,
            words=words,
            numbers=numbers,
            first=self.first,
            stop=stop,
            drawn=[
                Drawn(view=view, source=source, text=texts[view], epoch=epoch, samples=samples)
                for view, source, epoch, samples in sequence.drawn(self.first, stop)
            ],
            bad=[self.bad[n] for n in sorted(self.bad) if n < stop],
            chain=self.links(stop),
        )

    def _link(self, last: Link, stop: int) -> str:
        samples = self._sequence.samples(last.n, stop)
        return chain_link(last.sha256, self._sequence.names(samples))


def receipt_text(made: StreamReceipt) -> str:
    """A receipt as lines for people: asked and drawn by view and source, and the chain's end."""
    total = made.stop - made.first
    how = ", drawn as released" if made.sampling == "released" else ""
    lines = [f"samples {made.first:,} to {made.stop:,} of sequence {made.sequence[:16]}{how}"]
    if made.address:
        lines.append(f"of {made.address}")
    for asked in made.mix:
        given = sum(one.samples for one in made.drawn if one.view == asked.view)
        share = f"{given / total:.4f}" if total else "-"
        lines.append(f"  {asked.view:<10} asked {asked.weight:>9}  drawn {given:>10,}  {share}")
        for source in asked.sources:
            of = [
                one for one in made.drawn if (one.view, one.source) == (asked.view, source.source)
            ]
            count = sum(one.samples for one in of)
            epochs = f"epochs {of[0].epoch} to {of[-1].epoch}" if of else "-"
            lines.append(
                f"    {source.source:<20} {count:>10,} of {source.samples:,} samples, {epochs}"
            )
    lines.append(f"text revision {made.text[:16] or '-'}, bad samples {len(made.bad)}")
    if made.chain:
        lines.append(f"chain at {made.chain[-1].n:,}: {made.chain[-1].sha256}")
    return "\n".join(lines)
