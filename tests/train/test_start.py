"""Weights from the Hub: by commit only, weights only, and what does not match is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hub.conftest import hub  # noqa: F401  (a fixture)
from hub.loopback import Hub
from train.recipes import recipe_file

from finedata.errors import UsageError

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import trainer  # noqa: E402

from finedata.train.checkpoint import weights_of  # noqa: E402
from finedata.train.estimate import estimate  # noqa: E402
from finedata.train.export import export_policy, load_policy  # noqa: E402
from finedata.train.loop import Trained  # noqa: E402
from finedata.train.policy import Policy, make_policy  # noqa: E402
from finedata.train.start import begin_with  # noqa: E402

NO_COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def done(both: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trainer(both, tmp_path_factory.mktemp("start") / "run", ema=0.0).train(stop=2)


@pytest.fixture
def models(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:  # noqa: F811
    """The loopback, with a cache of this test's own."""
    from huggingface_hub import constants

    # Files are fetched from an address that the client made when it was imported.
    where = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", where)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return hub


def upload(models: Hub, name: str, folder: Path) -> str:
    """Put a folder on the Hub; returns the commit."""
    repository = models.make(name)
    tree = {
        path.relative_to(folder).as_posix(): repository.keep(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return repository._add(repository.branches["main"], "weights", tree, "main").oid


def fresh(**changes: Any) -> Policy:
    policy = make_policy(
        recipe_file(horizon=4, seed=7, **changes).recipe, state_dim=0, action_dim=10
    )
    return policy


@pytest.mark.parametrize("form", ["checkpoint", "model folder", "export"])
def test_weights_of_a_commit(done: Trained, tmp_path: Path, models: Hub, form: str) -> None:
    assert done.checkpoint is not None
    folder = {
        "checkpoint": lambda: done.checkpoint,
        "model folder": lambda: done.checkpoint / "pretrained_model",
        "export": lambda: export_policy(done.run, tmp_path / "hf"),
    }[form]()
    commit = upload(models, "org/policy", folder)
    policy = fresh()
    assert begin_with(f"org/policy@{commit}", policy) == []
    wanted = dict(weights_of(load_policy(done.run)[0]))
    for name, tensor in weights_of(policy):
        assert torch.equal(tensor, wanted[name]), name
    assert not models.count("optimizer_state")
    with pytest.raises(UsageError, match="no such revision"):
        begin_with(f"org/policy@{NO_COMMIT}", policy)


def test_what_does_not_match_is_named(
    both: Path, done: Trained, tmp_path: Path, models: Hub
) -> None:
    """A plain backbone has no head, and a policy may have another one."""
    folder = export_policy(done.run, tmp_path / "hf")
    commit = upload(models, "org/policy", folder)
    one = trainer(
        both, tmp_path / "b", name="tiny_gr00t", init_from=f"org/policy@{commit}", ema=0.0
    )
    one.close()
    assert any(note.startswith("init_from has no head.") for note in one.notes)
    assert any(note.startswith("init_from has head.") for note in one.notes)
    assert not any("backbone" in note for note in one.notes)
    (folder / "head.safetensors").unlink()
    (folder / "train_config.json").unlink()
    commit = upload(models, "org/backbone", folder)
    told = begin_with(f"org/backbone@{commit}", policy := fresh())
    names = sorted(f"head.{name}" for name, _ in policy.head.named_parameters())
    assert told == [f"init_from has no {name}" for name in names]
    with pytest.raises(
        UsageError, match="found a model of the family qwen3_vl, wanted one of paligemma"
    ):
        begin_with(f"org/backbone@{commit}", fresh(backbone="tiny:paligemma"))


@pytest.mark.parametrize("start", ["org/policy", "org/policy@main", "org/policy@0123abc"])
def test_a_start_without_a_commit_is_refused(both: Path, tmp_path: Path, start: str) -> None:
    with pytest.raises(UsageError) as refused:
        trainer(both, tmp_path / "run", init_from=start)
    assert "next: --set init_from=org/policy@COMMIT; hf models info org/policy" in str(
        refused.value
    )
    assert not (tmp_path / "run").exists()


def test_a_backbone_of_the_hub_needs_its_commit(
    both: Path, done: Trained, tmp_path: Path, models: Hub
) -> None:
    commit = upload(models, "org/vlm", export_policy(done.run, tmp_path / "hf"))
    with pytest.raises(UsageError, match="revision") as refused:
        trainer(both, tmp_path / "run", backbone="org/vlm")
    assert "next: --set revision=COMMIT; hf models info org/vlm" in str(refused.value)
    assert not models.seen
    short = {"mix": "raw=1", "horizon": 4, "max_tokens": 256}
    (note,) = estimate(recipe_file(backbone="org/vlm", **short), both).notes
    assert "--set revision=COMMIT" in note
    assert estimate(recipe_file(backbone="org/vlm", revision=commit, **short), both).notes == ()
    assert not models.count(r"resolve/.*model\.safetensors")
    # Trained from that commit, whatever `main` is by then.
    models.repository("org/vlm").branches["main"] = (
        models.repository("org/vlm")._add("", "x", {}, "o").oid
    )
    one = trainer(both, tmp_path / "run", backbone="org/vlm", revision=commit, ema=0.0)
    one.close()
    wanted = dict(load_policy(done.run)[0].backbone.named_parameters())
    for name, parameter in one.policy.backbone.named_parameters():
        assert torch.equal(parameter, wanted[name]), name
