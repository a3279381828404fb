"""Finished shards with every verb as a method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finedata.shard import shards as files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from finedata.engine.progress import OnProgress
    from finedata.schema.shards_file import TextRevision
    from finedata.schema.stream_receipt import StreamReceipt
    from finedata.shard.making.compact import CompactSummary
    from finedata.shard.making.summary import ShardSummary
    from finedata.shard.stream.diff import Difference
    from finedata.shard.stream.measure import Speed
    from finedata.shard.stream.stream import Stream
    from finedata.shard.verify_report import ShardReport
    from finedata.store.dataset import Dataset

__all__ = [
    "Shards",
    "explain",
    "finish_shard_shares",
    "has_shard_shares",
    "is_shards",
    "measure",
    "receipt_text",
    "shards",
    "write_receipt",
]


def shards(
    root: str | Path, *, cache: str | Path | None = None, cache_bytes: int | None = None
) -> Shards:
    """Open shards that `Dataset.shard` wrote, here or elsewhere.

    Args:
        root: Their folder, or an address (`hf://datasets/org/name`, `s3://...`).
        cache: Folder to which the files of an address come; every process shares it.
        cache_bytes: Its bound for tars; 64 GB by default.

    Raises:
        UsageError: There are no finished ones.
        ConformError: Their `shards.json` is damaged, or of another version.

    Example:
        >>> with shards("shards").stream(mix="fg=1,raw=1", batch=64) as batches:  # doctest: +SKIP
        ...     batch = next(iter(batches))
    """
    return Shards.open(root, cache=cache, cache_bytes=cache_bytes)


class Shards(files.Shards):
    """A folder of shards on disk, and every verb.

    `sets` says what there is; `frames`, `episodes`, `text` and `member` read it.
    """

    def __repr__(self) -> str:
        samples = sum(one.samples for one in self.sets.values())
        return f"Shards({str(self.root)!r}: {len(self.sets)} sets, {samples} samples)"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.description())}</pre>"

    def description(self) -> str:
        """The shards on one page of text: sets, members, cameras, what was lost, texts, views."""
        from finedata.shard.describe import shards_text

        return shards_text(self)

    def stream(self, **settings: Any) -> Stream:
        """Stream an exact mixture; see `finedata.stream`, which takes the same settings."""
        from finedata.shard.stream.opening import stream

        return stream(self, **settings)

    def verify(self, datasets: Sequence[str | Path | Dataset] = ()) -> ShardReport:
        """Read everything again and prove it, also against the datasets that are given."""
        from finedata.shard.verify import verify_shards

        return verify_shards(self.root, _opened(datasets))

    def take_up_text(self, datasets: Sequence[str | Path | Dataset]) -> TextRevision:
        """Take the words of datasets as they are now, as a new text revision; no pixel is written.

        Args:
            datasets: Some of those that were sharded, with new annotations or reviews.

        Raises:
            UsageError: Another run is writing here, or a dataset is not one of theirs.
        """
        from finedata.shard.making.text import take_up_text

        return take_up_text(self.root, _opened(datasets))

    def compact(
        self,
        datasets: Sequence[str | Path | Dataset],
        *,
        workers: int = 1,
        on_progress: OnProgress = None,
    ) -> CompactSummary:
        """Move episodes that represent these datasets now to where fine-grained views find them.

        The folder is then of another identity: open it again.

        Args:
            datasets: Some of those that were sharded, clustered anew.
            workers: Processes; changes no byte.
            on_progress: Told after every tar.

        Raises:
            UsageError: Another run is writing here, words are baked in, or a dataset has no
                representatives.
        """
        from finedata.shard.making.compact import compact_shards

        return compact_shards(
            self.root, _opened(datasets), workers=workers, on_progress=on_progress
        )

    def leaks(self, ids: Iterable[str]) -> list[str]:
        """Which of these ids, or episodes of these tasks, are in training files."""
        from finedata.shard.describe import find_leaks

        return find_leaks(self, ids)

    def compare(self, a: str | Path, b: str | Path) -> Difference:
        """Compare the receipts of two streams: where, and by what, they part.

        Raises:
            UsageError: A file is not there, or the shards are not those of the receipts.
            ConformError: A file is no receipt.
        """
        from finedata.shard.stream.diff import compare, read_receipt

        return compare(read_receipt(Path(a)), read_receipt(Path(b)), shards=self)


def is_shards(root: str | Path) -> bool:
    """Whether a folder holds shards."""
    from finedata.shard.files import is_shards
    from finedata.store.remote.path import open_root

    return is_shards(open_root(root))


def has_shard_shares(root: str | Path) -> bool:
    """Whether shares of a run that makes shards were done in a folder."""
    from finedata.shard.files import share_ledgers

    return bool(share_ledgers(Path(root)))


def finish_shard_shares(
    out: str | Path, *, workers: int = 1, on_progress: OnProgress = None
) -> ShardSummary:
    """Finish shards whose shares are done, with what the shares were told.

    Raises:
        UsageError: There are no shares.
    """
    from finedata.shard.making.run import finish_shard_shares

    return finish_shard_shares(out, workers=workers, on_progress=on_progress)


def explain(stream: Stream, start: int, stop: int) -> list[dict[str, Any]]:
    """Where samples `start` to `stop` of a stream come from, down to the source's bytes."""
    from finedata.shard.stream.explain import explain

    return explain(stream, start, stop)


def measure(stream: Stream, *, batches: int = 100) -> Speed:
    """How fast a stream is here, layer by layer; the stream is used up."""
    from finedata.shard.stream.measure import measure

    return measure(stream, batches=batches)


def receipt_text(receipt: StreamReceipt) -> str:
    """A stream's receipt, for a person."""
    from finedata.shard.stream.record import receipt_text

    return receipt_text(receipt)


def write_receipt(receipt: StreamReceipt, path: str | Path) -> None:
    """Write a stream's receipt, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    from finedata.schema.documents import encode_document
    from finedata.store.atomic import write_atomic

    write_atomic(Path(path), encode_document(receipt))


def _opened(datasets: Sequence[str | Path | Dataset]) -> list[Dataset]:
    from finedata.store.dataset import open_dataset

    return [open_dataset(one) if isinstance(one, str | Path) else one for one in datasets]
