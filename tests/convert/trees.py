"""Comparing output folders byte by byte, and what an interrupted run needs."""

from __future__ import annotations

import hashlib
from pathlib import Path


def tree_digest(root: Path) -> dict[str, str]:
    """Relative name to sha256 of every file, but the ledger (which may hold clocks)."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".finedata" not in path.relative_to(root).parts
    }
