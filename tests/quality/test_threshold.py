"""The threshold from the data: every planted corruption is above it, and no clean log."""

from __future__ import annotations

import numpy as np
import pytest
from quality.planted import CORRUPTIONS, POSE_NAMES, clean, tracks_of

from finedata.quality.groups import Scales, part_groups, present_groups
from finedata.quality.score import action_state_scores
from finedata.quality.threshold import percentile_threshold, robust_threshold


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_corrupted_log_is_gated_and_no_clean_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [clean(rng) for _ in range(100)]
    names = ["clean"] * len(pairs)
    for name, corrupt in CORRUPTIONS.items():
        for _ in range(3):
            pairs.append(corrupt(rng, *clean(rng)))
            names.append(name)
    tracks = tracks_of(pairs, names=POSE_NAMES)
    groups = part_groups(tracks, scales=Scales())
    present = present_groups(tracks, groups, [["right"]] * len(tracks))
    scores = action_state_scores(tracks, groups, present, np.ones(len(tracks), bool))
    limit = robust_threshold(scores)
    assert limit is not None
    wrong = [
        (name, score)
        for name, score in zip(names, scores, strict=True)
        if (score > limit) != (name != "clean")
    ]
    assert wrong == []


def test_by_hand() -> None:
    """Logarithms 0, 1, ..., 10: median 5, MAD 3 (|5 - k| are 0,1,1,2,2,3,3,4,4,5,5)."""
    scores = np.exp(np.arange(11.0))
    assert robust_threshold(scores) == pytest.approx(np.exp(5 + 5 * 1.4826 * 3))


def test_outliers_do_not_widen_it() -> None:
    rng = np.random.default_rng(0)
    good = np.exp(rng.normal(0.5, 0.2, 300))
    bad = np.exp(rng.normal(4.0, 0.3, 120))
    assert robust_threshold(np.concatenate([good, bad])) == pytest.approx(
        robust_threshold(good), rel=0.2
    )


def test_good_controllers_are_not_gated_for_being_unequal() -> None:
    """Scores a thousandth apart from one another but all far below a scale."""
    scores = np.concatenate([np.full(50, 0.001), [0.4]])
    assert robust_threshold(scores) == 1.0
    assert robust_threshold(np.zeros(20)) == 1.0


def test_a_bound_for_sources_that_are_all_wrong() -> None:
    scores = np.exp(np.random.default_rng(0).normal(6.0, 0.2, 100))
    assert robust_threshold(scores) > scores.max()
    assert robust_threshold(scores, highest=10.0) == 10.0


def test_too_few() -> None:
    scores = np.append(np.arange(1.0, 10.0), [np.nan, np.inf])
    assert robust_threshold(scores) is None
    assert percentile_threshold(scores, 90) is None
    assert robust_threshold(np.append(scores, 10.0)) is not None


def test_percentile() -> None:
    assert percentile_threshold(np.arange(101.0), 95) == pytest.approx(95.0)
