"""The pages that only look, in a real browser: what is drawn is what is stored."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from review.conftest import page_of, running

from finedata.store.dataset import open_dataset


@pytest.fixture(scope="module")
def address(looked_at: Path, browser) -> Iterator[str]:
    with running(looked_at) as (found, _):
        yield found


def drawn(page, frame: int) -> np.ndarray:
    page.wait_for_selector(f'canvas[data-camera="0"][data-frame="{frame}"]')
    url = page.evaluate("document.querySelector('canvas[data-camera=\"0\"]').toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
    return np.asarray(picture.convert("RGB")).astype(int)


def test_every_frame_that_is_drawn_is_the_frame_that_is_said(
    looked_at: Path, address: str, browser
) -> None:
    episode = next(open_dataset(looked_at).iter_episodes())
    stored = episode.frames("image_0").astype(int)
    last = len(episode) - 1
    with page_of(browser) as page:
        page.goto(f"{address}/episode/{episode.episode_id}?frame=7")
        shown = {7: drawn(page, 7)}
        ten = min(17, last)
        for key, frame in [("ArrowRight", 8), ("ArrowLeft", 7), ("Shift+ArrowRight", ten)]:
            page.keyboard.press(key)
            shown[frame] = drawn(page, frame)
        page.keyboard.press("End")
        shown[last] = drawn(page, last)
        page.keyboard.press("Home")
        page.evaluate(
            "() => { const e = document.getElementById('scrub'); e.value = 2;"
            " e.dispatchEvent(new Event('input')) }"
        )
        shown[2] = drawn(page, 2)
        for frame, pixels in shown.items():
            # two JPEG decoders differ by a step or two of 255; two frames by far more
            distance = np.abs(stored - pixels).mean((1, 2, 3))
            assert distance.argmin() == frame
            assert distance[frame] < 2
        assert f"frame 2 of {last}" in page.inner_text("#clock")
        page.wait_for_url("**frame=2**")  # the state of the page is its address
        page.keyboard.press(" ")
        page.wait_for_selector("#play:has-text('Pause')")
        drawn(page, last)
        page.wait_for_selector("#play:has-text('Play')")


WATCH = """() => new Promise(done => {
  const canvases = [...document.querySelectorAll('canvas[data-camera]')], seen = [];
  const look = () => {
    seen.push(canvases.map(one => Number(one.dataset.frame)));
    if (seen.length < 25) requestAnimationFrame(look); else done(seen);
  };
  requestAnimationFrame(look);
})"""


def test_cameras_stay_in_step_and_a_pause_shows_its_frame(
    looked_at: Path, address: str, browser
) -> None:
    """Reported of other viewers: cameras drift apart, and a pause shows another frame."""
    episode = max(open_dataset(looked_at).iter_episodes(), key=len)
    with page_of(browser) as page:
        page.goto(f"{address}/episode/{episode.episode_id}")
        drawn(page, 0)
        page.select_option("#speed", "2")
        page.keyboard.press("Escape")
        page.locator("#play").click()
        seen = page.evaluate(WATCH)
        page.locator("#play").click()
        assert all(len(set(frames)) == 1 for frames in seen)
        assert len(seen[0]) > 1
        assert len({frames[0] for frames in seen}) > 1  # it did play
        page.wait_for_timeout(100)
        told = page.inner_text("#clock").split()[1]
        shown = page.evaluate(
            "[...document.querySelectorAll('canvas[data-camera]')].map(e => e.dataset.frame)"
        )
        assert set(shown) == {told}


def test_words_are_tied_to_the_cursor_and_none_is_run(
    looked_at: Path, address: str, browser
) -> None:
    dataset = open_dataset(looked_at)
    episode_id = dataset.traces.collect()["episode_id"][0]
    steps = dataset.steps.collect().filter(episode_id=episode_id).sort("start_frame")
    with page_of(browser) as page:
        page.goto(f"{address}/episode/{episode_id}")
        page.wait_for_selector("[data-ready]")
        assert page.is_hidden("#trace")
        start = int(steps["start_frame"][1])
        for _ in range(max(start, 3)):
            page.keyboard.press("ArrowRight")
        page.wait_for_selector("#trace:has-text('move forward')")
        page.keyboard.press("Home")
        page.keyboard.press("]")
        edge = int(steps.filter(steps["end_frame"] > 0)["end_frame"].min())
        page.wait_for_selector(f"#clock:has-text('frame {edge} of')")
        assert "<script>" in page.inner_text("#facts")
        assert "run" not in page.title().split()
        wrong = page.locator("#facts li.contradicted")
        assert wrong.count() == 1
        assert "contradicted by motion" in wrong.inner_text()
        wrong.locator("button").click()
        page.wait_for_url("**fact=**")
        assert page.locator(".mark.chosen").count() == 1


def test_browsing_filters_by_address(looked_at: Path, address: str, browser) -> None:
    dataset = open_dataset(looked_at)
    task = str(dataset.episodes.collect()["task"].drop_nulls()[0])
    same = dataset.episodes.collect()["task"].to_list().count(task)
    with page_of(browser) as page:
        page.goto(address)
        page.fill("input[name=q]", task)
        page.keyboard.press("Enter")
        page.wait_for_url("**q=**")
        assert page.locator(".card").count() == same
        page.goto(f"{address}/episodes?sql=length+%3E+1000000")
        assert "0 of" in page.inner_text(".count")
        page.goto(f"{address}/episodes?sql=select+read_csv('/etc/passwd')")
        assert "the SQL box" in page.inner_text("[role=alert]")
        page.goto(f"{address}/episodes?verdict=pass")
        picture = page.locator(".card img").first
        assert picture.evaluate("e => e.decode().then(() => e.naturalWidth)") == 192


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_can_be_read(address: str, browser, scheme: str) -> None:
    with page_of(browser, color_scheme=scheme) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click(".card a")
        page.wait_for_selector("[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.getElementById('path').getBoundingClientRect().height") > 200
        unnamed = page.evaluate(
            """[...document.querySelectorAll('button, input, select, a, canvas')].filter(e =>
            !(e.innerText || e.ariaLabel || e.labels?.length || e.querySelector('img'))).length"""
        )
        assert unnamed == 0
