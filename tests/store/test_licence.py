"""Which licences go together, and what is said where they do not."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import pytest

from finedata.errors import UsageError
from finedata.store.merge.licence import check_licences, licence_conflicts

CONVERTERS = Path(__file__).parents[2] / "converters"


def conflict(first: str, second: str) -> str:
    found = licence_conflicts([("a", first), ("b", second)])
    return found[0].reason if found else ""


@pytest.mark.parametrize(
    "pair",
    list(itertools.combinations_with_replacement(["CC-BY-4.0", "Apache-2.0", "MIT", "CC0"], 2)),
)
def test_permissive_ones_go_together(pair: tuple[str, str]) -> None:
    assert conflict(*pair) == ""


@pytest.mark.parametrize(
    ("licence", "word"),
    [
        ("CC-BY-NC-4.0", "commercial"),
        ("CC-BY-NC-SA-4.0", "commercial"),
        ("CC-BY-SA-4.0", "same licence"),
        ("CC-BY-ND-4.0", "share"),
    ],
)
def test_conditions_do_not_mix_but_with_themselves(licence: str, word: str) -> None:
    for other in ("CC-BY-4.0", "MIT"):
        assert word in conflict(licence, other)
        assert word in conflict(other, licence)
    assert conflict(licence, licence) == ""


def test_two_conditions_do_not_mix() -> None:
    assert conflict("CC-BY-NC-SA-4.0", "CC-BY-SA-4.0")
    assert conflict("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0")


@pytest.mark.parametrize("unknown", ["unknown", "LicenseRef-unknown", "LicenseRef-x", "", "GPL"])
def test_an_unknown_one_mixes_with_nothing(unknown: str) -> None:
    for other in ("MIT", "CC-BY-NC-SA-4.0", unknown):
        assert "nobody knows" in conflict(unknown, other)


def test_one_source_with_itself_is_no_pair() -> None:
    assert licence_conflicts([("rt_1", "unknown"), ("rt_1", "unknown")]) == []


def test_case_does_not_matter() -> None:
    assert conflict("apache-2.0", "cc-by-4.0") == ""
    assert conflict("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0") == ""


def test_every_pair_is_said_with_its_reason() -> None:
    licences = [("rdt", "MIT"), ("galaxea", "CC-BY-NC-SA-4.0"), ("rt_1", "LicenseRef-unknown")]
    with pytest.raises(UsageError) as caught:
        check_licences(licences)
    text = str(caught.value)
    assert "galaxea (CC-BY-NC-SA-4.0) with rdt (MIT)" in text
    assert "galaxea (CC-BY-NC-SA-4.0) with rt_1 (LicenseRef-unknown)" in text
    assert "rdt (MIT) with rt_1 (LicenseRef-unknown)" in text
    assert "--allow-mixed-licences" in text


def test_the_converters_that_may_be_merged() -> None:
    licences = {
        path.stem: tomllib.loads(path.read_text(encoding="utf-8"))["licence"]
        for path in CONVERTERS.glob("*.toml")
    }
    free = [(name, licences[name]) for name in ("bridge_v2", "droid", "rdt", "robomind_v1")]
    assert licence_conflicts(free) == []
    assert licence_conflicts([*free, ("galaxea", licences["galaxea"])])
