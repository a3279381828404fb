"""Planes, trees, and the drawings made of them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.cluster.embedding import classical_mds
from finedata.cluster.group.linkage import flat_labels, linkage_of
from finedata.report.drawing.clusters import COLOURS, MapPoint, dendrogram, marker, point_map
from finedata.report.drawing.plots import Bins, Line, Mark, funnel_bars, histogram, line_chart
from finedata.report.drawing.trees import tree_of

SVG = "{http://www.w3.org/2000/svg}"


def squares(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


@given(st.integers(2, 30), st.integers(0, 99))
def test_a_plane_is_found_again(n: int, seed: int) -> None:
    square = squares(np.random.default_rng(seed).normal(size=(n, 2)))
    plane = classical_mds(square)
    np.testing.assert_allclose(squares(plane.points), square, atol=1e-7)
    assert plane.kept_share == pytest.approx(1.0)


def test_what_a_plane_cannot_hold_is_said() -> None:
    # The corners of a simplex in n - 1 dimensions: all eigenvalues are equal.
    n = 9
    plane = classical_mds(np.ones((n, n)) - np.eye(n))
    assert plane.kept_share == pytest.approx(2 / (n - 1))


@pytest.mark.parametrize("seed", range(12))
def test_the_signs_of_the_axes_are_fixed(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(20, 2)) * [3, 1]
    first = classical_mds(squares(points)).points
    mirrored = classical_mds(squares(points * [-1, 1] @ np.array([[0, 1], [1, 0]]))).points
    np.testing.assert_allclose(first, mirrored, atol=1e-7)
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in first.T)


def test_one_or_equal_episodes_have_a_plane() -> None:
    assert classical_mds(np.zeros((1, 1))).points.tolist() == [[0.0, 0.0]]
    assert classical_mds(np.zeros((4, 4))).points.tolist() == [[0.0, 0.0]] * 4


@pytest.mark.parametrize(("n", "most"), [(6, 31), (31, 31), (32, 31), (80, 31), (2, 31)])
def test_a_tree_has_every_episode_and_only_the_last_merges(n: int, most: int) -> None:
    points = np.random.default_rng(n).normal(size=(n, 2))
    merges = linkage_of(squares(points)[np.triu_indices(n, k=1)])
    groups = flat_labels(merges, 2) - 1
    badges = ["7" if i == 0 else "" for i in range(n)]
    tree = tree_of(merges, groups, badges, flat_clusters=2, most_leaves=most)
    assert len(tree.leaves) == min(n, most)
    assert len(tree.merges) == len(tree.leaves) - 1
    assert sum(size for size, *_ in tree.leaves) == n
    heights = [height for *_, height in tree.merges]
    assert heights == merges[-len(heights) :, 2].tolist()
    if n > 2:
        assert tree.cut is not None
        assert heights[-2] < tree.cut < heights[-1]
    # A leaf of several is labelled with how many, one alone with its representative's number.
    for size, _, label in tree.leaves:
        assert label == (f"\u00d7{size}" if size > 1 else label)
    assert n > most or "7" in [label for *_, label in tree.leaves]
    root = ET.fromstring(dendrogram(tree, label="x", title="height"))
    branches = [e for e in root.iter(f"{SVG}polyline") if "branch" in e.get("class", "")]
    assert len(branches) == len(tree.merges)
    # Leaves lie side by side: no branch of a merge of two leaves spans a third.
    assert all(abs(a - b) == 1 for a, b, _ in tree.merges if max(a, b) < len(tree.leaves))


def test_clusters_differ_in_shape_or_colour() -> None:
    def sign(group: int) -> tuple[str, str | None]:
        root = ET.fromstring(marker(0.0, 0.0, 1.0, group))
        return f"{root.tag}{root.get('points')}", root.get("class")

    assert len({sign(group) for group in range(4 * COLOURS)}) == 4 * COLOURS
    assert all(sign(g)[0] != sign(g + 1)[0] and sign(g)[1] != sign(g + 1)[1] for g in range(40))


def test_a_map_shows_every_point_and_keeps_its_proportions() -> None:
    points = [MapPoint(x, y, 0, f"<{x}>") for x, y in [(0, 0), (10, 0), (0, 1)]]
    points.append(MapPoint(10.0, 1.0, 1, "chosen", medoid=True, badge="1"))
    root = ET.fromstring(point_map(points, label="l", unit="u"))
    titles = [e.text for e in root.iter(f"{SVG}title")]
    assert titles == ["<0>", "<10>", "<0>", "chosen"]
    at = [(float(e.get("cx", 0)), float(e.get("cy", 0))) for e in root.iter(f"{SVG}circle")]
    (a, b, c), ring = at[:3], at[3]
    assert b[0] - a[0] == pytest.approx(10 * (a[1] - c[1]), abs=1.0)
    assert ring == pytest.approx((b[0], c[1]), abs=0.11)


def test_a_map_of_one_place_is_drawn() -> None:
    points = [MapPoint(1.0, 1.0, 0, "a"), MapPoint(1.0, 1.0, 1, "b")]
    root = ET.fromstring(point_map(points, label="l", unit="u"))
    assert len(list(root.iter(f"{SVG}title"))) == 2


def test_bars_are_as_high_as_their_counts() -> None:
    bins = Bins(
        edges=(0.0, 1.0, 2.0), stacks=(("kept", "p", (4, 1)), ("aside", "f", (2, 0))), beyond=(0, 3)
    )
    root = ET.fromstring(histogram(bins, title="t", label="l", marks=[Mark(1.5, "limit")]))
    bars = [e for e in root.iter(f"{SVG}rect") if e.find(f"{SVG}title") is not None]
    height = [float(e.get("height", 0)) for e in bars]
    assert [e.get("class") for e in bars] == ["kept", "aside", "kept", "aside"]
    unit = height[2]
    assert [h / unit for h in height] == pytest.approx([4, 2, 1, 3], abs=0.05)
    # What is stacked stands on what is below it.
    tops = [float(e.get("y", 0)) for e in bars]
    assert tops[1] + height[1] == pytest.approx(tops[0], abs=0.11)
    said = [e.findtext(f"{SVG}title") for e in bars]
    assert said == ["0 to 1: 4 p, 2 f", "0 to 1: 4 p, 2 f", "1 to 2: 1 p", "2 or more: 3 f"]
    words = [e.text for e in root.iter(f"{SVG}text")]
    assert "limit" in words
    assert "\u2265 2" in words


def test_a_threshold_outside_is_said_at_the_edge() -> None:
    bins = Bins(edges=(0.0, 1.0), stacks=(("kept", "p", (4,)),), beyond=(0,))
    root = ET.fromstring(histogram(bins, title="t", label="l", marks=[Mark(9.0, "limit")]))
    assert "limit (further right)" in [e.text for e in root.iter(f"{SVG}text")]
    assert not [e for e in root.iter(f"{SVG}line") if e.get("class") == "mark"]


def test_the_funnel_is_drawn_to_scale() -> None:
    steps = [("found", 200, ""), ("written", 50, "150 failed"), ("kept", 0, "")]
    root = ET.fromstring(funnel_bars(steps, label="l"))
    bars = [e for e in root.iter(f"{SVG}rect") if e.get("class") == "kept"]
    assert [float(e.get("width", 0)) for e in bars] == [250.0, 62.5]


def test_a_band_surrounds_its_line() -> None:
    line = Line("a", "random", (0.0, 1.0, 2.0), (2.0, 1.0, 0.5), (1.5, 0.5, 0.2), (3.0, 1.5, 0.6))
    root = ET.fromstring(line_chart([line], x_title="x", y_title="y", label="l"))
    (band,) = root.iter(f"{SVG}polygon")
    drawn = [tuple(map(float, p.split(","))) for p in band.get("points", "").split()]
    points = next(root.iter(f"{SVG}polyline")).get("points", "")
    middle = [tuple(map(float, p.split(","))) for p in points.split()]
    for (x, y), (_, top), (_, low) in zip(middle, drawn[:3], reversed(drawn[3:]), strict=True):
        assert top < y < low
        assert x in (drawn[0][0], drawn[1][0], drawn[2][0])
