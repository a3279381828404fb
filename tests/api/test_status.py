"""`status` and `doctor`: what they say of what is there, of what is begun, of what is missing."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
from conftest import Corpus
from typer.testing import CliRunner

import finedata as fd
from finedata.api.status import Status
from finedata.cli.app import app
from finedata.store.run.ledger import Ledger


def ran(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def copy(converted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(converted, tmp_path / "bridge", copy_function=os.link)


def states(found: Status) -> dict[str, str]:
    return {step.verb: step.state for step in found.steps}


def test_status_follows_the_verbs(copy: Path) -> None:
    ds = fd.open(copy)
    first = ds.status()
    assert states(first) == {
        "convert": "done", "gate": "not yet", "cluster": "not yet", "annotate": "not yet"
    }  # fmt: skip
    assert first.next == f"finedata gate {copy}"
    assert f"{len(ds)} of " in first.steps[0].far
    assert first.steps[0].last_at.startswith("20")
    summary = ds.gate(workers=1)
    ds.annotate_kinematic(everything=True)
    found = ds.status()
    assert states(found)["annotate kinematic"] == "done"
    gated = found.steps[1]
    assert (gated.state, gated.settings) == ("done", f"settings {summary.settings_sha256[:12]}")
    assert f"{summary.verdicts['pass']} pass" in gated.far
    assert found.next == f"finedata cluster {copy}"
    printed = ran("status", copy)
    assert printed.splitlines()[-1] == f"next: finedata cluster {copy}"
    assert msgspec.json.decode(ran("status", copy, "--json"))["next"] == found.next


def test_status_of_what_is_begun(corpus: Corpus, tmp_path: Path) -> None:
    root = tmp_path / "begun"
    settings = {"source": "bridge_v2 1.0.0", "options": "{}"}
    with Ledger(root, run_key="k", settings=settings) as ledger:
        ledger.put("shard", 0, b"")
        ledger.put("shard", 1, b"")
        during = fd.status(root)
        assert [step.state for step in during.steps] == ["running"]
        assert during.next.startswith("wait")
    after = fd.status(root)
    (step,) = after.steps
    assert (step.verb, step.state, step.far) == ("convert", "stopped", "2 shard")
    assert "source=bridge_v2 1.0.0" in step.settings
    assert "same command" in after.next


def test_status_of_shares_names_the_merge(corpus: Corpus, tmp_path: Path) -> None:
    source = fd.source("bridge_v2", corpus.folder)
    source.convert_share(tmp_path / "out", shard_index=0, num_shards=2)
    assert f"finedata merge {tmp_path / 'out'}" in fd.status(tmp_path / "out").next


def test_status_of_nothing_of_ours(tmp_path: Path) -> None:
    with pytest.raises(fd.FinedataError, match="nothing that finedata made"):
        fd.status(tmp_path)


def test_doctor_knows_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "a secret")
    found = fd.doctor()
    core = next(one for one in found.extras if one.name == "core")
    assert core.works
    assert any(one.startswith("polars ") for one in core.found)
    assert "dev" not in [one.name for one in found.extras]
    assert found.keys[0] == "GEMINI_API_KEY"
    assert "secret" not in str(found)
    assert "core         works" in ran("doctor")


def test_a_missing_extra_is_installed_as_finedata_itself_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None of its libraries is found, whatever this machine has.
    module = import_module("finedata.api.doctor")  # by name: `api.doctor` is the function
    monkeypatch.setattr(module, "requires", lambda _: ["nosuchlibrary>=1; extra == 'video'"])
    errors = import_module("finedata.errors")
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "finedata" / "errors.py"))
    assert fd.doctor().next.startswith("pip install 'finedata[video]'")
    (tmp_path / "pyproject.toml").touch()
    assert fd.doctor().next.startswith(f"pip install -e '{tmp_path}[video]'")
    monkeypatch.chdir(tmp_path)
    assert fd.doctor().next.startswith("pip install -e '.[video]'")
    with pytest.raises(errors.MissingExtraError, match=r"pip install -e '\.\[curate\]'"):
        errors.need("nosuchlibrary", extra="curate", place="here")
