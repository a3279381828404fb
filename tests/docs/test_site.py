"""The site builds from what is here, has a page for every verb, and asks no other host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from docs.documents import ROOT

pytest.importorskip("mkdocs", reason="the site needs the extra docs: make test installs it")

sys.path.insert(0, str(ROOT / "docs"))

from _site import figures, verbs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly; names of other hosts lead nowhere meanwhile."""
    out = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    command = [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--site-dir", out],
        cwd=ROOT,
        env=os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class _Page(HTMLParser):
    """What a page loads, what it links to, and where one can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given.get("href", ""))
        self.loads += [
            given[name] for name in ("src", "srcset", "data", "action") if given.get(name)
        ]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Page]:
    return {path: _Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, _Page]) -> None:
    assert len(pages) > 60
    for path, page in pages.items():
        away = [one for one in page.loads if re.match(r"(\w+:)?//", one)]
        assert not away, path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(\w+:)?//|@import", sheet.read_text("utf-8")), sheet


def test_no_link_is_dead(site: Path, pages: dict[Path, _Page]) -> None:
    dead: set[str] = set()
    for path, page in pages.items():
        for link in page.links:
            if path.name == "404.html" or not link or re.match(r"\w+:", link):
                continue
            target, _, anchor = link.partition("#")
            there = (path.parent / target).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            found = there.is_file() and there.is_relative_to(site)
            if not found or (anchor and there in pages and anchor not in pages[there].places):
                dead.add(f"{path.relative_to(site)}: {link}")
    assert not dead


def test_every_verb_has_a_page_that_says_its_options(site: Path) -> None:
    every = verbs.commands()
    assert set(verbs.ROOMS) <= set(every)
    for name, command in every.items():
        page = (site / "verbs" / f"{name.split()[0]}.html").read_text("utf-8")
        for one in command.params:
            if one.param_type_name == "option" and not one.hidden:
                assert one.opts[0] in page, (name, one.opts)


def test_the_reference_has_every_public_name(site: Path) -> None:
    import finedata

    text = "".join(path.read_text("utf-8") for path in (site / "reference").glob("*.html"))
    for name in finedata.__all__:
        thing: Any = getattr(finedata, name)
        if not name.startswith("__"):
            assert f'id="{thing.__module__}.{thing.__qualname__}"' in text, name


@pytest.mark.slow
def test_figures_are_current() -> None:
    for name, content in figures.make().items():
        assert (ROOT / "docs" / "how" / f"{name}.svg").read_text("utf-8") == content, (
            f"{name}.svg: make figures"
        )
