"""The pictures of the tutorial: what one sees at each step, photographed by a headless browser.

    python docs/_site/pictures.py DEMO_OUT [CHROMIUM]

DEMO_OUT is what `make demo-train` left. Nobody tests that the pictures are today's: they show a
browser's fonts, which differ by machine.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image
from playwright.sync_api import sync_playwright

import finedata as fd

FOLDER = Path(__file__).parent.parent / "tutorial"
_LARGEST = 200_000


def raw_frames(demo: Path) -> None:
    """Every third frame of three episodes, enlarged."""
    dataset = fd.open(demo / "bridge")
    chosen = dataset.representatives.filter(pl.col("rank") < 3).sort("rank").collect()
    sheet: list[list[Image.Image]] = []
    for name in chosen["episode_id"]:
        pictures = dataset[name].pictures["image_0"]
        sheet.append([Image.open(io.BytesIO(pictures[k])) for k in range(0, 22, 3)])
    size = sheet[0][0].width * 2
    page = Image.new("RGB", (size * len(sheet[0]), size * len(sheet)))
    for row, pictures in enumerate(sheet):
        for column, one in enumerate(pictures):
            page.paste(
                one.resize((size, size), Image.Resampling.NEAREST), (column * size, row * size)
            )
    _save(page, "raw")


def photographs(demo: Path, chromium: str) -> None:
    """The report, an episode in the viewer, a decision, the curves of training."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.goto((demo / "report.html").resolve().as_uri())
        _photo(page, "funnel", page.locator("#funnel"), height=300)
        _photo(page, "tasks", page.locator("#tasks"), height=900)
        run = demo / "run.html"
        if run.is_file():
            page.goto(run.resolve().as_uri())
            _photo(page, "run", page.locator("section").first)
        for verb, path in (("view", "episode/{}"), ("review", "review")):
            command = [sys.executable, "-m", "finedata", verb, str(demo / "bridge"), "--port", "0"]
            if verb == "review":
                command += ["--reviewer", "ana"]
            with subprocess.Popen(
                [*command, "--no-browser", "--json"], stdout=subprocess.PIPE, text=True
            ) as server:
                try:
                    assert server.stdout
                    address = json.loads(server.stdout.readline())["address"].rstrip("/")
                    first = fd.open(demo / "bridge").representatives.sort("rank").collect()
                    page.set_viewport_size({"width": 1280, "height": 900})
                    page.goto(f"{address}/" + path.format(first["episode_id"][0]))
                    page.wait_for_timeout(2500)
                    _photo(page, verb, height=900)
                finally:
                    server.terminate()
        browser.close()


def _photo(page: Any, name: str, part: Any = None, *, height: int = 0) -> None:
    content = (part or page).screenshot()
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    if height and picture.height > height:
        picture = picture.crop((0, 0, picture.width, height))
    _save(picture, name)


def _save(picture: Image.Image, name: str) -> None:
    """PNG of at most 256 colours, and smaller until it is small enough."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.png"
    while True:
        picture.quantize(256, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)
        if path.stat().st_size < _LARGEST:
            return
        picture = picture.resize((picture.width * 4 // 5, picture.height * 4 // 5))


if __name__ == "__main__":
    raw_frames(Path(sys.argv[1]))
    photographs(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "/usr/bin/chromium")
