"""An account tells things in one order, whatever order they were met in."""

from __future__ import annotations

from itertools import permutations

from finedata.convert.account.tally import Tallies
from finedata.convert.verify_report import VerifyReport


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
