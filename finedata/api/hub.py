"""Publishing, and what lies elsewhere, on the face."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.engine.progress import OnProgress
    from finedata.hub.plan import PublishPlan
    from finedata.hub.pull import PullSummary
    from finedata.hub.send import PublishSummary


def publish(
    roots: Sequence[str | Path],
    *,
    repo_id: str,
    revision: str = "main",
    private: bool = False,
    tables_only: bool = False,
    source: Sequence[str] = (),
    dry_run: bool = False,
    on_progress: OnProgress = None,
) -> PublishSummary | PublishPlan:
    """Publish a dataset, shards, or one of each; see `finedata.hub.publish.publish`.

    Args:
        roots: Folders.
        repo_id: `org/name`.
        revision: The branch.
        private: Of a repository that is made.
        tables_only: Leave pictures, videos and tars here.
        source: What the dataset was converted from, to verify it against that too.
        dry_run: Verify and count; send nothing and ask nobody.
        on_progress: Told after every file read and every commit.

    Example:
        >>> publish(["bridge", "shards"], repo_id="org/name", dry_run=True)  # doctest: +SKIP
    """
    from finedata.hub.publish import publish as act

    return act(
        roots,
        repo_id=repo_id,
        revision=revision,
        private=private,
        tables_only=tables_only,
        source=source,
        dry_run=dry_run,
        on_progress=on_progress,
    )


def card(roots: Sequence[str | Path], *, repo_id: str = "org/name") -> list[Path]:
    """Write the card beside the data; see `finedata.hub.publish.save_card`."""
    from finedata.hub.publish import save_card

    return save_card(roots, repo_id=repo_id)


def pull(
    address: str, *, out: str | Path, where: str = "", on_progress: OnProgress = None
) -> PullSummary:
    """Bring a published dataset, a selection of it, or shards here; see `finedata.hub.pull`.

    Args:
        address: `hf://datasets/org/name[@revision][/folder]`.
        out: The folder.
        where: Only episodes for which this SQL holds.
        on_progress: Told after every file.

    Example:
        >>> pull("hf://datasets/org/name", out="cups", where="task like '%cup%'")  # doctest: +SKIP
    """
    from finedata.hub.pull import pull as act

    return act(address, out=out, where=where, on_progress=on_progress)
