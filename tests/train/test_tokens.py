"""Actions and reasoning as tokens: masks and losses by hand, the run, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from shard.stream.tiny_shards import TinySet, make_shards
from train.recipes import recipe, recipe_file

from finedata.annotate.trace_text import SECTIONS
from finedata.errors import ConformError, SpecError, UsageError
from finedata.report.training import write_training_report

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import assert_same, tensors  # noqa: E402

from finedata.shard.shards import Shards  # noqa: E402
from finedata.train.answer import IGNORED, reasoning_text  # noqa: E402
from finedata.train.data import inputs, look, look_at_answers, open_stream  # noqa: E402
from finedata.train.export import load_policy  # noqa: E402
from finedata.train.loop import Trainer  # noqa: E402
from finedata.train.policy import make_policy  # noqa: E402

NAME = "tiny_refinevla"
ACTS = 4 * 3


def drawn(shards: Path, *, batch: int = 4, fit: bool = True, **changes: Any):
    """Policy, data and a batch with answers."""
    one = recipe_file(NAME, **changes).recipe
    data = look(Shards.open(shards), one)
    policy = make_policy(one, state_dim=0, action_dim=7)
    if fit:
        look_at_answers(policy.head, data, one)
    settings = policy.backbone.encoder_settings(one, cameras=data.cameras, queries=0)
    found = next(iter(open_stream(data, one, settings, batch=batch)))
    return policy, data, found


def answered(shards: Path, **changes: Any):
    policy, data, batch = drawn(shards, **changes)
    prompts = batch.encoded["length"].copy()
    policy.head.answer(batch, data)
    return policy, batch, prompts, inputs(batch, data, torch.device("cpu"))


@pytest.mark.parametrize("order", ["action_first", "reasoning_first"])
def test_an_answer_is_what_was_asked_for(traced: Path, order: str) -> None:
    policy, batch, prompts, batch_in = answered(traced, order=order, batch=64)
    head, words = policy.head, policy.backbone.tokenizer
    grid, lacking = head.answers.grid, 0
    for k, trace in enumerate(batch.trace):
        begin, end = int(prompts[k]), int(batch_in["length"][k])
        said = batch_in["ids"][k, begin:end].tolist()
        spoken = len(said) - ACTS
        at = spoken - 1 if trace and order == "reasoning_first" else 0
        acts = said[at : at + ACTS]
        real = batch.vector_mask["action"][k]
        actions = np.where(real, batch.vectors["action"][k], 0)
        assert acts == (grid.tokens(actions).reshape(-1) + head.first).tolist()
        others = said[:at] + said[at + ACTS :]
        if trace is None:
            lacking += 1
            assert others == []
        else:
            assert others[-1] == head.end
            assert words.decode(others[:-1]) == reasoning_text(trace, place="")
        labels = batch_in["labels"][k]
        assert (labels[:begin] == IGNORED).all()
        assert (labels[end:] == IGNORED).all()
        kinds = (real[:, :3].all(-1), real[:, 3:6].all(-1), real[:, 6])
        counts = np.stack(kinds, -1).reshape(-1)
        wanted = [a if r else IGNORED for a, r in zip(acts, counts, strict=True)]
        assert labels[begin + at : begin + at + ACTS].tolist() == wanted
        rest = [*labels[begin : begin + at].tolist(), *labels[begin + at + ACTS : end].tolist()]
        assert rest == others
        assert batch_in["seen"][k].tolist() == [p < end for p in range(batch_in["ids"].shape[1])]
        there = [begin <= p < end for p in range(batch_in["ids"].shape[1])]
        assert batch_in["answer"][k].tolist() == there
    assert lacking  # frame 0 comes before the first trace
    assert lacking < len(batch)


def test_losses_by_hand(traced: Path) -> None:
    policy, _, _, batch = answered(traced, batch=6)
    head = policy.head
    hidden = torch.randn(*batch["ids"].shape, 64)
    weight = head.rows.weight.detach().double().numpy()
    sums = dict.fromkeys(head.terms, 0.0)
    counts = dict.fromkeys(head.terms, 0)
    for k in range(6):
        for at in range(1, batch["ids"].shape[1]):
            label = int(batch["labels"][k, at])
            if label == IGNORED:
                continue
            logits = weight @ hidden[k, at - 1].double().numpy()
            logits = 30 * np.tanh(logits / 30)
            part = "action" if label >= head.first else "reasoning"
            sums[part] += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]
            sums[f"{part}_accuracy"] += int(logits.argmax()) == label
            counts[part] += 1
            counts[f"{part}_accuracy"] += 1
    found = head.losses(hidden, batch)
    assert {k: int(v) for k, v in head.counts(batch).items()} == counts
    for name, value in sums.items():
        assert found[name].item() == pytest.approx(value, rel=1e-5), name
    assert head.weights == (1.0, 0.3, 0.0, 0.0)


def test_an_empty_part_is_nothing_and_no_nan(traced: Path) -> None:
    policy, _, _, batch = answered(traced)
    head = policy.head
    hidden = torch.randn(*batch["ids"].shape, 64, requires_grad=True)
    only = batch["labels"] >= head.first
    batch["labels"] = batch["labels"].where(only, IGNORED)
    counts = torch.stack(list(head.counts(batch).values())).clamp(min=1)
    terms = torch.stack(list(head.losses(hidden, batch).values())) / counts
    assert terms[1] == 0
    (terms * torch.tensor(head.weights)).sum().backward()
    assert hidden.grad.isfinite().all()
    # of what is not asked for nothing flows back
    places = torch.zeros_like(only)
    places[:, :-1] = only[:, 1:]
    assert (hidden.grad.abs().sum(-1) > 0).eq(places).all()
    batch["labels"][:] = IGNORED
    assert sum(head.losses(hidden, batch).values()) == 0


@pytest.mark.parametrize("attention", ["prefix", "causal"])
def test_prompts_are_attended_to_as_asked_and_answers_causally(
    traced: Path, attention: str
) -> None:
    policy, _, prompts, batch = answered(traced, attention=attention)
    policy.eval()
    before = policy.backbone(batch)
    at = int(prompts[0]) + 5
    changed = dict(batch) | {"ids": batch["ids"].clone()}
    changed["ids"][0, at] = policy.head.first
    after = policy.backbone(changed)
    assert torch.allclose(after[0, :at], before[0, :at], atol=1e-6)
    assert not torch.allclose(after[0, at:], before[0, at:], atol=1e-4)
    word = int(prompts[0]) - 2
    changed["ids"] = batch["ids"].clone()
    changed["ids"][0, word] = 5
    seen = not torch.allclose(policy.backbone(changed)[0, :word], before[0, :word], atol=1e-5)
    assert seen == (attention == "prefix")
    # what stands behind the answer reaches nothing
    end = int(batch["length"][0])
    changed["ids"] = batch["ids"].clone()
    changed["ids"][0, end:] = 9
    assert torch.allclose(policy.backbone(changed)[0, :end], before[0, :end], atol=1e-6)


@pytest.fixture(scope="module")
def run(traced: Path, tmp_path_factory: pytest.TempPathFactory):
    """64 samples learnt by heart."""
    folder, entries = tmp_path_factory.mktemp("refinevla") / "run", []
    file = recipe_file(NAME, log_every=1, save_every=1000)
    trainer = Trainer(file, traced, folder, workers=0, device="cpu", on_log=entries.append)
    done = trainer.train()
    return done, entries


def test_64_samples_are_learnt_by_heart(run: Any) -> None:
    done, entries = run
    losses = [entry["loss"] for entry in entries]
    assert sum(losses[-5:]) / 5 < 0.05 * losses[0]
    last = entries[-1]["terms"]
    assert last["action_accuracy"] > 0.95
    assert last["reasoning_accuracy"] > 0.6
    weighted = last["action"] + 0.3 * last["reasoning"]
    assert entries[-1]["loss"] == pytest.approx(weighted, rel=1e-6)
    assert any("tokens alone cost" in note for note in done.notes)
    assert any("95.3% of samples have a trace" in note for note in done.notes)


def test_the_report_shows_both_accuracies(run: Any, tmp_path: Path) -> None:
    from finedata.report.training import write_training_report

    page = write_training_report([run[0].run], tmp_path / "runs.html").read_text()
    assert "Accuracy of tokens in training" in page
    assert "action accuracy by step" in page
    assert "reasoning accuracy by step" in page


def test_a_run_says_actions_and_reasoning(run: Any, traced: Path) -> None:
    policy, saved = load_policy(run[0].run)
    one = saved.recipe.recipe
    data = look(Shards.open(traced), one)
    settings = policy.backbone.encoder_settings(one, cameras=data.cameras, queries=0)
    batch = next(iter(open_stream(data, one, settings, batch=8)))
    prompts = inputs(batch, data, torch.device("cpu"))
    with torch.no_grad():
        said = policy(prompts, predict=True, reasoning=True)
        assert torch.equal(policy(prompts, predict=True)["action"], said["action"])
    grid = policy.head.answers.grid
    real = batch.vector_mask["action"]
    known = np.where(real, batch.vectors["action"], 0)
    learnt = grid.actions(grid.tokens(known))
    same = np.isclose(said["action"].numpy(), learnt, atol=1e-6)
    assert same[real].mean() > 0.9
    whole = [trace for trace in said["reasoning"] if trace is not None]
    assert len(whole) >= 4
    for trace in whole:
        assert all(getattr(trace, part) for part in SECTIONS)
    # Word by word with a cache is what the whole answer says at once.
    policy.head.answer(batch, data)
    for at in range(8):
        words = policy.backbone.tokenizer(said["text"][at], add_special_tokens=False).input_ids
        acts = grid.tokens(said["action"][at].numpy()).reshape(-1) + policy.head.first
        begin = int(prompts["length"][at])
        answer = [*acts.tolist(), *words][: settings.max_tokens - begin]
        full = {k: v[at : at + 1] for k, v in prompts.items()}
        length = begin + len(answer)
        full["ids"] = torch.tensor([[*prompts["ids"][at, :begin].tolist(), *answer]])
        full["positions"] = torch.arange(1, length + 1)[None, None]
        full["seen"] = torch.ones(1, length, dtype=torch.bool)
        full["answer"] = (torch.arange(length) >= begin)[None]
        with torch.no_grad():
            logits = policy.head.logits(policy.backbone(full)[0])
        likeliest = logits[begin - 1 : begin + ACTS - 1].argmax(-1)
        assert (likeliest == torch.tensor(answer[:ACTS])).float().mean() > 0.9
        text = logits[begin + ACTS - 1 : length - 1, : policy.head.first].argmax(-1)
        if said["reasoning"][at] is not None:
            assert text.tolist() == answer[ACTS:]


def test_reasoning_first_is_spoken_first(traced: Path) -> None:
    policy, data, batch = drawn(traced, order="reasoning_first", reasoning_tokens=20)
    policy.eval()
    with torch.no_grad():
        said = policy(inputs(batch, data, torch.device("cpu")), predict=True, reasoning=True)
    assert said["action"].shape == (4, 4, 7)
    assert said["action"].isfinite().all()
    assert len(said["text"]) == 4


def test_what_trains_and_what_stays(traced: Path, tmp_path: Path) -> None:
    more = {"freeze_vision": True, "freeze_blocks": 24, "save_every": 1000, "batch": 4}
    file = recipe_file(NAME, steps=2, micro_batch=4, **more)
    one = Trainer(file, traced, tmp_path / "run", workers=0, device="cpu")
    assert any("4 blocks are frozen, not 24" in note for note in one.notes)
    before = {name: p.detach().clone() for name, p in one.policy.named_parameters()}
    one.train()
    moved = {name for name, p in one.policy.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {
        "head.inputs.weight", "head.rows.weight", "backbone.model.model.language_model.norm.weight",
        "backbone.model.model.multi_modal_projector.linear.weight",
        "backbone.model.model.multi_modal_projector.linear.bias",
    }  # fmt: skip


def test_a_killed_run_goes_on_bit_for_bit(traced: Path, tmp_path: Path) -> None:
    file = recipe_file(NAME, steps=4, batch=4, micro_batch=2, save_every=2, warmup=1)
    whole = Trainer(file, traced, tmp_path / "a", workers=0, device="cpu").train()
    Trainer(file, traced, tmp_path / "b", workers=0, device="cpu").train(stop=2)
    again = Trainer(file, traced, tmp_path / "b", workers=2, device="cpu", resume=True).train()
    assert_same(whole.checkpoint, again.checkpoint)
    assert tensors(whole.checkpoint)["model.safetensors/head.packed"].isfinite().sum() > 20


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"max_tokens": 64}, "a prompt of"),
        ({"reasoning_tokens": 12}, "reasoning_tokens"),
        ({"stay_bin": True, "action": "absolute"}, "stay_bin"),
    ],
)
def test_what_does_not_fit_is_named(traced: Path, changes: dict[str, Any], wanted: str) -> None:
    with pytest.raises(UsageError) as refused:
        answered(traced, batch=24, **changes)
    assert wanted in str(refused.value)
    assert "--set" in str(refused.value) or "action=delta" in str(refused.value)


def test_traces_that_are_not_whole_or_not_there(tmp_path: Path, traced: Path) -> None:
    def shards(name: str, **more: Any) -> Path:
        return make_shards(tmp_path / name, [TinySet("a", "rep", [9, 12], **more)])

    with pytest.raises(ConformError, match="nothing as situation_analysis, spatial_reasoning"):
        answered(shards("parts", fine=frozenset({0, 1})), batch=16)
    with pytest.raises(UsageError, match="no trace of any of the first"):
        drawn(shards("none"), mix="raw=1")
    _, data, _ = drawn(traced, fit=False)
    one = recipe_file(NAME, traces="exact").recipe
    notes = look_at_answers(make_policy(one, state_dim=0, action_dim=7).head, data, one)
    assert "traces=hold" in notes[1]


def test_refusals_of_backbones_and_recipes(traced: Path) -> None:
    with pytest.raises(UsageError, match="attention: found prefix"):
        drawn(traced, backbone="tiny:qwen3_vl")
    drawn(traced, backbone="tiny:qwen3_vl", attention="causal")
    one = recipe_file(NAME).recipe
    with pytest.raises(UsageError, match="seven of each arm"):
        make_policy(one, state_dim=0, action_dim=8)
    from finedata.train.backbone import load_backbone
    from finedata.train.heads.tokens import TokenHead

    backbone = load_backbone(one)
    backbone.tokenizer.add_tokens([f"<ACTION{k:05d}>" for k in range(20)])
    with pytest.raises(UsageError, match="<ACTION00020> of the tokenizer"):
        TokenHead(one, backbone, action_dim=7)
    oft = make_policy(recipe(), state_dim=0, action_dim=7)
    with pytest.raises(UsageError, match="reasoning"):
        oft({}, predict=True, reasoning=True)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"order": ""}, "order"),
        ({"rotation": "6d"}, "rotation"),
        ({"normalise": "mean-std"}, "normalise"),
        ({"grid_bins": (1, 8, 4, 4)}, "grid_bins"),
    ],
)
def test_a_recipe_that_contradicts_itself(changes: dict[str, Any], wanted: str) -> None:
    from finedata.schema.recipe_file import find_recipe

    texts = {key: msgspec.json.encode(value).decode() for key, value in changes.items()}
    with pytest.raises(SpecError, match=wanted):
        find_recipe(NAME, changes=texts)


def test_held_out_errors_without_traces(both: Path, tmp_path: Path) -> None:
    more = {"eval_every": 2, "eval_samples": 4, "batch": 4, "micro_batch": 4, "mix": "raw=1"}
    file = recipe_file(NAME, steps=2, traces="none", **more)
    done = Trainer(file, both, tmp_path / "run", workers=0, device="cpu").train()
    assert done.last["terms"]["reasoning"] == 0
    assert 0 < done.heldout["raw"]["l1"] < 3


def test_heldout_tokens_are_told_by_what_was_said_before(tmp_path: Path) -> None:
    """As losses and shares of the likeliest, over time; the report draws both (Figures 4 and 5)."""
    fine = {"fine": frozenset({0}), "whole_traces": True}
    sets = [TinySet("a", "rep", [9], **fine), TinySet("a", "rep", [8], side="heldout", **fine)]
    shards = make_shards(tmp_path / "shards", sets)
    file = recipe_file(
        NAME, steps=4, batch=4, micro_batch=4, eval_every=2, eval_samples=8, log_every=2
    )
    run = tmp_path / "run"
    done = Trainer(file, shards, run, workers=0).train()
    found = done.heldout["fg"]
    policy, _ = load_policy(run)
    policy.eval()
    one = file.recipe
    data = look(Shards.open(shards), one)
    settings = policy.backbone.encoder_settings(one, cameras=data.cameras, queries=0)
    sums, counts = torch.zeros(4), torch.zeros(4)
    held = open_stream(data, one, settings, batch=2, side="heldout", mix="fg=1", stop=8)
    for batch in held:
        policy.head.answer(batch, data)
        tensors_ = inputs(batch, data, torch.device("cpu"))
        with torch.no_grad():
            sums += torch.stack(list(policy(tensors_).values()))
        counts += torch.stack(list(policy.head.counts(tensors_).values()))
    for name, value in zip(policy.head.terms, (sums / counts).tolist(), strict=True):
        assert found[name] == pytest.approx(value, rel=1e-4), name
    page = write_training_report([run], tmp_path / "runs.html").read_text()
    assert "Accuracy of tokens, held out" in page
    for name in ("action accuracy, view fg", "reasoning accuracy, view fg"):
        assert f"{name} by step" in page
    assert done.heldout_before["fg"]["action"] != found["action"]
