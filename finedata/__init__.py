"""finedata: robot demonstrations as one canonical, queryable, finely annotated dataset.

`import finedata` is light: the names below load their rooms (pyarrow, polars, numpy) only
when they are first used. Verbs are functions in the room of their name, as
`finedata.convert.run.convert`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finedata.errors import FinedataError as FinedataError
    from finedata.shard.stream.stream import stream as stream
    from finedata.store.dataset import Dataset as Dataset
    from finedata.store.dataset import open_dataset as open
    from finedata.store.episode import Episode as Episode

__version__ = "0.1.0.dev0"

# public name -> (the module that owns it, its name there)
_LAZY = {
    "Dataset": ("finedata.store.dataset", "Dataset"),
    "Episode": ("finedata.store.episode", "Episode"),
    "FinedataError": ("finedata.errors", "FinedataError"),
    "open": ("finedata.store.dataset", "open_dataset"),
    "stream": ("finedata.shard.stream.stream", "stream"),
}

__all__ = [
    "Dataset",
    "Episode",
    "FinedataError",
    "__version__",
    "open",
    "stream",
]


def __getattr__(name: str) -> object:
    """Load a public name's room on first use (PEP 562)."""
    if name not in _LAZY:
        msg = f"module 'finedata' has no attribute {name!r}"
        raise AttributeError(msg)
    module, attribute = _LAZY[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
