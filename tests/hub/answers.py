"""What the loopback Hub answers to each request of the real client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hub.repositories import Refused, Repository, describe

if TYPE_CHECKING:
    from hub.loopback import Hub

__all__ = ["Handler", "Seen"]

_PAGE = 1000
_PIECE = 1 << 16


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    received: int
    sent: int
    status: int
    authorised: bool
    range: str


class _Cut(Exception):
    """The connection is closed without another word."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for the acknowledgement of their headers.
    wbufsize = 1 << 16

    def log_message(self, *args: Any) -> None:
        pass

    def _any(self) -> None:
        hub: Hub = self.server.hub
        self._hub = hub
        self._url = urlsplit(self.path)
        self._route = unquote(self._url.path)
        self._request = f"{self.command} {self._route}"
        self._left = int(self.headers.get("Content-Length") or 0)
        self._received = self._sent = self._status = 0
        if hub.latency_s:
            time.sleep(hub.latency_s)
        if hub.on_request is not None:
            with hub.lock:
                hub.on_request(len(hub.seen), self._request)
        try:
            self._dispatch()
        except Refused as refused:
            self._refuse(refused)
        except _Answered:
            pass
        except _Cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            hub.seen.append(
                Seen(
                    self.command, self._route, self._received, self._sent, self._status,
                    "Authorization" in self.headers, self.headers.get("Range") or "",
                )
            )  # fmt: skip

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _any

    def _dispatch(self) -> None:
        hub = self._hub
        fault = hub.take_fault(self._request, ("status", "cut"))
        if fault is not None and fault.kind == "cut":
            self._body(most=self._left // 2)
            raise _Cut
        if fault is not None:
            self._body()
            self._answer(
                json.dumps({"error": fault.message}).encode(), fault.status, headers=fault.headers
            )
            return
        for method, pattern, action in _ROUTES:
            found = re.fullmatch(pattern, self._route)
            if found is not None and method in (self.command, "*"):
                action(self, *found.groups())
                return
        self._body()
        raise Refused(404, f"Not Found: {self._request}")

    def _body(self, most: int | None = None) -> bytes:
        wanted = self._left if most is None else min(most, self._left)
        data = self.rfile.read(wanted) if wanted else b""
        if not wanted and "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces: list[bytes] = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            data = b"".join(pieces)
        self._left -= len(data)
        self._received += len(data)
        return data

    def _json(self) -> Any:
        return json.loads(self._body() or b"null")

    def _refuse(self, refused: Refused) -> None:
        self._body()
        headers = {"X-Error-Message": str(refused)}
        if refused.code:
            headers["X-Error-Code"] = refused.code
        self._answer(json.dumps({"error": str(refused)}).encode(), refused.status, headers=headers)

    def _reply(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with JSON, unless the answer is to be lost."""
        fault = self._hub.take_fault(self._request, ("lost", "late"))
        if fault is not None and fault.kind == "lost":
            raise _Cut
        self._answer(json.dumps(value).encode(), fault.status if fault else status, headers=headers)

    def _answer(
        self, body: bytes, status: int = 200, *, headers: dict[str, str] | None = None
    ) -> None:
        self._status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self._sent += len(body)
        self.wfile.flush()

    def _limit(self, kind: str) -> dict[str, str]:
        inside, headers = self._hub.within_limit(kind)
        if not inside:
            self._body()
            self._answer(b'{"error": "Too Many Requests"}', 429, headers=headers)
            raise _Answered
        return headers

    def _user(self) -> str:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self._hub.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self._hub.tokens.get(token, "")

    def _may_write(self) -> None:
        user = self._user()
        if not user:
            raise Refused(401, "Invalid username or password.")
        if user != "write":
            raise Refused(403, "You don't have the rights to do this: write access is needed")

    def _readable(self, name: str) -> Repository:
        user = self._user()
        found = self._hub.repositories.get(name)
        if found is None or (found.private and not user):
            raise Refused(401 if not user else 404, "Repository Not Found", code="RepoNotFound")
        return found

    # What is asked for.

    def _whoami(self) -> None:
        if not self._user():
            raise Refused(401, "Invalid username or password.")
        self._reply({"name": "org", "type": "user", "orgs": []})

    def _validate_yaml(self) -> None:
        content = self._json()["content"]
        good = content.startswith("---\n")
        self._reply({"errors": [] if good else [{"message": "no YAML"}], "warnings": []})

    def _create(self) -> None:
        headers = self._limit("api")
        self._may_write()
        asked = self._json()
        name = f"{asked.get('organization') or 'org'}/{asked['name']}"
        with self._hub.lock:
            known = name in self._hub.repositories
            if not known:
                self._hub.make(name, private=asked.get("visibility") == "private")
        url = f"{self._hub.endpoint}/datasets/{name}"
        self._reply({"url": url, "name": name}, 409 if known else 200, headers)

    def _preupload(self, name: str, revision: str) -> None:
        headers = self._limit("api")
        self._may_write()
        with self._hub.lock:
            repository = self._hub.repository(name)
            tree = repository.resolve(unquote(revision)).tree
            files: list[dict[str, Any]] = []
            for one in self._json()["files"]:
                base64.b64decode(one["sample"])
                known = tree.get(one["path"])
                files.append(
                    {
                        "path": one["path"],
                        "uploadMode": repository.upload_mode(one["path"], one["size"]),
                        "shouldIgnore": False,
                        "oid": (known.sha256 or known.oid) if known else None,
                    }
                )
        self._reply({"files": files}, headers=headers)

    def _batch(self, name: str) -> None:
        headers = self._limit("api")
        self._may_write()
        with self._hub.lock:
            repository = self._hub.repository(name)
            objects: list[dict[str, Any]] = []
            for one in self._json()["objects"]:
                found: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
                if not repository.has_object(one["oid"], one["size"]):
                    found["actions"] = self._upload_actions(one["oid"], one["size"])
                objects.append(found)
        self._reply({"transfer": "basic", "objects": objects}, headers=headers)

    def _upload_actions(self, oid: str, size: int) -> dict[str, Any]:
        base, chunk = f"{self._hub.endpoint}/lfs/{oid}", self._hub.chunk_bytes
        verify = {"href": f"{base}/verify", "header": {}}
        if chunk is None or size <= chunk:
            return {"upload": {"href": base, "header": {}}, "verify": verify}
        parts = {str(k + 1): f"{base}/part/{k}" for k in range(-(-size // chunk))}
        header = {"chunk_size": str(chunk), **parts}
        return {"upload": {"href": f"{base}/complete", "header": header}, "verify": verify}

    def _put(self, oid: str, part: str | None = None) -> None:
        # No token goes to where the bytes are kept: the address itself is the right to write.
        path = self._hub.store / "lfs" / (oid if part is None else f"{oid}.part{int(part):05d}")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{threading.get_ident()}")
        digest = hashlib.sha256()
        with partial.open("wb") as file:
            while self._left:
                piece = self._body(most=_PIECE)
                if not piece:
                    raise _Cut
                digest.update(piece)
                file.write(piece)
        if part is None and digest.hexdigest() != oid:
            raise Refused(400, "the bytes are not those of the oid")
        partial.rename(path)
        self._hub.stored[oid] += 1
        self._reply({}, headers={"ETag": f'"{digest.hexdigest()}"'})

    def _complete(self, oid: str) -> None:
        self._json()
        parts = sorted((self._hub.store / "lfs").glob(f"{oid}.part*"))
        path, digest = self._hub.store / "lfs" / oid, hashlib.sha256()
        with path.with_suffix(".whole").open("wb") as file:
            for part in parts:
                content = part.read_bytes()
                digest.update(content)
                file.write(content)
                part.unlink()
        if digest.hexdigest() != oid:
            raise Refused(400, "the parts are not the bytes of the oid")
        path.with_suffix(".whole").rename(path)
        self._reply({})

    def _verify(self, oid: str) -> None:
        asked = self._json()
        path = self._hub.store / "lfs" / oid
        if not path.is_file() or path.stat().st_size != asked["size"]:
            raise Refused(404, "Object not found")
        self._reply({})

    def _commit(self, name: str, revision: str) -> None:
        headers = self._limit("commits")
        self._may_write()
        lines = [json.loads(line) for line in self._body().splitlines() if line]
        most = self._hub.most_per_commit
        if most is not None and len(lines) - 1 > most:
            self._answer(b'{"error": "Gateway Time-out"}', 504)
            return
        with self._hub.lock:
            made = self._hub.repository(name).commit(unquote(revision), lines)
        url = f"{self._hub.endpoint}/datasets/{name}/commit/{made.oid}"
        answer = {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}
        self._reply(answer, headers=headers)

    def _tag(self, name: str, revision: str) -> None:
        self._limit("api")
        self._may_write()
        with self._hub.lock:
            repository = self._hub.repository(name)
            if self.command == "DELETE":
                if repository.tags.pop(revision, None) is None:
                    raise Refused(404, "Tag not found", code="RevisionNotFound")
            else:
                tag = self._json()["tag"]
                if tag in repository.tags:
                    raise Refused(409, "Tag reference exists already")
                repository.tags[tag] = repository.resolve(unquote(revision)).oid
        self._reply({})

    def _branch(self, name: str, branch: str) -> None:
        self._limit("api")
        self._may_write()
        asked = self._json() or {}
        with self._hub.lock:
            repository = self._hub.repository(name)
            if branch in repository.branches:
                raise Refused(409, "Reference already exists")
            start = repository.resolve(asked.get("startingPoint") or "main")
            repository.branches[branch] = start.oid
        self._reply({})

    def _refs(self, name: str) -> None:
        headers = self._limit("api")
        repository = self._readable(name)
        named = {"branches": ("heads", repository.branches), "tags": ("tags", repository.tags)}
        found = {
            kind: [
                {"name": one, "ref": f"refs/{place}/{one}", "targetCommit": oid}
                for one, oid in sorted(known.items())
            ]
            for kind, (place, known) in named.items()
        }
        self._reply({**found, "converts": [], "pullRequests": []}, headers=headers)

    def _info(self, name: str, revision: str | None = None) -> None:
        headers = self._limit("api")
        repository = self._readable(name)
        commit = repository.resolve(revision or "main")
        siblings = [{"rfilename": path} for path in sorted(commit.tree)]
        answer = {
            "_id": "1", "id": name, "sha": commit.oid, "private": repository.private,
            "disabled": False, "gated": False, "downloads": 0, "likes": 0, "tags": [],
            "siblings": siblings, "createdAt": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip
        self._reply(answer, headers=headers)

    def _tree(self, name: str, revision: str, folder: str | None = None) -> None:
        headers = self._limit("api")
        query = parse_qs(self._url.query)
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        start = int(query.get("cursor", ["0"])[0])
        listed = self._readable(name).listing(revision, folder or "", recursive=recursive)
        rows = list(listed)
        if start + _PAGE < len(rows):
            where = f"{self._hub.endpoint}{quote(self._route)}?recursive={recursive}"
            headers = headers | {"Link": f'<{where}&cursor={start + _PAGE}>; rel="next"'}
        self._reply(rows[start : start + _PAGE], headers=headers)

    def _paths_info(self, name: str, revision: str) -> None:
        headers = self._limit("api")
        content = self._body()
        if self.headers.get("Content-Type", "").startswith("application/json"):
            paths = json.loads(content)["paths"]
        else:
            paths = parse_qs(content.decode())["paths"]
        tree = self._readable(name).resolve(revision).tree
        found = [describe(path, tree[path]) for path in paths if path in tree]
        folders = {path for path in paths if any(one.startswith(f"{path}/") for one in tree)}
        found += [{"type": "directory", "path": p, "oid": "0" * 40, "size": 0} for p in folders]
        self._reply(found, headers=headers)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        headers = self._limit("resolvers")
        repository = self._readable(name)
        commit = repository.resolve(revision)
        entry = repository.entry(revision, path)
        etag = f'"{entry.sha256 or entry.oid}"'
        headers = headers | {"X-Repo-Commit": commit.oid, "ETag": etag, "Accept-Ranges": "bytes"}
        if entry.sha256:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(entry.size)}
        if entry.sha256 and self._hub.cdn:
            headers["Location"] = f"{self._hub.cdn_endpoint}/cdn/{entry.sha256}"
            self._answer(b"", 302, headers=headers)
            return
        self._send_file(repository.bytes_of(entry), headers)

    def _from_cdn(self, oid: str) -> None:
        if "Authorization" in self.headers:
            raise Refused(400, "Only one auth mechanism allowed")
        self._send_file(self._hub.store / "lfs" / oid, {"ETag": f'"{oid}"'})

    def _bucket(self, bucket: str, path: str) -> None:
        """Buckets are folders of the store, without revisions."""
        self._limit("resolvers")
        file = self._hub.store / "buckets" / bucket / path
        if not file.is_file():
            raise Refused(404, "Entry not found", code="EntryNotFound")
        self._send_file(file, {"ETag": f'"{file.stat().st_size}"', "Accept-Ranges": "bytes"})

    def _send_file(self, path: Path, headers: dict[str, str]) -> None:
        size = path.stat().st_size
        start, stop, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if asked and size and self._hub.ranges:
            first, last = asked.groups()
            start = int(first) if first else max(size - int(last), 0)
            stop = min(int(last) + 1, size) if first and last else size
            if start >= size:
                raise Refused(416, "Range Not Satisfiable")
            status = 206
            headers = headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        self._status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = self._hub.take_fault(self._request, ("half", "wrong"))
        if fault is not None and fault.kind == "half":
            stop = (start + stop) // 2
        with path.open("rb") as file:
            file.seek(start)
            while start < stop:
                piece = file.read(min(_PIECE, stop - start))
                if fault is not None and fault.kind == "wrong":
                    piece, fault = bytes([piece[0] ^ 1]) + piece[1:], None
                self.wfile.write(piece)
                self._sent += len(piece)
                start += len(piece)
        self.wfile.flush()
        if fault is not None:
            raise _Cut


class _Answered(Exception):
    """A request that was answered inside."""


_NAME = r"([^/]+/[^/]+)"
_OID = r"([0-9a-f]{64})"
_REV = r"(refs/[^/]+/[^/]+|[^/]+)"
_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", r"/api/whoami-v2", Handler._whoami),
    ("POST", r"/api/validate-yaml", Handler._validate_yaml),
    ("POST", r"/api/repos/create", Handler._create),
    ("POST", rf"/api/datasets/{_NAME}/preupload/{_REV}", Handler._preupload),
    ("POST", rf"/datasets/{_NAME}\.git/info/lfs/objects/batch", Handler._batch),
    ("PUT", rf"/lfs/{_OID}", Handler._put),
    ("PUT", rf"/lfs/{_OID}/part/(\d+)", Handler._put),
    ("POST", rf"/lfs/{_OID}/complete", Handler._complete),
    ("POST", rf"/lfs/{_OID}/verify", Handler._verify),
    ("POST", rf"/api/datasets/{_NAME}/commit/{_REV}", Handler._commit),
    ("POST", rf"/api/datasets/{_NAME}/tag/{_REV}", Handler._tag),
    ("DELETE", rf"/api/datasets/{_NAME}/tag/{_REV}", Handler._tag),
    ("POST", rf"/api/datasets/{_NAME}/branch/{_REV}", Handler._branch),
    ("GET", rf"/api/datasets/{_NAME}/refs", Handler._refs),
    ("GET", rf"/api/datasets/{_NAME}", Handler._info),
    ("GET", rf"/api/datasets/{_NAME}/revision/{_REV}", Handler._info),
    ("GET", rf"/api/datasets/{_NAME}/tree/{_REV}", Handler._tree),
    ("GET", rf"/api/datasets/{_NAME}/tree/{_REV}/(.+)", Handler._tree),
    ("POST", rf"/api/datasets/{_NAME}/paths-info/{_REV}", Handler._paths_info),
    ("GET", rf"/datasets/{_NAME}/resolve/{_REV}/(.+)", Handler._resolve),
    ("HEAD", rf"/datasets/{_NAME}/resolve/{_REV}/(.+)", Handler._resolve),
    # Models are read only; they lie beside the datasets, under names of their own.
    ("GET", rf"/api/models/{_NAME}/revision/{_REV}", Handler._info),
    ("GET", rf"/api/models/{_NAME}/tree/{_REV}", Handler._tree),
    ("GET", rf"/{_NAME}/resolve/{_REV}/(.+)", Handler._resolve),
    ("HEAD", rf"/{_NAME}/resolve/{_REV}/(.+)", Handler._resolve),
    ("GET", rf"/cdn/{_OID}", Handler._from_cdn),
    ("HEAD", rf"/cdn/{_OID}", Handler._from_cdn),
    ("GET", rf"/buckets/{_NAME}/resolve/(.+)", Handler._bucket),
    ("HEAD", rf"/buckets/{_NAME}/resolve/(.+)", Handler._bucket),
]
