"""What lies in the place of a source's file, told by its first bytes, and how to get the file.

Downloads break off, Git leaves pointers, servers answer with a web page: the reader of every file
family meets the same few files of another kind, so one place names them, and what to type next.
"""

from __future__ import annotations

import re

HEAD_BYTES = 256
"""So many of a file's first bytes tell."""

_LFS = re.compile(rb"version https://git-lfs\.github\.com/spec/.*?^size (\d+)", re.DOTALL | re.M)
_ANNEX = re.compile(rb"[./]*(?:\.git/annex/objects/|/annex/objects/)")
_PAGE = re.compile(rb"\s*(?:<!doctype html|<html|<\?xml)", re.IGNORECASE)
_KINDS = (
    (b"PAR1", "a Parquet file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"PK\x03\x04", "a zip archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"ARROW1", "an Arrow file: datasets.load_from_disk(...).to_parquet(...) rewrites it"),
)


def impostor(head: bytes, *, size: int) -> str | None:
    """Say what a file is that is not what its name says; None where nothing is known of it.

    Args:
        head: Its first `HEAD_BYTES`, or fewer.
        size: Its bytes.

    Returns:
        What it is and what to do, for the `found` of an error.

    Example:
        >>> impostor(b"", size=0)
        'no byte (an empty file of 0 bytes): fetch it again'
    """
    if size == 0:
        return "no byte (an empty file of 0 bytes): fetch it again"
    pointer = _LFS.match(head)
    if pointer:
        return (
            f"a Git LFS pointer to {int(pointer[1]):,} bytes, not the bytes: run `git lfs pull` "
            "in the folder"
        )
    if _ANNEX.match(head):
        return "a git-annex pointer, not the bytes: run `git annex get` in the folder"
    if _PAGE.match(head):
        return "a web page in its place: the download was refused or needs a login; fetch it again"
    if head[:1] in (b"{", b"[") and size < 1_000_000 and b'"error"' in head:
        said = head[:60].decode(errors="replace")
        return f"a server's answer in its place ({said}): fetch it again"
    if not head.strip(b"\0"):
        return "a file of zero bytes only: its download was never finished; fetch it again"
    return next((kind for magic, kind in _KINDS if head.startswith(magic)), None)
