"""Docstrings say `Example:`; the reader of Google's style knows `Examples:` only."""

from __future__ import annotations

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Let the section be known by both names."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """See the class."""
        if obj.docstring and not obj.is_module:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
