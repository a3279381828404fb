"""pyarrow's kernels called by name, in the one way that a type checker accepts.

The stubs of pyarrow know few of the kernels, and none that takes a plain value; this is the one
place that says so.
"""

from __future__ import annotations

from typing import Any, cast

import pyarrow.compute as pc


def compute(name: str, *arguments: Any, **options: Any) -> Any:
    """Call the kernel `name` of `pyarrow.compute`."""
    return getattr(cast("Any", pc), name)(*arguments, **options)
