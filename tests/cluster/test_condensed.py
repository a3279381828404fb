from __future__ import annotations

import numpy as np
import pytest
from cluster.clouds import cloud, condensed
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import squareform

from finedata.cluster.distance.condensed import condensed_of, count_of, square_of, sub_condensed
from finedata.errors import FeatureError


@given(st.integers(1, 12), st.integers(0, 99))
def test_as_scipy(count, seed):
    matrix = condensed(cloud(seed, count))
    square = squareform(matrix) if count > 1 else np.zeros((1, 1))
    assert count_of(matrix) == count
    np.testing.assert_array_equal(square_of(matrix), square)
    np.testing.assert_array_equal(condensed_of(square_of(matrix)), matrix)
    assert square_of(matrix).dtype == np.float32
    members = np.random.default_rng(seed).permutation(count)[: max(1, count // 2)]
    np.testing.assert_array_equal(
        square_of(sub_condensed(matrix, members)), square[np.ix_(members, members)]
    )


def test_no_triangle():
    with pytest.raises(FeatureError, match="4 of them"):
        count_of(np.zeros(4))
