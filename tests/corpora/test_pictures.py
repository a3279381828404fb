"""Pictures have the size of real ones and show what happens."""

from __future__ import annotations

import io

import numpy as np
import pytest
from corpora.arm import Variation, simulate
from corpora.pictures import CAMERAS, black_jpeg, paint_scene, render_motion
from corpora.ways import TASKS
from PIL import Image

from finedata.errors import UsageError


def _decode(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _film(task, *, camera=0, seed=0, image_size=256, length=20):
    rng = np.random.default_rng(7)
    motion = simulate(task, task.ways[0], variation=Variation(), mean_length=length, rng=rng)
    scene = paint_scene(
        task.shape, np.array(task.goal_m), camera=camera, image_size=image_size, seed=seed
    )
    return motion, scene, list(render_motion(scene, motion))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.shape)
@pytest.mark.parametrize("camera", range(CAMERAS))
def test_size_and_shape(task, camera):
    motion, _, film = _film(task, camera=camera)
    assert len(film) == len(motion.state)
    assert all(10_000 < len(data) < 20_000 for data in film)
    assert _decode(film[0]).shape == (256, 256, 3)
    assert len(set(film)) == len(film), "no two pictures are the same"


@pytest.mark.parametrize("seed", range(6))
def test_size_holds_for_other_seeds(seed):
    _, _, film = _film(TASKS[seed % 3], camera=seed % 2, seed=seed, length=12)
    assert all(10_000 < len(data) < 20_000 for data in film)


def test_the_cup_is_where_the_motion_says():
    motion, scene, film = _film(TASKS[2], camera=1)
    for step in (0, -1):  # on the table, not behind the hand
        picture = _decode(film[step]).astype(int)
        blue = (picture[..., 2] > 120) & (picture[..., 2] - picture[..., 0] > 70)
        rows, columns = np.nonzero(blue)
        column, row = scene.view.project(motion.object_m[step : step + 1 or None])[0]
        assert abs(columns.mean() - column) < 8
        assert abs(rows.mean() - row) < 12


def test_a_black_picture_is_all_zero():
    assert not _decode(black_jpeg(64)).any()
    assert _decode(black_jpeg(64)).shape == (64, 64, 3)


def test_there_is_no_fifth_camera():
    with pytest.raises(UsageError, match="camera"):
        paint_scene("cup", np.zeros(3), camera=CAMERAS, image_size=64, seed=0)


def test_the_table_lies_where_points_are_drawn():
    _, scene, _ = _film(TASKS[0], image_size=32, length=12)
    x, y, on_table = scene.view.table_points()
    points = np.stack([x, y, np.zeros_like(x)], axis=-1)[on_table]
    rows, columns = np.nonzero(on_table)
    expected = np.stack([columns + 0.5, rows + 0.5], axis=1)
    assert len(points) > 200
    np.testing.assert_allclose(scene.view.project(points), expected, atol=1e-6)
