from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import finedata
from finedata.annotate.asking.answers import AnswerError
from finedata.annotate.asking.frames import (
    FINEVLA_ANALYSIS,
    FINEVLA_REFINEMENT,
    FrameSettings,
    choose_cameras,
    sample_frames,
)
from finedata.annotate.asking.pictures import PictureSource, encoded_picture
from finedata.errors import UsageError


def test_finevlas_defaults() -> None:
    assert (FINEVLA_ANALYSIS.fps, FINEVLA_REFINEMENT.fps) == (4.0, 1.0)
    assert (FINEVLA_ANALYSIS.width, FINEVLA_ANALYSIS.quality) == (512, 75)
    assert (FINEVLA_ANALYSIS.min_frames, FINEVLA_ANALYSIS.max_frames) == (4, 100_000)


@given(
    st.integers(1, 500),
    st.floats(0.5, 60),
    st.floats(0.1, 30),
    st.integers(1, 8),
    st.integers(0, 40),
)
def test_sampled_frames_are_distinct_ordered_and_end_with_the_last(
    length, fps, rate, least, more
) -> None:
    settings = FrameSettings(fps=rate, min_frames=least, max_frames=least + more)
    frames = sample_frames(length, fps=fps, settings=settings)
    assert frames == sorted(set(frames))
    assert frames[-1] == length - 1
    assert min(least, length) <= len(frames) <= least + more


def test_rates() -> None:
    assert sample_frames(60, fps=30.0, settings=FINEVLA_REFINEMENT) == [0, 20, 39, 59]
    assert sample_frames(6, fps=5.0, settings=FrameSettings(fps=5.0)) == [0, 1, 2, 3, 4, 5]
    assert len(sample_frames(300, fps=30.0, settings=FINEVLA_ANALYSIS)) == 41


@pytest.mark.parametrize(
    "wrong", [{"fps": 0}, {"width": 0}, {"quality": 101}, {"max_frames": 3}, {"max_views": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(UsageError):
        FrameSettings(**wrong)


CAMERAS = ["front", "left_wrist", "side", "top_bgr"]


def chosen(episode_id: str = "e", missing=(), **settings):
    return choose_cameras(
        CAMERAS, missing=missing, episode_id=episode_id, settings=FrameSettings(**settings)
    )


def test_cameras_are_drawn_the_same_again_and_spread_over_episodes() -> None:
    assert chosen() == chosen()
    drawn = {chosen(f"e{n}")[0] for n in range(60)}
    assert drawn == {"front", "side", "top_bgr"}


def test_absent_cameras_are_never_chosen() -> None:
    assert chosen(missing=["front", "side"], max_views=2) == ["left_wrist", "top_bgr"]
    assert chosen(missing=CAMERAS, max_views=None) == []
    assert chosen(views=("front", "top"), missing=["front"]) == ["top_bgr"]


def jpeg(width: int) -> bytes:
    pixels = np.zeros((30, width, 3), np.uint8)
    pixels[..., 0] = 200
    return simplejpeg.encode_jpeg(pixels, quality=95)


def test_narrow_pictures_are_sent_as_they_are_stored() -> None:
    data = jpeg(64)
    assert encoded_picture(data, swapped=False, settings=FrameSettings(width=64)) is data
    assert encoded_picture(data, swapped=False, settings=FrameSettings(width=None)) is data


def test_wide_pictures_become_narrower_with_the_same_ratio() -> None:
    data = encoded_picture(jpeg(120), swapped=False, settings=FrameSettings(width=60))
    assert Image.open(io.BytesIO(data)).size == (60, 15)


def test_exchanged_colours_are_put_right() -> None:
    data = encoded_picture(jpeg(64), swapped=True, settings=FrameSettings())
    red, _, blue = simplejpeg.decode_jpeg(data)[10, 10]
    assert (red < 20, blue > 180) == (True, True)


def test_a_broken_picture_is_not_sent() -> None:
    assert encoded_picture(jpeg(64)[:-40], swapped=False, settings=FrameSettings()) is None


def test_stored_bytes_are_what_a_dataset_shows(root) -> None:
    dataset = finedata.open(root)
    rows = dataset.episodes.collect()
    source = PictureSource(dataset)
    for row in rows.iter_rows(named=True):
        shown = source.episode(row).shown(FrameSettings(fps=2.0, max_views=None))
        pictures = dataset.episode(row["episode_id"]).pictures
        present = [name for name in row["cameras"] if name not in row["cameras_missing"]]
        frames = sample_frames(row["length"], fps=row["fps"], settings=FrameSettings(fps=2.0))
        wanted = [pictures[camera][frame] for camera in present for frame in frames]
        assert [picture.data for picture in shown if picture.data in wanted] == [
            picture.data for picture in shown
        ]
        labels = [picture.label.split(",")[0] for picture in shown]
        assert set(labels) == {f"camera {camera}" for camera in present}


def test_an_episode_without_a_camera_is_refused(root) -> None:
    dataset = finedata.open(root)
    row = dataset.episodes.collect().row(0, named=True)
    row["cameras_missing"] = row["cameras"]
    with pytest.raises(AnswerError, match="no picture"):
        PictureSource(dataset).episode(row).shown(FrameSettings())
