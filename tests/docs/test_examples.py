"""The scripts of `examples/` do what they say, on small data, without a network."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docs.documents import ROOT

NAMES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))


def example(name: str) -> Any:
    return import_module(name)


def test_each_is_listed_and_tested() -> None:
    listed = (ROOT / "examples/README.md").read_text("utf-8")
    tests = Path(__file__).read_text("utf-8")
    for name in NAMES:
        assert f"({name}.py)" in listed
        assert f'example("{name}")' in tests


def test_own_lerobot_to_representatives(tmp_path: Path) -> None:
    ds = example("own_lerobot_to_representatives").main(tmp_path)
    assert ds.representatives.collect().height == 10
    assert ds.verdicts.collect()["verdict"].to_list().count("pass") == 27
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_find_bad_demonstrations(tmp_path: Path) -> None:
    planted, found = example("find_bad_demonstrations").main(tmp_path)
    assert len(planted) == 3
    for number, check in planted.items():
        assert check in found[number]
    # What was odd in the corpus before; nothing else is refused.
    assert set(found) - set(planted) <= {9, 10, 21}


def test_annotate_with_a_local_server(tmp_path: Path) -> None:
    ds = example("annotate_with_a_local_server").main(tmp_path)
    traces = ds.traces.collect()
    assert set(traces["sub_action"]) == {"move forward and down"}
    assert traces["episode_id"].n_unique() == 4
    assert ds.facts.filter(pl.col("kinematic_verdict") == "confirmed").collect().height > 20


def test_mix_two_robots(tmp_path: Path) -> None:
    assert example("mix_two_robots").main(tmp_path) == {"bridge_v2": 40, "lerobot": 120}


def test_ask_a_served_policy(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch: make test installs it")
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        action = example("ask_a_served_policy").main(tmp_path, steps=3)
    finally:
        torch.set_num_threads(threads)
    assert len(action) == 8
    assert sum(number**2 for number in action[3:7]) == pytest.approx(1, abs=1e-4)


def test_scripts_end_in_a_call_of_main() -> None:
    for name in NAMES:
        assert "main(Path(sys.argv[1])" in (ROOT / f"examples/{name}.py").read_text("utf-8")
