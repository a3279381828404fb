"""The GPU's side of dynamic time warping: one thread aligns one pair.

What is launched when is decided in `dtw_cuda`. A thread walks its matrix in tiles of a few rows:
the rows' frames and the last column of the tile live in registers, columns stream past, and only
the tile's last row goes through memory (`scratch`), neighbouring threads side by side. Path length
and charge travel with the cost, so no path is kept. Nothing is shared between threads: a pair's
answer does not depend, to the last bit, on the pairs beside it.

On paper, from the code compiled for sm_90 (`pose`, two-stage, float32): 167 registers and no
spills, so 12 warps on a multiprocessor, each with eight rows to interleave; about 65 instructions
a cell, two of them approximate square roots; 3 bytes of `scratch` traffic a cell. At 132
multiprocessors of 128 lanes and 1.75 GHz the arithmetic allows some 0.45e12 cells a second, the
memory (4.8e12 bytes a second) three times that. Not measured: no GPU was at hand.

Numbers are typed on purpose: one Python float among float32 would turn the arithmetic to float64.
There is no `min` and no `max`: Numba's own CUDA target, unlike `numba-cuda`, trips over them.
"""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

# Numba has no types for its CUDA target. The simulator looks for a global of this very name.
cuda: Any = import_module("numba.cuda")

ANGLE_COEFFICIENTS = (
    2.000001907348633,
    0.08330186456441879,
    0.00953283067792654,
    0.0010509933345019817,
    0.0006118027376942337,
    -0.0001620572729734704,
    5.771148425992578e-05,
)
"""P in angle = sqrt(s) P(s), s the squared chord between unit quaternions, 0 to 2.

The minimax fit of `4 asin(sqrt(s) / 2)`, whose error in float32 is below 1e-6 rad.
"""

# Stands for infinity, which fast arithmetic may assume away. A path costs less.
_UNREACHED = 1e30
# Registers, of 255, that the frames of a tile's rows may take: 8 rows of a pose in float32.
_ROW_REGISTERS = 64
_MOST_ROWS = 8
_ARM = 8


