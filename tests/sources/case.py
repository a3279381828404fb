"""What a fixture says of itself, so that the tests of all sources find it.

A module of this folder that writes a source's bytes ends in `CASES`; nothing else lists it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sources.truth import SourceTruth

EULER_TO_VECTOR = ('"euler_xyz_extrinsic"', '"rotation_vector"')
VECTOR_TO_EULER = ('"rotation_vector"', '"euler_xyz_extrinsic"')
XYZW_TO_WXYZ = ('"quaternion_xyzw"', '"quaternion_wxyz"')
WXYZ_TO_XYZW = ('"quaternion_wxyz"', '"quaternion_xyzw"')
LEFT_TO_RIGHT = ('composition = "base_left"', 'composition = "tool_right"')
CLOSED_IS_OPEN = ("open = 0.0, closed = 1.0", "open = 1.0, closed = 0.0")


@dataclass(frozen=True)
class Case:
    """A form of a source: its converter, its fixture, and edits that must be noticed."""

    name: str
    converter: str
    writer: Callable[..., list[SourceTruth]]
    knobs: dict[str, Any] = field(default_factory=dict)
    options: tuple[tuple[str, str], ...] = ()
    breaks: tuple[tuple[str, str], ...] = ()

    def write(self, folder: Path) -> list[SourceTruth]:
        folder.mkdir(parents=True)
        return self.writer(folder, **self.knobs)


def all_cases() -> list[Case]:
    """Those of every module of this folder, by its name."""
    modules = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    found = [
        getattr(importlib.import_module(f"sources.{name}"), "CASES", [])
        for name in modules
        if not name.startswith("test_")
    ]
    return [case for cases in found for case in cases]
