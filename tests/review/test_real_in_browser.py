"""Real Bridge episodes and real videos in MP4: a frame that is drawn is the one that is said."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from review.conftest import page_of, running

from finedata.convert.run import convert
from finedata.store.dataset import open_dataset


def drawn(page, camera: int, frame: int) -> np.ndarray:
    page.wait_for_selector(f'canvas[data-camera="{camera}"][data-frame="{frame}"]')
    script = f"document.querySelector('canvas[data-camera=\"{camera}\"]').toDataURL()"
    picture = Image.open(io.BytesIO(base64.b64decode(page.evaluate(script).split(",")[1])))
    return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("source", "folder", "camera"),
    [
        ("bridge_v2", "bridge_v2_rlds/1.0.0", "image_0"),
        ("lerobot", "gr00t_lerobot_v20", "ego_view"),
    ],
)
def test_real_frames_are_exact(
    real_data: Path, tmp_path: Path, browser, source: str, folder: str, camera: str
) -> None:
    root = tmp_path / "data"
    convert(source, input=real_data / folder, out=root)
    episode = next(open_dataset(root).iter_episodes())
    number, last = episode.cameras.index(camera), len(episode) - 1
    asked = sorted({0, 1, last // 2, last // 2 + 1, last - 1, last})
    near = sorted({k for one in asked for k in range(one - 3, one + 4) if 0 <= k <= last})
    stored = dict(zip(near, episode.frames(camera, near).astype(int), strict=True))
    with running(root) as (address, _), page_of(browser) as page:
        page.goto(f"{address}/episode/{episode.episode_id}")
        page.wait_for_selector("[data-ready]")
        for frame in reversed(asked):
            page.evaluate(
                "frame => { const bar = document.getElementById('scrub'); bar.value = frame;"
                " bar.dispatchEvent(new Event('input')) }",
                frame,
            )
            shown = drawn(page, number, frame)
            apart = {k: float(np.abs(stored[k] - shown).mean()) for k in near if abs(k - frame) < 4}
            assert apart[frame] < 3  # a JPEG of a decoded frame is near, not the same
            assert apart[frame] == min(apart.values())
        page.keyboard.press("Home")
        page.select_option("#speed", "4")
        page.keyboard.press(" ")
        drawn(page, number, last)  # it plays to its end
        page.wait_for_selector("#play:has-text('Play')")
        assert page.locator(".hole:not([hidden])[data-hole]").count() == 0
