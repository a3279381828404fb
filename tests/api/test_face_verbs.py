"""Every verb through the face, on one small dataset; what a person sees of it."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest
from conftest import Corpus

import finedata as fd
from finedata.store.summary import Summary


@pytest.fixture(scope="module")
def source(corpus: Corpus) -> fd.Source:
    return fd.source("bridge_v2", corpus.folder)


@pytest.fixture(scope="module")
def ds(source: fd.Source, tmp_path_factory: pytest.TempPathFactory) -> fd.Dataset:
    """Converted, gated and clustered through the face."""
    told: list[fd.Progress] = []
    ds = source.convert(tmp_path_factory.mktemp("face") / "bridge", on_progress=told.append)
    assert told[-1].phase == "converting"
    assert 0 < told[-1].done <= told[-1].total
    gated = ds.gate(workers=1, scales={"position_m": 0.02})
    assert gated.written
    assert gated.episodes == len(ds)
    found = ds.cluster(per_cluster=1, device="cpu", workers=1)
    assert found.representatives == ds.representatives.collect().height > 0
    return ds


def test_a_source_says_what_converting_would_take(source: fd.Source) -> None:
    found = source.estimate("nowhere", episodes="0-3")
    assert found.episodes == 4
    assert not Path("nowhere").exists()


def test_options_of_a_source_reach_its_converter(corpus: Corpus) -> None:
    wrong = fd.source("bridge_v2", corpus.folder, rotation_delta="sideways")
    with pytest.raises(fd.FinedataError, match="rotation_delta"):
        wrong.estimate()


def test_sources_join_and_must_agree() -> None:
    one, other = fd.source("a", "x", how="left"), fd.source("b", "y", how="left", pace="slow")
    assert one + other == fd.Source((("a", "x"), ("b", "y")), (("how", "left"), ("pace", "slow")))
    with pytest.raises(fd.FinedataError, match="left and right"):
        _ = one + fd.source("b", "y", how="right")


def test_a_dataset_knows_its_conversion_and_its_episodes(
    ds: fd.Dataset, source: fd.Source, corpus: Corpus
) -> None:
    assert len(ds) == ds.conversion.episodes
    assert ds.conversion.found == len(corpus.truths)
    assert ds.verify(source).problems == []
    episode = next(ds.iter_episodes())
    assert ds[episode.episode_id].frames("image_0", [0, 3]).shape[0] == 2
    assert isinstance(pickle.loads(pickle.dumps(ds)), fd.Dataset)


def test_verbs_of_words(ds: fd.Dataset, tmp_path: Path) -> None:
    done = ds.annotate_kinematic(everything=True)
    assert done.done == len(ds)
    teacher = fd.teacher("openai", model="qwen3-vl", input_price_usd=1, output_price_usd=2)
    foreseen = ds.annotate_facts(teacher, dry_run=True, views="all")
    assert foreseen.model == "qwen3-vl"
    assert ds.annotate_traces(teacher, every=5, dry_run=True).product == "traces"
    assert ds.annotation_status().runs[0].origin == "kinematic"
    assert ds.summarise().all.trajectories == len(ds)
    out = ds.write_annotations(tmp_path / "words", format="robofine")
    assert out.episodes == len(ds)


def test_verbs_that_write_elsewhere(ds: fd.Dataset, tmp_path: Path) -> None:
    planned = ds.write(tmp_path / "small", where="length > 0", dry_run=True)
    assert not (tmp_path / "small").exists()
    ids = ds.episodes.select("episode_id").collect()["episode_id"].to_list()
    for name, chosen in (("a", ids[:2]), ("b", ids[2:4])):
        listed = ", ".join(f"'{one}'" for one in chosen)
        assert ds.write(tmp_path / name, where=f"episode_id in ({listed})").episodes == 2
    merged = fd.merge([tmp_path / "a", fd.open(tmp_path / "b")], out=tmp_path / "c")
    assert merged.episodes == len(fd.open(tmp_path / "c")) == 4
    assert planned.episodes == len(ds)
    assert ds.report(tmp_path / "bridge.html", tasks=1).bytes > 1000
    shards = ds.shard(tmp_path / "shards", horizon=4, dry_run=True)
    assert sum(one.episodes for one in shards.sets) > 0


def test_shards_are_a_noun_too(ds: fd.Dataset, tmp_path: Path) -> None:
    ds.shard(tmp_path / "shards", horizon=4, cameras=("image_0",))
    shards = fd.shards(tmp_path / "shards")
    assert "sets" in repr(shards)
    assert shards.description() in shards._repr_html_().replace("&quot;", '"')
    assert shards.verify([ds]).problems == []
    assert shards.take_up_text([ds]).revision
    one = ds.representatives.collect()["episode_id"][0]
    assert shards.leaks([one]) == [one]
    with shards.stream(mix="raw=1", words="raw=goal", batch=4, horizon=4, stop=8) as batches:
        assert [batch.n[0] for batch in batches] == [0, 4]
        assert fd.api.explain(batches, 0, 1)[0]["view"] == "raw"
        receipt = batches.receipt()
    for name in ("a", "b"):
        fd.api.write_receipt(receipt, tmp_path / name)
    assert shards.compare(tmp_path / "a", tmp_path / "b").same_sequence
    assert "raw" in fd.api.receipt_text(receipt)


def test_a_benchmark_is_cut_asked_and_scored(ds: fd.Dataset, tmp_path: Path) -> None:
    ds.annotate_kinematic(everything=True)
    cut = ds.make_benchmark(
        tmp_path / "bench", videos=3, policy="not_contradicted", everything=True
    )
    assert cut.videos == 3
    bench = fd.benchmark(tmp_path / "bench")
    assert bench.profile().videos == 3
    assert bench.vqa("random", dry_run=True).videos > 0
    with pytest.raises(fd.FinedataError, match="folder of the result") as refused:
        bench.vqa("random")
    assert refused.value.parameter == "out"
    with pytest.raises(fd.FinedataError, match="one of perfect") as refused:
        bench.vqa("gemini", out=tmp_path / "x")
    assert refused.value.parameter == "teacher"
    for name in ("perfect", "random"):
        assert bench.vqa(name, out=tmp_path / name).statuses.keys() == {"ok"}
    sections, _ = fd.bench_report([tmp_path / "perfect", tmp_path / "random"])
    assert sections
    again = fd.bench_score(tmp_path / "perfect", out=tmp_path / "again")
    assert [one.value for one in again.scores if one.metric == "accuracy"]


def test_shares_make_the_dataset_of_one_run(
    source: fd.Source, ds: fd.Dataset, tmp_path: Path
) -> None:
    for index in (1, 0):
        source.convert_share(tmp_path / "out", shard_index=index, num_shards=2)
    assert fd.finish_shares(tmp_path / "out").conversion.episodes == len(ds)


def test_errors_name_the_parameter(ds: fd.Dataset) -> None:
    for call, parameter in (
        (lambda: ds.gate(min_frames=0), "min_frames"),
        (lambda: ds.gate(scales={"metres": 1.0}), "scale"),
        (lambda: ds.cluster(k_ratio=2.0), "k_ratio"),
        (lambda: ds.write("x", format="avi"), "format"),
        (lambda: ds.shard("x", colour="red"), "colour"),
        (lambda: ds.shard("x", quality=0), "quality"),
        (lambda: ds.shard("x", bake="songs"), "bake"),
        (lambda: ds.shard("x", sample="episode", thin=True), "sample"),
        (lambda: ds.lerobot("no such part"), "part"),
        (lambda: fd.teacher("gemini"), "model"),
    ):
        with pytest.raises(fd.FinedataError) as error:
            call()
        assert error.value.parameter == parameter
        assert "--" not in str(error.value)


def test_summaries_print_and_show_themselves(ds: fd.Dataset) -> None:
    found = ds.gate(workers=1, dry_run=True)
    text, html = str(found), found._repr_html_()
    assert f"episodes         {len(ds)}" in text
    assert "verdicts         pass" in text
    assert html.startswith("<b>GateSummary</b><table>")
    assert html.count("<table>") == 2  # the thresholds are a table in it
    assert "bridge" in ds._repr_html_()
    assert repr(ds).endswith("parts: .)") or "episodes" in repr(ds)
    with pytest.raises(AttributeError):
        found.episodes = 3  # type: ignore[misc]


def test_the_face_speaks_one_dialect() -> None:
    """Only the first argument has a place, and workers are `workers` whatever they are."""
    nouns = [fd.Source, fd.Dataset]
    verbs = [
        verb
        for noun in nouns
        for owner in noun.__mro__
        if owner.__module__.startswith("finedata.api")
        for name, verb in vars(owner).items()
        if not name.startswith("_") and inspect.isfunction(verb)
    ]
    assert len(verbs) > 15
    for verb in [*verbs, fd.merge, fd.open, fd.teacher]:
        parameters = list(inspect.signature(verb).parameters.values())
        placed = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
        assert len([one for one in placed if one.name != "self"]) <= 1, verb
        assert not {"num_workers", "threads", "concurrency"} & {one.name for one in parameters}
        assert verb.__doc__, verb


def test_every_result_is_a_summary() -> None:
    from finedata.annotate.estimate import AnnotateEstimate
    from finedata.cluster.summary import ClusterSummary
    from finedata.convert.verify.report import VerifyReport
    from finedata.shard.making.summary import ShardSummary

    for kind in (AnnotateEstimate, ClusterSummary, VerifyReport, ShardSummary):
        assert issubclass(kind, Summary)
