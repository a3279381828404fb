"""Where in space the patches of a picture are: points in the camera's frame, from its depth.

SpatialVLA's Ego3D: depth is pooled by area to a few points of each patch, and every point is put
back along its ray with the matrix of the camera. What it leaves open is depth that is not there, as
sensors have holes: a point is the mean of the depths that there are, and a patch of which one point
has none is masked, so nothing is added to its features.

Source: `backproject_patch` of SpatialVLA's `model/modeling_spatialvla.py` (e480753) and its
`scripts/intrinsics.json`.
"""

from __future__ import annotations

import numpy as np

__all__ = ["PUBLISHED_MATRIX", "PUBLISHED_SIZE", "patch_points", "published_matrix"]

PUBLISHED_MATRIX = (623.588, 623.588, 319.501, 239.545)
"""fx, fy, cx, cy of SpatialVLA's default, which is BridgeData's, in pixels of `PUBLISHED_SIZE`."""
PUBLISHED_SIZE = (640, 480)
"""Width and height of the pictures that the published matrix is of."""


def published_matrix(*, height: int, width: int) -> np.ndarray:
    """(3, 3) float32: the published default in pixels of pictures of this size."""
    fx, fy, cx, cy = PUBLISHED_MATRIX
    across, down = width / PUBLISHED_SIZE[0], height / PUBLISHED_SIZE[1]
    found = [[fx * across, 0, cx * across], [0, fy * down, cy * down], [0, 0, 1]]
    return np.array(found, np.float32)


def patch_points(
    depth_m: np.ndarray, matrix: np.ndarray, *, side: int, points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points of patches in the camera's frame: x right, y down, z ahead.

    Args:
        depth_m: (n, height, width) float32 metres, 0 where there is no depth; `side * points`
            divides height and width.
        matrix: (n, 3, 3), in pixels of these pictures.
        side: Patches on a side.
        points: Points on a side of a patch.

    Returns:
        (n, side * side, points * points * 3) float32 metres, of each patch its points row by row,
        x, y, z of each; and (n, side * side) bool: all points of the patch have depth.
    """
    count, height, width = depth_m.shape
    cells = side * points
    down, across = height // cells, width // cells
    blocks = depth_m.reshape(count, cells, down, cells, across)
    there = (blocks > 0).sum((2, 4))
    mean = blocks.sum((2, 4), dtype=np.float64) / np.maximum(there, 1)
    u = np.arange(cells) * across + across / 2
    v = np.arange(cells) * down + down / 2
    pixels = np.ones((cells, cells, 3))
    pixels[..., 0], pixels[..., 1] = u[None], v[:, None]
    rays = np.einsum("nij,yxj->nyxi", np.linalg.inv(matrix.astype(np.float64)), pixels)
    xyz = (rays * mean[..., None]).reshape(count, side, points, side, points, 3)
    whole = (there > 0).reshape(count, side, points, side, points).all((2, 4))
    by_patch = xyz.transpose(0, 1, 3, 2, 4, 5).reshape(count, side * side, -1)
    return by_patch.astype(np.float32), whole.reshape(count, side * side)
