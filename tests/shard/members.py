"""The members of all tars of a folder of shards, as plain `tarfile` reads them."""

from __future__ import annotations

import tarfile
from pathlib import Path


def members(root: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(root.glob("tars/*/*.tar")):
        with tarfile.open(path) as tar:
            found |= {one.name: tar.extractfile(one).read() for one in tar}  # pyright: ignore
    return found
