"""`publish`: verify, write the card, plan, send, compare, move the tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.errors import ConformError
from finedata.hub.card import FUNNEL_PICTURE, card_licence, draw_funnel, write_card
from finedata.hub.files import CARD, Upload, read_roots
from finedata.hub.plan import PublishPlan, plan
from finedata.hub.send import PublishSummary, send
from finedata.store.atomic import write_atomic
from finedata.store.lerobot.layout import CODEBASE_VERSION
from finedata.store.tables.table import compact_reviews

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from finedata.engine.progress import OnProgress
    from finedata.hub.files import Publication

__all__ = ["publish", "save_card", "verify_first"]


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
    """Publish a dataset, shards, or one of each, as one repository of the Hub.

    The same call continues what was stopped, and publishes what changed. The tag that LeRobot
    looks for is moved when everything was compared; where the branch is not `main`, or the
    repository's root is no LeRobot dataset, no tag is touched.

    Args:
        roots: Folders.
        repo_id: `org/name`.
        revision: The branch.
        private: Of a repository that is made.
        tables_only: Leave pictures, videos and tars here.
        source: What the dataset was converted from, to hold it against that too.
        dry_run: Verify and count; send nothing and ask nobody.
        on_progress: Told after every file read and every commit.

    Raises:
        UsageError: Nothing to publish, a limit broken, licences that forbid each other, no token
            or right, a repository that holds something else.
        ConformError: What would be published does not verify.
        OutputError: The Hub or the network failed for good.
    """
    found = read_roots(roots, tables_only=tables_only)
    if found.dataset is not None and not dry_run:
        # Decisions of reviewers wait in a journal; only tables are published.
        compact_reviews(found.dataset.root)
    not_checked = verify_first(found, source=source)
    uploads = found.uploads()
    picture = draw_funnel(found)
    if picture:
        uploads.insert(0, _made(FUNNEL_PICTURE, picture))
    mine = [path.read_text() for root in found.roots if (path := root / CARD).is_file()]

    def card(there: str) -> Upload:
        text = write_card(found, uploads, repo_id=repo_id, previous=[*mine, there])
        return _made(CARD, text.encode())

    tag = CODEBASE_VERSION if found.has_lerobot_root and revision == "main" else ""
    planned = plan(
        [*uploads, card("")],
        repo_id=repo_id,
        revision=revision,
        tag=tag,
        licence=card_licence(found)["license"],
        not_checked=not_checked,
    )
    if dry_run:
        return planned
    return send(
        uploads,
        card=card,
        repo_id=repo_id,
        owns=found.owns,
        revision=revision,
        private=private,
        tag=tag,
        not_checked=not_checked,
        on_progress=on_progress,
    )


def save_card(roots: Sequence[str | Path], *, repo_id: str = "org/name") -> list[Path]:
    """Write README.md and its picture beside the data; sections of a person's own survive.

    Args:
        roots: A dataset, shards, or one of each: the card lies in the first.
        repo_id: For the lines that show how to load it.

    Returns:
        The files.

    Raises:
        UsageError: No dataset there, or licences that forbid each other.
        OutputError: A file cannot be written.
    """
    found = read_roots(roots)
    root = found.roots[0]
    mine = [path.read_text() for one in found.roots if (path := one / CARD).is_file()]
    text = write_card(found, found.uploads(), repo_id=repo_id, previous=mine)
    write_atomic(root / CARD, text)
    picture = draw_funnel(found)
    if picture:
        write_atomic(root / FUNNEL_PICTURE, picture)
    return [root / CARD, *([root / FUNNEL_PICTURE] if picture else [])]


def _made(path: str, content: bytes) -> Upload:
    return Upload(path, "card", None, len(content), content=content)


def verify_first(found: Publication, *, source: Sequence[str] = ()) -> list[str]:
    """Verify what is to be published; what was not looked at.

    Raises:
        ConformError: Something is not as it should be.
    """
    not_checked: list[str] = []
    if found.dataset is not None:
        from finedata.convert.verify.alone import verify_alone
        from finedata.convert.verify.run import verify

        root = found.dataset.root
        report = verify(root, input=list(source)) if source else verify_alone(root)
        _refuse(report.problems, f"finedata verify {root} --input SOURCE")
        not_checked += report.not_checked
    if found.shards is not None:
        from finedata.shard.verify import verify_shards

        root = found.shards.root
        checked = verify_shards(root)
        _refuse(checked.problems, f"finedata verify {root}")
        not_checked += checked.not_checked
    return not_checked


def _refuse(problems: Sequence[Any], next_command: str) -> None:
    if problems:
        first = problems[0]
        more = f", and {len(problems) - 1} problems more" if len(problems) > 1 else ""
        raise ConformError(
            place=first.place,
            found=f"{first.found}{more}",
            wanted=f"{first.wanted}: what does not verify is not published",
            next_command=next_command,
        )
