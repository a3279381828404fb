"""Two runs of streams side by side: did they draw the same samples, and where did they part.

Receipts alone answer by one hash, to the nearest link of the chain. With the shards the sequences
are drawn again from what was asked, and the first sample that differs has a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finedata.errors import UsageError
from finedata.schema.documents import decode_document
from finedata.schema.stream_receipt import CHAIN_STEP, StreamReceipt
from finedata.schema.strict import Strict
from finedata.shard.stream.mix import released_mix
from finedata.shard.stream.released import open_sequence

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.schema.shards_file import Policy, Side
    from finedata.shard.shards import Shards
    from finedata.shard.stream.sequence import Sequence

__all__ = ["Difference", "compare", "read_receipt"]

_SETTINGS = ("shards", "seed", "group", "sampling", "mix", "roles", "text", "words", "numbers")


class Difference(Strict, frozen=True, kw_only=True):
    """How two runs differ.

    Attributes:
        same_sequence: Both draw the same samples, for ever.
        same_content: These samples have the same words and numbers.
        equal_until: The chains prove the samples before this number equal.
        differ_by: The chains prove a difference before this number; null: they prove none.
        first: Number of the first sample that differs; null: unknown, or there is none.
        sample_a: (view, episode, frame) of it in the first run; null as `first`.
        sample_b: The same of the second run.
        settings: What was asked for differently.
        bad_only_a: Numbers of samples that only the first run could not read.
        bad_only_b: The same of the second run.
    """

    same_sequence: bool
    same_content: bool
    equal_until: int
    differ_by: int | None
    first: int | None
    sample_a: tuple[str, str, int] | None
    sample_b: tuple[str, str, int] | None
    settings: list[str]
    bad_only_a: list[int]
    bad_only_b: list[int]


def read_receipt(path: Path) -> StreamReceipt:
    """Read a receipt.

    Raises:
        UsageError: The file is not there.
        ConformError: It is no receipt.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(place=str(path), found=str(error), wanted="a receipt") from error
    return decode_document(content, StreamReceipt, place=str(path))


def compare(a: StreamReceipt, b: StreamReceipt, *, shards: Shards | None = None) -> Difference:
    """How two runs differ.

    Args:
        a: Receipt of the first run.
        b: Receipt of the second run.
        shards: Those of both runs; without them the first difference is known to a link only.

    Raises:
        UsageError: The shards are not those of the receipts.
    """
    equal, differ = _by_chain(a, b)
    first = names = None
    if shards is not None and a.sequence != b.sequence:
        one, other = _again(a, shards), _again(b, shards)
        found = _first_difference(one, other, equal, min(a.stop, b.stop))
        if found is not None:
            first, *names = found
    sample_a, sample_b = names or (None, None)
    bad = [{one.n for one in receipt.bad} for receipt in (a, b)]
    return Difference(
        same_sequence=a.sequence == b.sequence,
        same_content=a.content == b.content,
        equal_until=equal,
        differ_by=differ,
        first=first,
        sample_a=sample_a,
        sample_b=sample_b,
        settings=[name for name in _SETTINGS if getattr(a, name) != getattr(b, name)],
        bad_only_a=sorted(bad[0] - bad[1]),
        bad_only_b=sorted(bad[1] - bad[0]),
    )


def _by_chain(a: StreamReceipt, b: StreamReceipt) -> tuple[int, int | None]:
    """Until where the chains agree, and by where they do not."""
    of_b = {link.n: link.sha256 for link in b.chain}
    equal = 0
    for link in sorted(a.chain, key=lambda link: link.n):
        if link.n in of_b:
            if link.sha256 != of_b[link.n]:
                return equal, link.n
            equal = link.n
    return equal, None


def _again(receipt: StreamReceipt, shards: Shards) -> Sequence:
    """The sequence of a receipt, from what was asked for."""
    by_digest = {text.sha256: text.revision for text in shards.document.texts}
    policies: list[Policy] = [asked.policy for asked in receipt.mix if asked.policy]
    sides: set[Side] = {
        shards.sets[name].side
        for asked in receipt.mix
        for source in asked.sources
        for name in source.sets
        if name in shards.sets
    }
    found = None
    if receipt.shards == shards.identity and len(sides) == 1:
        released = receipt.sampling == "released"
        weights = {asked.view: asked.weight for asked in receipt.mix}
        sources = {
            asked.view: {source.source: source.weight for source in asked.sources}
            for asked in receipt.mix
        }
        found = open_sequence(
            shards,
            mix=released_mix(weights) if released else weights,
            sources=None if released else sources,
            seed=receipt.seed,
            group=receipt.group,
            policy=policies[0] if policies else "not_contradicted",
            revision=by_digest.get(receipt.text),
            side=sides.pop(),
        )
    if found is None or found.digest != receipt.sequence:
        raise UsageError(
            place=f"receipt of sequence {receipt.sequence[:16]}",
            found=f"shards {receipt.shards[:16]}",
            wanted=f"{shards.identity[:16]}, those of {shards.root}",
            next_command="compare without shards: then the chains alone answer",
        )
    return found


def _first_difference(
    one: Sequence, other: Sequence, start: int, stop: int
) -> tuple[int, Any, Any] | None:
    for begin in range(start, stop, CHAIN_STEP):
        end = min(begin + CHAIN_STEP, stop)
        pairs = zip(
            one.names(one.samples(begin, end)), other.names(other.samples(begin, end)), strict=True
        )
        for (n, *a), (_, *b) in pairs:
            if a != b:
                return n, tuple(a), tuple(b)
    return None
