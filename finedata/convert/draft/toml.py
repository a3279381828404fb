"""Strings, lists and comments of a drafted file, safe whatever a source calls its features."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def toml_text(value: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def toml_texts(values: Iterable[str]) -> str:
    """A TOML list of strings."""
    return f"[{', '.join(toml_text(value) for value in values)}]"


def comment(reason: str) -> str:
    """A comment of one line, whatever a source's names hold."""
    return "# " + re.sub(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+", " ", reason)
