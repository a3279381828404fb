"""An export is complete or not there: it is written beside the output and renamed at the end.

Until then everything lies in a hidden folder, so a folder under the name that was asked for is
whole. Arguments are checked alike for an export and for its estimate.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from finedata.errors import UsageError
from finedata.store.atomic import atomic_folder, check_new_folder, output_errors
from finedata.store.export.episodes import (
    ExportSummary,
    export_parts,
    select_episodes,
    summary_of_parts,
)
from finedata.store.export.lerobot_v21 import export_lerobot_v21, export_lerobot_v21_pictures
from finedata.store.export.rlds import export_rlds
from finedata.store.export.starvla import export_starvla, export_starvla_pictures
from finedata.store.export.unified80_files import export_unified80
from finedata.store.merge.subset import write_subset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset

__all__ = ["FORMATS", "FORMATS_WITH_PICTURES", "Exporter", "estimate_export", "export_dataset"]


class Exporter(Protocol):
    """Writes the chosen episodes into `out`, an empty folder that is there."""

    def __call__(self, dataset: Dataset, *, out: Path, episode_ids: Sequence[str]) -> ExportSummary:
        """See the class."""
        ...


FORMATS: dict[str, Exporter] = {
    "finedata": write_subset,
    "lerobot-v2.1": export_lerobot_v21,
    "starvla": export_starvla,
    "unified80": export_unified80,
    "rlds": export_rlds,
}
"""Every format by its name on the command line. A new one is one more entry."""

FORMATS_WITH_PICTURES: dict[str, Exporter] = {
    "lerobot-v2.1": export_lerobot_v21_pictures,
    "starvla": export_starvla_pictures,
}
"""The same for `--keep-pictures`: formats that can hold pictures instead of videos."""


def export_dataset(
    dataset: Dataset,
    *,
    out: str | Path,
    format: str,
    where: str = "",
    keep_pictures: bool = False,
) -> ExportSummary:
    """Export the selected episodes of a dataset.

    Args:
        dataset: The dataset.
        out: The new folder; it must not exist, or be empty.
        format: A key of `FORMATS`.
        where: SQL condition over `episodes`; empty means all.
        keep_pictures: Pictures byte for byte in the tables instead of videos, where the format
            has both.

    Returns:
        What was written.

    Raises:
        UsageError: No such format, the output is not empty, or nothing is selected.
        OutputError: The output cannot be written; nothing is left under its name.

    Example:
        >>> export_dataset(finedata.open("bridge"), out="bridge_v21", format="lerobot-v2.1")
        ... # doctest: +SKIP
    """
    target = Path(out)
    exporter = _exporter(format, keep_pictures=keep_pictures)
    check_new_folder(target)
    episode_ids = select_episodes(dataset, where=where)
    with output_errors(target), atomic_folder(target) as folder:
        summary = _run(exporter, dataset, folder, episode_ids, where)
    return msgspec.structs.replace(summary, format=format, out=str(out))


def _run(
    exporter: Exporter, dataset: Dataset, out: Path, episode_ids: Sequence[str], where: str
) -> ExportSummary:
    """A selection of our own also writes down what selected it."""
    if exporter is write_subset:
        return write_subset(dataset, out=out, episode_ids=episode_ids, where=where)
    return exporter(dataset, out=out, episode_ids=episode_ids)


def estimate_export(
    dataset: Dataset,
    *,
    out: str | Path,
    format: str,
    where: str = "",
    keep_pictures: bool = False,
) -> ExportSummary:
    """What `export_dataset` would write, without writing; the arguments are checked alike."""
    _exporter(format, keep_pictures=keep_pictures)
    check_new_folder(Path(out))
    parts = export_parts(dataset, episode_ids=select_episodes(dataset, where=where))
    return summary_of_parts(parts, format=format, out=Path(out), counts={})


def _exporter(name: str, *, keep_pictures: bool) -> Exporter:
    if name not in FORMATS:
        raise UsageError(
            parameter="format", found=f"{name!r}", wanted=f"one of {', '.join(FORMATS)}"
        )
    if not keep_pictures:
        return FORMATS[name]
    if name not in FORMATS_WITH_PICTURES:
        raise UsageError(
            parameter="keep_pictures",
            found=f"format {name}",
            wanted=f"one of {', '.join(FORMATS_WITH_PICTURES)}",
        )
    return FORMATS_WITH_PICTURES[name]
