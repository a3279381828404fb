"""End to end: the real client libraries, a server that goes wrong on purpose, the tables."""

from __future__ import annotations

import pytest
from annotate.scripted import answer_of
from annotate.test_run_facts import digests, run
from annotate.test_run_traces import run as run_traces
from teachers.loopback import Loopback, rates, serving

import finedata
from finedata.annotate.asking.limits import AskOptions
from finedata.annotate.run import annotate_facts, annotate_traces
from finedata.annotate.selection import Choice
from finedata.annotate.settings import AnnotateSettings
from finedata.convert.run import convert
from finedata.teachers.opening import open_teacher

pytest.importorskip("openai")
pytest.importorskip("google.genai")
ALL = Choice(everything=True)
OPTIONS = AskOptions(
    concurrency=8, backoff_s=0.01, attempts=12, input_price_usd=1.0, output_price_usd=2.0
)


@pytest.fixture(autouse=True)
def keys(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "loopback")
    monkeypatch.setenv("GEMINI_API_KEY", "loopback")


@pytest.fixture
def server():
    faults = {name: rate for name, rate in rates(0.3).items() if name != "slow_drip"}
    loopback = Loopback(answer=answer_of, faults=faults, seed=3, retry_after_s=0)
    with serving(loopback) as url:
        yield loopback, url


def opened(name: str, url: str):
    return open_teacher(name, base_url=f"{url}/v1" if name == "openai" else url)


@pytest.mark.parametrize("name", ["openai", "gemini"])
def test_facts_and_traces_through_all_faults(root, ids, server, name) -> None:
    _, url = server
    settings = AnnotateSettings(teacher=name, model="loopback")
    summary = annotate_facts(
        root, teacher=opened(name, url), settings=settings, options=OPTIONS, choice=ALL
    )
    dataset = finedata.open(root)
    facts, calls = dataset.facts.collect(), dataset.table("calls").collect()
    assert summary.done + summary.failed == len(ids)
    assert summary.done > 0
    assert facts["episode_id"].n_unique() == summary.done
    assert summary.rows["facts"] == facts.height == 4 * summary.done
    # refusals are final; each is an episode that has no rows, and no call that failed is ok
    refused = calls.filter(calls["status"] == "refused").height
    failed = calls.filter(calls["status"] == "failed").height
    assert refused + failed == summary.failed
    assert calls["cost_usd"].sum() == pytest.approx(summary.cost_usd)
    traces = annotate_traces(
        root, teacher=opened(name, url), settings=settings, every=20, options=OPTIONS, choice=ALL
    )
    found = finedata.open(root).traces.collect()
    assert found.height == traces.rows["traces"] > 0
    assert found.filter(found["observation"] == "").height == 0


def test_the_server_and_memory_give_the_same_rows(root, ids, tmp_path, converted) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(converted, other)
    settings = AnnotateSettings(teacher="openai", model="loopback")
    with serving(Loopback(answer=answer_of)) as url:
        annotate_facts(root, teacher=opened("openai", url), settings=settings, choice=ALL)
        annotate_traces(
            root, teacher=opened("openai", url), settings=settings, every=10, choice=ALL
        )
    run(other, settings)
    run_traces(other, settings)
    assert digests(root) == digests(other)


def test_real_bridge_episodes(real_bridge, tmp_path, server) -> None:
    _, url = server
    out = tmp_path / "bridge"
    convert("bridge_v2", input=real_bridge, out=out)
    settings = AnnotateSettings(teacher="openai", model="loopback")
    summary = annotate_facts(
        out, teacher=opened("openai", url), settings=settings, options=OPTIONS, choice=ALL
    )
    assert summary.done + summary.failed == 25
    assert summary.done > 15
    facts = finedata.open(out).facts.collect()
    assert facts["episode_id"].n_unique() == summary.done
