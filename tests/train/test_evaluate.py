"""Errors on held-out samples are in units, by view, and of held-out episodes only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finedata.schema.codecs_file import VectorCodec
from finedata.shard.stream.codec import given_names

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import trainer  # noqa: E402

from finedata.train import evaluate as room  # noqa: E402
from finedata.train.evaluate import unit_errors  # noqa: E402


def test_a_known_distance_is_told_in_its_units(both: Path, tmp_path: Path) -> None:
    one = trainer(both, tmp_path / "run", eval_every=2, eval_samples=10)
    one.policy.head.predict = lambda _, batch: batch["action"] + 0.1
    seen = set()
    add = room._add
    room._add = lambda sums, opened, batch, *rest: (
        seen.update(batch.episode_id),
        add(sums, opened, batch, *rest),
    )
    try:
        found = one.evaluate()
    finally:
        room._add = add
        one.close()
    assert {name.rsplit("-", 1)[0] for name in seen} == {"a-rep"}
    assert sorted(found) == ["fg", "raw"]
    for errors in found.values():
        assert errors["samples"] == 10
        assert errors["l1"] == pytest.approx(0.1, rel=1e-5)
        assert errors["l1/source/a"] == pytest.approx(0.1, rel=1e-5)
        assert {name for name in errors if name.startswith("l1/step")} == {
            f"l1/step_0{k}" for k in range(4)
        }
        # q01 is -0.5 and q99 1.5: a tenth of half the span; the gripper's are min -1 and max 3
        assert errors["right_x_m"] == pytest.approx(0.1, rel=1e-4)
        assert errors["right_gripper"] == pytest.approx(0.2, rel=1e-4)
        assert 0 < errors["right_rotation_deg"] < 20
    assert one.policy.training


def test_what_is_right_has_no_error(both: Path, tmp_path: Path) -> None:
    one = trainer(both, tmp_path / "run", eval_every=2, eval_samples=6, action="relative")
    one.policy.head.predict = lambda _, batch: batch["action"]
    found = one.evaluate()
    one.close()
    for errors in found.values():
        assert max(v for name, v in errors.items() if name != "samples") < 1e-5


def test_joints_are_in_degrees_and_what_a_part_lacks_counts_nowhere() -> None:
    names = ("left_joint_0", "left_gripper", "left_x", "left_qx", "left_qy", "left_qz", "left_qw")
    codec = VectorCodec(
        source="s", part="p", embodiment="e", role="action", kind="action", names=names,
        given_names=given_names(names, rotation="euler", place=""),
        filled=(True, True, False, True, True, True, True), action="absolute", rotation="euler",
        normalise="none", centre=(0.0,) * 7, half=(1.0,) * 7,
    )  # fmt: skip
    truth = np.zeros((1, 2, 7), np.float32)
    truth[..., 6] = 1
    found = truth.copy()
    found[..., 0] = np.pi / 2
    found[..., 5:7] = np.sin(np.pi / 8), np.cos(np.pi / 8)
    real = np.ones((1, 2, 6), bool)
    real[0, 1, 3:] = False
    errors = unit_errors(codec, found, truth, real)
    assert sorted(errors) == ["left_gripper", "left_joint_0_deg", "left_rotation_deg"]
    assert np.allclose(errors["left_joint_0_deg"][0], 90)
    assert np.allclose(errors["left_rotation_deg"][0], 45, atol=1e-4)
    assert errors["left_rotation_deg"][1].tolist() == [[True, False]]
