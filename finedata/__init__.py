"""finedata: robot demonstrations as one canonical, queryable, finely annotated dataset.

`import finedata` is light: the names below load their rooms (pyarrow, polars, numpy) only
when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finedata.errors import FinedataError as FinedataError

__version__ = "0.1.0.dev0"

# public name -> the module that owns it
_LAZY = {
    "FinedataError": "finedata.errors",
}

__all__ = ["FinedataError", "__version__"]


def __getattr__(name: str) -> object:
    """Load a public name's room on first use (PEP 562)."""
    module = _LAZY.get(name)
    if module is None:
        msg = f"module 'finedata' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
