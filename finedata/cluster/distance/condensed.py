"""Condensed matrices: the upper triangle of symmetric distances, row by row, as SciPy has it.

A task's distances are kept in this form because it is half as large as the square. Float32 stays
float32.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["condensed_of", "count_of", "square_of", "sub_condensed"]


def count_of(condensed: NDArray[np.floating]) -> int:
    """How many episodes a condensed matrix is about; one where it is empty.

    Raises:
        FeatureError: No number of episodes has that many pairs.
    """
    pairs = len(condensed)
    count = (1 + isqrt(1 + 8 * pairs)) // 2
    if count * (count - 1) // 2 != pairs:
        raise FeatureError(
            place="distances", found=f"{pairs} of them", wanted="n (n - 1) / 2 for some n"
        )
    return count


def square_of(condensed: NDArray[np.floating]) -> NDArray[np.floating]:
    """The (n, n) matrix, with zeros on the diagonal."""
    count = count_of(condensed)
    square = np.zeros((count, count), condensed.dtype)
    end = 0
    # Row by row: lists of all index pairs would take four times the matrix.
    for row in range(count - 1):
        begin, end = end, end + count - 1 - row
        square[row, row + 1 :] = condensed[begin:end]
        square[row + 1 :, row] = condensed[begin:end]
    return square


def condensed_of(square: NDArray[np.floating]) -> NDArray[np.floating]:
    """The upper triangle of an (n, n) matrix, row by row; the lower one is not looked at."""
    rows = [square[row, row + 1 :] for row in range(len(square))]
    return np.concatenate(rows) if rows else np.zeros(0, square.dtype)


def sub_condensed(condensed: NDArray[np.floating], members: ArrayLike) -> NDArray[np.floating]:
    """The condensed matrix of some episodes, in the order given.

    Args:
        condensed: (n (n - 1) / 2,) distances.
        members: (m,) numbers of episodes, each once.

    Returns:
        (m (m - 1) / 2,) distances; `condensed` itself where all are asked for.
    """
    numbers = np.asarray(members, np.int64)
    count = count_of(condensed)
    if np.array_equal(numbers, np.arange(count)):
        return condensed
    found = np.empty(len(numbers) * (len(numbers) - 1) // 2, condensed.dtype)
    end = 0
    for row, number in enumerate(numbers.tolist()):
        first, second = (
            np.minimum(number, numbers[row + 1 :]),
            np.maximum(number, numbers[row + 1 :]),
        )
        begin, end = end, end + len(first)
        found[begin:end] = condensed[first * (2 * count - first - 1) // 2 + second - first - 1]
    return found
