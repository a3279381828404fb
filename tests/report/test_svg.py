from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.report.drawing.svg import Scale, element, escape, nice_ticks, number_text, text

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@given(st.text())
def test_any_text_is_well_formed_and_says_what_it_said(words: str) -> None:
    markup = element("g", text(0.0, 0.0, words), aria_label=words)
    root = ET.fromstring(markup)
    said = root[0].text or ""
    # XML turns a carriage return into a line feed; everything hostile is one character.
    assert len(said.replace("\n", "")) <= len(words)
    assert [a for a in said if a.isalnum()] == [a for a in words if a.isalnum() and a in said]


@pytest.mark.parametrize("hostile", ["\x00", "\x1b", "\u202e", "\u2066", "\ufffe", "\ud800"])
def test_what_changes_its_surroundings_is_replaced(hostile: str) -> None:
    assert escape(f"a{hostile}b") == "a\ufffdb"


def test_markup_and_quotes_are_escaped() -> None:
    assert escape("""<script>"'&""") == "&lt;script&gt;&quot;&#x27;&amp;"


@given(FINITE, FINITE)
def test_ticks_are_round_few_and_inside(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    ticks = nice_ticks(low, high, 6)
    assert 1 <= len(ticks) <= 8 or high - low < 1e-9 * max(abs(low), abs(high))
    slack = 1e-6 * max(high - low, abs(high) * 1e-9, 1e-300)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    if len(ticks) > 2:
        step = ticks[1] - ticks[0]
        lead = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(lead - n) for n in (1, 2, 5, 10)) < 1e-3 * max(1, abs(high) / step * 1e-9)


def test_ticks_at_sane_numbers() -> None:
    assert nice_ticks(0.07, 0.93, 5) == [0.2, 0.4, 0.6, 0.8]
    assert nice_ticks(0, 187, 5) == [0, 50, 100, 150]
    assert nice_ticks(3, 3) == [3]


def test_numbers_are_read_at_a_glance() -> None:
    shown = [number_text(v) for v in (None, 0.0, 0.000123456, 12.345, 98765.4, -2.5, math.inf)]
    assert shown == ["none", "0", "0.000123", "12.3", "98,800", "\u22122.5", "\u221e"]
    assert number_text(0.09996) == "0.1"
    assert number_text(math.nan) == "not a number"


def test_a_scale_without_extent_gives_its_middle() -> None:
    assert Scale(2.0, 2.0, 10.0, 20.0)(2.0) == 15.0
    assert Scale(0.0, 4.0, 10.0, 20.0)(1.0) == 12.5
