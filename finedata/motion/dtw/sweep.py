"""The recursion of DTW over vector lanes: as many pairs at once as a register has lanes.

Every lane is a pair of its own: `rows` and `columns` hold, frame after frame, each number of all
lanes side by side, so one instruction advances all of them. Columns are walked in blocks that stay
in the first-level cache. Beside the cost every cell carries the length of its path, and the
gripper's charge along it where that is charged in a second stage: no path is stored, with or
without a band.

Options are arguments that are None or not; Numba compiles one kernel for each combination in use
and prunes the rest.
"""
# pyright: basic, reportCallIssue=false, reportIndexIssue=false
# ruff: noqa: ANN001, ANN201, ANN202 (kernels: their types are Numba's)

from __future__ import annotations

from finedata.motion.dtw.compiling import cached_kernel, kernel
from finedata.motion.dtw.lanes import (
    absolute,
    add,
    any_above,
    fma,
    is_double,
    load,
    load_changing,
    minimum,
    mul,
    splat,
    sqrt,
    sqrt_multiplied,
    store_apart,
    sub,
    where_le,
    width_of,
)

# Stands for "no path": an infinity would make NaN of the first difference.
BIG = 1e30

# The angle between unit quaternions is sqrt(s) P(s) with s = min(|q - q'|^2, |q + q'|^2) in [0, 2]:
# exact at 0, where acos is worst. P approximates 4 asin(sqrt(s) / 2) / sqrt(s): of degree 5 the
# angle is within 1.8e-6 rad and 1.7e-6 of itself (a minimax fit), of degree 18 within 1e-15.
_P0, _P1, _P2, _P3, _P4, _P5 = (
    1.99999667,
    0.0834116678,
    0.00901083307,
    0.00203563167,
    -0.000260194036,
    0.000201717549,
)
_EXACT = (
    2.00000000000000003,
    0.083333333333323488,
    9.37500000058120581e-3,
    1.39508927212683715e-3,
    2.37359108435416208e-4,
    4.36943673611735521e-5,
    8.47926670994813115e-6,
    1.68303143583604879e-6,
    4.0708530703783625e-7,
    -2.76020298338199682e-8,
    1.60127389041417877e-7,
    -1.51309878739179481e-7,
    1.2740425460965721e-7,
    -7.82550108532851249e-8,
    3.62441327046379592e-8,
    -1.20934224591553059e-8,
    2.77962850188636658e-9,
    -3.93698772295534176e-10,
    2.65503170844077545e-11,
)


@kernel
def _angle_terms(rows, r, columns, k, exact):
    """The s and P(s) of the quaternions at `r` and `k`."""
    w = width_of(rows)
    ra, rb, rc, rd = load(rows, r), load(rows, r + w), load(rows, r + 2 * w), load(rows, r + 3 * w)
    ca, cb = load(columns, k), load(columns, k + w)
    cc, cd = load(columns, k + 2 * w), load(columns, k + 3 * w)
    a, b, c, d = sub(ca, ra), sub(cb, rb), sub(cc, rc), sub(cd, rd)
    s = fma(a, a, fma(b, b, fma(c, c, mul(d, d))))
    # Rare where signs are canonical. Not 4 - s, which is far from exact where q is near -q'.
    if any_above(s, splat(rows, 2.0)):
        a, b, c, d = add(ca, ra), add(cb, rb), add(cc, rc), add(cd, rd)
        s = minimum(s, fma(a, a, fma(b, b, fma(c, c, mul(d, d)))))
    if exact is not None:
        p = splat(rows, _EXACT[18])
        for degree in range(17, -1, -1):
            p = fma(p, s, splat(rows, _EXACT[degree]))
        return s, p
    ss = mul(s, s)
    low = fma(splat(rows, _P1), s, splat(rows, _P0))
    middle = fma(splat(rows, _P3), s, splat(rows, _P2))
    high = fma(splat(rows, _P5), s, splat(rows, _P4))
    return s, fma(ss, fma(ss, high, middle), low)


