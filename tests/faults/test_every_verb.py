"""Nothing is a lawful input: every verb answers or refuses in words, whatever a dataset lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from faults.plain import Plain, still, swinging, write_plain
from faults.verbs import Said, every_verb, say

from finedata.convert.run import convert
from finedata.store.dataset import open_dataset
from finedata.store.lerobot.layout import Feature
from finedata.store.motion.tracks import without_vector

_ARM = tuple(f"right_joint_{k}" for k in range(6))


def _with_nan(episode: int, frames: int, width: int) -> np.ndarray:
    values = swinging(episode, frames, width)
    values[:, 2] = np.nan
    return values


def _all_nan(episode: int, frames: int, width: int) -> np.ndarray:
    return np.full((frames, width), np.nan)


def _one_constant(episode: int, frames: int, width: int) -> np.ndarray:
    values = swinging(episode, frames, width)
    values[:, 0] = 3.0
    return values


def _mixed_units(episode: int, frames: int, width: int) -> np.ndarray:
    return swinging(episode, frames, width) * np.array([1, 1, 57.3, 57.3, 1000, 0.001])[:width]


_PLAIN = Plain(cameras=("observation.images.top",), names=_ARM)
_VARIANTS: dict[str, Plain] = {
    "plain": _PLAIN,
    "zero cameras": replace(_PLAIN, cameras=()),
    "zero instructions": replace(_PLAIN, tasks=("",)),
    "zero passed": replace(_PLAIN, motion=still),
    "one frame": replace(_PLAIN, episodes=1, frames=1),
    "one episode": replace(_PLAIN, episodes=1),
    "constant dimension": replace(_PLAIN, motion=_one_constant),
    "a column of NaN": replace(_PLAIN, motion=_with_nan),
    "nothing but NaN": replace(_PLAIN, motion=_all_nan),
    "mixed units": replace(_PLAIN, motion=_mixed_units),
    "no state": replace(_PLAIN, vectors={"action": "action"}),
    "no action": replace(_PLAIN, vectors={"state": "observation.state"}),
    "other keys": replace(_PLAIN, vectors={"state": "state", "action": "actions"}),
    "no vector": replace(_PLAIN, vectors={}),
    "a chunk of actions": replace(_PLAIN, chunk=4, names=None),
    "one number": replace(_PLAIN, width=1, names=("right_joint_0",)),
    "unnamed": replace(_PLAIN, names=None),
}


def _converted(folder: Path, plain: Plain) -> Path:
    source = write_plain(folder / "source", plain)
    convert("lerobot", input=source, out=folder / "dataset")
    return folder / "dataset"


@pytest.mark.parametrize("name", _VARIANTS)
def test_every_verb_answers(name: str, tmp_path: Path) -> None:
    plain = _VARIANTS[name]
    root = _converted(tmp_path, plain)

    said = every_verb(root, tmp_path / "out")

    assert len(open_dataset(root).verdicts.collect()) == plain.episodes
    _refusals_are_whole(said)
    for verb in ("info", "gate", "cluster", "report", "kinematic", "status", "summary"):
        assert said[verb].code == 0, (verb, said[verb])
    for verb in ("export finedata", "export lerobot-v2.1", "export starvla", "export rlds"):
        assert said[verb].code == 0, (verb, said[verb])
    for verb in ("card", "publish"):
        assert said[verb].code == 0, (verb, said[verb])
    usable = bool(set(open_dataset(root).verdicts.collect()["verdict"]) - {"fail"})
    for verb in ("shard", "shard by episode", "verify shards", "stream"):
        assert (said[verb].code == 0) == usable, (verb, said[verb])


def test_no_episode_at_all(tmp_path: Path) -> None:
    source = write_plain(tmp_path / "source", _PLAIN)
    for path in source.glob("data/**/*.parquet"):
        path.write_bytes(b"")
    convert("lerobot", input=source, out=tmp_path / "dataset")

    said = every_verb(tmp_path / "dataset", tmp_path / "out")

    _refusals_are_whole(said)
    for verb in ("gate", "cluster", "kinematic", "kinematic chosen", "facts", "traces"):
        assert said[verb].code == 0
        assert "no episode was written, 3 of 3 failed" in said[verb].text, verb
        assert "finedata query" in said[verb].text, verb
    for verb, one in said.items():
        if "export" in verb:
            assert one.refusal is not None, verb
            assert "no episode was written" in one.refusal.found, verb


@pytest.mark.parametrize("name", ["other keys", "no action", "a chunk of actions", "no vector"])
def test_a_verb_that_needs_vectors_says_what_is_missing(name: str, tmp_path: Path) -> None:
    root = _converted(tmp_path, _VARIANTS[name])

    gate, cluster = say("gate", root), say("cluster", root)

    assert set(open_dataset(root).verdicts.collect()["verdict"]) == {"not_applicable"}
    assert "3 not applicable" in gate.text
    for said in (gate, cluster):
        assert "'action'" in said.text
        assert "finedata sources draft" in said.text
    assert "no_vector: 3" in cluster.text


def test_a_part_with_an_action_alone_is_clustered(tmp_path: Path) -> None:
    root = _converted(tmp_path, _VARIANTS["no state"])

    say("gate", root)
    say("cluster", root)

    assert len(open_dataset(root).clusters.collect()) == 3


@pytest.mark.parametrize("name", ["no vector", "nothing but NaN"])
def test_episodes_without_a_number_are_not_copies_of_each_other(name: str, tmp_path: Path) -> None:
    root = _converted(tmp_path, _VARIANTS[name])

    say("gate", root)

    rows = open_dataset(root).verdicts.collect()
    assert rows["duplicate_of"].null_count() == 3
    made = {check["name"] for checks in rows["checks"] for check in checks}
    assert "duplicate" not in made


def test_an_export_without_a_camera_declares_none(tmp_path: Path) -> None:
    root = _converted(tmp_path, _VARIANTS["zero cameras"])

    assert say("export", root, "--format", "lerobot-v2.1", "--out", tmp_path / "out").code == 0

    assert not list((tmp_path / "out").rglob("*.mp4"))
    rows = pq.read_table(tmp_path / "out/data/chunk-000/episode_000002.parquet")
    assert rows.num_rows == 12


def _refusals_are_whole(said: dict[str, Said]) -> None:
    """A refusal names a place, what was found, what was wanted and what to do next."""
    for verb, one in said.items():
        if one.refusal is not None:
            parts = (one.refusal.place, one.refusal.found, one.refusal.wanted)
            assert all(parts), (verb, one.refusal)
            assert one.refusal.next_command, (verb, one.refusal)


def test_what_is_declared_decides_whether_there_is_a_vector() -> None:
    def lacks(dtype: str, *shape: int) -> str | None:
        return without_vector({"action": Feature(dtype, shape)}, "action")

    assert lacks("float32", 7) is lacks("float64", 1) is lacks("int16", 3) is None
    assert lacks("float32", 4, 6) == "feature 'action' of shape (4, 6)"
    assert lacks("string", 1) == "feature 'action' of dtype string"
    assert without_vector({}, "action") == "no feature 'action'"
