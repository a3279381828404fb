"""Published numbers: what the arithmetic here makes of them.

The rows are those of the benchmark's project page (setting hard, four decimals). The question
counts are *inferred*: they are the only ones for which every published cell is k of n.
"""

from __future__ import annotations

import numpy as np
import pytest

from finedata.bench.benchmark import AXES
from finedata.bench.caption_score import CaptionScore
from finedata.bench.intervals import Ratios, interval
from finedata.schema.dimension import DIMENSIONS

# overall, consistency, coverage, anti-hallucination
CAPTIONS_HARD = {
    "RoboFine-VLM": (0.8363, 0.8191, 0.7530, 0.9370),
    "GPT-5.4": (0.7806, 0.7417, 0.6891, 0.9110),
    "Gemini 3.1 Pro": (0.7723, 0.7703, 0.6128, 0.9338),
    "Qwen3.5-Plus": (0.7247, 0.7085, 0.5682, 0.8973),
    "Doubao Seed 2.0 Pro": (0.6821, 0.7225, 0.6560, 0.6677),
    "Qwen3-VL-Plus": (0.6510, 0.6871, 0.5700, 0.6958),
}
INFERRED_QUESTIONS = {
    "active_actor": 61, "target_object": 85, "initial_configuration": 80, "action_sequence": 140,
    "contact_and_approach": 156, "trajectory_and_orientation": 215, "body_motion": 11,
    "object_interaction": 26, "final_configuration": 185, "failure_and_recovery": 14,
}  # fmt: skip


@pytest.mark.parametrize("model", CAPTIONS_HARD)
def test_overall_is_the_mean_of_three(model: str) -> None:
    overall, *parts = CAPTIONS_HARD[model]
    assert CaptionScore({}, *parts).overall == pytest.approx(overall, abs=1e-4)


def test_the_inferred_counts_are_of_the_ten_dimensions() -> None:
    assert set(INFERRED_QUESTIONS) == set(DIMENSIONS)
    assert sorted(name for members in AXES.values() for name in members) == sorted(DIMENSIONS)
    assert sum(INFERRED_QUESTIONS.values()) == 973


def test_small_dimensions_do_not_carry_a_decimal() -> None:
    """One question of body motion is nine points; Wilson's interval says so."""
    found = interval(Ratios.of(np.r_[np.ones(8), np.zeros(3)], np.ones(11), ["a"] * 11))
    assert (found.method, found.unrankable) == ("wilson", True)
    assert found.high - found.low > 0.45


def test_micro_and_macro_differ_by_the_counts_alone() -> None:
    """One set of columns, two averages: 67 and 71 may be the same model."""
    counts = np.array([INFERRED_QUESTIONS[name] for name in DIMENSIONS], float)
    share = np.where(counts < 30, 0.85, 0.65)  # better where there are few questions
    right = np.round(share * counts)
    macro = Ratios.of(right[:, None], counts[:, None], ["a"]).value
    micro = Ratios.of(right.sum()[None], counts.sum()[None], ["a"]).value
    assert micro == pytest.approx(right.sum() / 973)
    assert macro == pytest.approx(np.mean(right / counts))
    assert macro - micro > 0.04
