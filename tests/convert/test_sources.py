"""Each of the ten sources converts its fixture, and the known motion comes out.

The fixtures share no code with the readers. Breaking a convention in a converter file on purpose
must make the comparison fail: otherwise it proves nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from convert.truths import check_conversion
from sources.truth import SourceTruth

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.convert.verify import verify
from finedata.papers import paper_room
from finedata.schema.converter_file import list_converters

TEN = {
    "bridge_v2",
    "bc_z",
    "rt_1",
    "galaxea",
    "robomind_v1",
    "robomind_v2",
    "robocoin",
    "rh20t",
    "rdt",
    "droid",
}


@dataclass(frozen=True)
class Case:
    """A form of a source: its converter, its fixture, and edits that must be noticed."""

    name: str
    converter: str
    module: str
    function: str = "write"
    knobs: dict[str, Any] = field(default_factory=dict)
    options: tuple[tuple[str, str], ...] = ()
    breaks: tuple[tuple[str, str], ...] = ()

    def write(self, folder: Path) -> list[SourceTruth]:
        folder.mkdir(parents=True)
        writer: Callable[..., list[SourceTruth]] = getattr(
            importlib.import_module(f"sources.{self.module}"), self.function
        )
        return writer(folder, **self.knobs)


EULER_TO_VECTOR = ('"euler_xyz_extrinsic"', '"rotation_vector"')
VECTOR_TO_EULER = ('"rotation_vector"', '"euler_xyz_extrinsic"')
XYZW_TO_WXYZ = ('"quaternion_xyzw"', '"quaternion_wxyz"')
WXYZ_TO_XYZW = ('"quaternion_wxyz"', '"quaternion_xyzw"')
LEFT_TO_RIGHT = ('composition = "base_left"', 'composition = "tool_right"')
CLOSED_IS_OPEN = ("open = 0.0, closed = 1.0", "open = 1.0, closed = 0.0")

CASES = [
    Case(
        "bridge_v2",
        "bridge_v2",
        "bridge",
        breaks=(
            EULER_TO_VECTOR,
            LEFT_TO_RIGHT,
            (
                "[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]",
                "[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]",
            ),
        ),
    ),
    Case("bridge_oxe", "bridge_v2", "bridge", "write_oxe", breaks=(LEFT_TO_RIGHT,)),
    Case("bridge_oxe_without_id", "bridge_v2", "bridge", "write_oxe", {"episode_id": False}),
    Case(
        "bc_z",
        "bc_z",
        "bc_z",
        breaks=(VECTOR_TO_EULER, ("component_sum", "base_left"), ("open = 0.2", "open = 0.0")),
    ),
    Case(
        "rt_1",
        "rt_1",
        "rt1",
        breaks=(
            XYZW_TO_WXYZ,
            LEFT_TO_RIGHT,
            ("open = -1.0, closed = 1.0", "open = 1.0, closed = -1.0"),
        ),
    ),
    Case(
        "rt_1_rotvec",
        "rt_1",
        "rt1",
        knobs={"rotation": "rotvec", "picture_form": "PNG"},
        options=(("rotation_delta", "rotation_vector"),),
        breaks=(('encoding = "option:rotation_delta"', 'encoding = "euler_xyz_extrinsic"'),),
    ),
    Case("droid", "droid", "droid", breaks=(EULER_TO_VECTOR, CLOSED_IS_OPEN)),
    Case("droid_1.0.1", "droid", "droid", knobs={"version": "1.0.1"}),
    Case(
        "galaxea_lerobot",
        "galaxea",
        "galaxea",
        breaks=(XYZW_TO_WXYZ, ("open = 100.0, closed = 0.0", "open = 0.0, closed = 100.0")),
    ),
    Case(
        "galaxea_rlds",
        "galaxea",
        "galaxea_rlds",
        breaks=(("columns = [7, 13]", "columns = [6, 12]"),),
    ),
    Case(
        "robomind_v1",
        "robomind_v1",
        "robomind_v1",
        breaks=(
            EULER_TO_VECTOR,
            VECTOR_TO_EULER,
            XYZW_TO_WXYZ,
            CLOSED_IS_OPEN,
            ("stride_to_cameras", "none"),
        ),
    ),
    Case("robomind_v2", "robomind_v2", "robomind_v2", breaks=(XYZW_TO_WXYZ, CLOSED_IS_OPEN)),
    Case(
        "robocoin",
        "robocoin",
        "robocoin",
        breaks=(('default = "euler_xyz_extrinsic"', 'default = "rotation_vector"'),),
    ),
    Case("robocoin_early", "robocoin", "robocoin", "write_early", breaks=(XYZW_TO_WXYZ,)),
    Case("rh20t", "rh20t", "rh20t", breaks=(WXYZ_TO_XYZW, ("open = 95.0", "open = 85.0"))),
    Case("rh20t_raw", "rh20t", "rh20t", knobs={"resized": False, "separate_joints": True}),
    Case(
        "rdt",
        "rdt",
        "rdt",
        breaks=(("13.9231", "11.8997"), ("columns = [7, 13]", "columns = [6, 12]")),
    ),
]
BREAKS = [
    pytest.param(case, edit, id=f"{case.name}: {edit[0][:28]} -> {edit[1][:28]}")
    for case in CASES
    for edit in case.breaks
]


def test_the_ten_are_there() -> None:
    names = {found.converter.name for found in list_converters()}
    assert names >= TEN
    assert {case.converter for case in CASES} == TEN


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_source_converts_its_fixture(case: Case, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    truths = case.write(source)
    summary = convert(
        case.converter, input=source, out=out, options=ConvertOptions(choices=case.options)
    )
    assert (summary.failed, summary.dropped_frames) == (0, 0)
    check_conversion(out, truths)
    report = verify(out, input=source, decode=True)
    assert report.problems == []
    assert report.episodes == len(truths)


@pytest.mark.parametrize(("case", "edit"), BREAKS)
def test_a_broken_convention_is_noticed(case: Case, edit: tuple[str, str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    truths = case.write(source)
    text = (paper_room("converters") / f"{case.converter}.toml").read_text()
    assert edit[0] in text
    broken = tmp_path / "broken.toml"
    broken.write_text(text.replace(*edit))
    out, options = tmp_path / "out", ConvertOptions(choices=case.options)
    summary = convert(str(broken), input=source, out=out, options=options)
    if summary.failed:
        return  # noticed even earlier
    with pytest.raises(AssertionError):
        check_conversion(out, truths)
