"""How the kernels are compiled: once a machine, without the interpreter's lock.

Compiled code is kept beside the source, or in the user's cache folder where that is read-only
(Numba decides, `NUMBA_CACHE_DIR` overrides). Where neither can be written, every process compiles
anew. Numba by itself asks whether the file of the outermost kernel has changed; what is kept here
also belongs to the files of the kernels inside it, or a new version of those would run beside the
kept code of the old one, with other ideas of how memory is laid out. Kernels call those of
their own folder only, so the digest of its modules is part of the key.
"""
# pyright: basic

from __future__ import annotations

import logging
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba import njit
from numba.core.caching import FunctionCache

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cached_kernel", "kernel"]

_log = logging.getLogger(__name__)


class _Cache(FunctionCache):
    """Numba's cache, with the sources of the folder's modules in the key."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        folder = Path(self._py_func.__code__.co_filename).parent
        return (*super()._index_key(sig, codegen), _sources_digest(folder))


@lru_cache
def _sources_digest(folder: Path) -> str:
    digest = sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def kernel(function: Callable[..., Any]) -> Any:
    """A part of kernels; compiled into each of them."""
    return njit(function, nogil=True, error_model="numpy")


def cached_kernel(function: Callable[..., Any]) -> Any:
    """A kernel that Python calls; its code is kept for the next process where that is possible."""
    dispatcher = kernel(function)
    try:
        dispatcher._cache = _Cache(function)
    except RuntimeError as error:
        # "cannot cache function ...: no locator available for file ..."
        _log.info("compiled code of %s is not kept: %s", function.__name__, error)
    return dispatcher
