"""Lessons of an annotator from shards whose samples are episodes: those of the dataset."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from PIL import Image
from train.recipes import recipe_file

from finedata.errors import UsageError
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.making.text import take_up_text
from finedata.shard.shards import Shards
from finedata.shard.verify import verify_shards
from finedata.store.dataset import open_dataset

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("av", reason="PyAV is not installed")

from finedata.train.annotator.lesson_stream import look_at_lessons  # noqa: E402
from finedata.train.loop import Trainer  # noqa: E402

SMALL = {"fps": 1.0, "refinement_fps": 1.0, "held_out": 0.25, "max_facts": 0}


@pytest.fixture(scope="module")
def clips(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clips") / "shards"
    settings = ShardSettings(
        sample="episode", held_out="1/4", cameras=("image_0",), where="episode_index < 14"
    )
    shard_datasets([taught], out=out, settings=settings)
    return out


def small(**changes):
    return recipe_file("tiny_annotator", **SMALL | changes)


@pytest.mark.parametrize("answers", ["staged", "caption"])
def test_lessons_are_those_of_the_dataset(taught: Path, clips: Path, answers: str) -> None:
    recipe = small(answers=answers).recipe
    wanted, found = look_at_lessons(taught, recipe), look_at_lessons(clips, recipe)
    whole = {Shards.open(clips).sets[name].side for name in Shards.open(clips).sets}
    assert whole == {"train", "heldout"}
    for side in ("train", "heldout"):
        of_shards = found.side(side)
        ids = {one.episode_id for one in of_shards}
        assert ids
        of_dataset = {(x.episode_id, x.stage): x for x in wanted.side(side) if x.episode_id in ids}
        assert len(of_shards) == len(of_dataset)
        for one in of_shards:
            same = of_dataset[one.episode_id, one.stage]
            assert msgspec.json.encode(one) == msgspec.json.encode(same)
        for one in of_shards[:3]:
            asked, dataset_asked = (d.lessons.request(one) for d in (found, wanted))
            assert asked.prompt == dataset_asked.prompt
            assert asked.values == dataset_asked.values
            assert len(asked.pictures) == len(dataset_asked.pictures)


def test_pictures_of_a_clip_are_those_of_the_dataset(taught: Path, clips: Path) -> None:
    recipe = small(cameras=("image_0",)).recipe
    wanted, found = look_at_lessons(taught, recipe), look_at_lessons(clips, recipe)
    one = found.train[1]
    pairs = zip(
        found.lessons.request(one).pictures, wanted.lessons.request(one).pictures, strict=True
    )
    for mine, theirs in pairs:
        assert mine.label == theirs.label
        a, b = (np.asarray(Image.open(io.BytesIO(x.data)), float) for x in (mine, theirs))
        assert a.shape == b.shape
        assert np.abs(a - b).mean() < 8


def test_steps_of_the_source_are_refined_from_shards_too(taught: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(taught, root)
    for path in (root / "annotations/steps").glob("*.parquet"):
        rows = pl.read_parquet(path)
        noted = rows.with_columns(
            origin=pl.lit("source"), kind=pl.lit("subtask"), text=pl.lit("a note of the source"),
            step_id=pl.col("step_id").str.replace(r"^.", "x"),
        )  # fmt: skip
        both = pl.concat([noted, rows]).to_arrow()
        pq.write_table(both.cast(pq.read_schema(path)), path)
    shard_datasets(
        [root], out=tmp_path / "shards",
        settings=ShardSettings(
            sample="episode", cameras=("image_0",), where="episode_index < 5"
        ),
    )  # fmt: skip
    recipe = small().recipe
    found = look_at_lessons(tmp_path / "shards", recipe)
    wanted = look_at_lessons(root, small(held_out=0.0).recipe)
    assert {one.stage for one in found.train} == {"facts/refine", "facts/atoms"}
    told = {(one.episode_id, one.stage): one.answer for one in wanted.train}
    for one in found.train:
        assert one.answer == told[one.episode_id, one.stage]


def test_an_annotator_trains_on_shards(clips: Path, tmp_path: Path) -> None:
    file = small(steps=2, batch=2, micro_batch=2, warmup=1, max_facts=2, cameras=("image_0",))
    done = Trainer(file, clips, tmp_path / "run", workers=1, device="cpu").train()
    assert done.step == 2
    assert done.last["terms"]["words"] > 0


def test_words_with_steps_are_verified_and_taken_up_anew(
    taught: Path, clips: Path, tmp_path: Path
) -> None:
    shutil.copytree(clips, tmp_path / "shards")
    before = Shards.open(tmp_path / "shards").document.texts[-1]
    assert before.rows["text_steps"] > 0
    made = take_up_text(tmp_path / "shards", [open_dataset(taught)])
    assert made.revision == before.revision
    assert not verify_shards(tmp_path / "shards").problems


def test_shards_of_steps_or_without_words_of_steps_are_refused(
    taught: Path, clips: Path, tmp_path: Path
) -> None:
    settings = ShardSettings(every=9, cameras=("image_0",), resize=(28, 28))
    shard_datasets([taught], out=tmp_path / "steps", settings=settings)
    assert not list((tmp_path / "steps").rglob("steps.arrow"))
    with pytest.raises(UsageError, match="--type episode"):
        look_at_lessons(tmp_path / "steps", small().recipe)
    shutil.copytree(clips, tmp_path / "old")
    document = (tmp_path / "old/shards.json").read_bytes()
    assert b"/steps.arrow" in document
    (tmp_path / "old/shards.json").write_bytes(document.replace(b"/steps.arrow", b"/other.arrow"))
    with pytest.raises(UsageError, match="--text DATASET"):
        look_at_lessons(tmp_path / "old", small().recipe)
