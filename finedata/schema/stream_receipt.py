"""A stream's receipt: what was asked for, what was drawn, and a proof that two runs drew the same.

The proof is a hash chain over the samples as they were scheduled, in the order of the global
sequence, so it does not depend on ranks or workers and anybody can compute it from the plan. A
sample that could not be read is listed apart with what took its place. The digest of the sequence
and that of the content are two: a run with another wording draws the same samples, and says so.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from finedata.schema.documents import Count, Sha256, digest_of
from finedata.schema.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "CHAIN_START",
    "CHAIN_STEP",
    "Asked",
    "AskedSource",
    "BadSample",
    "Drawn",
    "Link",
    "StreamReceipt",
    "StreamState",
    "chain_link",
    "content_digest",
    "sequence_digest",
]

CHAIN_STEP = 10_000
"""Samples of a link of the chain; the last link of a receipt may have fewer."""
CHAIN_START = "0" * 64
"""The digest before the first link."""

Fraction = Annotated[str, msgspec.Meta(pattern="^[0-9]+/[1-9][0-9]*$")]


class AskedSource(Strict, frozen=True, kw_only=True):
    """A source of a view: its sets, its weight inside the view, its samples that are eligible."""

    source: str
    sets: list[str]
    weight: Fraction
    samples: Count


class Asked(Strict, frozen=True, kw_only=True):
    """A view of the mixture: its weight as an exact fraction, in lowest terms, and its sources."""

    view: str
    weight: Fraction
    policy: Literal["reviewed", "not_contradicted"] | None
    sources: list[AskedSource]


class Drawn(Strict, frozen=True, kw_only=True):
    """How many samples were drawn of a source in a view, in one epoch of it."""

    view: str
    source: str
    text: str
    epoch: Count
    samples: Count


class BadSample(Strict, frozen=True, kw_only=True):
    """A sample that could not be read, and what took its place (null: nothing, the run ended)."""

    n: Count
    view: str
    episode_id: str
    frame_index: Count
    tar: str
    reason: str
    replaced_by_episode_id: str | None
    replaced_by_frame_index: int | None


class Link(Strict, frozen=True, kw_only=True):
    """The chain after the samples before `n`."""

    n: Count
    sha256: Sha256


class StreamReceipt(Strict, frozen=True, kw_only=True):
    """The document.

    Attributes:
        schema: `stream-receipt`.
        version: 1.
        finedata_version: Which streamed.
        sequence: See `sequence_digest`.
        content: See `content_digest`.
        shards: Identity of the shards.
        address: Where they were read from, where that names one publication for ever
            (`hf://datasets/org/name@<commit>`, 40 hex digits); "" elsewhere.
        roles: Digest of `roles.toml`.
        text: Digest of the text revision; "" where no words of one were asked for.
        seed: The user's.
        group: How many shards are mixed.
        sampling: `scheduled`, or `released`: drawn with replacement, as StarVLA's code does; then
            the weight of a view is that of each of its tasks, and there is one epoch.
        mix: What was asked for; views by name, sources by name.
        words: Arguments of the words, by name, values as text.
        numbers: Arguments of the numbers, by name, values as text.
        first: First n of this run; more than 0 after a resume.
        stop: One past the last n.
        drawn: By view, source, text and epoch; n from `first` on.
        bad: By n.
        chain: A link every CHAIN_STEP samples, from the last one at or before `first` on, and one
            at `stop`.
    """

    schema: Literal["stream-receipt"] = msgspec.field(
        name="finedata.schema", default="stream-receipt"
    )
    version: Literal[1] = msgspec.field(name="finedata.version", default=1)
    finedata_version: str
    sequence: Sha256
    content: Sha256
    shards: Sha256
    address: str = ""
    roles: Sha256
    text: str
    seed: int
    group: Annotated[int, msgspec.Meta(ge=1)]
    sampling: Literal["scheduled", "released"] = "scheduled"
    mix: list[Asked]
    words: dict[str, str]
    numbers: dict[str, str]
    first: Count
    stop: Count
    drawn: list[Drawn]
    bad: list[BadSample]
    chain: list[Link]


class StreamState(Strict, frozen=True, kw_only=True):
    """Where a stream is: n samples were given. Less than 300 bytes of JSON.

    `chain` is the digest after the last whole link; the samples since then follow from the plan.
    `commit` is the beginning of the one that the shards were read at, where there is one: what a
    resume says that it left. Which samples there are follows from the digests alone.
    """

    n: Count
    sequence: Sha256
    content: Sha256
    chain: Sha256 = CHAIN_START
    commit: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{16})?$")] = ""


def sequence_digest(
    *,
    shards: str,
    mix: Sequence[Asked],
    seed: int,
    group: int,
    sampling: Literal["scheduled", "released"] = "scheduled",
) -> str:
    """Name the sequence of samples.

    SHA-256 of the canonical JSON `{"finedata.schema": "stream-sequence", "finedata.version": 1,
    "shards", "seed", "group", "mix"}`, the mix as in the receipt; with `"sampling": "released"`
    where it is that.
    """
    preimage: dict[str, Any] = {
        "finedata.schema": "stream-sequence",
        "finedata.version": 1,
        "shards": shards,
        "seed": seed,
        "group": group,
        "mix": list(mix),
    }
    if sampling != "scheduled":
        preimage["sampling"] = sampling
    return digest_of(preimage)


def content_digest(
    *, roles: str, text: str, words: Mapping[str, str], numbers: Mapping[str, str]
) -> str:
    """Name what a sample of the sequence becomes.

    SHA-256 of the canonical JSON `{"finedata.schema": "stream-content", "finedata.version": 1,
    "roles", "text", "words", "numbers"}`, as in the receipt.
    """
    preimage: dict[str, Any] = {
        "finedata.schema": "stream-content",
        "finedata.version": 1,
        "roles": roles,
        "text": text,
        "words": dict(words),
        "numbers": dict(numbers),
    }
    return digest_of(preimage)


def chain_link(before: str, samples: Iterable[tuple[int, str, str, int]]) -> str:
    r"""The next digest of the chain.

    SHA-256 of the digest before as 64 hex digits and a newline, then for each sample in order of n
    the line `<n> <view> <episode_id> <frame_index>\n`, in UTF-8.

    Args:
        before: The digest after the samples before; CHAIN_START for the first.
        samples: (n, view, episode_id, frame_index) of each sample as scheduled.
    """
    digest = sha256(f"{before}\n".encode())
    for n, view, episode_id, frame_index in samples:
        digest.update(f"{n} {view} {episode_id} {frame_index}\n".encode())
    return digest.hexdigest()
