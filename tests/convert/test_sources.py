"""Each source with a converter file converts its fixture, and the known motion comes out.

The fixtures share no code with the readers. Breaking a convention in a converter file on purpose
must make the comparison fail: otherwise it proves nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from convert.truths import check_conversion
from sources.case import Case, all_cases

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.papers import paper_room
from finedata.schema.converter_file import list_converters

CASES = all_cases()
BREAKS = [
    pytest.param(case, edit, id=f"{case.name}: {edit[0][:28]} -> {edit[1][:28]}")
    for case in CASES
    for edit in case.breaks
]


def test_every_converter_file_has_a_fixture() -> None:
    names = {found.converter.name for found in list_converters()}
    # `lerobot` declares no convention, so there is no truth to compare: see test_lerobot.py
    without = names - {case.converter for case in CASES} - {"lerobot"}
    assert not without, f"no fixture in tests/sources for {', '.join(sorted(without))}"
    assert {case.converter for case in CASES} <= names
    assert len(names) >= 11


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
