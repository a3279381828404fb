"""What every verb does alike: its bar, its JSON, its end by an interrupt, its shared options."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from finedata.cli import annotate, app, frame
from finedata.engine.progress import Progress


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (12_345, "12.3k"), (5e7, "50M"), (2e13, "20T")]
)
def test_counts_are_short(count: float, text: str) -> None:
    assert frame._short(count) == text


def test_no_bar_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with frame.progress_bar() as told:
        assert told is None


def test_one_bar_shows_every_phase(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with frame.progress_bar() as told:
        assert told is not None
        told(Progress("reading", 1, 4))
        told(Progress("asking", 5_000, 20_000, 1_000))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "asking, 1000 failed" in shown.err
    assert "6k of 20k" in shown.err  # what failed is behind the run, too


def test_an_interrupt_ends_with_130_and_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, frame.interruptible():
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert "same command" in capsys.readouterr().err


def test_facts_and_traces_have_the_same_options_of_asking() -> None:
    facts, traces = (
        set(inspect.signature(verb).parameters) for verb in (annotate.facts, annotate.traces)
    )
    assert facts ^ traces == {"fps", "refinement_fps", "max_frames", "verbs", "every"}
    assert {"root", "teacher", "workers", "where", "dry_run", "as_json"} <= facts & traces


def test_every_verb_that_acts_has_json() -> None:
    command: Any = typer.main.get_command(app.app)
    assert len(command.commands) > 15
    for name, verb in command.commands.items():
        if name not in ("demo", "sources", "annotate"):
            for own, one in getattr(verb, "commands", {name: verb}).items():
                options = {option for parameter in one.params for option in parameter.opts}
                assert "--json" in options, f"{name} {own}"


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in CliRunner().invoke(app.app, ["--help"]).output
