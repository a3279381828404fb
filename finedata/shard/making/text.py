"""A revision of the words of shards: a folder that is made as a whole and never changed.

Words change when somebody annotates or reviews; pixels do not. So a stream that names a revision,
which is named by its own content, has said which text it shows, and taking up new words writes no
byte of a picture. Beside the tables of words (`words`) the samples that have fine-grained text
become one bit each and a count for each tar, so that a stream takes the k-th of them without a
list, and opens in time and memory of the number of tars.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.schema.documents import encode_document
from finedata.schema.shards_file import (
    SHARDS_FILE,
    TextRevision,
    TextSet,
    ViewCounts,
    text_revision,
)
from finedata.shard.files import (
    episodes_path,
    file_digest,
    index_path,
    tar_folder,
)
from finedata.shard.mapped import MappedTable
from finedata.shard.shards import Shards
from finedata.shard.words import column, write_words
from finedata.store.atomic import atomic_path, output_errors, sync_folder, write_atomic
from finedata.store.lock import take_lock
from finedata.store.run.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from finedata.schema.documents import FileDigest
    from finedata.schema.shards_file import Policy, ShardSet, Side
    from finedata.store.dataset import Dataset

__all__ = ["alone", "changing", "take_up_text", "write_text"]

_POLICIES: tuple[Policy, ...] = ("not_contradicted", "reviewed")
# Held by whatever changes finished shards: an append that is finishing, words, a compaction.
_CHANGE_LOCK = "change.lock"
_BITS = {"not_contradicted": "fg.bits", "reviewed": "fg_reviewed.bits"}


def take_up_text(root: str | Path, datasets: Sequence[Dataset]) -> TextRevision:
    """Add the datasets' words, as they are now, to finished shards: no byte of a picture moves.

    Args:
        root: The shards.
        datasets: Some of those that were sharded, with new annotations or reviews; words of the
            others stay as they are.

    Returns:
        The revision, from now on the default; where nothing changed, the one that was there.

    Raises:
        UsageError: These are no shards, another run is writing there, or see `write_words`.
        ConformError: A table of the datasets or of the shards is damaged.
        OutputError: The disk is full.
    """
    path = Path(root)
    Shards.open(path)
    with alone(path):
        document = Shards.open(path).document
        made = write_text(
            path,
            datasets,
            document.sets,
            before=document.texts,
            steps=document.sample == "episode",
        )
        texts = [text for text in document.texts if text.revision != made.revision]
        if document.texts[-1:] != [made]:
            document = msgspec.structs.replace(document, texts=[*texts, made])
            write_atomic(path / SHARDS_FILE, encode_document(document))
    return made


@contextmanager
def changing(root: Path) -> Generator[None]:
    """Be the only one that changes finished shards.

    Raises:
        UsageError: A run is changing them.
    """
    with _locks(root, [root / LEDGER_FOLDER / _CHANGE_LOCK]):
        yield


@contextmanager
def alone(root: Path, *, own: str = "") -> Generator[None]:
    """Keep out of a folder in which a run is writing, and others out meanwhile.

    Args:
        root: Finished shards.
        own: Name of the ledger whose lock the caller takes itself.

    Raises:
        UsageError: A run is writing there.
    """
    folder = root / LEDGER_FOLDER
    locks = {folder / _CHANGE_LOCK, *folder.glob("*.lock")} - {folder / f"{own}.lock"}
    with _locks(root, sorted(locks)):
        yield


@contextmanager
def _locks(root: Path, paths: Sequence[Path]) -> Generator[None]:
    with ExitStack() as stack:
        for path in paths:
            lock = take_lock(path, wait=False)
            if lock is None:
                raise UsageError(
                    place=str(root),
                    found="another run that is writing there",
                    wanted="a folder of shards that nobody writes",
                    next_command="wait for the other run, then the same command again",
                )
            stack.callback(lock.release)
        yield


def write_text(
    root: Path,
    datasets: Sequence[Dataset],
    sets: Sequence[ShardSet],
    *,
    before: Sequence[TextRevision] = (),
    steps: bool = False,
) -> TextRevision:
    """Write `text/<revision>/` of shards whose tars, indexes and episodes are there.

    Args:
        root: The shards.
        datasets: Where their episodes are.
        sets: Their sets, as in `shards.json`.
        before: Revisions that are there: in the last of them are the words of episodes that no
            dataset given has.
        steps: Write steps too: a sample is an episode.

    Returns:
        What `shards.json` says of it.

    Raises:
        UsageError: See `write_words`.
        ConformError: A table of the datasets or of the shards is damaged.
        OutputError: The disk is full.
    """
    # Hidden, and beside its final place: the name is known when the last byte is.
    work = root / "text" / ".making"
    episodes = {
        one.name: MappedTable(episodes_path(root, one.name), name="shard_episodes") for one in sets
    }
    ids = {name: column(table, "episode_id") for name, table in episodes.items()}
    with output_errors(work):
        shutil.rmtree(work, ignore_errors=True)
    last = root / "text" / before[-1].revision if before else None
    words = write_words(work, datasets, ids, before=last, steps=steps)
    text_sets: list[TextSet] = []
    counts: dict[tuple[Side, Policy | None], list[ViewCounts]] = {}
    for one in sets:
        shown = _shown(work / one.name)
        ones = _write_bits(root, work / one.name, one, shown)
        text_sets.append(TextSet(name=one.name, **ones))
        told = (column(episodes[one.name], "task") != "").to_numpy()
        for policy, has in ((None, told), *shown.items()):
            if one.tier != "rep" and (policy or one.tier != "rest"):
                continue
            samples = sum(ones[policy]) if policy else _count_samples(root, one, has)
            counts.setdefault((one.side, policy), []).append(
                ViewCounts(
                    view="fg" if policy else "raw",
                    side=one.side,
                    policy=policy,
                    sets=[one.name],
                    episodes=int(has.sum()),
                    samples=samples,
                )
            )
    bits = [file_digest(work, work / one.name / name) for one in sets for name in _BITS.values()]
    files = sorted([*words.files, *bits], key=lambda file: file.path)
    sha256 = text_revision(files)
    revision = sha256[:16]
    _move(work, root / "text" / revision, files)
    return TextRevision(
        revision=revision,
        sha256=sha256,
        files=[msgspec.structs.replace(f, path=f"text/{revision}/{f.path}") for f in files],
        runs=words.runs,
        rows=words.rows,
        left_out=words.left_out,
        sets=text_sets,
        views=[
            _sum(counts[side, policy])
            for side in ("train", "heldout")
            for policy in (*_POLICIES, None)
            if (side, policy) in counts
        ],
    )


def _shown(folder: Path) -> dict[Policy, np.ndarray]:
    """Of each episode of a set, whether it has fine-grained text under each policy."""
    policy = column(MappedTable(folder / "episodes.arrow", name="text_episodes"), "policy")
    return {
        "not_contradicted": policy.is_not_null().to_numpy(),
        "reviewed": (policy == "reviewed").fill_null(value=False).to_numpy(),
    }


def _sampled(root: Path, one: ShardSet) -> Iterator[np.ndarray]:
    """The episode of each sample, tar after tar."""
    for tar in one.tars:
        path = index_path(tar_folder(root, one.name) / tar.name)
        index = MappedTable(path, name="shard_index")
        if len(index) != tar.samples:
            found = f"{len(index)} samples"
            raise index.damaged(found, wanted=f"{tar.samples}")
        yield index.numbers("episode", 0, len(index)) if len(index) else np.zeros(0, np.int32)


def _count_samples(root: Path, one: ShardSet, has: np.ndarray) -> int:
    if has.all():
        return one.samples
    return sum(int(has[episodes].sum()) for episodes in _sampled(root, one))


def _write_bits(
    root: Path, folder: Path, one: ShardSet, shown: Mapping[Policy, np.ndarray]
) -> dict[Policy, list[int]]:
    """Write one bit a sample for each policy; how many are one in each tar."""
    counts: dict[Policy, list[int]] = {policy: [] for policy in shown}
    waiting = {policy: np.zeros(0, bool) for policy in shown}
    with ExitStack() as stack:
        files = {
            policy: stack.enter_context(
                stack.enter_context(atomic_path(folder / _BITS[policy])).open("wb")
            )
            for policy in shown
        }
        for episodes in _sampled(root, one):
            for policy, has in shown.items():
                flags = has[episodes]
                counts[policy].append(int(flags.sum()))
                flags = np.concatenate([waiting[policy], flags])
                whole = len(flags) // 8 * 8
                files[policy].write(np.packbits(flags[:whole], bitorder="little").tobytes())
                waiting[policy] = flags[whole:]
        for policy, flags in waiting.items():
            files[policy].write(np.packbits(flags, bitorder="little").tobytes())
    return counts


def _sum(counts: Sequence[ViewCounts]) -> ViewCounts:
    return msgspec.structs.replace(
        counts[0],
        sets=[name for one in counts for name in one.sets],
        episodes=sum(one.episodes for one in counts),
        samples=sum(one.samples for one in counts),
    )


def _move(made: Path, place: Path, files: Sequence[FileDigest]) -> None:
    """Give a revision its name; where it has it already, its files are compared, not replaced."""
    with output_errors(place):
        if place.exists():
            there = [
                file_digest(place, path) for path in sorted(place.rglob("*")) if path.is_file()
            ]
            if there == list(files):
                shutil.rmtree(made)
                return
            # Damaged since: what is mapped of it stays readable, the name goes to the whole one.
            shutil.rmtree(place)
        made.rename(place)
        sync_folder(place.parent)
