"""The page of closed-loop results: all of it is there, nothing is fetched, nothing gets out."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import simplejpeg
from report.reading import read_page
from sim.made_up import result_of, study

import finedata as fd
from finedata.errors import ConformError, UsageError
from finedata.sim.compare import SCORES
from finedata.sim.film import Film, FilmSettings, Shown


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("loop") / "page.html"
    fd.sim_report(study(), out=out)
    return out.read_text("utf-8")


def _table(html: str, caption: str) -> list[list[str]]:
    """The first table whose caption begins so."""
    return next(rows for said, rows in read_page(html).tables if said.startswith(caption))


def test_every_result_has_its_interval_and_every_cell_its_range(whole: str) -> None:
    rows = _table(whole, "Percent of scenes")
    assert rows[0] == ["cell", "seed", "all", *(one for one in SCORES if one != "all")]
    assert len(rows) == 1 + 7 * (3 + 1)
    first = next(one for one in study() if one.settings.prompts == "fine")
    rate = next(one for one in fd.sim_rates(first) if one.score == "goal")
    goal = rows[0].index("goal")
    assert rows[1][goal] == f"{100 * rate.share:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    assert rows[4][1] == "mean; range"
    assert re.fullmatch(r"[\d.]+ [\d.]+ to [\d.]+", rows[4][goal])


def test_a_curve_has_a_point_for_every_seed(whole: str) -> None:
    charts = re.findall(r'<svg[^>]*aria-label="([^"]*)"[^>]*>(.*?)</svg>', whole)
    told = [label for label, _ in charts]
    assert [one for one in told if one.startswith("Goal") and "fine prompts" in one] == [
        "Goal and all of it over mixtures, fine prompts, held-out wording, goals that fine-grained "
        "text names too, steer, 60,000 samples"
    ]
    # Equal samples of fine-grained text were seen by no two mixtures here.
    assert not any("fine-grained samples" in one for one in told)
    drawn = dict(charts)[told[0]]
    assert drawn.count("<title>fg=1,raw=1, seed") == 2 * 3
    assert drawn.count("<title>") == 2 * 7 * 3


def test_equal_exposures_are_a_budget_of_their_own(tmp_path: Path) -> None:
    results = [
        result_of([True] * 4, mix="fg=1", step=100, drawn={"fg": 400}),
        result_of([True] * 4, mix="fg=1,raw=1", step=200, drawn={"fg": 400, "raw": 400}),
        result_of([True] * 4, mix="fg=1,raw=1", step=100, drawn={"fg": 200, "raw": 200}),
    ]
    fd.sim_report(results, out=tmp_path / "page.html")
    told = re.findall(r"<figcaption>([^<]*)</figcaption>", (tmp_path / "page.html").read_text())
    assert told == [
        "Goal and all of it, steer, 400 samples: each seed with Wilson's interval.",
        "Each factor, steer, 400 samples: means with the range of the seeds.",
        "Goal and all of it, steer, 400 fine-grained samples: each seed with Wilson's interval.",
        "Each factor, steer, 400 fine-grained samples: means with the range of the seeds.",
    ]


def test_what_was_done_is_counted_with_nothing_as_a_column(whole: str) -> None:
    rows = _table(whole, "rotation: wished down, done across")
    assert rows[0] == ["wished", "clockwise", "counter-clockwise", "nothing"]
    assert rows[1][0] == "clockwise"
    assert sum(int(cell) for cell in rows[1][1:]) == 3 * 192
    assert len(_table(whole, "Episodes and actions")) == 1 + 7 * 3 * 2


def test_it_fetches_nothing_and_needs_no_script(whole: str) -> None:
    page = read_page(whole)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "prefers-color-scheme: dark" in whole
    heads = [attributes for tag, attributes in page.tags if tag == "th"]
    assert heads
    assert all(one.get("scope") == "col" for one in heads)
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(one["role"] == "img" and one["aria-label"] for one in drawings)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fd.sim_report(study(scenes=16), out=tmp_path / f"{name}.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_names_of_strangers_stay_text(tmp_path: Path) -> None:
    bad = '<img src=x onerror=alert(1)>"&'
    results = [result_of([True], policy=bad), result_of([False], mix=f"fg=1{bad}")]
    fd.sim_report(results, out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<img" not in page
    assert "&lt;img" in page


def test_results_of_other_scenes_make_no_page(tmp_path: Path) -> None:
    results = [result_of([True], mix="fg=1"), result_of([True], mix="raw=1", digest="other")]
    with pytest.raises(UsageError, match="scenes other"):
        fd.sim_report(results, out=tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def _made_up_film(folder: Path, *, name: str = "1_00.jpg") -> Path:
    folder.mkdir()
    pixels = np.zeros((48, 64, 3), np.uint8)
    (folder / "1_00.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    judged = result_of([True]).episodes[0]
    shown = Shown(
        prompt="lift <it>", wish=judged.wish, outcome=judged.outcome,
        scored={**dict.fromkeys(SCORES, True), "side": False, "all": False},
        frames=3, fault="", video="", pictures=[name], times_s=[0.3],
    )  # fmt: skip
    film = Film(policy="p", settings=FilmSettings(), mujoco="4.0.0", run=None, films=[shown])
    (folder / "film.json").write_bytes(msgspec.json.encode(film))
    return folder


def test_films_are_strips_of_the_page(tmp_path: Path) -> None:
    film = _made_up_film(tmp_path / "film")
    fd.sim_report([result_of([True])], out=tmp_path / "page.html", films=[film])
    page = read_page((tmp_path / "page.html").read_text())
    (picture,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert (picture["src"] or "").startswith("data:image/jpeg;base64,")
    assert (picture["alt"], picture["width"]) == ("0.3 s of: lift <it>", "64")
    assert "missed: side" in "".join(page.text)
    assert "side nothing" in "".join(page.text)


def test_a_film_shows_pictures_of_its_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    film = _made_up_film(tmp_path / "film", name="../secret.jpg")
    with pytest.raises(ConformError, match=r"secret.jpg: found No such file"):
        fd.sim_report([result_of([True])], out=tmp_path / "page.html", films=[film])
    with pytest.raises(ConformError, match="a folder of finedata sim film"):
        fd.sim_report([result_of([True])], out=tmp_path / "page.html", films=[tmp_path])
