"""Five thousand changes to finished datasets: `verify` finds every one of them.

What is changed is in `convert.output_mutations`; a share of it runs in the default suite.
"""

from __future__ import annotations

import pytest
from convert.output_mutations import SOURCES, run_output_mutations

IN_SUITE = 8
SLOW = 715


@pytest.mark.parametrize("name", SOURCES)
def test_every_change_of_an_output_is_found(name: str) -> None:
    found, missed = run_output_mutations(name, count=IN_SUITE, seed=5)
    assert missed == []
    assert sum(found.values()) == IN_SUITE


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_five_thousand_changes_are_found(name: str) -> None:
    assert SLOW * len(SOURCES) >= 5000
    found, missed = run_output_mutations(name, count=SLOW, seed=6)
    assert missed == []
    assert len(found) >= 6


def test_what_is_not_seen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "convert.output_mutations.verify", lambda *_, **__: type("R", (), {"problems": []})
    )
    found, missed = run_output_mutations("hdf5", count=3, seed=1)
    assert (sum(found.values()), len(missed)) == (0, 3)
