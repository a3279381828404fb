"""Shares and agreement against published worked examples, and against what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from finedata.review.agreement import cohen_kappa, krippendorff_alpha, share_of, wilson


def each(table: list[list[int]]) -> tuple[list[str], list[str], list[str]]:
    """Pairs of a table of counts, each of an episode of its own."""
    first: list[str] = []
    second: list[str] = []
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            first += [str(i)] * count
            second += [str(j)] * count
    return first, second, [str(n) for n in range(len(first))]


@pytest.mark.parametrize(
    ("right", "of", "wanted"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson(right: int, of: int, wanted: tuple[float, float]) -> None:
    assert wilson(right, of) == pytest.approx(wanted, abs=5e-5)
    lower, upper = wilson(of - right, of)
    assert (1 - upper, 1 - lower) == pytest.approx(wanted, abs=5e-5)


def test_kappa_of_published_tables() -> None:
    # Fleiss, Levin and Paik 2003, table 18.1 and page 605: 0.676, standard error 0.087
    found = cohen_kappa(*each([[75, 1, 4], [5, 4, 1], [0, 0, 10]]))
    assert found.value == pytest.approx(0.676, abs=5e-4)
    assert found.same == pytest.approx(0.89)
    assert found.lower is not None
    assert found.upper is not None
    assert (found.upper - found.lower) / (2 * 1.96) == pytest.approx(0.087, abs=0.012)
    # Feinstein and Cicchetti 1990: the same agreement, 0.85, and another prevalence
    even = cohen_kappa(*each([[40, 9], [6, 45]]))
    rare = cohen_kappa(*each([[80, 10], [5, 5]]))
    assert (even.same, rare.same) == (0.85, 0.85)
    assert even.value == pytest.approx(0.70, abs=5e-3)
    assert rare.value == pytest.approx(0.32, abs=5e-3)


def test_alpha_of_krippendorffs_own_examples() -> None:
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", sections A to C
    meg, owen = "0100000010", "1110010000"
    units = [list(pair) for pair in zip(meg, owen, strict=True)]
    names = [str(n) for n in range(20)]
    assert krippendorff_alpha(units, names[:10]).value == pytest.approx(0.095, abs=5e-4)
    four = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    units = [[one for one in said if one != "."] for said in zip(*four, strict=True)]
    found = krippendorff_alpha(units, names[:12])
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.facts == 11  # the last was judged once


def test_what_people_reported_of_other_tools() -> None:
    """Missing judgements, one disagreement, and a value that only one person used."""
    names = [str(n) for n in range(9)]
    # a rater with holes who agrees wherever there are two: that is perfect agreement
    assert krippendorff_alpha([["1", "1"], ["1", "1", "1"], ["2", "2"]], names[:3]).value == 1
    # one disagreement among five raters of five units: Krippendorff himself says 0
    rows = ("33333", "33333", "33  3", "33331", "3 333")
    units = [[one for one in said if one != " "] for said in zip(*rows, strict=True)]
    assert krippendorff_alpha(units, names[:5]).value == pytest.approx(0, abs=1e-12)
    # the other value is of a unit that one person judged: of the rest everybody said the same
    found = krippendorff_alpha([["1", "1"], ["2"]], names[:2])
    assert (found.value, found.same, found.facts) == (None, 1.0, 1)


def test_what_everybody_always_said_has_no_agreement_beyond_chance() -> None:
    same = ["accept"] * 9
    episodes = [str(n) for n in range(9)]
    for found in (
        cohen_kappa(same, same, episodes),
        krippendorff_alpha([["accept"] * 2] * 9, episodes),
    ):
        assert (found.value, found.lower, found.same, found.prevalence) == (None, None, 1.0, 1.0)
    assert cohen_kappa([], [], []).facts == 0
    assert krippendorff_alpha([["accept"]], ["a"]).facts == 0
    assert share_of([], []).value is None


def test_facts_of_one_episode_are_no_independent_draws() -> None:
    """Of 400 made-up reviews the interval must hold the true share in about 95 of 100."""
    random = np.random.default_rng(0)
    held = naive = 0
    for _ in range(400):
        chances = random.beta(4, 1, 40)  # mean 0.8
        right = random.random((40, 12)) < chances[:, None]
        episodes = [str(n) for n in range(40) for _ in range(12)]
        found = share_of(right.ravel().tolist(), episodes)
        assert found.lower is not None
        assert found.upper is not None
        held += found.lower <= 0.8 <= found.upper
        lower, upper = wilson(right.sum(), right.size)
        naive += lower <= 0.8 <= upper
    assert held / 400 > 0.92
    assert naive / 400 < 0.85
    alike = share_of([True] * 30, [str(n % 3) for n in range(30)])
    assert alike.lower == pytest.approx(wilson(3, 3)[0])  # three episodes, not thirty facts


def test_agreement_varies_over_episodes_not_over_facts() -> None:
    first, second, names = each([[30, 10], [10, 50]])
    apart = cohen_kappa(first, second, names)
    together = cohen_kappa(first * 8, second * 8, names * 8)  # each episode has eight alike
    assert together.value == apart.value
    assert together.lower == pytest.approx(apart.lower, abs=1e-9)
    assert apart == cohen_kappa(first, second, names)  # drawn the same
