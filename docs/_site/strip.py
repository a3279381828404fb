"""A film strip for a page of the manual: one scene under several instructions.

    finedata sim film RUN --scene 1000003 --pictures 144 --strip 7 --no-video --out film
    python docs/_site/strip.py film docs/sim/three_instructions.svg

Nobody tests that the picture is today's: its pixels are those of the machine's renderer.
"""

from __future__ import annotations

import io
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from PIL import Image

from _site.drawing import GREY, Drawing
from finedata.sim.film import read_film

_EDGE, _GAP, _WORDS, _TIME = 12, 4, 46, 18
_CHARACTERS = 128


def strip(folder: Path) -> Drawing:
    """One row an instruction: its words, and its pictures with their times."""
    film = read_film(folder)
    side = Image.open(io.BytesIO((folder / film.films[0].pictures[0]).read_bytes())).width
    most = max(len(one.pictures) for one in film.films)
    row = _WORDS + side + _TIME
    told = "; ".join(one.prompt for one in film.films)
    drawing = Drawing(
        2 * _EDGE + most * (side + _GAP) - _GAP,
        _EDGE + len(film.films) * row,
        f"Pictures of scene {film.settings.scene} under {len(film.films)} instructions: {told}",
    )
    for number, one in enumerate(film.films):
        top = _EDGE + number * row
        for k, line in enumerate(textwrap.wrap(one.prompt, _CHARACTERS)[:2]):
            drawing.text(_EDGE, top + 14 + 17 * k, line, bold=True)
        for k, (name, time_s) in enumerate(zip(one.pictures, one.times_s, strict=True)):
            x = _EDGE + k * (side + _GAP)
            drawing.image(x, top + _WORDS, side, side, jpeg=(folder / name).read_bytes())
            drawing.text(x, top + _WORDS + side + 12, f"{time_s:.1f} s", size=11, colour=GREY)
    return drawing


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.parent.mkdir(exist_ok=True)
    target.write_text(strip(Path(sys.argv[1])).svg(), "utf-8")
