"""What publishing will take, held against what the Hub allows, before anything is sent.

The limits are those of the Hub's documentation (hub/storage-limits and hub/rate-limits) for a free
account. Numbers of requests are what the client sends if nothing fails; bytes of files that are
there already do not count, which only the run itself knows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.errors import UsageError
from finedata.hub.files import CARD, counts_by_kind
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from finedata.hub.files import Upload

__all__ = [
    "FEWEST_PER_COMMIT",
    "MOST_PER_COMMIT",
    "PublishPlan",
    "check_limits",
    "first_lot",
    "plan",
]

FILE_BYTES = 200_000_000_000
REPOSITORY_FILES = 100_000
FOLDER_FILES = 10_000
COMMITS_PER_HOUR = 100
REQUESTS_PER_5_MIN = 1_000
FEWEST_PER_COMMIT = 50
MOST_PER_COMMIT = 1_000
_LOTS_WANTED = 40
_LISTED = 1_000
_ASKED_AT_ONCE = 256
_REGULAR_ENDINGS = (".json", ".toml", ".md", ".bits", ".yaml", ".idx")
_REGULAR_BYTES = 10 << 20


@dataclass(frozen=True, slots=True)
class PublishPlan(Summary):
    """What a publication will take.

    Attributes:
        repo_id: The repository.
        revision: The branch.
        files: Files, the card included.
        bytes: Of them.
        kinds: Kind of file to count and bytes.
        commits: At most so many, if none times out.
        commits_per_hour: What the Hub allows.
        api_requests: About so many requests to the Hub's API.
        api_requests_per_5_min: What it allows a free account.
        uploads: Requests to where the bytes are stored; large files are sent in several.
        tag: The tag that is moved last; empty where none is.
        licence: As the card says it.
        not_checked: What was not verified, and why.
    """

    repo_id: str
    revision: str
    files: int
    bytes: int
    kinds: dict[str, tuple[int, int]]
    commits: int
    commits_per_hour: int
    api_requests: int
    api_requests_per_5_min: int
    uploads: int
    tag: str
    licence: str
    not_checked: list[str]

    def lines(self) -> Iterator[str]:
        """The plan for a person."""
        yield (
            f"{self.repo_id}, branch {self.revision}: {self.files:,} files, "
            f"{self.bytes / 1e6:,.1f} MB, licence {self.licence}"
        )
        for kind, (files, size) in self.kinds.items():
            yield f"  {kind:<12} {files:>7,} files {size / 1e6:>12,.1f} MB"
        yield f"{self.commits:,} commits, of {self.commits_per_hour} an hour"
        yield (
            f"about {self.api_requests:,} requests, of {self.api_requests_per_5_min:,} in five "
            f"minutes, and {self.uploads:,} uploads"
        )
        yield f"the tag {self.tag} is moved last" if self.tag else "no tag is moved"
        yield from (f"not checked: {note}" for note in self.not_checked)


def plan(
    uploads: Sequence[Upload],
    *,
    repo_id: str,
    revision: str,
    tag: str,
    licence: str,
    not_checked: Sequence[str] = (),
) -> PublishPlan:
    """Count what a first publication of these files takes.

    Raises:
        UsageError: A limit of the Hub would be broken.
    """
    check_limits(uploads)
    few = len(uploads) <= FEWEST_PER_COMMIT
    lots = 1 if few else -(-len(uploads) // first_lot(len(uploads))) + 1
    stored = sum(_is_stored(one) for one in uploads)
    pages = 2 * (-(-len(uploads) // _LISTED) + 2)
    asked = -(-len(uploads) // _ASKED_AT_ONCE) + -(-stored // _ASKED_AT_ONCE) + 2 * lots
    return PublishPlan(
        repo_id=repo_id,
        revision=revision,
        files=len(uploads),
        bytes=sum(one.size for one in uploads),
        kinds=dict(counts_by_kind(uploads)),
        commits=lots,
        commits_per_hour=COMMITS_PER_HOUR,
        # Each stored file is confirmed by one request.
        api_requests=pages + asked + lots + stored + 4,
        api_requests_per_5_min=REQUESTS_PER_5_MIN,
        uploads=stored,
        tag=tag,
        licence=licence,
        not_checked=list(not_checked),
    )


def first_lot(files: int) -> int:
    """How many files go into the first commit, so that there are some forty in all."""
    return min(max(-(-files // _LOTS_WANTED), FEWEST_PER_COMMIT), MOST_PER_COMMIT)


def check_limits(uploads: Sequence[Upload]) -> None:
    """Refuse what the Hub would refuse after hours.

    Raises:
        UsageError: A file is too large, or there are too many in the repository or a folder.
    """
    for one in uploads:
        if one.size > FILE_BYTES:
            raise UsageError(
                place=one.path,
                found=f"{one.size:,} bytes",
                wanted=f"at most {FILE_BYTES:,}, the Hub's limit for a file",
                next_command="finedata shard DATASET --out SHARDS --shard-size 1GB",
            )
    if len(uploads) > REPOSITORY_FILES:
        raise UsageError(
            place="files of the repository",
            found=f"{len(uploads):,}",
            wanted=f"at most {REPOSITORY_FILES:,}, the Hub's limit",
            next_command="publish the parts apart, or shards with a larger --shard-size",
        )
    folders = Counter(one.path.rpartition("/")[0] for one in uploads)
    for folder, count in folders.items():
        if count > FOLDER_FILES:
            raise UsageError(
                place=f"folder {folder or '/'} of the repository",
                found=f"{count:,} files",
                wanted=f"at most {FOLDER_FILES:,}, the Hub's limit",
                next_command="shards with a larger --shard-size",
            )


def _is_stored(upload: Upload) -> bool:
    """Whether the bytes go to the object store, as the Hub's usual attributes have it."""
    if upload.path == CARD or upload.size == 0:
        return False
    if upload.path.endswith(".tar.idx"):
        return True
    return upload.size > _REGULAR_BYTES or not upload.path.endswith(_REGULAR_ENDINGS)