@kernel
def _squares3(rows, r, columns, k):
    w = width_of(rows)
    x = sub(load(columns, k), load(rows, r))
    y = sub(load(columns, k + w), load(rows, r + w))
    z = sub(load(columns, k + 2 * w), load(rows, r + 2 * w))
    return fma(x, x, fma(y, y, mul(z, z)))


@kernel
def _squares8(rows, r, columns, k):
    w = width_of(rows)
    a = sub(load(columns, k), load(rows, r))
    b = sub(load(columns, k + w), load(rows, r + w))
    c = sub(load(columns, k + 2 * w), load(rows, r + 2 * w))
    d = sub(load(columns, k + 3 * w), load(rows, r + 3 * w))
    e = sub(load(columns, k + 4 * w), load(rows, r + 4 * w))
    f = sub(load(columns, k + 5 * w), load(rows, r + 5 * w))
    g = sub(load(columns, k + 6 * w), load(rows, r + 6 * w))
    h = sub(load(columns, k + 7 * w), load(rows, r + 7 * w))
    left = fma(a, a, fma(b, b, fma(c, c, mul(d, d))))
    right = fma(e, e, fma(f, f, fma(g, g, mul(h, h))))
    return add(left, right)


@kernel
def _root(squares, turn):
    """The square root; of doubles every other one by the other units. Of floats that costs more."""
    if is_double(squares) and turn & 1:
        return sqrt_multiplied(squares)
    return sqrt(squares)


@kernel
def _motion_cost(rows, r, columns, k, numbers, pose, arms, exact, turn):
    """The frame cost without a gripper term of its own; see `FrameCost`."""
    w = width_of(rows)
    if pose is not None:
        s, p = _angle_terms(rows, r + 3 * w, columns, k + 3 * w, exact)
        return fma(sqrt_multiplied(s), p, sqrt(_squares3(rows, r, columns, k)))
    if arms is not None:
        total = splat(rows, 0.0)
        for at in range(0, numbers * w, 8 * w):
            s, p = _angle_terms(rows, r + at + 3 * w, columns, k + at + 3 * w, exact)
            g = sub(load(columns, k + at + 7 * w), load(rows, r + at + 7 * w))
            pose_squares = fma(s, mul(p, p), _squares3(rows, r + at, columns, k + at))
            total = add(total, fma(g, g, pose_squares))
        return sqrt(total)
    total = _squares8(rows, r, columns, k)
    for at in range(8 * w, numbers * w, 8 * w):
        total = add(total, _squares8(rows, r + at, columns, k + at))
    return _root(total, turn)


