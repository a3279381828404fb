"""The base of everything a converter file may say: unknown keys are errors, values never change."""

from __future__ import annotations

import msgspec

__all__ = ["Strict"]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decoded strictly by msgspec; subclasses repeat `frozen=True, kw_only=True`."""
