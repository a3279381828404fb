"""From ragged tracks to packed lanes and back: the loops that feed `sweep`.

A call works through a slice of a plan without Python, so that threads may run slices side by side;
what a slice writes depends on nothing but its pairs.
"""
# pyright: basic, reportCallIssue=false, reportIndexIssue=false
# ruff: noqa: ANN001, ANN201, ANN202 (kernels: their types are Numba's)

from __future__ import annotations

import math

import numpy as np

from finedata.motion.dtw.compiling import cached_kernel, kernel
from finedata.motion.dtw.lanes import splat, store, width_of
from finedata.motion.dtw.sweep import sweep

# Packed numbers of one column block: about 24 KB with sixteen lanes of float32.
_BLOCK_NUMBERS = 384
_ALIGNMENT = 64


@kernel
def _scratch(like, size):
    """Zeros that begin where a vector register's worth of bytes does; else every load is two."""
    room = np.zeros(size + _ALIGNMENT // like.itemsize, like.dtype)
    skip = (-room.ctypes.data % _ALIGNMENT) // like.itemsize
    return room[skip : skip + size]


@kernel
def _pack(values, offsets, tracks, places, scale, stride, packed):
    """Lay one track in each lane; a lane whose track is over repeats its last frame."""
    w = width_of(values)
    longest = 0
    for lane in range(w):
        longest = max(longest, offsets[tracks[lane] + 1] - offsets[tracks[lane]])
    for lane in range(w):
        begin = offsets[tracks[lane]]
        last = offsets[tracks[lane] + 1] - begin - 1
        for t in range(longest):
            frame = values[begin + min(t, last)]
            to = t * stride * w + lane
            for c in range(len(places)):
                packed[to + places[c]] = frame[c] * scale[c]
    return longest


@kernel
def _pack_same(values, offsets, track, places, scale, stride, packed):
    """Lay one track in every lane."""
    w = width_of(values)
    begin = offsets[track]
    length = offsets[track + 1] - begin
    for t in range(length):
        frame = values[begin + t]
        for c in range(len(places)):
            number = splat(packed, frame[c] * scale[c])
            store(packed, t * stride * w + places[c], number)
    return length


@kernel
def _fill_band(share, n, ends, band):
    """First and last column of each row and lane; see `dtw.distances.band_limits`."""
    lanes = ends.shape[1]
    for lane in range(lanes):
        rows, columns = ends[0, lane], ends[1, lane]
        if rows == 0:
            rows, columns = ends[0].max(), ends[1].max()
        slope = (columns - 1) / max(rows - 1, 1)
        radius = max(1.0, share * max(rows, columns), slope)
        for i in range(n):
            middle = i * slope
            low = max(math.ceil(middle - radius), 0)
            high = min(math.floor(middle + radius), columns - 1)
            if rows == 1:
                high = columns - 1
            band[i, 0, lane] = min(low, columns - 1)
            band[i, 1, lane] = max(high, 0) if i < rows else columns - 1


@kernel
def _longest(offsets, tracks):
    longest = 1
    for track in tracks:
        if track >= 0:
            longest = max(longest, offsets[track + 1] - offsets[track])
    return longest


@kernel
def _sweep(
    rows, columns, n, m, ends, line, edge, found, numbers, stride,
    pose, arms, exact, gripper, charge, share,
):  # fmt: skip
    """One vector of pairs; the band, where there is one, is laid out first."""
    if share is not None:
        w = width_of(rows)
        band = _scratch(rows, n * 2 * w).reshape(n, 2, w)
        _fill_band(share, n, ends, band)
        sweep(
            rows, columns, numbers, stride, n, m, ends, m, line, edge, found,
            pose, arms, exact, gripper, charge, band,
        )  # fmt: skip
    if share is None:
        block = max(16, _BLOCK_NUMBERS // stride)
        sweep(
            rows, columns, numbers, stride, n, m, ends, block, line, edge, found,
            pose, arms, exact, gripper, charge, None,
        )  # fmt: skip


@kernel
def _write(found, lane, slot, factors, charge, out, detail):
    """Divide by the path's length and put the numbers in their places."""
    length = found[1, lane]
    total = found[0, lane] * factors[0]
    if charge is not None:
        total += found[2, lane] * factors[1]
    out[slot] = total / length
    if detail is not None:
        detail[0, slot] = length
        if charge is not None:
            detail[1, slot] = found[2, lane] / length


@cached_kernel
def run_pairs(
    values, offsets, bundles, slots, places, scale, numbers, stride, factors,
    pose, arms, exact, gripper, charge, share, out, detail,
):  # fmt: skip
    """Any pairs, a vector of them at a time.

    `values` (F, d) and `offsets` (N + 1,) are the tracks. `bundles` (B, 2, W) names the row and
    the column track of each lane, -1 for none, and `slots` (B, W) where its result goes. Number c
    of a frame, times `scale[c]`, stands at `places[c]` of a packed one. `factors` are those of the
    path's cost and of the charge. `numbers` to `charge` are explained in `sweep`; `share` is None
    or the band's radius. `out` (P,) receives distances; `detail`, where there is one, (2, P) path
    lengths and mean charges.
    """
    w = width_of(values)
    n_most = _longest(offsets, bundles[:, 0].ravel())
    m_most = _longest(offsets, bundles[:, 1].ravel())
    rows = _scratch(values, n_most * stride * w)
    columns = _scratch(values, m_most * stride * w)
    line = _scratch(values, m_most * 3 * w)
    edge = _scratch(values, (n_most + 1) * 3 * w)
    found = np.zeros((3, w), values.dtype)
    ends = np.zeros((2, w), np.int64)
    some = np.zeros((2, w), np.int64)
    for b in range(len(bundles)):
        for lane in range(w):
            for side in range(2):
                track = bundles[b, side, lane]
                # An empty lane repeats the first one and is not written.
                some[side, lane] = track if track >= 0 else bundles[b, side, 0]
                ends[side, lane] = offsets[track + 1] - offsets[track] if track >= 0 else 0
        n = _pack(values, offsets, some[0], places, scale, stride, rows)
        m = _pack(values, offsets, some[1], places, scale, stride, columns)
        _sweep(
            rows, columns, n, m, ends, line, edge, found, numbers, stride,
            pose, arms, exact, gripper, charge, share,
        )  # fmt: skip
        for lane in range(w):
            if bundles[b, 0, lane] >= 0:
                _write(found, lane, slots[b, lane], factors, charge, out, detail)


@cached_kernel
def run_blocks(
    values, offsets, order, blocks, places, scale, numbers, stride, factors,
    pose, arms, exact, gripper, charge, share, out,
):  # fmt: skip
    """Blocks of all-pairs matrices: a vector of column tracks against each of some row tracks.

    `order` (N,) has the tracks of each group by length and number, so that rows come before
    columns. Each of `blocks` (B, 6) is: the first of the W columns, the first row and one past the
    last, all as places in `order`; first track and size of the group; place of its condensed
    matrix in `out`. The rest is as in `run_pairs`.
    """
    w = width_of(values)
    n_most = 1
    m_most = 1
    for b in range(len(blocks)):
        n_most = max(n_most, _longest(offsets, order[blocks[b, 1] : blocks[b, 2]]))
        m_most = max(m_most, _longest(offsets, order[blocks[b, 0] : blocks[b, 0] + w]))
    rows = _scratch(values, n_most * stride * w)
    columns = _scratch(values, m_most * stride * w)
    line = _scratch(values, m_most * 3 * w)
    edge = _scratch(values, (n_most + 1) * 3 * w)
    found = np.zeros((3, w), values.dtype)
    ends = np.zeros((2, w), np.int64)
    for b in range(len(blocks)):
        first, row_begin, row_end, group, size, place = blocks[b]
        lanes = order[first : first + w]
        m = _pack(values, offsets, lanes, places, scale, stride, columns)
        for r in range(row_begin, row_end):
            n = _pack_same(values, offsets, order[r], places, scale, stride, rows)
            for lane in range(w):
                ends[0, lane] = n
                ends[1, lane] = offsets[lanes[lane] + 1] - offsets[lanes[lane]]
            _sweep(
                rows, columns, n, m, ends, line, edge, found, numbers, stride,
                pose, arms, exact, gripper, charge, share,
            )  # fmt: skip
            for lane in range(w):
                i = min(order[r], lanes[lane]) - group
                j = max(order[r], lanes[lane]) - group
                slot = place + i * size - i * (i + 1) // 2 + j - i - 1
                _write(found, lane, slot, factors, charge, out, None)


@cached_kernel
def run_cross(
    values, offsets, row_tracks, column_tracks, blocks, places, scale, numbers, stride, factors,
    pose, arms, exact, gripper, charge, share, out,
):  # fmt: skip
    """Blocks of a rectangle; in each pair the shorter track, then the lower number, is the row.

    Each of `blocks` (B, 4) is: the first of at most W places in `column_tracks`, which is by
    length, and one past the last; the same of `row_tracks`. `out` (N, M) has its columns in the
    order of `column_tracks`. The rest is as in `run_pairs`.
    """
    w = width_of(values)
    most = max(_longest(offsets, row_tracks), _longest(offsets, column_tracks))
    same = _scratch(values, most * stride * w)
    group = _scratch(values, most * stride * w)
    line = _scratch(values, most * 3 * w)
    edge = _scratch(values, (most + 1) * 3 * w)
    found = np.zeros((3, w), values.dtype)
    ends = np.zeros((2, w), np.int64)
    lanes = np.zeros(w, np.int64)
    flat = out.ravel()
    for b in range(len(blocks)):
        first, end, row_begin, row_end = blocks[b]
        for lane in range(w):
            lanes[lane] = column_tracks[min(first + lane, end - 1)]
        m = _pack(values, offsets, lanes, places, scale, stride, group)
        for r in range(row_begin, row_end):
            track = row_tracks[r]
            n = _pack_same(values, offsets, track, places, scale, stride, same)
            for turned in range(2):
                lanes_here = 0
                for lane in range(w):
                    length = offsets[lanes[lane] + 1] - offsets[lanes[lane]]
                    is_row = n < length or (n == length and track < lanes[lane])
                    here = first + lane < end and is_row == (turned == 0)
                    lanes_here += here
                    ends[0, lane] = (n if turned == 0 else length) if here else 0
                    ends[1, lane] = (length if turned == 0 else n) if here else 0
                if lanes_here == 0:
                    continue
                if turned == 0:
                    _sweep(
                        same, group, n, m, ends, line, edge, found, numbers, stride,
                        pose, arms, exact, gripper, charge, share,
                    )  # fmt: skip
                else:
                    _sweep(
                        group, same, m, n, ends, line, edge, found, numbers, stride,
                        pose, arms, exact, gripper, charge, share,
                    )  # fmt: skip
                for lane in range(w):
                    if ends[0, lane] > 0:
                        slot = r * len(column_tracks) + first + lane
                        _write(found, lane, slot, factors, charge, flat, None)