def rows_in_tile(width: int, dtype: type[np.floating]) -> int:
    """Rows of a tile, so that their frames stay in registers."""
    words = width * np.dtype(dtype).itemsize // 4
    return max(1, min(_MOST_ROWS, _ROW_REGISTERS // words))


@cache
def alignment_kernel(
    space: str, *, two_stage: bool, banded: bool, dtype: type[np.floating], width: int
) -> Any:
    """The kernel for one kind of frame cost; compiled at its first launch.

    Its arguments: `values` (frames, width); `offsets` (N + 1,) int64; `rows`, `columns` (P,) int32
    numbers of tracks; `slope`, `radius` (P,) float64 of the bands; the three weights; `scratch`,
    flat, `3 if two_stage else 2` numbers for each column of the longest track and each thread of
    the launch; `found` (3, P): cost of the path without the charge, its length, the charge.

    Args:
        space: As in `FrameCost`.
        two_stage: As in `FrameCost`.
        banded: Whether `slope` and `radius` hold.
        dtype: float32 (fast arithmetic: approximate roots, denormals are zero) or float64.
        width: Columns of a track.
    """
    real: Any = dtype
    zero, one, unreached = real(0), real(1), real(_UNREACHED)
    height = rows_in_tile(width, dtype)
    parts = 3 if two_stage else 2
    fast = dtype is np.float32
    frame_cost = _frame_cost(space, two_stage=two_stage, dtype=dtype, width=width)
    # The band is defined by NumPy's rounding, so product and difference must not be fused.
    simulated = import_module("numba").config.ENABLE_CUDASIM
    product: Any = _product if simulated else import_module("numba.cuda.libdevice").dmul_rn

    @cuda.jit(device=True, fastmath=fast)
    def above(scratch: Any, at: int, stride: int, begin: int, end: int, j: int) -> Any:
        """Column j of the row above the tile; beyond that row's columns nothing was reached."""
        if j < begin or j > end:
            return unreached, zero, zero
        where = j * parts * stride + at
        charge = zero
        if two_stage:
            charge = scratch[where + 2 * stride]
        return scratch[where], scratch[where + stride], charge

    @cuda.jit(device=True, fastmath=fast)
    def cheapest(diagonal: Any, up: Any, left: Any) -> Any:
        best = diagonal
        if up[0] < best[0]:
            best = up
        if left[0] < best[0]:
            best = left
        return best

    @cuda.jit(device=True)
    def first_column(i: int, slope: float, radius: float) -> int:
        column = math.ceil(product(float(i), slope) - radius)
        return int(column) if column > 0 else 0

    @cuda.jit(device=True)
    def last_column(i: int, slope: float, radius: float, m: int) -> int:
        column = math.floor(product(float(i), slope) + radius)
        return int(column) if column < m - 1 else m - 1

    @cuda.jit(fastmath=fast)
    def align(
        values: Any,
        offsets: Any,
        rows: Any,
        columns: Any,
        slope: Any,
        radius: Any,
        position: Any,
        rotation: Any,
        gripper: Any,
        scratch: Any,
        found: Any,
    ) -> None:
        k = cuda.grid(1)
        if k >= rows.size:
            return
        stride = cuda.gridsize(1)
        row_at, column_at = offsets[rows[k]], offsets[columns[k]]
        n, m = offsets[rows[k] + 1] - row_at, offsets[columns[k] + 1] - column_at

        frames = cuda.local.array((height, width), real)
        frame = cuda.local.array(width, real)
        left = cuda.local.array((height, 3), real)
        low = cuda.local.array(height, np.int32)
        high = cuda.local.array(height, np.int32)

        # The columns of the row above the tile; above the first there are none.
        above_begin, above_end = 0, -1
        for top in range(0, n, height):
            begin, end = 0, m - 1
            for r in range(height):
                i = top + r if top + r < n else n - 1
                for c in range(width):
                    frames[r, c] = values[row_at + i, c]
                left[r, 0], left[r, 1], left[r, 2] = unreached, zero, zero
                if banded:
                    low[r] = first_column(i, slope[k], radius[k])
                    high[r] = last_column(i, slope[k], radius[k], m)
            if banded:
                begin, end = low[0], high[height - 1]
            corner = above(scratch, k, stride, above_begin, above_end, begin - 1)
            if top == 0:
                corner = zero, zero, zero
            coming = above(scratch, k, stride, above_begin, above_end, begin)
            for j in range(begin, end + 1):
                for c in range(width):
                    frame[c] = values[column_at + j, c]
                up = coming
                # Asked for one column ahead, so that it is here when it is needed.
                coming = above(scratch, k, stride, above_begin, above_end, j + 1)
                diagonal, corner = corner, up
                for r in range(height):
                    before = left[r, 0], left[r, 1], left[r, 2]
                    cost, length, charge = cheapest(diagonal, up, before)
                    cost += frame_cost(frames, r, frame, position, rotation, gripper)
                    length += one
                    if two_stage:
                        charge += abs(frames[r, width - 1] - frame[width - 1])
                    if banded and (j < low[r] or j > high[r]):
                        cost = unreached
                    left[r, 0], left[r, 1], left[r, 2] = cost, length, charge
                    diagonal, up = before, (cost, length, charge)
                if top + height < n:
                    where = j * parts * stride + k
                    scratch[where], scratch[where + stride] = up[0], up[1]
                    if two_stage:
                        scratch[where + 2 * stride] = up[2]
            above_begin, above_end = begin, end
            # The last tile may be short. A search keeps `left` in registers, an index would not.
            for r in range(height):
                if top + r == n - 1:
                    found[0, k], found[1, k], found[2, k] = left[r, 0], left[r, 1], left[r, 2]

    return align


def _frame_cost(space: str, *, two_stage: bool, dtype: type[np.floating], width: int) -> Any:
    """What it costs to lay frame `row` of a tile on the frame of a column."""
    zero: Any = dtype(0)
    fast = dtype is np.float32
    angle = _angle(dtype)
    end = {"pose": 3, "joint": width - 1}.get(space, width)
    turns, grips = space == "pose", space != "euclidean" and not two_stage

    @cuda.jit(device=True, fastmath=fast)
    def sum_of_parts(
        frames: Any, row: int, frame: Any, position: Any, rotation: Any, gripper: Any
    ) -> Any:
        squares = zero
        for c in range(end):
            difference = frames[row, c] - frame[c]
            squares += difference * difference
        cost = position * math.sqrt(squares)
        if turns:
            cost += rotation * angle(frames, row, frame, 3)
        if grips:
            cost += gripper * abs(frames[row, width - 1] - frame[width - 1])
        return cost

    @cuda.jit(device=True, fastmath=fast)
    def root_of_squares(
        frames: Any, row: int, frame: Any, position: Any, rotation: Any, gripper: Any
    ) -> Any:
        squares = zero
        for arm in range(0, width, _ARM):
            for c in range(arm, arm + 3):
                moved = position * (frames[row, c] - frame[c])
                squares += moved * moved
            turned = rotation * angle(frames, row, frame, arm + 3)
            gripped = gripper * (frames[row, arm + 7] - frame[arm + 7])
            squares += turned * turned + gripped * gripped
        return math.sqrt(squares)

    return root_of_squares if space == "pose_rms" else sum_of_parts


def _angle(dtype: type[np.floating]) -> Any:
    """Radians between two unit quaternions, exactly 0 for q and -q.

    From the nearer of q' and -q', picked by the sign of the dot product: their difference keeps
    its digits near 0, where 1 - |q . q'| and 4 - |q - q'|^2 lose them.
    """
    real: Any = dtype
    zero, one, two, four = real(0), real(1), real(2), real(4)
    fast = dtype is np.float32
    p0, p1, p2, p3, p4, p5, p6 = (real(value) for value in ANGLE_COEFFICIENTS)

    @cuda.jit(device=True, fastmath=fast)
    def squared_chord(frames: Any, row: int, frame: Any, at: int) -> Any:
        dot = zero
        for c in range(at, at + 4):
            dot += frames[row, c] * frame[c]
        sign = one if dot >= zero else -one
        squares = zero
        for c in range(at, at + 4):
            difference = frames[row, c] - sign * frame[c]
            squares += difference * difference
        return squares

    @cuda.jit(device=True, fastmath=fast)
    def by_polynomial(frames: Any, row: int, frame: Any, at: int) -> Any:
        s = squared_chord(frames, row, frame, at)
        series = p0 + s * (p1 + s * (p2 + s * (p3 + s * (p4 + s * (p5 + s * p6)))))
        return math.sqrt(s) * series

    @cuda.jit(device=True, fastmath=fast)
    def by_arcsine(frames: Any, row: int, frame: Any, at: int) -> Any:
        s = squared_chord(frames, row, frame, at)
        half = math.sqrt(s) / two
        return four * math.asin(half if half < one else one)

    return by_polynomial if fast else by_arcsine


def _product(a: float, b: float) -> float:
    return a * b