@cached_kernel
def sweep(
    rows,
    columns,
    numbers,
    stride,
    n,
    m,
    ends,
    block,
    line,
    edge,
    out,
    pose,
    arms,
    exact,
    gripper,
    charge,
    band,
):
    """Run the recursion for one vector of pairs.

    Args:
        rows: (n * stride * W,) packed frames of the rows.
        columns: (m * stride * W,) packed frames of the columns.
        numbers: Numbers that the motion cost looks at; eights for vectors.
        stride: Numbers of a packed frame; the gripper is the last.
        n: Longest row track of the lanes.
        m: Longest column track.
        ends: (2, W) int64 lengths of each lane's row and column track; 0 for a lane without one.
        block: Columns that stay in the cache together; m where there is a band.
        line: (m * S * W,) scratch: the row before, S = 2, or 3 with a charge.
        edge: ((n + 1) * S * W,) scratch: the column before the block.
        out: (3, W) receives cost, path length, charge.
        pose: Not None: position, quaternion.
        arms: Not None: root of squares over arms. Neither: Euclidean.
        exact: Not None: angles in float64.
        gripper: Not None: the gripper's difference is part of the cost.
        charge: Not None: it is summed along the path instead.
        band: None, or (n, 2, W): first and last column of each row and lane, as numbers.
    """
    w = width_of(rows)
    big, zero, one = splat(rows, BIG), splat(rows, 0.0), splat(rows, 1.0)
    if band is not None:
        band_numbers = band.ravel()
    step = 2 * w
    if charge is not None:
        step = 3 * w
    for j in range(m):
        store_apart(line, j * step, big)
    for i in range(n + 1):
        store_apart(edge, i * step, big)
    first_end = n
    for lane in range(w):
        if 0 < ends[0, lane] < first_end:
            first_end = ends[0, lane]
    for begin in range(0, m, block):
        end = min(m, begin + block)
        diagonal, diagonal_length, diagonal_charge = big, zero, zero
        if begin == 0:
            diagonal = zero
        low_before = 0
        for i in range(n):
            r = i * stride * w
            here = (i + 1) * step
            left = load_changing(edge, here)
            left_length = load_changing(edge, here + w)
            next_diagonal, next_length = left, left_length
            if charge is not None:
                left_charge = load_changing(edge, here + 2 * w)
                next_charge = left_charge
            start, stop = begin, end
            if band is not None:
                low, high = band[i, 0, 0], band[i, 1, 0]
                for lane in range(1, w):
                    low = min(low, band[i, 0, lane])
                    high = max(high, band[i, 1, lane])
                start, stop = int(low), int(high) + 1
                left = big
                if i > 0:
                    diagonal = big
                    # A cell that the row before did not reach is no way here.
                    if start > low_before:
                        diagonal = load_changing(line, (start - 1) * step)
                        diagonal_length = load_changing(line, (start - 1) * step + w)
                        if charge is not None:
                            diagonal_charge = load_changing(line, (start - 1) * step + 2 * w)
                low_before = start
            for j in range(start, stop):
                k = j * stride * w
                cost = _motion_cost(rows, r, columns, k, numbers, pose, arms, exact, j)
                if band is not None:
                    column = splat(rows, float(j))
                    cost = where_le(load(band_numbers, 2 * i * w), column, cost, big)
                    cost = where_le(column, load(band_numbers, (2 * i + 1) * w), cost, big)
                if gripper is not None:
                    at = (stride - 1) * w
                    cost = add(cost, absolute(sub(load(columns, k + at), load(rows, r + at))))
                at = j * step
                up = load_changing(line, at)
                up_length = load_changing(line, at + w)
                # Ties: diagonal, up, left.
                best = minimum(up, diagonal)
                length = where_le(diagonal, up, diagonal_length, up_length)
                if charge is not None:
                    up_charge = load_changing(line, at + 2 * w)
                    charged = where_le(diagonal, up, diagonal_charge, up_charge)
                    charged = where_le(best, left, charged, left_charge)
                    diagonal_charge = up_charge
                    a = (stride - 1) * w
                    left_charge = add(
                        charged, absolute(sub(load(columns, k + a), load(rows, r + a)))
                    )
                    store_apart(line, at + 2 * w, left_charge)
                length = where_le(best, left, length, left_length)
                best = minimum(left, best)
                diagonal, diagonal_length = up, up_length
                left, left_length = add(best, cost), add(length, one)
                store_apart(line, at, left)
                store_apart(line, at + w, left_length)
            store_apart(edge, here, left)
            store_apart(edge, here + w, left_length)
            diagonal, diagonal_length = next_diagonal, next_length
            if charge is not None:
                store_apart(edge, here + 2 * w, left_charge)
                diagonal_charge = next_charge
            if i + 1 >= first_end:
                for lane in range(w):
                    if ends[0, lane] == i + 1 and begin < ends[1, lane] <= end:
                        at = (ends[1, lane] - 1) * step + lane
                        out[0, lane] = line[at]
                        out[1, lane] = line[at + w]
                        if charge is not None:
                            out[2, lane] = line[at + 2 * w]
