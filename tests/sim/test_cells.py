"""Results of a study: seeds make cells, cells are compared over scenes and seeds."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sim.made_up import result_of

from finedata.errors import UsageError
from finedata.sim.cells import cell_differences, confusion, fine_share, questions
from finedata.sim.evaluate import Result


def test_seeds_are_one_cell_and_all_else_tells_cells_apart() -> None:
    results = [
        result_of([True, False], mix="fg=1", seed=0),
        result_of([True, True], mix="fg=1", seed=1),
        result_of([True, True], mix="fg=1", seed=0, step=200),
        result_of([True, True], mix="raw=1", seed=0),
        result_of([True, True], policy="usual"),
    ]
    (question,) = questions(results)
    assert [cell.name for cell in question.cells] == [
        "fg=1, 100 steps", "fg=1, 200 steps", "raw=1, 100 steps", "usual",
    ]  # fmt: skip
    assert [cell.seeds for cell in question.cells] == [[0, 1], [0], [0], []]
    assert question.cells[0].shares("goal") == [0.5, 1.0]


def _set(result: Result, family: str, **changed: str) -> Result:
    assert result.run is not None
    run = msgspec.structs.replace(result.run, family=family, changed=changed)
    return msgspec.structs.replace(result, run=run)


def test_recipes_are_told_apart_by_what_was_set() -> None:
    def named(*results: Result) -> list[tuple[str, str]]:
        return [(cell.name, cell.recipe) for cell in questions(results)[0].cells]

    usual = _set(result_of([True], mix="fg=1"), "a" * 16, steer_width="64")
    other = _set(result_of([True], mix="fg=1"), "b" * 16, loss="l1", steer_width="64")
    deep = _set(result_of([True], mix="raw=1"), "c" * 16, loss="flow", steer_width="64")
    assert named(usual, other, deep) == [
        ("steer, fg=1", "steer"),
        ("steer, loss=l1, fg=1", "steer, loss=l1"),
        ("steer, loss=flow, raw=1", "steer, loss=flow"),
    ]
    assert named(other) == [("fg=1", "steer")]
    # What was set in both tells nothing: digests do.
    quiet = [_set(one, digest * 16, loss="l1") for one, digest in ((usual, "d"), (other, "e"))]
    assert named(*quiet) == [
        ("steer, dddddd, fg=1", "steer, dddddd"), ("steer, eeeeee, fg=1", "steer, eeeeee"),
    ]  # fmt: skip


def test_prompts_are_asked_apart() -> None:
    results = [
        result_of([True], mix="fg=1", prompts="fine"),
        result_of([True], mix="fg=1", prompts="raw"),
        result_of([True], mix="raw=1", prompts="fine"),
    ]
    found = questions(results)
    assert [(q.settings.prompts, len(q.cells)) for q in found] == [("fine", 2), ("raw", 1)]
    assert found[1].title == (
        "raw prompts, held-out wording, goals that fine-grained text names too"
    )


@pytest.mark.parametrize(
    "other",
    [
        result_of([True, True], mix="raw=1", digest="other"),
        result_of([True], mix="raw=1"),
        result_of([True, True], mix="raw=1", first=7),
        result_of([True, True], mix="raw=1", first=7, prompts="raw"),
        msgspec.structs.replace(result_of([True, True], mix="raw=1"), mujoco="3.9.0"),
    ],
)
def test_other_scenes_are_refused(other: Result) -> None:
    with pytest.raises(UsageError, match="same --scenes"):
        questions([result_of([True, True], mix="fg=1"), other])


@pytest.mark.parametrize("mix", ["fg=1", ""])
def test_one_run_twice_is_refused(mix: str) -> None:
    with pytest.raises(UsageError, match="two results of"):
        questions([result_of([True], mix=mix), result_of([True], mix=mix)])


def test_differences_are_over_scenes_and_seeds() -> None:
    rng = np.random.default_rng(0)
    scenes = 400
    base = rng.random(scenes) < 0.5
    good = [base | (rng.random(scenes) < share) for share in (0.1, 0.5, 0.9)]
    results = [
        *(result_of(base.tolist(), mix="raw=1", seed=k) for k in range(3)),
        *(result_of(one.tolist(), mix="fg=1", seed=k) for k, one in enumerate(good)),
        result_of(good[1].tolist(), mix="fg=2", seed=0),
    ]
    (question,) = questions(results)
    apart = {(one.cell, one.score): one for one in cell_differences(question.cells)}
    many, one = apart["fg=1", "goal"], apart["fg=2", "goal"]
    assert many.mean == pytest.approx(np.mean(good) - base.mean())
    assert many.low < many.mean < many.high
    # Three seeds that differ widely say less than the scenes of one do.
    assert many.high - many.low > 2 * (one.high - one.low)
    # Scenes are paired: of one seed it is the bootstrap of a mean of paired differences.
    paired = good[1].astype(float) - base
    error = 1.96 * paired.std() / np.sqrt(scenes)
    assert one.low == pytest.approx(paired.mean() - error, abs=0.01)
    assert one.high == pytest.approx(paired.mean() + error, abs=0.01)
    assert (many.seeds, one.seeds) == ((3, 3), (1, 3))
    assert cell_differences(question.cells) == cell_differences(question.cells)


def test_what_was_done_instead() -> None:
    (question,) = questions([result_of([True, False, True], mix="fg=1")])
    (cell,) = question.cells
    assert confusion(cell, "arm") == {"left": {"left": 2, "nothing": 1}}
    assert confusion(cell, "rotation") == {"clockwise": {"clockwise": 2, "counter-clockwise": 1}}
    assert confusion(cell, "side") == {"left": {"nothing": 3}}


def test_what_a_run_learnt_from() -> None:
    assert fine_share(result_of([True], mix="fg=1,raw=3", drawn={"fg": 100, "raw": 300})) == 0.25
    assert fine_share(result_of([True], mix="raw=1")) == 0.0
    assert fine_share(result_of([True])) is None
