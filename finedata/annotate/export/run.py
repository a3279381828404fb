"""An export of annotations is complete or not there.

Everything is written into a hidden folder beside the output, which takes its name at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from finedata.annotate.export.lerobot_language import export_lerobot_language
from finedata.annotate.export.lines import export_finevla, export_refinevla, export_robofine
from finedata.errors import UsageError
from finedata.store.atomic import atomic_folder, check_new_folder, output_errors
from finedata.store.export.episodes import ExportSummary, select_episodes

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset
    from finedata.store.export.run import Exporter

__all__ = ["FORMATS", "export_annotations"]

FORMATS: dict[str, Exporter] = {
    "finevla": export_finevla,
    "refinevla": export_refinevla,
    "robofine": export_robofine,
    "lerobot-language": export_lerobot_language,
}
"""Every format by its name on the command line. A new one is one more entry."""


def export_annotations(
    dataset: Dataset, *, out: str | Path, format: str, where: str = ""
) -> ExportSummary:
    """Export the annotations of the selected episodes.

    Args:
        dataset: The dataset.
        out: The new folder; it must not exist, or be empty.
        format: A key of `FORMATS`.
        where: SQL condition over `episodes`; empty means all.

    Returns:
        What was written; `counts` says how many episodes had nothing to export.

    Raises:
        UsageError: No such format, the output is not empty, or nothing is selected.
        OutputError: The output cannot be written; nothing is left under its name.

    Example:
        >>> export_annotations(finedata.open("bridge"), out="fg", format="finevla")
        ... # doctest: +SKIP
    """
    target = Path(out)
    if format not in FORMATS:
        raise UsageError(
            parameter="format", found=f"{format!r}", wanted=f"one of {', '.join(FORMATS)}"
        )
    check_new_folder(target)
    episode_ids = select_episodes(dataset, where=where)
    with output_errors(target), atomic_folder(target) as folder:
        summary = FORMATS[format](dataset, out=folder, episode_ids=episode_ids)
    return msgspec.structs.replace(summary, out=str(out))
