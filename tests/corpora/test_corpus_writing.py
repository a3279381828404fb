"""Writing the corpus: the same bytes every time, the real declaration, nothing overwritten."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corpora.corpus import write_bridge_corpus
from corpora.declaration import bridge_features_json
from corpora.record import encode_bridge_episode

from finedata.errors import OutputError, UsageError

VERSION = Path("bridge_dataset") / "1.0.0"
TESTS = str(Path(__file__).parents[1])


def _digest(folder):
    files = sorted((folder / VERSION).iterdir())
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    # The second one in another process, where hashes of strings are salted anew.
    options = {"episodes": 5, "image_size": 32, "mean_length": 12}
    write_bridge_corpus(tmp_path / "a", **options)
    code = (
        "import sys; from pathlib import Path;"
        "from corpora.corpus import write_bridge_corpus;"
        f"write_bridge_corpus(Path(sys.argv[1]), **{options!r})"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": TESTS}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], check=True, env=environment)
    write_bridge_corpus(tmp_path / "c", **options, seed=1)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    first, other = dict(_digest(tmp_path / "a")), dict(_digest(tmp_path / "c"))
    assert set(first) == set(other)
    assert {name for name in first if first[name] == other[name]} == {"features.json"}


def test_an_episode_does_not_depend_on_the_others(tmp_path):
    few = write_bridge_corpus(
        tmp_path / "few", episodes=3, image_size=32, mean_length=12, with_defects=False
    )
    many = write_bridge_corpus(
        tmp_path / "many", episodes=6, image_size=32, mean_length=12, with_defects=True
    )
    positions = {truth.position_m.tobytes() for truth in many}
    assert {truth.position_m.tobytes() for truth in few} <= positions


def test_pictures_of_the_default_size_weigh_what_real_ones_do(tmp_path, parse, payload_of):
    truths = write_bridge_corpus(tmp_path, episodes=3, mean_length=12, with_defects=False)
    for truth in truths:
        record = parse(payload_of(tmp_path / VERSION, truth))
        for camera in range(2):
            sizes = [len(data) for data in record[f"steps/observation/image_{camera}"]]
            assert 10_000 < min(sizes) <= max(sizes) < 20_000
        assert len(set(record["steps/observation/image_3"])) == 1


def test_two_cameras_are_declared_where_two_are_asked_for(tmp_path, parse, payload_of):
    (truth, *_) = write_bridge_corpus(
        tmp_path, episodes=1, image_size=32, cameras=2, mean_length=12, with_defects=False
    )
    keys = parse(payload_of(tmp_path / VERSION, truth))
    assert sum("/image_" in key for key in keys) == sum("has_image_" in key for key in keys) == 2
    assert "image_2" not in (tmp_path / VERSION / "features.json").read_text()


def test_a_corpus_is_never_overwritten(tmp_path):
    options = {"episodes": 1, "image_size": 32, "mean_length": 12, "with_defects": False}
    write_bridge_corpus(tmp_path, **options)
    before = _digest(tmp_path)
    with pytest.raises(OutputError, match="never overwritten"):
        write_bridge_corpus(tmp_path, **options, seed=3)
    assert _digest(tmp_path) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"episodes": 0},
        {"cameras": 5},
        {"real_cameras": 3, "cameras": 2},
        {"real_cameras": 0},
        {"mean_length": 5},
        {"shards": 0},
    ],
    ids=str,
)
def test_wrong_arguments_write_nothing(tmp_path, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        write_bridge_corpus(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_an_odd_record_can_be_built(parse):
    arrays = np.zeros((2, 7), np.float32)
    record = parse(
        encode_bridge_episode(
            state=arrays,
            action=arrays[:1],
            pictures={"image_0": [b"a", b"b", b"c"]},
            instruction="",
            file_path="somewhere",
            source_episode_id=-1,
            packed=False,
        )
    )
    assert len(record["steps/observation/state"]) == 14
    assert len(record["steps/action"]) == 7
    assert record["steps/observation/image_0"] == [b"a", b"b", b"c"]
    assert record["episode_metadata/episode_id"] == [-1]


def _shape_of(declared):
    """A declaration without its prose."""
    if isinstance(declared, dict):
        return {k: _shape_of(v) for k, v in declared.items() if k != "description"}
    return declared


def test_the_declaration_is_the_real_one(bridge_corpus, parse, payload_of):
    real = os.environ.get("FINEDATA_REAL_DATA")
    if not real:
        pytest.skip("FINEDATA_REAL_DATA is not set")
    real_folder = Path(real) / "bridge_v2_rlds" / "1.0.0"
    declared = json.loads((real_folder / "features.json").read_text())
    assert _shape_of(bridge_features_json(image_size=64)) == _shape_of(declared)
    data = next(real_folder.glob("*.tfrecord-*")).read_bytes()
    real_record = parse(data[12:][: struct.unpack_from("<Q", data)[0]])
    folder, truths = bridge_corpus
    whole = next(truth for truth in truths if truth.kind == "good")
    record = parse(payload_of(folder, whole))
    assert set(record) == set(real_record)
    for key, found in real_record.items():
        assert type(record[key][0]) is type(found[0]), key


def test_the_readers_share_no_code_with_the_writer():
    code = (
        "import sys, corpora.corpus;"
        "print(*sorted(m for m in sys.modules if m.startswith('finedata.')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": TESTS},
    ).stdout.split()
    rooms = {name.split(".")[1] for name in loaded}
    assert rooms == {"errors"}


def test_truths_are_frozen(bridge_corpus):
    with pytest.raises(dataclasses.FrozenInstanceError):
        bridge_corpus[1][0].length = 3
