"""Which of the gate's options change a row, and the hash of them that every row carries.

Settings that exclude each other, or numbers out of range, are refused before anything is read.
"""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING, Literal

import msgspec

from finedata.errors import UsageError
from finedata.quality.groups import Scales
from finedata.quality.limits import Limits
from finedata.schema.converter import GatePreset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset_file import SourceEntry

# Raised whenever the same settings give other rows.
_RULES = 2
_MOST_PERCENT = 100.0


class GateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that changes a row, but the data.

    Attributes:
        method: `dtw`, or FineVLA's `released` score.
        threshold: Highest score that passes; None for the preset or a threshold from the data.
        percentile: Take this percentile of each source's scores for threshold.
        min_frames: Fewest frames; None for the source's preset, or 2 where it has none.
        scales: Errors that count as 1.
        limits: What the checks of motion allow.
        presets: Source to the preset of its converter file; filled in by the gate.
        rules: Number of the arithmetic.
    """

    method: Literal["dtw", "released"] = "dtw"
    threshold: float | None = None
    percentile: float | None = None
    min_frames: int | None = None
    scales: Scales = Scales()
    limits: Limits = Limits()
    presets: dict[str, GatePreset | None] = msgspec.field(
        default_factory=dict[str, GatePreset | None]
    )
    rules: int = _RULES

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: A number is out of its range, or two options exclude each other.
        """
        if self.threshold is not None and self.percentile is not None:
            raise UsageError(
                parameter="threshold",
                place="threshold and percentile",
                found="both",
                wanted="one of them, or none",
            )
        if self.threshold is not None and not self.threshold >= 0:
            raise UsageError(
                parameter="threshold", found=f"{self.threshold}", wanted="a number of at least 0"
            )
        if self.percentile is not None and not 0 < self.percentile <= _MOST_PERCENT:
            raise UsageError(
                parameter="percentile",
                found=f"{self.percentile}",
                wanted="more than 0, at most 100",
            )
        if self.min_frames is not None and self.min_frames < 1:
            raise UsageError(
                parameter="min_frames", found=f"{self.min_frames}", wanted="at least 1"
            )
        for name, scale in msgspec.structs.asdict(self.scales).items():
            if not scale > 0:
                raise UsageError(place=f"scale {name}", found=f"{scale}", wanted="a number above 0")

    @property
    def sha256(self) -> str:
        """Hex sha256 of the settings as JSON with sorted keys."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def gate_presets(sources: Sequence[SourceEntry]) -> dict[str, GatePreset | None]:
    """Read the `[gate]` table of each source's converter file, as the dataset keeps it.

    Only that table is decoded: a converter of an older finedata may not decode as a whole.

    Returns:
        Source to its preset; None where its file has none.
    """
    presets: dict[str, GatePreset | None] = {}
    for source in sorted(sources, key=lambda source: source.name):
        table = tomllib.loads(source.converter).get("gate") if source.converter else None
        presets[source.name] = None if table is None else msgspec.convert(table, GatePreset)
    return presets
