"""Where remote bytes are: a pinned repository of the Hub, a bucket, a web server, an object store.

All are the same to who reads: names with sizes, and exact byte ranges. A revision is resolved once
to a commit, and the commit is part of the address from then on: two reads of one address are of the
same bytes, whatever is published meanwhile. Ranges are our own requests: the file objects of most
libraries read ahead by megabytes, which makes a footer of two kilobytes cost five million.
"""

from __future__ import annotations

import errno
import re
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from finedata.errors import MissingExtraError, SourceError, UsageError, install_command
from finedata.store.remote.hub import (
    Traffic,
    endpoint,
    hub_errors,
    import_hub,
    insist,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RemoteStore", "is_remote", "open_store"]

_HUB = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?(/(?P<inside>.*))?")
_BUCKET = re.compile(r"hf://buckets/(?P<bucket>[^/]+/[^/]+)(/(?P<inside>.*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PIECE = 1 << 20
_PLACE_S = 600.0
_FRUITLESS = 2
_SILENCE_S = 60.0


def is_remote(address: object) -> bool:
    """Whether an address has a scheme of another machine."""
    text = str(address)
    return "://" in text and not text.startswith("file://")


def open_store(address: str) -> tuple[RemoteStore, str]:
    """The store of an address, pinned, and the path inside it.

    Raises:
        UsageError: It is no address that finedata reads, or there is nothing for who asks.
        SourceError: The network or the server failed.
        MissingExtraError: The library for this kind of address is not installed.
    """
    text = address.rstrip("/")
    if found := _HUB.fullmatch(text):
        repo, revision = found["repo"], (found["revision"] or "main").replace("%2F", "/")
        store = _pinned(repo, revision)
        return store, (found["inside"] or "").strip("/")
    if found := _BUCKET.fullmatch(text):
        base = f"{endpoint()}/buckets/{found['bucket']}/resolve"
        store = _HttpStore(f"hf://buckets/{found['bucket']}", base, private=True)
        return store, (found["inside"] or "").strip("/")
    if text.startswith(("http://", "https://")):
        return _HttpStore(text, text), ""
    if text.startswith("hf://"):
        raise UsageError(
            place=address,
            found="an address that names no dataset",
            wanted="hf://datasets/org/name, hf://datasets/org/name@revision or "
            "hf://buckets/org/name/folder",
        )
    return _FsspecStore(text), ""


def _pinned(repo: str, revision: str) -> _HttpStore:
    """A repository at the commit that a revision names now."""
    if _COMMIT.fullmatch(revision):
        # Nothing to ask: thousands of processes open what one of them pinned.
        return _at_commit(repo, revision)
    place = f"hf://datasets/{repo}@{revision}"
    hub = import_hub(place)
    traffic = Traffic()
    with hub_errors(place):
        info = insist(
            lambda: hub.HfApi(endpoint=endpoint()).dataset_info(repo, revision=revision),
            traffic=traffic,
            place=place,
        )
    return _at_commit(repo, cast("str", info.sha))


def _at_commit(repo: str, commit: str) -> _HttpStore:
    address = f"hf://datasets/{repo}@{commit}"
    base = f"{endpoint()}/datasets/{repo}/resolve/{commit}"
    return _HttpStore(address, base, private=True, repo=repo, commit=commit)


class RemoteStore:
    """Files under an address.

    Args:
        address: Pinned where it can be.

    Attributes:
        address: The same; opening it again opens the same bytes.
        commit: The one that it is pinned to; "" where there is none.
        traffic: What was asked and received.
        tails: Ends of files that were read, and where they begin; see `path.RemoteFile`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.commit = ""
        self.traffic = Traffic()
        self._sizes: dict[str, int] = {}
        self.tails: dict[str, tuple[int, bytes]] = {}

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Bytes start..stop-1 of a file, exactly.

        Raises:
            FileNotFoundError: There is no such file.
            SourceError: The network or the server failed.
        """
        return b"".join(self.pieces(path, start, stop))

    def pieces(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """The same in pieces, in one request; a failure in the middle continues where it was."""
        raise NotImplementedError

    def size(self, path: str) -> int:
        """How many bytes a file has.

        Raises:
            FileNotFoundError: There is no such file.
            SourceError: The network or the server failed.
        """
        known = self._sizes.get(path)
        if known is None:
            known = self._sizes[path] = self.ask_size(path)
        return known

    def ask_size(self, path: str) -> int:
        """Ask for the size of a file."""
        raise NotImplementedError

    def files(self) -> dict[str, int]:
        """Every file with its size.

        Raises:
            UsageError: This kind of address cannot be listed.
        """
        raise NotImplementedError

    def digests(self) -> dict[str, str]:
        """File to `sha256:...` or `git:...` (SHA-1 of the blob), where the place knows them."""
        return {}

    def missing(self, path: str) -> FileNotFoundError:
        """The error of a file that is not there."""
        return FileNotFoundError(errno.ENOENT, "no such file", f"{self.address}/{path}")


class _HttpStore(RemoteStore):
    """Files by HTTP; of the Hub with the user's token, which no other host is given."""

    def __init__(
        self, address: str, base: str, *, private: bool = False, repo: str = "", commit: str = ""
    ) -> None:
        super().__init__(address)
        self._hub = import_hub(address)
        self._base = base
        # httpx, which sends it, drops the header where a redirect leads to another host.
        self._headers: dict[str, str] = {}
        if private:
            self._headers |= self._hub.utils.build_hf_headers()
        # Where a file was last found, and when: the Hub answers with an address good for an hour.
        self._places: dict[str, tuple[str, float]] = {}
        self._repo = repo
        self.commit = commit
        self._listed: dict[str, int] | None = None
        self._digests: dict[str, str] = {}

    def pieces(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        done, fruitless = start, 0
        place = f"{self.address}/{path}"
        while done < stop:
            before = done
            with hub_errors(place):
                answer = self._ask(path, done, stop)
            try:
                with hub_errors(place):
                    for piece in answer.iter_raw():
                        done += len(piece)
                        yield piece
                if done == before:
                    raise SourceError(place=place, found=f"{done} bytes", wanted=f"{stop} or more")
            except SourceError:
                # Half a body is better than none: what follows is asked for anew.
                fruitless = fruitless + 1 if done == before else 0
                if fruitless == _FRUITLESS:
                    raise
            finally:
                answer.close()

    def _ask(self, path: str, start: int, stop: int) -> Any:
        """An answer with a range, asked for patiently; its body is still to be read."""
        place = f"{self.address}/{path}"
        headers = {**self._headers, "Range": f"bytes={start}-{stop - 1}"}
        client = self._hub.utils.get_session()

        def ask() -> Any:
            url, found_at = self._places.get(path, ("", 0.0))
            known = bool(url) and time.monotonic() - found_at < _PLACE_S
            request = client.build_request(
                "GET",
                url if known else self._url(path),
                headers={"Range": headers["Range"]} if known else headers,
                timeout=_SILENCE_S,
            )
            self.traffic.before(request)
            answer = client.send(request, stream=True, follow_redirects=True)
            for one in (*answer.history, answer):
                self.traffic.after(one)
            self.traffic.requests += len(answer.history)
            if known and answer.status_code in (401, 403, 404, 410):
                answer.close()
                del self._places[path]
                return ask()
            elsewhere = answer.history and answer.url.host != answer.history[0].url.host
            if elsewhere and answer.status_code < 400:
                self._places[path] = str(answer.url), time.monotonic()
            if answer.status_code >= 400:
                answer.read()
                answer.close()
                if answer.status_code == 404 and answer.headers.get("x-error-code") in (
                    None,
                    "EntryNotFound",
                ):
                    raise self.missing(path)
                self._hub.utils.hf_raise_for_status(answer)
            return answer

        answer = insist(ask, traffic=self.traffic, place=place)
        whole = answer.status_code == 200
        if whole and (start or int(answer.headers.get("content-length") or stop) > stop):
            answer.close()
            raise SourceError(
                place=place,
                found="a server that answers the whole file when asked for a part",
                wanted="one that answers ranges of bytes",
            )
        return answer

    def ask_size(self, path: str) -> int:
        if self._listed is not None:
            if path not in self._listed:
                raise self.missing(path)
            return self._listed[path]
        place = f"{self.address}/{path}"
        client = self._hub.utils.get_session()

        def ask() -> Any:
            # Without compression: its length would not be the file's.
            headers = {**self._headers, "Accept-Encoding": "identity"}
            url = self._url(path)
            request = client.build_request("HEAD", url, headers=headers, timeout=_SILENCE_S)
            self.traffic.before(request)
            answer = client.send(request, follow_redirects=True)
            self.traffic.answers += 1
            self.traffic.requests += len(answer.history)
            if answer.status_code == 404:
                raise self.missing(path)
            self._hub.utils.hf_raise_for_status(answer)
            return answer

        with hub_errors(place):
            answer = insist(ask, traffic=self.traffic, place=place)
        return int(answer.headers["content-length"])

    def files(self) -> dict[str, int]:
        if self._listed is not None:
            return self._listed
        api = self._hub.HfApi(endpoint=endpoint())
        if self._repo:
            call, arguments = api.list_repo_tree, {"repo_type": "dataset", "revision": self.commit}
            name = self._repo
        elif self.address.startswith("hf://buckets/"):
            call, arguments = api.list_bucket_tree, dict[str, Any]()
            name = self.address.removeprefix("hf://buckets/")
        else:
            raise UsageError(
                place=self.address,
                found="a web address, whose files nobody lists",
                wanted="shards, whose shards.json does; or a dataset at hf://, s3:// or gs://",
            )

        def ask() -> dict[str, int]:
            self.traffic.requests += 1
            listed = call(name, recursive=True, **arguments)
            files = [one for one in listed if hasattr(one, "size")]
            self._digests = {
                one.path: f"sha256:{one.lfs.sha256}" if one.lfs else f"git:{one.blob_id}"
                for one in files
                if hasattr(one, "blob_id")
            }
            return {one.path: int(one.size) for one in files}

        with hub_errors(self.address):
            self._listed = insist(ask, traffic=self.traffic, place=self.address)
        return self._listed

    def digests(self) -> dict[str, str]:
        self.files()
        return self._digests

    def _url(self, path: str) -> str:
        return f"{self._base}/{quote(path)}"


class _FsspecStore(RemoteStore):
    """Files of an object store, through fsspec; ranges without its read-ahead."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        import fsspec  # pyright: ignore[reportMissingTypeStubs]  (it has none)

        try:
            found = cast(
                "tuple[Any, str]",
                fsspec.core.url_to_fs(address),  # pyright: ignore[reportUnknownMemberType]
            )
        except ImportError as error:
            raise MissingExtraError(
                place=address,
                found=f"no library for this kind of address ({error})",
                wanted="the one that fsspec names",
                next_command=install_command("remote"),
            ) from error
        except ValueError as error:
            raise UsageError(
                place=address, found=f"{error}", wanted="a folder, or hf://, https://, s3://, gs://"
            ) from error
        self._filesystem, self._root = found

    def pieces(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        place = f"{self.address}/{path}"
        try:
            with self._filesystem.open(f"{self._root}/{path}", "rb", cache_type="none") as file:
                file.seek(start)
                done = start
                while done < stop:
                    piece = file.read(min(8 * _PIECE, stop - done))
                    self.traffic.requests += 1
                    self.traffic.received_bytes += len(piece)
                    if not piece:
                        raise SourceError(
                            place=place, found=f"{done} bytes", wanted=f"{stop} or more"
                        )
                    done += len(piece)
                    yield piece
        except FileNotFoundError as error:
            raise self.missing(path) from error

    def ask_size(self, path: str) -> int:
        try:
            return int(self._filesystem.size(f"{self._root}/{path}"))
        except FileNotFoundError as error:
            raise self.missing(path) from error

    def files(self) -> dict[str, int]:
        self.traffic.requests += 1
        root = self._root.rstrip("/")
        found = cast("dict[str, dict[str, Any]]", self._filesystem.find(root, detail=True))
        return {path[len(root) :].lstrip("/"): int(one["size"]) for path, one in found.items()}
