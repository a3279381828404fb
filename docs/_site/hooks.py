"""What mkdocs is told besides `mkdocs.yml`: pages from the code, and links that leave `docs/`.

The pages of verbs come from the command line and the reference from the docstrings of the face,
when the site is built: nothing generated is committed. A link to a file of the checkout is carried
along: documents as pages of the site, other files as they are. A link to nothing ends the build.
"""

from __future__ import annotations

import logging
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(Path(__file__).parent.parent))

from _site import reference, verbs  # noqa: E402

_LOG = logging.getLogger("mkdocs.hooks.finedata")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
# Documents of the checkout that are pages of the site.
CARRIED = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/RESULTS.md": "project/results.md",
    "converters/README.md": "project/sources.md",
    "examples/README.md": "project/examples.md",
    "schemas/README.md": "project/schemas.md",
}


def on_config(config: Any) -> Any:
    """Fill the sections of generated pages."""
    made = {
        "Verbs": [{f"finedata {name}": f"verbs/{name}.md"} for name in _verbs()],
        "Reference": [{title: f"reference/{page}.md"} for title, page, _ in reference.pages()],
    }
    for section in config.nav:
        for title, children in section.items():
            if title in made:
                children.extend(made[title])
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add pages that no file under `docs/` holds."""

    def add(uri: str, content: str | bytes) -> None:
        files.append(File.generated(config, uri, content=content))

    for name in _verbs():
        add(f"verbs/{name}.md", verbs.verb_page(name))
    for _, page, content in reference.pages():
        add(f"reference/{page}.md", content)
    for path, uri in CARRIED.items():
        if (ROOT / path).is_file():
            add(uri, (ROOT / path).read_text("utf-8"))
    for path in sorted(_linked_files()):
        add(f"project/{path}", (ROOT / path).read_bytes())
    return files


def _verbs() -> list[str]:
    return sorted(name for name in verbs.commands() if " " not in name)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let links lead where things are in the site."""
    place = _place_of(page.file.src_uri)
    if place is None:
        return markdown

    def turned(match: re.Match[str]) -> str:
        picture, words, target, anchor = match.groups(default="")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        uri = _uri_of(target)
        if uri is None:
            if not (ROOT / target).exists():
                _LOG.warning("%s links to %s, which is not there", place, target)
            return words  # a folder
        here = posixpath.dirname(page.file.src_uri) or "."
        return f"{picture}[{words}]({posixpath.relpath(uri, here)}{anchor})"

    return _LINK.sub(turned, markdown)


def _place_of(src_uri: str) -> str | None:
    """Where a page of the site stands in the checkout; None for what is made here."""
    for path, uri in CARRIED.items():
        if uri == src_uri:
            return path
    return None if src_uri.startswith(("verbs/", "reference/")) else f"docs/{src_uri}"


def _uri_of(path: str) -> str | None:
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in CARRIED:
        return CARRIED[path]
    if path == "README.md":
        return "index.md"
    return f"project/{path}" if (ROOT / path).is_file() and not path.endswith(".md") else None


def _linked_files() -> set[str]:
    """Files of the checkout, outside `docs/` and no pages, that a page links to."""
    found: set[str] = set()
    pages = [(ROOT / path) for path in CARRIED if (ROOT / path).is_file()]
    for page in [*pages, *(ROOT / "docs").rglob("*.md")]:
        place = page.relative_to(ROOT).as_posix()
        for match in _LINK.finditer(page.read_text("utf-8")):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(place), match[3]))
            uri = _uri_of(target)
            if uri == f"project/{target}" and not target.startswith("docs/"):
                found.add(target)
    return found
