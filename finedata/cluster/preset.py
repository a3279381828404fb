"""FineVLA's published clustering settings of a part's sources, out of their converter files."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import msgspec

from finedata.cluster.settings import Weights
from finedata.schema.converter import ClusterPreset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset


def preset_of(
    dataset: Dataset, *, part: str, sources: Sequence[str]
) -> tuple[Weights, int | None, str | None]:
    """Weights and number of clusters that FineVLA's code used.

    Args:
        dataset: The dataset; it carries the converter files that made it.
        part: The part.
        sources: Names of the sources that its episodes came from.

    Returns:
        Weights, k (None: by the released rule), and a note where the sources disagree: then, as
        where none says anything, FineVLA's usual weights hold (1, 1 and 100).
    """
    found: list[ClusterPreset] = []
    for entry in dataset.info.sources:
        if entry.name in sources:
            # Only this table is looked at: the file may be of another version of finedata.
            table = tomllib.loads(entry.converter).get("cluster", {})
            found.append(msgspec.convert(table, ClusterPreset))
    note = None
    if any(preset != found[0] for preset in found):
        note = (
            f"part {part}: its sources {', '.join(sources)} have different [cluster] presets; "
            "FineVLA's usual weights are used (1, 1, 100)"
        )
    preset = ClusterPreset() if note or not found else found[0]
    weights = Weights(
        position=preset.position_weight,
        rotation=preset.rotation_weight,
        gripper=preset.gripper_weight,
    )
    return weights, preset.k, note
