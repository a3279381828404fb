"""Whatever the input, the message says place, found, wanted; nothing is lost or half written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import pytest
from conftest import Corpus
from convert.trees import tree_digest
from corpora.corpus import write_bridge_corpus
from corpora.declaration import write_declaration
from corpora.record import encode_bridge_episode
from corpora.tfrecord import write_tfrecord

from finedata.convert import work
from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.errors import OutputError, SourceError, SpecError, UsageError
from finedata.schema.converter_file import find_converter
from finedata.store.dataset import open_dataset
from finedata.store.pictures import black_jpeg

STEPS = 5
REAL_OPEN = os.open


@pytest.fixture
def source(corpus: Corpus, tmp_path: Path) -> Path:
    """A copy of the corpus that a test may break."""
    return Path(shutil.copytree(corpus.folder, tmp_path / "source"))


def payload(*, number: int = 0, steps: int = STEPS, cameras: int = 2, **changes: object) -> bytes:
    state = np.linspace(0.1, 0.2, steps * 7, dtype=np.float32).reshape(steps, 7)
    named = {
        "state": state,
        "action": np.zeros((steps, 7), np.float32),
        "pictures": {f"image_{i}": [black_jpeg(48, 48)] * steps for i in range(cameras)},
        "instruction": "go",
        "file_path": "/a/b/out.npy",
        "source_episode_id": number,
    }
    return encode_bridge_episode(**(named | changes))


def write_records(folder: Path, payloads: list[bytes], *, cameras: int = 2) -> Path:
    folder.mkdir()
    name = "bridge_dataset-train.tfrecord-00000-of-00001"
    size = write_tfrecord(folder / name, payloads)
    write_declaration(
        folder, image_size=48, cameras=cameras, splits={"train": [(len(payloads), size)]}
    )
    return folder


def receipts(out: Path) -> list[dict]:
    return open_dataset(out).receipts.collect().to_dicts()


def test_truncated_shard_loses_what_is_gone_and_counts_it(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "source", [payload(number=i) for i in range(4)])
    (file,) = folder.glob("*.tfrecord*")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2 + 100])
    summary = convert("bridge_v2", input=folder, out=tmp_path / "out")
    assert (summary.found, summary.episodes, summary.failed) == (4, 2, 2)
    lost = [row for row in receipts(tmp_path / "out") if row["status"] == "failed"]
    assert [row["reason"] for row in lost] == ["truncated", "truncated"]
    assert [row["source_record"] for row in lost] == [2, 3]
    assert "although dataset_info.json says 4" in lost[1]["message"]
    assert verify(tmp_path / "out", input=folder).problems == []


@pytest.mark.parametrize("place", ["length", "payload"])
def test_one_flipped_byte_costs_one_episode(tmp_path: Path, place: str) -> None:
    folder = write_records(tmp_path / "source", [payload(number=i) for i in range(4)])
    (file,) = folder.glob("*.tfrecord*")
    data = bytearray(file.read_bytes())
    second = len(data) // 4
    data[second + (2 if place == "length" else 500)] ^= 0x04
    file.write_bytes(bytes(data))
    summary = convert("bridge_v2", input=folder, out=tmp_path / "out")
    assert (summary.found, summary.episodes, summary.failed) == (4, 3, 1)
    (lost,) = [row for row in receipts(tmp_path / "out") if row["status"] == "failed"]
    assert lost["reason"] == ("framing_error" if place == "length" else "checksum_mismatch")
    assert lost["source_record"] == 1
    assert lost["episode_id"].startswith("bridge_v2-x")


def test_garbage_with_a_right_checksum_is_unparsable(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "source", [b"\xff" * 64, payload()])
    summary = convert("bridge_v2", input=folder, out=tmp_path / "out")
    assert (summary.episodes, summary.failed) == (1, 1)
    assert receipts(tmp_path / "out")[0]["reason"] == "unparsable"


def test_an_unreadable_shard_gives_a_receipt_for_every_record(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "source", [payload(number=i) for i in range(3)])
    (file,) = folder.glob("*.tfrecord*")

    def refuse(path: object, flags: int, *mode: int) -> int:
        if str(path).endswith(file.name):
            raise PermissionError(13, "Permission denied")
        return REAL_OPEN(path, flags, *mode)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", refuse)
        summary = convert("bridge_v2", input=folder, out=tmp_path / "out")
    assert (summary.found, summary.episodes, summary.failed) == (3, 0, 3)
    rows = receipts(tmp_path / "out")
    assert {row["reason"] for row in rows} == {"unreadable_file"}
    assert [row["source_record"] for row in rows] == [0, 1, 2]
    assert "Permission denied" in rows[0]["message"]


def test_wrong_type_is_a_receipt(tmp_path: Path) -> None:
    odd = payload(action=np.zeros((STEPS, 3), np.float32))
    folder = write_records(tmp_path / "source", [odd, payload(number=1)])
    summary = convert("bridge_v2", input=folder, out=tmp_path / "out")
    assert (summary.episodes, summary.failed) == (1, 1)
    (lost,) = [row for row in receipts(tmp_path / "out") if row["status"] == "failed"]
    assert lost["reason"] == "unequal_lengths"
    assert "steps/action" in lost["message"]


def test_two_episodes_with_one_id_are_both_named(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "source", [payload(), payload(number=1), payload()])
    summary = convert("bridge_v2", input=folder, out=tmp_path / "out")
    assert (summary.found, summary.episodes, summary.failed) == (3, 2, 1)
    rows = receipts(tmp_path / "out")
    assert len({row["episode_id"] for row in rows}) == 3
    assert rows[2]["reason"] == "duplicate_id"
    assert rows[0]["episode_id"] in rows[2]["message"]
    assert "record 2" in rows[2]["message"]
    assert "record 0, which is kept" in rows[2]["message"]
    assert verify(tmp_path / "out", input=folder).problems == []


def test_one_step_is_an_episode(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "source", [payload(steps=1)])
    assert convert("bridge_v2", input=folder, out=tmp_path / "out").frames == 1
    assert verify(tmp_path / "out", input=folder).problems == []


def test_nan_is_written_and_flagged(tmp_path: Path) -> None:
    state = np.full((STEPS, 7), 0.1, np.float32)
    state[2] = np.nan
    action = np.zeros((STEPS, 7), np.float32)
    action[3, 0] = np.inf
    folder = write_records(tmp_path / "source", [payload(state=state, action=action)])
    convert("bridge_v2", input=folder, out=tmp_path / "out")
    (row,) = receipts(tmp_path / "out")
    assert {"nonfinite_state", "nonfinite_action"} <= set(row["flags"])
    stored = open_dataset(tmp_path / "out").episode(row["episode_id"])
    assert np.isnan(stored.state[2]).all()
    assert np.isfinite(stored.state[[0, 1, 3, 4]]).all()
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    assert np.isfinite(np.array(stats["observation.state"]["mean"], float)).all()
    assert verify(tmp_path / "out", input=folder).problems == []


def test_the_quirk_truncate_to_shortest_counts_what_it_drops(tmp_path: Path) -> None:
    odd = payload(state=np.full((STEPS - 2, 7), 0.1, np.float32))
    folder = write_records(tmp_path / "source", [odd, payload(number=1)])
    quirk = 'quirks = ["truncate_to_shortest"]'
    form = 'name = "bridge_dataset"\n'
    text = find_converter("bridge_v2").text.replace(form, f"{form}{quirk}\n", 1)
    (tmp_path / "mine.toml").write_text(text)
    out = tmp_path / "out"
    summary = convert(str(tmp_path / "mine.toml"), input=folder, out=out)
    assert (summary.episodes, summary.frames, summary.dropped_frames) == (2, 2 * STEPS - 2, 2)
    first, second = receipts(out)
    assert (first["frames_read"], first["frames_written"], first["frames_dropped"]) == (5, 3, 2)
    assert "frames_dropped" in first["flags"]
    assert (second["frames_dropped"], "frames_dropped" in second["flags"]) == (0, False)
    assert verify(out, input=folder).problems == []
    # Without the quirk the same record is a failed one, and its frames are no loss of ours.
    assert convert("bridge_v2", input=folder, out=tmp_path / "strict").failed == 1


def test_all_failed_is_still_a_dataset_with_receipts(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "source", [b"\xff" * 64])
    summary = convert("bridge_v2", input=folder, out=tmp_path / "out")
    assert (summary.episodes, summary.failed) == (0, 1)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.sql("select count(*) as n from episodes").item() == 0
    assert dataset.frames.select(pl.len()).collect().item() == 0
    assert len(receipts(tmp_path / "out")) == 1


def test_missing_features_json(source: Path, tmp_path: Path) -> None:
    (source / "features.json").unlink()
    with pytest.raises(SourceError, match=r"no features\.json") as caught:
        convert("bridge_v2", input=source, out=tmp_path / "out")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="bridge_v2") as caught:
        convert("brigde_v2", input=tmp_path, out=tmp_path / "out")
    assert caught.value.exit_code == 2
    assert caught.value.next_command == "finedata sources"


def test_a_typo_in_a_converter_file_is_named_with_its_path(tmp_path: Path) -> None:
    text = find_converter("bridge_v2").text.replace("composition =", "compositon =")
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(SpecError, match=r"compositon.*\$\.variants\[0\]\.arms\[0\]\.action"):
        convert(str(tmp_path / "mine.toml"), input=tmp_path, out=tmp_path / "out")


def test_a_converter_that_asks_for_what_is_not_there(
    source: Path, converted: Path, tmp_path: Path
) -> None:
    """Every record says so in its receipt: only episodes know what a source holds."""
    text = find_converter("bridge_v2").text.replace('"steps/action"', '"steps/actoin"')
    (tmp_path / "mine.toml").write_text(text)
    summary = convert(str(tmp_path / "mine.toml"), input=source, out=tmp_path / "out")
    assert (summary.episodes, summary.failed, summary.found) == (0, 22, 22)
    for before, now in zip(receipts(converted), receipts(tmp_path / "out"), strict=True):
        if before["status"] == "written":
            assert now["reason"] == "missing_feature"
            assert "steps/actoin: found no such feature in features.json" in now["message"]
            assert "steps/action" in now["message"]


def test_an_output_folder_that_is_not_ours(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"chapter1\.tex"):
        convert("bridge_v2", input=source, out=out)
    assert [path.name for path in out.iterdir()] == ["chapter1.tex"]


class FullDisk:
    """Stands in for the sink of one data file: after so many bytes the disk is full."""

    def __init__(self, path: Path, schema: object) -> None:
        self._inner = ORIGINAL_WRITER(path, schema)
        self._left = 3

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def write_rows(self, columns: object) -> None:
        self._left -= 1
        if self._left == 0:
            raise OutputError(
                place=str(self._inner._path), found="No space left on device", wanted="room"
            )
        self._inner.write_rows(columns)

    def __exit__(self, *arguments: object) -> None:
        self._inner.__exit__(*arguments)


ORIGINAL_WRITER = work.DataFileWriter


def test_a_full_disk_stops_the_run_and_the_same_command_continues(
    source: Path, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(work, "DataFileWriter", FullDisk)
        with pytest.raises(OutputError, match="No space left"):
            convert("bridge_v2", input=source, out=out)
    assert not list(out.rglob("*.parquet"))
    assert not list(out.rglob("*.partial"))
    with pytest.raises(UsageError, match="has not finished"):
        open_dataset(out)
    convert("bridge_v2", input=source, out=out)
    assert tree_digest(out) == tree_digest(converted)


def test_a_source_that_changes_under_the_run_is_noticed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert("bridge_v2", input=source, out=out)
    (file,) = source.glob("*train*00000-of-*")
    with file.open("ab") as stream:
        stream.write(b"\0" * 16)
    with pytest.raises(UsageError, match="files = "):
        convert("bridge_v2", input=source, out=out)


def test_a_source_that_goes_away_while_writing_is_the_sources_fault(
    source: Path, converted: Path, tmp_path: Path
) -> None:
    opened = []

    def refuse_later(path: object, flags: int, *mode: int) -> int:
        if ".tfrecord-" in str(path) and not flags & os.O_WRONLY:
            opened.append(path)
            if len(opened) > len(list(source.glob("*.tfrecord-*"))):
                raise OSError(5, "Input/output error")
        return REAL_OPEN(path, flags, *mode)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", refuse_later)
        with pytest.raises(SourceError, match=r"Input/output error(.|\n)*same command"):
            convert("bridge_v2", input=source, out=tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.par*"))
    convert("bridge_v2", input=source, out=tmp_path / "out")
    assert tree_digest(tmp_path / "out") == tree_digest(converted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ConvertOptions(cameras=("image_9",)), r"'image_9'.*image_0, image_1"),
        (ConvertOptions(episodes=("first",)), "'first'"),
        (ConvertOptions(episodes=("1-x",)), "'1-x'"),
    ],
)
def test_wrong_options_are_wrong_usage(
    source: Path, tmp_path: Path, options: ConvertOptions, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        convert("bridge_v2", input=source, out=tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_truncated_and_duplicate_corpora_of_the_demo(tmp_path: Path) -> None:
    truths = write_bridge_corpus(
        tmp_path,
        episodes=4,
        image_size=32,
        mean_length=16,
        with_defects=False,
        duplicate_id=True,
        truncate_last=True,
    )
    folder = tmp_path / "bridge_dataset" / "1.0.0"
    summary = convert("bridge_v2", input=folder, out=tmp_path / "out")
    assert summary.found == len(truths) == 6
    reasons = {row["reason"] for row in receipts(tmp_path / "out")}
    assert reasons == {None, "duplicate_id", "truncated"}
