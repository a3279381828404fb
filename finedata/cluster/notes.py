"""What a clustering run has to say in words: tasks that cannot be compared whole, old ledgers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.store.run.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.cluster.group.unit_groups import UnitGroup


def tasks_apart(groups: list[UnitGroup]) -> list[str]:
    """Say which tasks have episodes that cannot be compared with each other, and why."""
    where: dict[str, list[UnitGroup]] = {}
    for group in groups:
        for task_id in group.task_ids:
            where.setdefault(task_id, []).append(group)
    parts = [task for task, own in where.items() if len({g.part.part for g in own}) > 1]
    arms = [
        task
        for task, own in where.items()
        if len({(g.part.part, g.arms) for g in own}) > len({g.part.part for g in own})
    ]
    notes: list[str] = []
    if parts:
        notes.append(
            f"{len(parts)} tasks have episodes in several parts, whose action spaces differ: they "
            f"are never compared, each part is grouped by itself ({_some(parts)})"
        )
    if arms:
        notes.append(
            f"{len(arms)} tasks have episodes with different arms: they are never compared, each "
            f"set of arms is grouped by itself ({_some(arms)})"
        )
    return notes


def _some(tasks: list[str]) -> str:
    return ", ".join(sorted(tasks)[:3]) + (", ..." if len(tasks) > 3 else "")


def other_ledgers(root: Path, name: str) -> list[str]:
    """Say that there are distances of other settings, where these have none yet."""
    others = sorted(
        path.name for path in (root / LEDGER_FOLDER).glob("cluster-*.sqlite") if path.stem != name
    )
    if not others or (root / LEDGER_FOLDER / f"{name}.sqlite").exists():
        return []
    return [
        f"distances of other settings or of another finedata are in {LEDGER_FOLDER}/ "
        f"({_some(others)}); they are not used and may be removed"
    ]
