"""The nouns of finedata: every table, the ten dimensions, identities, and `conform()`.

`conform()` gives tables of any room exactly the published columns, types, nulls and closed lists,
or refuses them. Names load on first use, so that `finedata.schema.identity` and
`finedata.schema.enums` never pull in pyarrow. `conform()` is not re-exported, because its module
has the same name: `from finedata.schema.conform import conform`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finedata.schema.columns import Column as Column
    from finedata.schema.columns import Table as Table
    from finedata.schema.conform import read_schema_tag as read_schema_tag
    from finedata.schema.dimension import DIMENSIONS as DIMENSIONS
    from finedata.schema.dimension import SLOTS as SLOTS
    from finedata.schema.identity import broken_episode_id as broken_episode_id
    from finedata.schema.identity import episode_id as episode_id
    from finedata.schema.identity import hash16 as hash16
    from finedata.schema.identity import task_id as task_id
    from finedata.schema.tables.all import TABLES as TABLES
    from finedata.schema.tables.all import arrow_schema as arrow_schema
    from finedata.schema.tables.all import frames_schema as frames_schema
    from finedata.schema.tables.all import schema_tag as schema_tag

# public name -> the module that owns it
_LAZY = {
    "Column": "finedata.schema.columns",
    "DIMENSIONS": "finedata.schema.dimension",
    "SLOTS": "finedata.schema.dimension",
    "TABLES": "finedata.schema.tables.all",
    "Table": "finedata.schema.columns",
    "arrow_schema": "finedata.schema.tables.all",
    "broken_episode_id": "finedata.schema.identity",
    "episode_id": "finedata.schema.identity",
    "frames_schema": "finedata.schema.tables.all",
    "hash16": "finedata.schema.identity",
    "read_schema_tag": "finedata.schema.conform",
    "schema_tag": "finedata.schema.tables.all",
    "task_id": "finedata.schema.identity",
}

__all__ = [
    "DIMENSIONS",
    "SLOTS",
    "TABLES",
    "Column",
    "Table",
    "arrow_schema",
    "broken_episode_id",
    "episode_id",
    "frames_schema",
    "hash16",
    "read_schema_tag",
    "schema_tag",
    "task_id",
]


def __getattr__(name: str) -> object:
    """Load a public name's module on first use (PEP 562)."""
    module = _LAZY.get(name)
    if module is None:
        msg = f"module 'finedata.schema' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
