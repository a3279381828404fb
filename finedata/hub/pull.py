"""`pull`: a published dataset, a selection of it, or shards, brought here and verified.

A whole one comes file by file, each held against its digest where the source names one, the marker
last, so that the same call continues. A selection is written as an export is, from ranges: only the
row groups and videos of its episodes come. What arrives is verified before it is said to be there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.errors import ConformError, SourceError, UsageError
from finedata.hub.files import CARD
from finedata.schema.shards_file import SHARDS_FILE, decode_shards
from finedata.shard.files import is_shards
from finedata.store.atomic import write_atomic
from finedata.store.dataset import open_dataset
from finedata.store.dataset_file import DATASET_FILE
from finedata.store.remote.path import fetch_file, open_root, remote_store
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.engine.progress import OnProgress
    from finedata.schema.shards_file import ShardsFile
    from finedata.store.remote.stores import RemoteStore

__all__ = ["PullSummary", "pull"]

_FOLDERS = ("meta", "data", "videos", "curation", "annotations", "assets")


@dataclass(frozen=True, slots=True)
class PullSummary(Summary):
    """What was brought.

    Attributes:
        address: Pinned.
        out: The folder.
        files: Files that are there now; 0 of a selection, which is written anew.
        fetched: How many of them came in this run.
        episodes: Episodes of a dataset, or of shards.
        requests: Requests.
        received_bytes: Bytes that came.
        not_checked: What the verification did not look at.
    """

    address: str
    out: str
    files: int
    fetched: int
    episodes: int
    requests: int
    received_bytes: int
    not_checked: list[str]


def pull(
    address: str, *, out: str | Path, where: str = "", on_progress: OnProgress = None
) -> PullSummary:
    """Bring a dataset or shards here.

    Args:
        address: `hf://datasets/org/name[@revision][/folder]`, `s3://`, ...
        out: The folder; what an interrupted call left there is taken up.
        where: Only episodes for which this SQL holds; of datasets.
        on_progress: Told after every file.

    Raises:
        UsageError: There is nothing of that kind at the address, or `where` with shards.
        SourceError: The network failed, or a file came with other bytes than it should have.
        ConformError: What arrived does not verify.
        OutputError: The disk is full.
    """
    from pathlib import Path

    root, target = open_root(address), Path(out)
    store = remote_store(root)
    if store is None:
        raise UsageError(
            parameter="address", found=repr(address), wanted="an address: hf://datasets/org/name"
        )
    files = fetched = 0
    inside = str(root).removeprefix(store.address).strip("/")
    prefix = f"{inside}/" if inside else ""
    if is_shards(root):
        if where:
            raise UsageError(parameter="where", found="shards", wanted="a dataset")
        files, fetched, episodes = _shards(root, store, target, prefix, on_progress)
        from finedata.shard.verify import verify_shards

        checked = verify_shards(target)
        problems, not_checked = list(checked.problems), checked.not_checked
    else:
        dataset = open_dataset(root)
        if where:
            from finedata.store.export.run import export_dataset

            export_dataset(dataset, out=target, format="finedata", where=where)
        else:
            files, fetched = _whole(root, store, target, prefix, on_progress)
        from finedata.convert.verify.alone import verify_alone

        report = verify_alone(target)
        problems, not_checked = list(report.problems), report.not_checked
        episodes = report.episodes
    if problems:
        first = problems[0]
        raise ConformError(
            place=first.place,
            found=first.found,
            wanted=first.wanted,
            next_command=f"remove {target} and pull again; if it stays so, tell who published it",
        )
    return PullSummary(
        address=str(root),
        out=str(target),
        files=files,
        fetched=fetched,
        episodes=episodes,
        requests=store.traffic.requests,
        received_bytes=store.traffic.received_bytes,
        not_checked=not_checked,
    )


def _whole(
    root: Path, store: RemoteStore, target: Path, prefix: str, on_progress: OnProgress
) -> tuple[int, int]:
    """All files of a dataset; how many there are, and how many came now."""
    parts = {part.path for part in open_dataset(root).parts} - {"."}
    names = [
        name[len(prefix) :]
        for name in store.files()
        if name.startswith(prefix)
        and (
            name[len(prefix) :].split("/")[0] in {*_FOLDERS, *parts}
            or name[len(prefix) :] in (CARD, DATASET_FILE)
        )
    ]
    # The marker says that all others are there.
    ordered = sorted(names, key=lambda name: (name == DATASET_FILE, name))
    digests = store.digests()
    return len(ordered), _fetch(
        root, target, {name: digests.get(f"{prefix}{name}", "") for name in ordered}, on_progress
    )


def _shards(
    root: Path, store: RemoteStore, target: Path, prefix: str, on_progress: OnProgress
) -> tuple[int, int, int]:
    """All files of shards; how many there are, how many came now, and the episodes."""
    content = (root / SHARDS_FILE).read_bytes()
    document = decode_shards(content, place=str(root / SHARDS_FILE))
    wanted = _named(document)
    # What shards.json does not name is of other readers, and cheap: energon's indexes.
    digests = store.digests()
    for path, digest in digests.items():
        name = path.removeprefix(prefix)
        if path.startswith(f"{prefix}tars/") and name not in wanted and _is_of(name, document):
            wanted[name] = digest
    fetched = _fetch(root, target, wanted, on_progress)
    for name in ("roles.toml", CARD):
        if (root / name).is_file():
            write_atomic(target / name, (root / name).read_bytes())
    write_atomic(target / SHARDS_FILE, content)
    return len(wanted) + 1, fetched, sum(one.episodes for one in document.sets)


def _is_of(name: str, document: ShardsFile) -> bool:
    return name.split("/")[1] in {one.name for one in document.sets}


def _named(document: ShardsFile) -> dict[str, str]:
    """Every file that shards.json names, with its SHA-256."""
    wanted: dict[str, str] = {}
    for one in document.sets:
        for file in (one.episodes_file, one.frames_file):
            wanted[file.path] = f"sha256:{file.sha256}"
        for tar in one.tars:
            folder = f"tars/{one.name}"
            stem = tar.name.removesuffix(".tar")
            wanted[f"{folder}/{tar.name}"] = f"sha256:{tar.sha256}"
            wanted[f"{folder}/{stem}.index.arrow"] = f"sha256:{tar.index_sha256}"
    for text in document.texts:
        for file in text.files:
            wanted[file.path] = f"sha256:{file.sha256}"
    return wanted


def _fetch(root: Path, target: Path, wanted: dict[str, str], on_progress: OnProgress) -> int:
    from finedata.engine.progress import Progress

    fetched = 0
    for done, (name, digest) in enumerate(wanted.items()):
        path = target / name
        known = path.is_file() and digest and _digest_of(path, digest) == digest
        if not known:
            fetch_file(root / name, path)
            fetched += 1
            if digest and (found := _digest_of(path, digest)) != digest:
                path.unlink()
                raise SourceError(
                    place=str(root / name),
                    found=f"bytes of {found}",
                    wanted=digest,
                    next_command="pull again: what is here is kept",
                )
        if on_progress is not None:
            on_progress(Progress("fetching", done + 1, len(wanted)))
    return fetched


def _digest_of(path: Path, like: str) -> str:
    """The digest of a file, of the same kind as one that is known."""
    kind = like.partition(":")[0]
    if kind == "git":
        content = path.read_bytes()
        head = b"blob %d\0" % len(content)
        return f"git:{hashlib.sha1(head + content, usedforsecurity=False).hexdigest()}"
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
