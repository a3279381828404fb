"""The repositories of the loopback Hub: commits, branches, tags and stored bytes, on disk.

A tree is a dictionary from path to entry; a commit is a tree, its parent and a name that follows
from both, so that two runs that do the same leave the same ids.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What the Hub puts into a new dataset repository: these go to LFS whatever their size.
ATTRIBUTES = (
    "*.7z", "*.arrow", "*.bin", "*.bz2", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lz4", "*.mds",
    "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.parquet", "*.pb", "*.pickle", "*.pkl",
    "*.pt", "*.pth", "*.rar", "*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip",
    "*.zst", "*tfevents*", "*.pcm", "*.sam", "*.raw", "*.aac", "*.flac", "*.mp3", "*.ogg", "*.wav",
    "*.bmp", "*.gif", "*.png", "*.tiff", "*.jpg", "*.jpeg", "*.webp", "*.mp4", "*.webm",
)  # fmt: skip
ATTRIBUTES_TEXT = "".join(f"{one} filter=lfs diff=lfs merge=lfs -text\n" for one in ATTRIBUTES)
LFS_BYTES = 10 << 20


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Entry:
    """A file of a tree: git's oid, size, and the SHA-256 where the bytes are an LFS object."""

    oid: str
    size: int
    sha256: str = ""


@dataclass
class Commit:
    oid: str
    parent: str
    title: str
    tree: dict[str, Entry]


@dataclass
class Repository:
    name: str
    private: bool
    store: Path
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entry = self.keep(ATTRIBUTES_TEXT.encode())
        self._add("", "initial commit", {".gitattributes": entry}, "main")

    def resolve(self, revision: str) -> Commit:
        """A commit by branch, tag or id."""
        known = self.branches.get(revision) or self.tags.get(revision) or revision
        known = self.branches.get(revision.removeprefix("refs/heads/"), known)
        if known not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return self.commits[known]

    def entry(self, revision: str, path: str) -> Entry:
        found = self.resolve(revision).tree.get(path)
        if found is None:
            raise Refused(404, f"Entry not found: {path}", code="EntryNotFound")
        return found

    def keep(self, content: bytes) -> Entry:
        """Store the bytes of a regular file."""
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        path = self.store / "blobs" / oid
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Entry(oid, len(content))

    def bytes_of(self, entry: Entry) -> Path:
        return (
            self.store / "lfs" / entry.sha256 if entry.sha256 else self.store / "blobs" / entry.oid
        )

    def has_object(self, sha256: str, size: int) -> bool:
        path = self.store / "lfs" / sha256
        return path.is_file() and path.stat().st_size == size

    def upload_mode(self, path: str, size: int) -> str:
        lfs = size > LFS_BYTES or any(fnmatch.fnmatch(Path(path).name, one) for one in ATTRIBUTES)
        return "lfs" if lfs else "regular"

    def commit(self, branch: str, lines: Iterable[dict[str, Any]]) -> Commit:
        """Apply the lines of a commit request to a branch."""
        if branch not in self.branches:
            raise Refused(404, f"Invalid rev id: {branch}", code="RevisionNotFound")
        head = self.commits[self.branches[branch]]
        tree, title = dict(head.tree), ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                title = value["summary"]
                parent = value.get("parentCommit")
                if parent is not None and parent != head.oid:
                    raise Refused(412, "A commit has happened since. Please refresh and try again.")
            elif line["key"] == "file":
                tree[value["path"]] = self.keep(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if not self.has_object(value["oid"], value["size"]):
                    raise Refused(
                        400, f"LFS pointer pointed to a file that does not exist: {value}"
                    )
                tree[value["path"]] = lfs_entry(value["oid"], value["size"])
            elif line["key"] == "deletedFile":
                tree.pop(value["path"], None)
            elif line["key"] == "deletedFolder":
                folder = value["path"].rstrip("/") + "/"
                tree = {path: one for path, one in tree.items() if not path.startswith(folder)}
            else:
                raise Refused(400, f"unknown key {line['key']!r}")
        return self._add(head.oid, title, tree, branch)

    def listing(self, revision: str, folder: str, *, recursive: bool) -> Iterator[dict[str, Any]]:
        """What `tree` lists."""
        prefix = f"{folder}/" if folder else ""
        folders: set[str] = set()
        commit = self.resolve(revision)
        under = [path for path in sorted(commit.tree) if path.startswith(prefix)]
        if folder and not under:
            raise Refused(404, f"{folder} does not exist", code="EntryNotFound")
        for path in under:
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                name = prefix + "/".join(parts[:depth])
                if name not in folders:
                    folders.add(name)
                    yield {"type": "directory", "path": name, "oid": _sha1(name), "size": 0}
            if recursive or len(parts) == 1:
                yield describe(path, commit.tree[path])

    def _add(self, parent: str, title: str, tree: dict[str, Entry], branch: str) -> Commit:
        text = json.dumps([parent, title, [[p, e.oid, e.sha256] for p, e in sorted(tree.items())]])
        made = Commit(_sha1(text), parent, title, tree)
        self.commits[made.oid] = made
        self.branches[branch] = made.oid
        return made


def lfs_entry(sha256: str, size: int) -> Entry:
    """An LFS file: git knows it by the oid of its pointer."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return Entry(_sha1(f"blob {len(pointer)}\0{pointer}"), size, sha256)


def describe(path: str, entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "file", "path": path, "oid": entry.oid, "size": entry.size,
    }  # fmt: skip
    if entry.sha256:
        found["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
    return found


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()
