"""An annotator: what it is taught, how it is asked, and that its answers pass the pipeline."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from train.recipes import recipe_file

import finedata
from finedata.errors import ConformError, SpecError, UsageError
from finedata.teachers.protocol import Request

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import assert_same  # noqa: E402

from finedata.schema.recipe_file import decode_recipe, find_recipe, recipe_toml  # noqa: E402
from finedata.train.annotator.lesson_encode import LessonEncoder, asked_text, stacked  # noqa: E402
from finedata.train.annotator.lesson_stream import (  # noqa: E402
    LessonStream,
    frame_settings,
    look_at_lessons,
)
from finedata.train.annotator.teacher import run_name  # noqa: E402
from finedata.train.answer import IGNORED  # noqa: E402
from finedata.train.data import inputs  # noqa: E402
from finedata.train.encode import Encoder  # noqa: E402
from finedata.train.export import export_policy, load_any, load_policy  # noqa: E402
from finedata.train.loop import Trainer  # noqa: E402
from finedata.train.policy import make_policy  # noqa: E402

NAME = "tiny_annotator"
SMALL = {
    "max_facts": 2, "fps": 1.0, "refinement_fps": 1.0, "held_out": 0.25, "batch": 4,
    "micro_batch": 4, "warmup": 4,
}  # fmt: skip


@pytest.fixture
def dataset(taught: Path) -> Path:
    return taught


def small(**changes: Any):
    return recipe_file(NAME, **SMALL | changes)


def test_lessons_are_the_questions_of_the_pipeline(dataset: Path) -> None:
    """And their answers are the rows, whole, on one side only."""
    recipe = small(max_facts=0).recipe
    data = look_at_lessons(dataset, recipe)
    assert not set(data.sides["train"]) & set(data.sides["heldout"])
    assert data.heldout
    opened = finedata.open(dataset)
    one = data.train[0].episode_id
    mine = {lesson.stage: lesson for lesson in data.train if lesson.episode_id == one}
    assert list(mine) == ["facts/sequence", "facts/steps", "facts/atoms"]
    steps = opened.steps.filter((pl.col("episode_id") == one) & (pl.col("origin") == "kinematic"))
    facts = opened.facts.filter(pl.col("episode_id") == one).collect()
    said = json.loads(mine["facts/steps"].answer)["steps"]
    assert [step["text"] for step in said] == steps.sort("step_index").collect()["text"].to_list()
    told = json.loads(mine["facts/atoms"].answer)["facts"]
    assert sorted(fact["text"] for fact in told) == sorted(facts["text"])
    asked = data.lessons.request(mine["facts/atoms"])
    assert all(step["text"] in asked.prompt for step in said)
    assert asked.schema is not None
    assert len(asked.pictures) >= 4
    few = look_at_lessons(dataset, small(max_facts=2).recipe)
    atoms = [json.loads(x.answer)["facts"] for x in few.train if x.stage == "facts/atoms"]
    assert max(map(len, atoms)) == 2


def test_a_caption_is_robofine_vlms(dataset: Path) -> None:
    data = look_at_lessons(dataset, small(answers="caption").recipe)
    answer = json.loads(data.train[0].answer)
    assert list(answer) == [f"Step{k}" for k in range(1, len(answer) + 1)]
    assert {lesson.stage for lesson in data.train} == {"caption"}
    request = data.lessons.request(data.train[0])
    assert request.schema is None
    assert '"Step1"' in request.prompt


def encoded(dataset: Path, family: str = "qwen3_vl", **changes: Any):
    recipe = small(backbone=f"tiny:{family}", **changes).recipe
    data = look_at_lessons(dataset, recipe)
    policy = make_policy(recipe, state_dim=0, action_dim=0)
    return recipe, data, policy, LessonEncoder(policy.backbone, recipe)


def test_only_the_answer_is_asked_for(dataset: Path) -> None:
    recipe, data, policy, encoder = encoded(dataset)
    lesson = data.train[2]
    request = data.lessons.request(lesson)
    found = encoder.encode(request, lesson.answer)
    spoken = found["answer"]
    assert encoder.decode(found["ids"][spoken][:-1]) == lesson.answer
    assert found["ids"][-1] == encoder.end
    assert (found["labels"] == np.where(spoken, found["ids"], IGNORED)).all()
    before = encoder.decode(found["ids"][~spoken])
    assert asked_text(request, recipe.prompt) in before
    assert request.pictures[1].label in before
    without = encoder.encode(request)
    assert without["ids"].tolist() == found["ids"][~spoken].tolist()
    image = policy.backbone.token("<|image_pad|>", parameter="backbone")
    assert (found["ids"] == image).sum() == 4 * len(request.pictures)


def test_values_are_no_places(dataset: Path) -> None:
    request = Request(
        episode_id="", stage="facts/steps", model="", prompt="p {stage}",
        values={"instruction": "say {given}", "sequence": "{instruction}"},
    )  # fmt: skip
    assert (
        asked_text(request, "{stage}: {instruction} {given}") == "steps: say {given} {instruction}"
    )
    assert asked_text(request, "{request}") == "p {stage}"
    long = replace(request, values={"last_frame": "23"})
    assert asked_text(long, "{stage} {last_frame}{given}{none}") == "steps 23{none}"


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5", "paligemma", "smolvlm"])
def test_a_batch_equals_its_samples(dataset: Path, family: str) -> None:
    """Questions of different lengths and numbers of pictures do not disturb each other."""
    _, data, policy, encoder = encoded(dataset, family, answers="caption", fps=2.0)
    lessons = sorted(data.train, key=lambda x: len(data.lessons.request(x).pictures))
    both = [lessons[0], lessons[-1]]
    samples = [encoder.encode(data.lessons.request(x), x.answer) for x in both]
    assert len({len(sample["pictured"]) for sample in samples}) == 2
    policy.eval()

    def sums(arrays):
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with torch.no_grad():
            return torch.stack([x.double() for x in policy(batch).values()])

    alone = sum(sums(stacked([sample], pad=0)) for sample in samples)
    torch.testing.assert_close(sums(stacked(samples, pad=0)), alone, rtol=2e-4, atol=0)


def test_lengths_of_a_recipe_are_kept(dataset: Path) -> None:
    recipe, data, policy, _ = encoded(dataset, prompt_lengths=(640, 1280))
    with LessonStream(data, recipe, policy.backbone, batch=2) as opened:
        batch = inputs(next(iter(opened)), data, torch.device("cpu"))
    assert batch["ids"].shape[1] == batch["labels"].shape[1] in (640, 1280)
    assert not batch["seen"][:, int(batch["length"].max()) :].any()


def test_loss_by_hand(dataset: Path) -> None:
    recipe, data, policy, _ = encoded(dataset)
    with LessonStream(data, recipe, policy.backbone, batch=3) as opened:
        batch = inputs(next(iter(opened)), data, torch.device("cpu"))
    head = policy.head
    hidden = torch.randn(*batch["ids"].shape, 64)
    rows = policy.backbone.model.get_output_embeddings().weight.detach().double().numpy()
    loss, right, count = 0.0, 0, 0
    for k, at in np.argwhere(batch["labels"].numpy() != IGNORED):
        logits = rows @ hidden[k, at - 1].double().numpy()
        label = int(batch["labels"][k, at])
        loss += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]
        right, count = right + (int(logits.argmax()) == label), count + 1
    found = head.losses(hidden, batch)
    assert found["words"].item() == pytest.approx(loss, rel=1e-5)
    assert int(found["words_accuracy"]) == right
    assert int(head.counts(batch)["words"]) == count


def test_every_lesson_once_an_epoch_and_from_any_place(dataset: Path) -> None:
    recipe, data, policy, _ = encoded(dataset, answers="caption")
    count = len(data.train)
    with LessonStream(data, recipe, policy.backbone, batch=4) as opened:
        names = [opened.at(n).episode_id for n in range(3 * count)]
        for epoch in range(3):
            assert len(set(names[epoch * count : (epoch + 1) * count])) == count
        assert names[:count] != names[count : 2 * count]
        read = iter(opened)
        drawn = [next(read).episode_id for _ in range(3)]
        state = opened.state_dict()
        after = next(read)
    assert [name for names in drawn for name in names] == names[:12]
    with LessonStream(data, recipe, policy.backbone, batch=4, workers=3) as again:
        again.load_state_dict(state)
        assert next(iter(again)).episode_id == after.episode_id == names[12:16]
        assert again.receipt()["chain"][0]["n"] == 16
    more = {"batch": 4, "world": 2}
    halves = [LessonStream(data, recipe, policy.backbone, rank=k, **more) for k in (0, 1)]
    assert [name for half in halves for name in next(iter(half)).episode_id] == names[:4]


def test_the_loop_closes(dataset: Path, tmp_path: Path) -> None:
    """Trained, exported, asked by `annotate facts`: facts with its name, judged by the motion."""
    fast = {"lr_vlm": 5e-3, "lr_vision": 5e-3, "held_out": 0.93, "max_facts": 1}
    recipe = small(steps=90, save_every=45, eval_every=90, eval_samples=8, log_every=30, **fast)
    root = tmp_path / "bridge"
    shutil.copytree(dataset, root)
    run = tmp_path / "run"
    done = Trainer(recipe, root, run, workers=1).train()
    assert done.last["terms"]["words"] < 0.2
    assert done.heldout["facts/steps"]["words"] < done.heldout_before["facts/steps"]["words"]
    sides = json.loads((run / "episodes.json").read_text())
    exported = export_policy(run, tmp_path / "out")
    name = run_name(run)
    assert name == run_name(done.checkpoint) != run_name(exported)
    assert name.startswith(f"{NAME}@")
    for place in (run, exported):
        bare = tmp_path / f"bare-{place.name}"
        shutil.copytree(root, bare)
        shutil.rmtree(bare / "annotations" / "facts")
        found = finedata.open(bare).annotate_facts(
            finedata.teacher("local", model=str(place)), episodes=sides["train"],
            fps=1.0, refinement_fps=1.0,
        )  # fmt: skip
        assert found.done == 1, found.reasons
        rows = finedata.open(bare).facts.collect()
        assert set(rows["annotator"]) >= {run_name(place)}
        assert found.verdicts.get("confirmed", 0) >= 1
    last, _ = load_policy(run)
    first, taken = load_any(exported)
    assert taken.head == "annotator"
    for (key, one), other in zip(
        last.state_dict().items(), first.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), key
    resumed = tmp_path / "resumed"
    shutil.copytree(run, resumed, symlinks=True)
    shutil.rmtree(resumed / "checkpoints" / "000090")
    Trainer(recipe, root, resumed, resume=True, workers=2).train()
    assert_same(resumed / "checkpoints" / "000090", run / "checkpoints" / "000090")


def test_what_is_refused(dataset: Path, tmp_path: Path) -> None:
    one, data, policy, _ = encoded(dataset, max_answer=8)
    batches = iter(LessonStream(data, one, policy.backbone, batch=2))
    with pytest.raises(UsageError, match="max_answer"):
        next(batches)
    (tmp_path / "shards.json").touch()  # of shards of steps: test_lesson_shards.py
    with pytest.raises(ConformError, match=r"shards\.json"):
        look_at_lessons(tmp_path, small().recipe)
    bare = tmp_path / "bare"
    shutil.copytree(dataset, bare)
    shutil.rmtree(bare / "annotations" / "steps")
    with pytest.raises(UsageError, match="no steps") as caught:
        look_at_lessons(bare, small().recipe)
    assert "annotate kinematic" in str(caught.value)
    with pytest.raises(UsageError, match="x no camera to show"):
        look_at_lessons(dataset, small(cameras=("elsewhere",)).recipe)
    text = recipe_toml(find_recipe(NAME).recipe)
    with pytest.raises(SpecError, match="horizon"):
        decode_recipe(text + "horizon = 4\n", place="x.toml")
    with pytest.raises(SpecError, match="request"):
        decode_recipe(text.replace("{stage}", "").replace("{request}", ""), place="x.toml")


def test_a_cut_answer_is_no_answer(dataset: Path, tmp_path: Path) -> None:
    """A run that says too much is refused like any teacher, and asked once."""
    done = Trainer(small(steps=1, max_answer=600), dataset, tmp_path / "run", workers=1).train()
    root = tmp_path / "bridge"
    shutil.copytree(dataset, root)
    ids = finedata.open(root).episodes.collect()["episode_id"].to_list()[:1]
    teacher = finedata.teacher("local", model=str(done.checkpoint), max_tokens=20)
    found = finedata.open(root).annotate_facts(teacher, episodes=ids, fps=1.0)
    assert (found.done, found.failed) == (0, 1)
    assert "cut answer (20 tokens)" in next(iter(found.reasons))
    assert not found.succeeded


def test_settings_are_those_of_the_recipe(dataset: Path) -> None:
    settings = frame_settings(small(width=99, fps=3.0).recipe)
    assert (settings.analysis.fps, settings.analysis.width) == (3.0, 99)
    assert settings.analysis.views == ()
    named = frame_settings(small(cameras=("image_0",)).recipe)
    assert named.refinement.views == ("image_0",)


@pytest.mark.parametrize("own", ["<|image_pad|>", "<|im_end|>", "<|im_start|>assistant"])
def test_a_models_own_tokens_in_words_are_text(dataset: Path, own: str) -> None:
    """Of an instruction or an answer; a picture that is not there would stop a run."""
    _, data, policy, encoder = encoded(dataset, answers="caption")
    request = data.lessons.request(data.train[0])
    told = replace(request, values={"instruction": f"say {own} now"})
    found = encoder.encode(told, f'{{"Step1":"{own}"}}')
    token = policy.backbone.token(own.split("assistant")[0], parameter="backbone")
    usual = encoder.encode(replace(request, values={"instruction": "say x now"}), '{"Step1":"x"}')
    assert (found["ids"] == token).sum() == (usual["ids"] == token).sum()
    assert encoder.decode(found["ids"][found["answer"]][:-1]) == f'{{"Step1":"{own}"}}'
    settings = policy.backbone.encoder_settings(
        recipe_file("tiny_oft").recipe, cameras=("front",), queries=0
    )
    policies = Encoder(settings)
    plain, odd = (policies.ids(f"say {words} now") for words in ("x", own))
    assert (odd == token).sum() == (plain == token).sum()


def test_adapters_go_into_what_is_exported(dataset: Path, tmp_path: Path) -> None:
    recipe = small(steps=2, answers="caption", lora_rank=2, save_every=2)
    done = Trainer(recipe, dataset, tmp_path / "run", workers=1).train()
    exported = export_policy(tmp_path / "run", tmp_path / "out")
    one, two = load_policy(done.checkpoint)[0], load_any(exported)[0]
    data = look_at_lessons(dataset, recipe.recipe)
    encoder = LessonEncoder(one.backbone, recipe.recipe)
    request = data.lessons.request(data.train[0])
    sample = stacked([encoder.encode(request, data.train[0].answer)], pad=0)
    batch = {name: torch.from_numpy(array) for name, array in sample.items()}
    with torch.no_grad():
        mine, theirs = one(batch)["words"], two(batch)["words"]
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_question_without_pictures(dataset: Path) -> None:
    """As a judge is asked: words alone."""
    _, data, policy, encoder = encoded(dataset, answers="caption")
    request = replace(data.lessons.request(data.train[0]), pictures=())
    sample = stacked([encoder.encode(request, "{}")], pad=0)
    batch = {name: torch.from_numpy(array) for name, array in sample.items()}
    assert policy(batch)["words"].isfinite()
