"""What a refusal says: the file, what was found, what was wanted, and what to do next."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from faults.plain import Plain, write_plain
from faults.verbs import say

from finedata.convert.draft.propose import draft_converter
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.errors import CorruptRecordError, SourceError
from finedata.readers.damage import impostor
from finedata.readers.hdf5.source import open_hdf5
from finedata.readers.mp4.index import read_mp4_index
from finedata.readers.rlds.features import parse_features_json
from finedata.readers.rlds.tfrecord import scan_records
from finedata.store.dataset import open_dataset
from finedata.store.tables.rows import rows_as_csv, rows_as_json, rows_as_text

_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
)
_IMPOSTORS = {
    "0 bytes": b"",
    "git lfs pull": _POINTER,
    "git annex get": b"../../.git/annex/objects/Xx/1/SHA256E-s1--0.mp4",
    "web page": b"<!DOCTYPE html><html>Sign in</html>",
    "server's answer": b'{"error": "Repository not found"}',
    "zero bytes only": b"\0" * 400,
    "unpack it": b"\x1f\x8b\x08\0" + b"\0" * 60,
}


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def close(self) -> None:
        pass


def _receipt(root: Path) -> dict[str, str]:
    row = pl.read_parquet(root / "curation/receipts.parquet").row(0, named=True)
    return {name: str(row[name]) for name in ("status", "reason", "message", "source_file")}


@pytest.mark.parametrize("wanted", _IMPOSTORS)
def test_rows_that_are_something_else(wanted: str, tmp_path: Path) -> None:
    source = write_plain(tmp_path / "source", Plain())
    for path in source.glob("data/**/*.parquet"):
        path.write_bytes(_IMPOSTORS[wanted])
    convert("lerobot", input=source, out=tmp_path / "out")

    receipt = _receipt(tmp_path / "out")
    assert wanted in receipt["message"]
    assert "data/chunk-000/episode_000000.parquet" in receipt["message"]
    draft = say("sources", "draft", source)
    assert draft.refusal is not None
    assert wanted in draft.refusal.found
    assert "episode_000000.parquet" in draft.refusal.found


@pytest.mark.parametrize("wanted", _IMPOSTORS)
def test_every_family_names_what_lies_there(wanted: str, tmp_path: Path) -> None:
    data = _IMPOSTORS[wanted]
    with pytest.raises(CorruptRecordError, match=wanted):
        read_mp4_index(_Bytes(data))
    (tmp_path / "a.hdf5").write_bytes(data)
    (found, _) = next(iter(open_hdf5(tmp_path).scan(0)))
    assert wanted in found.message
    if data:
        (record, *_) = scan_records(_Bytes(data))
        assert wanted in record.message
    # a server's answer is JSON of another form
    with pytest.raises(SourceError, match=f"{wanted}|without `featuresDict`"):
        parse_features_json(data, place="features.json")


def test_whole_files_are_no_impostors() -> None:
    for head in (b"\0\0\0\x20ftypisom", b"\x0a\x02", b'{"features": {}}', b"\x93"):
        assert impostor(head + b"\x01" * 40, size=1000) is None


@pytest.mark.parametrize("wanted", ["0 bytes", "git lfs pull", "web page"])
def test_an_info_that_is_something_else(wanted: str, tmp_path: Path) -> None:
    source = write_plain(tmp_path / "source", Plain())
    (source / "meta/info.json").write_bytes(_IMPOSTORS[wanted])
    for said in (
        say("convert", "lerobot", "--input", source, "--out", tmp_path / "out"),
        say("sources", "draft", source),
    ):
        assert said.refusal is not None
        assert said.refusal.place.endswith("meta/info.json")
        assert wanted in said.refusal.found
        assert said.refusal.next_command


@pytest.mark.parametrize("fps", ["30", None, 0, [30], True])
def test_a_rate_that_is_no_number(fps: object, tmp_path: Path) -> None:
    source = write_plain(tmp_path / "source", Plain())
    info = json.loads((source / "meta/info.json").read_text())
    (source / "meta/info.json").write_text(json.dumps(info | {"fps": fps}))
    convert("lerobot", input=source, out=tmp_path / "out")

    message = _receipt(tmp_path / "out")["message"]
    assert message.startswith("meta/info.json: found")
    assert ("no fps" if fps is None else repr(fps)) in message
    assert "next:" in message


@pytest.mark.parametrize("form", ["over several lines", "a list", "broken"])
def test_tasks_in_another_form(form: str, tmp_path: Path) -> None:
    source = write_plain(tmp_path / "source", Plain(tasks=("lift it",)))
    rows = [{"task_index": 0, "task": "lift it"}]
    text = {
        "over several lines": json.dumps(rows[0], indent=2),
        "a list": json.dumps(rows, indent=2),
        "broken": '{"task_index": 0,\n "task": ',
    }[form]
    (source / "meta/tasks.jsonl").write_text(text)
    (source / "meta/episodes.jsonl").unlink()
    convert("lerobot", input=source, out=tmp_path / "out")

    receipt = _receipt(tmp_path / "out")
    if form == "broken":
        assert "meta/tasks.jsonl" in receipt["message"]
        assert "jq -c ." in receipt["message"]
    else:
        assert receipt["status"] == "written"


def test_rows_under_another_name(tmp_path: Path) -> None:
    source = write_plain(tmp_path / "source", Plain(episodes=1))
    (source / "data/chunk-000/episode_000000.parquet").rename(source / "data/train-00000.parquet")

    refusal = say("convert", "lerobot", "--input", source, "--out", tmp_path / "out").refusal

    assert refusal is not None
    assert "data/train-00000.parquet" in refusal.found
    assert "episode_{episode_index:06d}.parquet" in refusal.wanted


def test_a_recording_that_nobody_knows_is_kept_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source/a.hdf5", "w") as file:
        file["end_position"] = np.zeros((50, 6), np.float32)
        file["grip_open"] = np.ones(50, np.float32)
    (tmp_path / "mine.toml").write_text(draft_converter(str(tmp_path / "source")))
    convert(str(tmp_path / "mine.toml"), input=tmp_path / "source", out=tmp_path / "out")

    (episode,) = open_dataset(tmp_path / "out").episodes.collect()["episode_id"]
    columns = open_dataset(tmp_path / "out").episode(episode).columns
    assert columns["end_position"].shape == (50, 6)
    assert columns["grip_open"].tolist() == [1.0] * 50
    assert verify(tmp_path / "out", input=tmp_path / "source").problems == []


def test_a_recording_of_which_nothing_can_be_kept(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["end_position"] = np.zeros((50, 6), np.longdouble)  # no type of LeRobot's

    refusal = say("sources", "draft", tmp_path).refusal

    assert refusal is not None
    assert "end_position (50x6)" in refusal.found
    assert "robomind_v1" in refusal.next_command


@pytest.mark.parametrize("parent", ["data/", ""])
@pytest.mark.parametrize("stem", ["demo", "episode"])
def test_many_demonstrations_in_one_file_are_as_many_episodes(
    parent: str, stem: str, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source/a.hdf5", "w") as file:
        for k in range(12):
            file[f"{parent}{stem}_{k}/actions"] = np.full((5, 7), k)
    shown = [
        (found.number, episode.texts("demonstration/name"), episode.numbers("actions")[0, 0])
        for found, episode in open_hdf5(tmp_path / "source").scan(0)
        if episode is not None
    ]

    assert shown == [(k, [f"{stem}_{k}"], k) for k in range(12)]


def test_no_cell_is_cut_or_printed_as_an_object() -> None:
    text = "place: found " + "a long story " * 12 + "and the next command"
    frame = pl.DataFrame({"arms": [["right"], []], "x": [[1.5], [2.0]], "message": [text, "b"]})
    vectors = frame.with_columns(v=pl.Series([[1.0, 2.0]] * 2, dtype=pl.Array(pl.Float64, 2)))

    for shown in (rows_as_text(vectors), rows_as_csv(vectors), rows_as_json(vectors)):
        assert "Series" not in shown
        assert "shape" not in shown
    table = rows_as_text(vectors)
    assert '["right"]' in table
    assert "..." not in table
    cells = [line.split("|")[3].strip() for line in table.splitlines()[2:]]
    assert " ".join(cells).startswith(" ".join(text.split()))
    assert max(map(len, table.splitlines())) < 120
    assert text in rows_as_text(vectors.head(1))
