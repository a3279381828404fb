"""Exports claim nothing of what nobody declared, and do not make colours of 16 bits."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.plain import Plain, write_plain
from faults.verbs import say
from PIL import Image

from finedata.convert.draft import draft_converter
from finedata.convert.run import convert
from finedata.store.pictures import is_deep

_DEPTH = "observation.images.depth"


def _deep_png(level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), level, np.uint16)).save(out, "PNG")
    return out.getvalue()


def _depths(episode: int, frames: int) -> pa.Array:
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    shown = [{"bytes": _deep_png(900 + 300 * episode + k), "path": None} for k in range(frames)]
    return pa.array(shown, picture)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    declared = {"dtype": "image", "shape": [8, 8, 1], "names": ["height", "width", "channel"]}
    plain = Plain(cameras=("observation.images.top",), extra={_DEPTH: (declared, _depths)})
    folder = tmp_path_factory.mktemp("deep")
    convert("lerobot", input=write_plain(folder / "source", plain), out=folder / "out")
    return folder / "out"


def test_pictures_of_16_bits_stay_what_they_are_in_lerobot(deep: Path, tmp_path: Path) -> None:
    said = say("export", deep, "--format", "lerobot-v2.1", "--out", tmp_path / "out")

    assert said.code == 0
    assert "cameras of 16 bits: 1" in said.text
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"][_DEPTH]["dtype"] == "image"
    assert info["features"]["observation.images.top"]["dtype"] == "video"
    rows = pq.read_table(tmp_path / "out/data/chunk-000/episode_000001.parquet")
    assert [one["bytes"] for one in rows[_DEPTH].to_pylist()] == [
        _deep_png(1200 + k) for k in range(12)
    ]
    assert not list((tmp_path / "out").rglob(f"{_DEPTH}/*.mp4"))


def test_pictures_of_16_bits_stay_what_they_are_in_rlds(deep: Path, tmp_path: Path) -> None:
    assert say("export", deep, "--format", "rlds", "--out", tmp_path / "out").code == 0

    (file,) = (tmp_path / "out").rglob("features.json")
    assert '"dtype": "uint16"' in file.read_text()
    (records,) = (tmp_path / "out").rglob("*.tfrecord-*")
    assert records.read_bytes().count(_deep_png(1200)) == 1


def test_which_pictures_have_16_bits() -> None:
    assert is_deep([b"", _deep_png(3)])
    grey = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(grey, "PNG")
    assert not is_deep([grey.getvalue()])
    assert not is_deep([])


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("form", ["lerobot-v2.1", "starvla"])
def test_only_declared_numbers_are_called_absolute(draft: bool, form: str, tmp_path: Path) -> None:
    names = tuple(f"right_joint_{k}" for k in range(6))
    source = write_plain(tmp_path / "source", Plain(names=names))
    converter = "lerobot"
    if draft:
        converter = str(tmp_path / "mine.toml")
        Path(converter).write_text(draft_converter(str(source), name="mine"))
    convert(converter, input=source, out=tmp_path / "dataset")
    assert say("export", tmp_path / "dataset", "--format", form, "--out", tmp_path / "o").code == 0

    modality = json.loads((tmp_path / "o/meta/modality.json").read_text())
    groups = [*modality["state"].values(), *modality["action"].values()]
    assert len(groups) == 2
    assert {group["end"] - group["start"] for group in groups} == {6}
    for group in groups:
        assert ("absolute" in group) == ("type" in group) == draft
