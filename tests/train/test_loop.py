"""The loop: it learns, it goes on bit for bit, and it names what is wrong."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from train.recipes import recipe_file

from finedata.errors import ConformError, FinedataError, OutputError, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors import safe_open  # noqa: E402

from finedata.train.checkpoint import save_file  # noqa: E402
from finedata.train.loop import Trainer  # noqa: E402

SHORT = {
    "mix": "fg=1,raw=2", "horizon": 4, "steps": 6, "batch": 4, "micro_batch": 2, "warmup": 2,
    "save_every": 2, "log_every": 1, "ema": 0.9, "max_tokens": 256,
}  # fmt: skip


def trainer(shards: Path, run: Path, *, name: str = "tiny_oft", **more: Any) -> Trainer:
    arguments = {key: more.pop(key) for key in ("resume", "workers", "on_log") if key in more}
    arguments = {"workers": 0, "device": "cpu"} | arguments
    return Trainer(recipe_file(name, **(SHORT | more)), shards, run, **arguments)


def tensors(checkpoint: Path) -> dict[str, Any]:
    """Every tensor of a checkpoint."""
    found = {}
    for path in sorted(checkpoint.rglob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= {f"{path.name}/{name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def assert_same(one: Path, other: Path) -> None:
    a, b = tensors(one), tensors(other)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    state = "training_state/stream_state.json"
    assert (one / state).read_bytes() == (other / state).read_bytes()


@pytest.fixture(scope="module", params=["tiny_oft", "tiny_gr00t"])
def unbroken(request: pytest.FixtureRequest, both: Path, tmp_path_factory: Any) -> Any:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    return request.param, trainer(both, run, name=request.param).train()


@pytest.mark.parametrize(("killed_at", "workers"), [(3, 0), (5, 2)])
def test_a_killed_run_goes_on_bit_for_bit(
    unbroken: Any, both: Path, tmp_path: Path, killed_at: int, workers: int
) -> None:
    name, whole = unbroken
    run = tmp_path / "run"
    begun = trainer(both, run, name=name)
    written = begun.save
    # What a run that is killed between checkpoints has not written.
    begun.save = lambda: written() if begun.step % 2 == 0 else None
    begun.train(stop=killed_at)
    again = trainer(both, run, name=name, resume=True, workers=workers).train()
    assert_same(whole.checkpoint, again.checkpoint)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    other = (whole.run / "log.jsonl").read_text().splitlines()
    assert [entry["loss"] for entry in log] == [json.loads(line)["loss"] for line in other]


def test_a_run_of_no_steps_evaluates_only(both: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    none = trainer(both, run, eval_every=6, eval_samples=4).train(stop=0)
    assert (none.step, none.checkpoint) == (0, None)
    assert none.heldout == none.heldout_before != {}
    with pytest.raises(UsageError, match="stop: found -1"):
        trainer(both, run).train(stop=-1)
    done = trainer(both, run, eval_every=6, eval_samples=4).train(stop=2)
    assert done.step == 2
    assert done.heldout_before == none.heldout


def test_micro_batches_change_nothing_but_rounding(both: Path, tmp_path: Path) -> None:
    one = trainer(both, tmp_path / "a", micro_batch=4, precision="fp32").train(stop=2)
    two = trainer(both, tmp_path / "b", micro_batch=1, precision="fp32").train(stop=2)
    a, b = tensors(one.checkpoint), tensors(two.checkpoint)
    for name in a:
        assert torch.allclose(a[name], b[name], atol=3e-5), name


def test_the_checkpoint_is_lerobots_tree_without_pickles(unbroken: Any) -> None:
    _, whole = unbroken
    folder = whole.checkpoint
    assert folder.name == "000006"
    assert (folder.parent / "last").resolve() == folder
    assert (folder.parent / "last").readlink() == Path("000006")
    assert sorted(path.name for path in folder.parent.iterdir() if path.name != "last") == [
        "000002", "000004", "000006",
    ]  # fmt: skip
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "pretrained_model/model.safetensors", "pretrained_model/config.json",
        "pretrained_model/train_config.json", "pretrained_model/codecs.json",
        "pretrained_model/average.safetensors", "pretrained_model/tokenizer.json",
        "pretrained_model/preprocessor_config.json", "training_state/optimizer_state.safetensors",
        "training_state/optimizer_param_groups.json", "training_state/training_step.json",
        "training_state/stream_state.json", "training_state/stream_receipts.json",
    } <= names  # fmt: skip
    assert {Path(name).suffix for name in names} <= {".json", ".safetensors", ".jinja"}
    config = json.loads((folder / "pretrained_model/train_config.json").read_text())
    assert config["recipe"]["dit_width"]  # resolved: every default is there
    (receipt,) = json.loads((folder / "training_state/stream_receipts.json").read_text())
    drawn = Counter()
    for one in receipt["drawn"]:
        drawn[one["view"]] += one["samples"]
    assert drawn == {"fg": 8, "raw": 16}


def test_the_log_tells_what_was_drawn_and_asked(unbroken: Any) -> None:
    _, whole = unbroken
    entry = whole.last
    assert entry["asked"].keys() == {"fg/a", "fg/b", "raw/a", "raw/b"}
    assert sum(entry["asked"].values()) == pytest.approx(1) == sum(entry["drawn"].values())
    assert entry["asked"]["fg/a"] == pytest.approx(1 / 3 * 23 / 31)
    assert entry["step"] == 6
    assert entry["samples"] == 24


def test_a_save_that_fails_leaves_the_last_whole(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    trainer(both, run).train(stop=2)
    calls = []

    def failing(weights, path, **more):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save_file(weights, path, **more)

    monkeypatch.setattr("finedata.train.checkpoint.save_file", failing)
    with pytest.raises(OutputError, match="No space"):
        trainer(both, run, resume=True).train(stop=4)
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["000002", "last"]


def test_bad_beginnings_are_refused(both: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer(both, run).train(stop=2)
    with pytest.raises(UsageError, match="--resume"):
        trainer(both, run)
    with pytest.raises(UsageError, match="steps 7, not 6"):
        trainer(both, run, resume=True, steps=7)
    open_one = trainer(both, run, resume=True)
    with pytest.raises(OutputError, match="is training"):
        trainer(both, run, resume=True)
    open_one.close()
    model = run / "checkpoints/000002/pretrained_model/model.safetensors"
    model.write_bytes(model.read_bytes()[:-1000])
    with pytest.raises(ConformError, match=r"model\.safetensors"):
        trainer(both, run, resume=True)
    (model.parent / "train_config.json").write_text("{")
    with pytest.raises(ConformError, match=r"train_config\.json"):
        trainer(both, run, resume=True)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"action_dim": 7}, "action_dim: found 7 in the recipe, 10 in"),
        ({"mix": "unlabelled=1"}, "unlabelled"),
        ({"cameras": ("main",)}, "cameras: found main"),
        ({"actions": ("state",)}, "actions: found state"),
        ({"micro_batch": 3}, "micro_batch"),
        ({"freeze_blocks": 9}, "freeze_blocks"),
        ({"query_token": "a b"}, "query_token"),
        ({"max_tokens": 20}, "max_tokens"),
    ],
)
def test_what_does_not_fit_is_named(
    both: Path, tmp_path: Path, changes: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(UsageError) as refused:
        trainer(both, tmp_path / "run", **changes).train()
    assert wanted in str(refused.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_loss_that_is_no_number_names_its_samples(both: Path, tmp_path: Path) -> None:
    one = trainer(both, tmp_path / "run")
    losses, seen = one.policy.head.losses, []

    def broken(hidden, batch):
        found = losses(hidden, batch)
        if len(batch["ids"]) == 2 and not seen:
            seen.append(batch["ids"][1].clone())
        hit = (batch["ids"] == seen[0]).all(-1).any()
        return {"l1": found["l1"] * (float("nan") if hit else 1.0)}

    one.policy.head.losses = broken
    before = {name: p.clone() for name, p in one.policy.named_parameters()}
    with pytest.raises(FinedataError, match=r"[ab]-re\S* frame \d+") as refused:
        one.train()
    assert "step 0" in str(refused.value)
    assert all(torch.equal(before[name], p) for name, p in one.policy.named_parameters())


def test_weights_of_a_run_are_taken_over_without_its_state(both: Path, tmp_path: Path) -> None:
    done = trainer(both, tmp_path / "a").train(stop=2)
    one = trainer(both, tmp_path / "b", init_from=str(tmp_path / "a"))
    saved = tensors(done.checkpoint)
    for name, parameter in one.policy.named_parameters():
        assert torch.equal(parameter, saved[f"model.safetensors/{name}"])
    assert (one.step, one.notes, one.optimiser.state) == (0, [], {})
    one.close()


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({}, ()),
        ({"freeze_vision": True}, ("backbone.model.model.visual.",)),
        ({"freeze_embeddings": True}, ("backbone.model.model.language_model.embed_tokens.",)),
        ({"freeze_blocks": 1}, ("backbone.model.model.language_model.layers.0.",)),
        ({"lora_rank": 2}, ("backbone.",)),
    ],
)
def test_gradients_reach_exactly_what_should_train(
    both: Path, tmp_path: Path, changes: dict[str, Any], frozen: tuple[str, ...]
) -> None:
    one = trainer(both, tmp_path / "run", **changes)
    before = {name: p.detach().clone() for name, p in one.policy.named_parameters()}
    one.train(stop=2)
    for name, parameter in one.policy.named_parameters():
        trains = "lora_" in name or not name.startswith(frozen or "-")
        assert parameter.requires_grad == trains, name
        # LoRA's first factor has no gradient while the second is zero: two steps are needed.
        assert torch.equal(before[name], parameter) != trains, name


@pytest.mark.parametrize("name", ["tiny_oft", "tiny_gr00t"])
def test_64_real_samples_are_learnt_by_heart(bridge_64: Path, tmp_path: Path, name: str) -> None:
    losses: list[float] = []
    file = recipe_file(name, horizon=4, log_every=1, save_every=1000)
    on_log = lambda entry: losses.append(entry["loss"])  # noqa: E731
    Trainer(file, bridge_64, tmp_path / "run", workers=0, device="cpu", on_log=on_log).train()
    assert sum(losses[-5:]) / 5 < 0.05 * losses[0]
