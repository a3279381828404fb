"""An account tells things in one order, whatever order they were met in."""

from __future__ import annotations

from itertools import permutations

from finedata.convert.account.tally import Tallies
from finedata.convert.verify.report import VerifyReport


def test_things_are_told_by_kind_and_name():
    met = [("feature", "b"), ("camera", "z"), ("feature", "a")]
    told = []
    for order in permutations(met):
        tallies, report = Tallies(), VerifyReport()
        for kind, name in order:
            tallies.of(kind, name).left_out("nobody asks for it")
        tallies.report(report, source="made")
        told.append([(thing.kind, thing.name) for thing in report.things])
    assert told == [sorted(met)] * 6


def test_notes_are_told_in_one_order():
    report = VerifyReport()
    for text in ("pictures of b: not compared", "pictures of a: not compared"):
        report.note(text)
    Tallies().report(report, source="made")
    assert report.not_checked == ["pictures of a: not compared", "pictures of b: not compared"]
