"""Converter files: those there are, a copy of one, a draft of a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.schema.converter_table import SourceRow


def sources() -> list[SourceRow]:
    """The sources that finedata converts: name, readers, robots, rates, licence."""
    from finedata.schema.converter_table import source_rows

    return source_rows()


def copy_converter(name: str, target: str | Path) -> None:
    """Copy a converter file, to read your own variant of a corpus with it.

    Raises:
        UsageError: No such source, or the file is there already.
    """
    from finedata.schema.converter_file import find_converter
    from finedata.store.atomic import write_atomic

    found = find_converter(name)
    if Path(target).exists():
        raise UsageError(
            place=str(target), found="a file that is there already", wanted="a new file"
        )
    write_atomic(Path(target), found.text)


def draft_converter(address: str, *, name: str | None = None) -> str:
    """Propose a converter file for a source that has none; see `finedata.convert.draft.propose`.

    Args:
        address: A LeRobot, RLDS or HDF5 source.
        name: The converter's name; the folder's by default.

    Returns:
        TOML text; every guess in it says why. It is meant to be read and corrected.
    """
    from finedata.convert.draft.propose import draft_converter

    return draft_converter(address, name=name)
