"""Publishing, and what is there afterwards, for the tests of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hub.loopback import Hub

import finedata
from finedata.hub.files import read_roots
from finedata.hub.send import PublishSummary

REPO = "org/bridge"


def publish(*roots: Path, repo_id: str = REPO, **options: Any) -> PublishSummary:
    found = finedata.publish(roots, repo_id=repo_id, **options)
    assert isinstance(found, PublishSummary)
    return found


def assert_holds(hub: Hub, *roots: Path, repo_id: str = REPO, revision: str = "main") -> None:
    """Every file is there with its bytes, and nothing else but the card."""
    wanted = {one.path: one.local for one in read_roots(roots).uploads()}
    tree = hub.tree(repo_id, revision)
    made = {".gitattributes", "README.md", "assets/funnel.png"}
    assert set(tree) - made == set(wanted)
    for path, local in wanted.items():
        assert local is not None
        assert hub.content(repo_id, path, revision) == local.read_bytes(), path
