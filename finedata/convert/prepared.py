"""What is known of a run before anything is read but its sources' descriptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.convert.planning.assign import Assigner

if TYPE_CHECKING:
    from finedata.convert.context import RunContext
    from finedata.convert.planning.selection import Selection
    from finedata.readers.episode import Source
    from finedata.schema.converter_file import ConverterFile


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run, prepared.

    Attributes:
        context: What travels to the workers.
        sources: The opened sources.
        converters: Their converters, with their texts.
        selection: Which episodes are wanted.
    """

    context: RunContext
    sources: tuple[Source, ...]
    converters: tuple[ConverterFile, ...]
    selection: Selection

    @property
    def units(self) -> list[tuple[int, int]]:
        """(source, shard) of everything to plan, in order."""
        return [
            (number, shard)
            for number, source in enumerate(self.sources)
            for shard in range(len(source.shards))
        ]

    @property
    def missing_shards(self) -> list[str]:
        """What the sources declare and lack."""
        return [name for source in self.sources for name in source.missing_shards]

    def assigner(self) -> Assigner:
        """A new assigner for this run."""
        names = [file.converter.name for file in self.converters]
        return Assigner(self.context, self.sources, names, self.selection)
