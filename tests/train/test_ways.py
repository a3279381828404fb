"""Ways of computing that change no value: activations computed again, compiled blocks, bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finedata.errors import ConformError, FinedataError, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import tensors, trainer  # noqa: E402

# torch warns while it compiles: of Python 3.13.0 alone, and of what it calls itself.
compiles = pytest.mark.filterwarnings(
    "ignore:Guards may run slower:RuntimeWarning",
    "ignore:The .grad attribute of a Tensor:UserWarning",
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning",
)


def weights(both: Path, run: Path, **changes: Any) -> dict[str, Any]:
    return tensors(trainer(both, run, **changes).train(stop=2).checkpoint)


def test_activations_that_are_computed_again_give_the_same_bits(both: Path, tmp_path: Path) -> None:
    plain = weights(both, tmp_path / "a")
    again = weights(both, tmp_path / "b", checkpoint_activations=True)
    assert [name for name in plain if not torch.equal(plain[name], again[name])] == []


@compiles
@pytest.mark.parametrize(
    "family",
    [
        "qwen3_vl",
        "qwen3_5",
        pytest.param("paligemma", marks=pytest.mark.slow),
        pytest.param("smolvlm", marks=pytest.mark.slow),
    ],
)
def test_compiled_blocks_are_whole_graphs_and_give_the_same_numbers(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Traced and differentiated as always; only the last stage, a C++ compiler, is left out.

    Of Qwen3.5 differentiating is left out too: this backend, which is for debugging only, gives
    views of tensors that are not contiguous (pytorch issue 120035).
    """
    counters = torch._dynamo.utils.counters
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.nn.Module.compile
    backend = "eager" if family == "qwen3_5" else "aot_eager"
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled(self, backend=backend))
    how = {"backbone": f"tiny:{family}", "prompt_lengths": (96,), "micro_batch": 4}
    plain = weights(both, tmp_path / "a", **how)
    again = weights(both, tmp_path / "b", compile="blocks", **how)
    assert plain.keys() == again.keys(), "a checkpoint does not know of it"
    for name in plain:
        assert (plain[name].float() - again[name].float()).abs().max() < 5e-5, name
    assert counters["stats"]["unique_graphs"] >= 1
    assert counters["graph_break"] == {}
    torch._dynamo.reset()


@pytest.mark.slow
@compiles
def test_blocks_compiled_to_the_end_give_the_same_numbers(both: Path, tmp_path: Path) -> None:
    plain, again = (
        weights(both, tmp_path / how, compile=how, checkpoint_activations=how == "blocks")
        for how in ("none", "blocks")
    )
    for name in plain:
        assert (plain[name].float() - again[name].float()).abs().max() < 5e-5, name


def test_prompts_are_padded_to_the_lengths_that_are_asked_for(both: Path, tmp_path: Path) -> None:
    from finedata.train.data import cut

    encoded = {"ids": np.zeros((2, 160)), "length": np.array([30, 70]), "pixels": np.zeros((2, 9))}
    for lengths, wanted in (((), 96), ((64, 80), 80), ((70,), 70), ((64,), 160), ((32, 64), 160)):
        found = cut(encoded, lengths)
        assert found["ids"].shape == (2, wanted)
        assert found["pixels"].shape == (2, 9)
    shapes = set()
    one = trainer(both, tmp_path / "run", prompt_lengths=(100, 150))
    forward = one.policy.backbone.forward
    one.policy.backbone.forward = lambda batch: (
        shapes.add(batch["ids"].shape[1]), forward(batch),
    )[1]  # fmt: skip
    one.train(stop=2)
    assert shapes <= {100, 150, 256}
    assert shapes


def test_bf16_is_near(both: Path, tmp_path: Path) -> None:
    plain = weights(both, tmp_path / "a", warmup=0, lr_vlm=1e-4, lr_vision=1e-4, lr_head=1e-4)
    rough = weights(
        both, tmp_path / "b", warmup=0, lr_vlm=1e-4, lr_vision=1e-4, lr_head=1e-4, precision="bf16"
    )
    for name in plain:
        if name.startswith("model"):
            assert plain[name].dtype == rough[name].dtype == torch.float32
            assert (plain[name] - rough[name]).abs().max() < 5e-4, name
    assert any(not torch.equal(plain[name], rough[name]) for name in plain)


@pytest.mark.parametrize("family", ["qwen3_5", "paligemma", "smolvlm"])
def test_every_family_learns(both: Path, tmp_path: Path, family: str) -> None:
    losses: list[float] = []
    one = trainer(
        both,
        tmp_path / "run",
        backbone=f"tiny:{family}",
        micro_batch=4,
        steps=8,
        on_log=lambda entry: losses.append(entry["loss"]),
    )
    before = {name: p.detach().clone() for name, p in one.policy.named_parameters()}
    one.train()
    assert sum(losses[-2:]) < sum(losses[:2])
    still = [n for n, p in one.policy.named_parameters() if torch.equal(before[n], p)]
    assert not [name for name in still if one.policy.get_parameter(name).requires_grad]


def test_a_shard_that_changes_under_a_run_stops_it(both: Path, tmp_path: Path) -> None:
    import shutil

    shards = tmp_path / "shards"
    shutil.copytree(both, shards)
    one = trainer(shards, tmp_path / "run")
    one.train(stop=2)
    for path in shards.rglob("*.tar"):
        content = bytearray(path.read_bytes())
        content[1000::97] = bytes(len(content[1000::97]))
        path.write_bytes(content)
    with pytest.raises(ConformError, match=r"\.tar.*sample"):
        trainer(shards, tmp_path / "run", resume=True).train()
    assert (tmp_path / "run/checkpoints/last").readlink() == Path("000002")


def test_other_statistics_are_refused_on_resume(both: Path, tmp_path: Path) -> None:
    import shutil

    shards = tmp_path / "shards"
    shutil.copytree(both, shards)
    trainer(shards, tmp_path / "run").train(stop=2)
    document = shards / "shards.json"
    document.write_text(document.read_text().replace("-0.5", "-0.25"))
    with pytest.raises(UsageError, match="other statistics"):
        trainer(shards, tmp_path / "run", resume=True)


def test_missing_statistics_are_named(both: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shards = tmp_path / "shards"
    shutil.copytree(both, shards)
    document = json.loads((shards / "shards.json").read_text())
    document["statistics"] = []
    (shards / "shards.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="no statistics"):
        trainer(shards, tmp_path / "run")


def test_memory_that_runs_out_names_the_knobs(both: Path, tmp_path: Path) -> None:
    one = trainer(both, tmp_path / "run")

    def full(*_: Any) -> None:
        msg = "CUDA out of memory. Tried to allocate 9 GiB"
        raise torch.OutOfMemoryError(msg)

    one.policy.head.losses = full
    with pytest.raises(FinedataError, match=r"micro_batch=1, or checkpoint_activations=true"):
        one.train()


def test_a_resume_elsewhere_says_so(both: Path, tmp_path: Path) -> None:
    trainer(both, tmp_path / "run").train(stop=2)
    torch.set_num_threads(2)
    try:
        done = trainer(both, tmp_path / "run", resume=True).train(stop=3)
    finally:
        torch.set_num_threads(1)
    assert done.notes == ("bits may differ from an unbroken run: threads: 2, not 1",)
