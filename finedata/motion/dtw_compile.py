"""How the kernels are compiled: once a machine, without the interpreter's lock.

Compiled code is kept beside the source, or in the user's cache folder where that is read-only
(Numba decides, `NUMBA_CACHE_DIR` overrides). Where neither can be written, every process compiles
anew. Numba looks at the file of the outermost kernel only: after an edit of `dtw_sweep` or
`dtw_lanes`, touch `dtw_batch`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cached_kernel", "kernel"]

_log = logging.getLogger(__name__)


def kernel(function: Callable[..., Any]) -> Any:
    """A part of kernels; compiled into each of them."""
    return njit(function, nogil=True, error_model="numpy")


def cached_kernel(function: Callable[..., Any]) -> Any:
    """A kernel that Python calls; its code is kept for the next process where that is possible."""
    try:
        return njit(function, nogil=True, error_model="numpy", cache=True)
    except RuntimeError as error:
        # "cannot cache function ...: no locator available for file ..."
        _log.info("compiled code of %s is not kept: %s", function.__name__, error)
        return kernel(function)
