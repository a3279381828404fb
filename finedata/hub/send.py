"""Publishing: lots of files in commits whose parent is known, and the tag moved when all is there.

huggingface_hub sends the bytes; what is decided here is what it leaves open without hf_xet. Lots
are of our own size, because one commit of everything times out and a time-out says nothing about
what was done. Each commit names its parent, and an answer that was lost is looked up in the
repository before anything is sent again. Nothing is remembered on this machine: what is there
already is asked of the repository, by digest, so the same command continues after any end.

New files go up first; files that replace others, removals, markers and the card are one commit
at the end, so that the branch is never half old and half new. Then every size and digest is
compared with what the repository says, and only then is the tag moved that LeRobot reads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from finedata.engine.progress import Progress
from finedata.errors import OutputError, UsageError
from finedata.hub.files import CARD, MARKERS, digest_of_file
from finedata.hub.plan import FEWEST_PER_COMMIT, MOST_PER_COMMIT, first_lot
from finedata.store.remote.hub import (
    TRIES,
    Traffic,
    endpoint,
    hub_errors,
    import_hub,
    insist,
    is_passing,
    is_timeout,
    measured,
    status_of,
    token,
    wait_of,
)
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from finedata.engine.progress import OnProgress
    from finedata.hub.files import Digest, Upload

__all__ = ["PublishSummary", "send"]

_TYPE = "dataset"
_QUICK_S = 10.0
# Above this size files go up one at a time: what a kill repeats is then at most one of them.
_LARGE_BYTES = 8 << 20
_THREADS = 5
# Files that the Hub, or a person, puts into a repository.
_OF_NOBODY = (".gitattributes", ".gitignore", CARD, "LICENSE")


@dataclass(frozen=True, slots=True)
class PublishSummary(Summary):
    """What was published.

    Attributes:
        repo_id: The repository.
        address: What `finedata.open` takes: pinned to the commit.
        commit: The commit that was compared.
        tag: The tag that names it; empty where none was moved.
        files: Files of this publication that are there.
        sent_files: How many of them were not there, or were others, before this run.
        sent_bytes: Bytes of these.
        removed: Files of an older publication that were removed.
        commits: Commits of this run.
        requests: Requests of this run.
        request_bytes: Bytes that they carried.
        waited_s: Seconds waited for limits.
        not_checked: What was not verified before, and why.
    """

    repo_id: str
    address: str
    commit: str
    tag: str
    files: int
    sent_files: int
    sent_bytes: int
    removed: int
    commits: int
    requests: int
    request_bytes: int
    waited_s: float
    not_checked: list[str]


def send(
    uploads: Sequence[Upload],
    *,
    card: Callable[[str], Upload],
    repo_id: str,
    owns: Callable[[str], bool],
    revision: str = "main",
    private: bool = False,
    tag: str = "",
    not_checked: Sequence[str] = (),
    on_progress: OnProgress = None,
) -> PublishSummary:
    """Bring a repository to hold these files.

    Args:
        uploads: The files, all but the card.
        card: Makes the card; called with the one that is there, "" where there is none.
        repo_id: `org/name`.
        owns: Whether a path is of the kind that this publication writes: what it owns and does
            not have is removed, anything else is left alone.
        revision: The branch.
        private: Of a repository that is made.
        tag: What to move to the last commit.
        not_checked: Handed through.
        on_progress: Told after every commit.

    Raises:
        UsageError: No token, none with the right, or a repository that holds something else.
        OutputError: The Hub or the network failed for good; somebody else writes there.
    """
    place = f"{endpoint()}/datasets/{repo_id}"
    if token(place) is None:
        raise UsageError(
            place=place,
            found="no token",
            wanted="one with the right to write to it",
            next_command="hf auth login, or set HF_TOKEN",
        )
    hub = import_hub(place)
    with hub_errors(place, writing=True):
        hub.utils.validate_repo_id(repo_id)
    if repo_id.count("/") != 1:
        raise UsageError(parameter="repo_id", found=repr(repo_id), wanted="org/name")
    with measured(Traffic()) as traffic, _quiet(hub):
        run = _Run(hub, repo_id, revision, place, traffic, on_progress)
        return run.bring(
            uploads, card, owns=owns, private=private, tag=tag, not_checked=list(not_checked)
        )


class _Run:
    def __init__(
        self,
        hub: Any,
        repo_id: str,
        revision: str,
        place: str,
        traffic: Traffic,
        on_progress: OnProgress,
    ) -> None:
        self._hub = hub
        self._api = hub.HfApi(endpoint=endpoint())
        self._repo_id = repo_id
        self._revision = revision
        self._place = place
        self._traffic = traffic
        self._on_progress = on_progress
        self._parent = ""
        self._commits = 0
        self._done = self._total = 0

    def bring(
        self,
        uploads: Sequence[Upload],
        card: Callable[[str], Upload],
        *,
        owns: Callable[[str], bool],
        private: bool,
        tag: str,
        not_checked: list[str],
    ) -> PublishSummary:
        self._make(private=private)
        self._parent = self._head()
        there = self._files(self._parent)
        _check_holds_nothing_else(there, uploads, owns, place=self._place)
        uploads = [*uploads, card(self._text(CARD) if CARD in there else "")]
        digests = self._digests(uploads)
        waiting = [one for one in uploads if not digests[one.path].is_of(there.get(one.path))]
        removed = sorted(
            path for path in there if owns(path) and path not in digests and path != CARD
        )
        self._total = len(waiting)
        new = [one for one in waiting if one.path not in there and not one.is_last]
        last = [one for one in waiting if one.path in there or one.is_last]
        if len(new) <= FEWEST_PER_COMMIT and len(waiting) <= MOST_PER_COMMIT:
            # Few enough for one commit, which is there or is not.
            new, last = [], [*new, *last]
        if new and len(last) > MOST_PER_COMMIT:
            # Too many for one commit: nobody is to take the branch for a whole meanwhile.
            self._commit([], [path for path in MARKERS if path in there], digests)
        self._commit_in_lots(new, digests)
        while len(last) > MOST_PER_COMMIT:
            self._commit_in_lots(last[:MOST_PER_COMMIT], digests)
            last = last[MOST_PER_COMMIT:]
        if last or removed:
            self._commit(last, removed, digests)
        self._compare(digests)
        if tag:
            self._move(tag)
        return PublishSummary(
            repo_id=self._repo_id,
            address=f"hf://datasets/{self._repo_id}@{self._parent}",
            commit=self._parent,
            tag=tag,
            files=len(uploads),
            sent_files=len(waiting),
            sent_bytes=sum(one.size for one in waiting),
            removed=len(removed),
            commits=self._commits,
            requests=self._traffic.requests,
            request_bytes=self._traffic.sent_bytes,
            waited_s=round(self._traffic.waited_s, 1),
            not_checked=not_checked,
        )

    def _make(self, *, private: bool) -> None:
        self._ask(
            self._place, self._api.create_repo, private=True if private else None, exist_ok=True
        )
        if self._revision != "main":
            self._ask(self._place, self._api.create_branch, branch=self._revision, exist_ok=True)

    def _ask(self, place: str, call: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method of huggingface_hub for the repository, patiently."""
        with hub_errors(place, writing=True):
            return insist(
                lambda: call(self._repo_id, repo_type=_TYPE, **arguments),
                traffic=self._traffic,
                place=place,
            )

    def _head(self) -> str:
        refs = self._ask(f"{self._place}, branch {self._revision}", self._api.list_repo_refs)
        for one in refs.branches:
            if one.name == self._revision:
                return one.target_commit
        raise UsageError(
            parameter="revision",
            found=repr(self._revision),
            wanted="a branch: commits cannot go to a tag or a commit",
        )

    def _files(self, commit: str) -> dict[str, Any]:
        """Path to what the repository says of the file."""

        def listed(repo_id: str, **arguments: Any) -> list[Any]:
            return list(self._api.list_repo_tree(repo_id, **arguments))

        found = self._ask(self._place, listed, revision=commit, recursive=True)
        return {one.path: one for one in found if hasattr(one, "blob_id")}

    def _text(self, path: str) -> str:
        """A small file of the repository."""
        utils = self._hub.utils

        def read(*_: str, **__: str) -> str:
            url = f"{self._place}/resolve/{self._parent}/{path}"
            answer = utils.get_session().get(url, headers=utils.build_hf_headers())
            utils.hf_raise_for_status(answer)
            return answer.text

        return self._ask(f"{self._place}, {path}", read)

    def _digests(self, uploads: Sequence[Upload]) -> dict[str, Digest]:
        found: dict[str, Digest] = {}
        for done, one in enumerate(uploads):
            found[one.path] = digest_of_file(one)
            self._tell("hashing", done + 1, len(uploads))
        return found

    def _commit_in_lots(self, uploads: Sequence[Upload], digests: Mapping[str, Digest]) -> None:
        size, at = first_lot(len(uploads)), 0
        while at < len(uploads):
            lot = list(uploads[at : at + size])
            began = time.monotonic()
            if not self._try_commit(lot, [], digests, splittable=size > FEWEST_PER_COMMIT):
                size = max(size // 2, FEWEST_PER_COMMIT)
                continue
            at += len(lot)
            if time.monotonic() - began < _QUICK_S:
                size = min(size * 2, MOST_PER_COMMIT)

    def _commit(
        self, uploads: Sequence[Upload], removed: Sequence[str], digests: Mapping[str, Digest]
    ) -> None:
        self._try_commit(uploads, removed, digests, splittable=False)

    def _try_commit(
        self,
        uploads: Sequence[Upload],
        removed: Sequence[str],
        digests: Mapping[str, Digest],
        *,
        splittable: bool,
    ) -> bool:
        """Commit; whether it is there. False where it timed out and half of it may not."""
        additions = [self._addition(one, digests[one.path]) for one in uploads]
        place = f"{self._place}, commit of {len(uploads)} files"
        self._upload(additions, place)
        for tried in range(TRIES):
            try:
                for one in uploads:
                    one.check_unchanged()
                made = self._api.create_commit(
                    self._repo_id,
                    [*additions, *map(self._hub.CommitOperationDelete, removed)],
                    commit_message=f"finedata: {len(uploads)} files",
                    repo_type=_TYPE,
                    revision=self._revision,
                    parent_commit=self._parent,
                )
            except Exception as error:
                for one in uploads:
                    one.check_unchanged()
                with hub_errors(place, writing=True):
                    again = self._after(error, uploads, removed, digests, tried=tried)
                if again is None:
                    break
                if splittable and is_timeout(error):
                    return False
                self._traffic.wait(again, place=place)
                additions = [self._addition(one, digests[one.path]) for one in uploads]
            else:
                self._parent = made.oid
                break
        self._commits += 1
        self._done += len(uploads)
        self._tell("publishing", self._done, self._total)
        return True

    def _after(
        self,
        error: Exception,
        uploads: Sequence[Upload],
        removed: Sequence[str],
        digests: Mapping[str, Digest],
        *,
        tried: int,
    ) -> float | None:
        """After a failed commit: how long to wait before the next try; None where it is there.

        Raises:
            Exception: Trying again is of no use.
        """
        if not is_passing(error) and status_of(error) != 412:
            raise error
        # It may have been done although nobody said so.
        head = self._head()
        if head != self._parent:
            there = self._files(head)
            if all(digests[one.path].is_of(there.get(one.path)) for one in uploads) and not any(
                path in there for path in removed
            ):
                self._parent = head
                return None
            raise OutputError(
                place=f"{self._place}, branch {self._revision}",
                found=f"commit {head[:12]} by somebody else",
                wanted=f"commit {self._parent[:12]}, of this run",
                next_command="run the same command again: it continues where it stopped",
            )
        if tried + 1 == TRIES:
            raise error
        return wait_of(error) or float(2**tried)

    def _upload(self, additions: list[Any], place: str) -> None:
        """Send the bytes of large files one after the other, before the rest of the lot."""
        if not self._hub.constants.HF_HUB_DISABLE_XET and find_spec("hf_xet"):
            # hf_xet sends pieces that it knows by content, and continues by itself.
            return
        large = [one for one in additions if one.upload_info.size >= _LARGE_BYTES]
        if large:
            self._ask(
                place,
                self._api.preupload_lfs_files,
                additions=large,
                revision=self._revision,
                num_threads=1,
                free_memory=False,
            )

    def _addition(self, upload: Upload, digest: Digest) -> Any:
        upload.check_unchanged()
        source = upload.content if upload.local is None else upload.local
        made = self._hub.CommitOperationAdd(upload.path, source)
        made.upload_info.sha256 = bytes.fromhex(digest.sha256)
        return made

    def _compare(self, digests: Mapping[str, Digest]) -> None:
        """Hold every size and digest that the repository says against ours."""
        head = self._head()
        there = self._files(head)
        wrong = [path for path, one in digests.items() if not one.is_of(there.get(path))]
        if head != self._parent or wrong:
            raise OutputError(
                place=f"{self._place}, branch {self._revision}",
                found=f"other bytes or none at {', '.join(wrong[:5])}"
                if wrong
                else f"commit {head[:12]} by somebody else",
                wanted="every file as it is here; the tag was not moved",
                next_command="run the same command again: it continues where it stopped",
            )

    def _move(self, tag: str) -> None:
        place = f"{self._place}, tag {tag}"
        found = self._tag(tag)
        if found == self._parent:
            return
        if found:
            self._ask(place, self._api.delete_tag, tag=tag)
        self._ask(place, self._api.create_tag, tag=tag, revision=self._parent, exist_ok=True)
        found = self._tag(tag)
        if found != self._parent:
            raise OutputError(
                place=place,
                found=f"commit {found[:12] or 'none'}",
                wanted=f"commit {self._parent[:12]}: somebody else moved it",
                next_command="run the same command again",
            )

    def _tag(self, tag: str) -> str:
        refs = self._ask(f"{self._place}, tag {tag}", self._api.list_repo_refs)
        return next((one.target_commit for one in refs.tags if one.name == tag), "")

    def _tell(self, phase: str, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(phase, done, total))


def _check_holds_nothing_else(
    there: Mapping[str, Any],
    uploads: Sequence[Upload],
    owns: Callable[[str], bool],
    *,
    place: str,
) -> None:
    """Refuse a repository with files of another kind, and one with a marker of the other kind."""
    known = {one.path for one in uploads}
    foreign = sorted(
        path for path in there if path not in known and not owns(path) and path not in _OF_NOBODY
    )
    finished = any(path in there and path in known for path in MARKERS)
    markers = [path for path in MARKERS if path in foreign]
    if markers or (foreign and not finished):
        raise UsageError(
            place=place,
            found=f"a repository that holds something else: {', '.join((markers or foreign)[:3])}",
            wanted="a new repository, or one that finedata published the same to",
            next_command="choose another --repo-id",
        )


class _quiet:
    """Without the bars that huggingface_hub draws: every verb has one bar."""

    def __init__(self, hub: Any) -> None:
        self._utils = hub.utils

    def __enter__(self) -> None:
        self._were_off = self._utils.are_progress_bars_disabled()
        self._utils.disable_progress_bars()

    def __exit__(self, *_: object) -> None:
        if not self._were_off:
            self._utils.enable_progress_bars()
