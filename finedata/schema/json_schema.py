"""JSON Schemas of our types, whose text is ours whatever library makes them.

msgspec copies a class's docstring into `description`: up to 0.22 as it stands in the source,
dedented since 0.23; and Python 3.13 dedents docstrings by itself. A published schema, and a
request to a teacher that is known by its hash, must not depend on that. So this is the only place
that asks msgspec for a schema.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import msgspec

__all__ = ["json_schema"]

_NULL = {"type": "null"}


def json_schema(type_: Any) -> dict[str, Any]:
    """JSON Schema of a type, with its parts in `$defs`.

    Every `description` is dedented, and `null` is the last of alternatives: msgspec before 0.23
    puts it before a struct.

    Example:
        >>> json_schema(list[int])
        {'type': 'array', 'items': {'type': 'integer'}}
    """
    return _in_our_layout(msgspec.json.schema(type_))  # noqa: TID251


def _in_our_layout(node: Any) -> Any:
    if isinstance(node, list):
        return [_in_our_layout(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    tree: dict[str, Any] = {
        key: _in_our_layout(item) for key, item in cast("dict[str, Any]", node).items()
    }
    if isinstance(description := tree.get("description"), str):
        tree["description"] = inspect.cleandoc(description).rstrip()
    if isinstance(alternatives := tree.get("anyOf"), list):
        tree["anyOf"] = sorted(cast("list[Any]", alternatives), key=_NULL.__eq__)
    return tree
