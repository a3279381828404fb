"""A dataset that people look at, a server over it in a process of its own, and a real browser.

The dataset is the small corpus, judged, with measured facts, and with facts of a made-up teacher:
one that motion contradicts, one that holds a script tag.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from finedata.api import open as open_dataset
from finedata.review.decisions import Decisions
from finedata.review.queue import Leases
from finedata.schema.makers import make_fact, make_trace, provenance
from finedata.store.tables.table import append_rows

SCRIPT = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
_MAIN = "from finedata.cli import main; main()"
TEACHER = provenance("teacher", annotator="made-up", run_id="f" * 16)


@pytest.fixture(autouse=True)
def nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server closes its journal and its leases when it ends, and a test those that it opened."""
    opened: list[Decisions | Leases] = []

    def noting(kind: type[Decisions | Leases]) -> Any:
        made = kind.__init__

        def begin(one: Any, *given: Any, **named: Any) -> None:
            made(one, *given, **named)
            opened.append(one)

        return begin

    for kind in (Decisions, Leases):
        monkeypatch.setattr(kind, "__init__", noting(kind))
    yield
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def looked_at(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("looked_at") / "bridge"
    shutil.copytree(converted, root)
    dataset = open_dataset(root)
    dataset.gate()
    dataset.annotate_kinematic(everything=True)
    rows = dataset.episodes.select("episode_id", "length", "fps").collect().to_dicts()
    facts = [fact for row in rows for fact in teacher_facts(row)]
    first = rows[0]
    trace = make_trace(
        TEACHER,
        episode_id=first["episode_id"],
        frame_index=3,
        fps=first["fps"],
        observation="A cup stands on the table.",
        situation_analysis="Nothing was grasped yet.",
        spatial_reasoning="The cup is in front of the gripper.",
        task_planning="Grasp it.",
        logical_steps=["approach", "grasp"],
        sub_action="move forward",
        raw_text="{}",
        cameras=["image_0"],
    )
    with append_rows(root, ("facts", "traces")) as writer:
        writer.add("facts", facts)
        writer.add("traces", [trace])
    return root


def teacher_facts(row: dict[str, Any]) -> list[dict[str, Any]]:
    common = {
        "episode_id": row["episode_id"],
        "fps": row["fps"],
        "start_frame": 0,
        "end_frame": row["length"],
        "anchor": "episode",
    }
    wrong = make_fact(
        TEACHER,
        dimension="trajectory_and_orientation",
        slot="translation_direction",
        value="down",
        text="The arm only moves down.",
        **common,
    )
    shown = make_fact(
        TEACHER,
        dimension="target_object",
        slot="category",
        value="cup",
        text=f"The object is a cup {SCRIPT}",
        confidence=0.4,
        **common,
    )
    return [wrong | {"kinematic_verdict": "contradicted"}, shown]


@contextmanager
def running(root: Path, *arguments: str, verb: str = "view") -> Iterator[tuple[str, Any]]:
    """A server over a dataset: its address, and its process."""
    command = [sys.executable, "-c", _MAIN, verb, str(root), "--no-browser", "--json"]
    process = subprocess.Popen(
        [*command, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, "the server ended before it listened"
        yield msgspec.json.decode(told)["address"].rstrip("/"), process
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or a skip with the reason.

    Of a module, not of the session: while playwright is open its event loop runs in this thread,
    and tests that start one of their own would fail.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def page_of(browser: Any, **options: Any) -> Iterator[Any]:
    """A page of a fresh visitor; an error of its script, or a refused one, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
    page = context.new_page()
    page.set_default_timeout(30_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
    try:
        yield page
        assert not wrong
    finally:
        context.close()
