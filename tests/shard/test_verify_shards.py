"""Whole shards pass; whatever is changed in them is found, and by its name."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import google_crc32c
import msgspec
import polars as pl
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.errors import ConformError
from finedata.schema.documents import encode_document
from finedata.schema.shards_file import shards_identity
from finedata.shard.files import file_digest, write_arrow
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.shards import Shards
from finedata.shard.verify import verify_shards
from finedata.store.dataset import open_dataset

REP = "bridge_v2-widowx_250-rep-train"
TAR = f"tars/{REP}/train-000000"


@pytest.fixture(scope="module")
def written(curated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "shards"
    settings = ShardSettings(shard_bytes=150_000, held_out="1/4")
    shard_datasets([curated], out=root, settings=settings)
    return root


@pytest.fixture
def shards(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "shards")
    return tmp_path / "shards"


def places(root: Path, *datasets: Path) -> list[str]:
    return [p.place for p in verify_shards(root, [open_dataset(d) for d in datasets]).problems]


def test_whole_shards_pass(written: Path, curated: Path):
    document = Shards.open(written).document
    report = verify_shards(written, [open_dataset(curated)])
    assert report.problems == []
    assert report.not_checked == []
    assert report.tars == sum(len(one.tars) for one in document.sets) > 3
    assert report.samples == sum(one.samples for one in document.sets)
    assert report.frames == report.samples
    assert report.compared == sum(one.episodes for one in document.sets)
    assert report.pictures == sum(len(one.cameras) * one.samples for one in document.sets)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (f"{TAR}.tar", lambda path: flip(path, 0)),
        (f"{TAR}.tar", lambda path: flip(path, 700)),
        (f"{TAR}.tar", lambda path: flip(path, -1)),
        (f"{TAR}.tar", lambda path: path.write_bytes(path.read_bytes()[:20_000])),
        (f"{TAR}.tar", Path.unlink),
        (f"{TAR}.tar.idx", lambda path: flip(path, 8)),
        (f"{TAR}.tar.idx", Path.unlink),
        (f"{TAR}.index.arrow", lambda path: flip(path, path.stat().st_size // 2)),
        (f"frames/{REP}.arrow", lambda path: flip(path, path.stat().st_size // 2)),
        (f"episodes/{REP}.arrow", lambda path: path.write_bytes(b"")),
        (f"frames/{REP}.arrow", Path.unlink),
        (f"tars/{REP}/train-000099.tar", lambda path: path.write_bytes(bytes(10_240))),
    ],
)
def test_damage_is_named(shards: Path, name: str, damage: Callable[[Path], Any]):
    damage(shards / name)
    assert name in {place.split(",")[0] for place in places(shards)}


@pytest.mark.parametrize("file", ["episodes.arrow", "instructions.arrow", "fg.bits"])
def test_damaged_words_are_named(shards: Path, file: str):
    path = shards / "text" / Shards.open(shards).text_revision().revision / REP / file
    path.write_bytes(path.read_bytes() + b"x")
    assert path.relative_to(shards).as_posix() in places(shards)


def test_a_missing_index_is_made_again_and_said(shards: Path):
    path = shards / f"{TAR}.index.arrow"
    whole = path.read_bytes()
    path.unlink()
    result = CliRunner().invoke(app, ["verify", str(shards)])
    assert result.exit_code == 0, result.output
    assert f"made again: {TAR}.index.arrow" in result.output
    assert path.read_bytes() == whole


def test_another_version_is_refused(shards: Path):
    path = shards / "shards.json"
    path.write_text(path.read_text().replace('"finedata.version": 1', '"finedata.version": 2'))
    with pytest.raises(ConformError, match="version 2"):
        verify_shards(shards)


def sealed(root: Path) -> None:
    """Write `shards.json` anew for the files as they are, so that every digest is right."""
    document = Shards.open(root).document
    sets = []
    for one in document.sets:
        tars = []
        for tar in one.tars:
            path = root / "tars" / one.name / tar.name
            index = path.with_name(f"{path.stem}.index.arrow").read_bytes()
            whole = path.read_bytes()
            tars.append(
                msgspec.structs.replace(
                    tar, bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest(),
                    index_sha256=hashlib.sha256(index).hexdigest(),
                )
            )  # fmt: skip
        files = {
            name: file_digest(root, root / getattr(one, name).path)
            for name in ("episodes_file", "frames_file")
        }
        sets.append(msgspec.structs.replace(one, tars=tars, **files))
    identity = shards_identity(sets, order=document.order, sample=document.sample)
    document = msgspec.structs.replace(document, sets=sets, identity=identity)
    (root / "shards.json").write_bytes(encode_document(document))


def rewrite(path: Path, change: Callable[[dict[str, list]], Any]) -> None:
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
        columns = table.to_pydict()
        schema = table.schema
    change(columns)
    write_arrow(path, [pa.table(columns, schema=schema)], schema=schema)


def swap(values: list, a: int = 0, b: int = 1) -> None:
    values[a], values[b] = values[b], values[a]


@pytest.mark.parametrize(
    ("name", "column", "change"),
    [
        (f"{TAR}.index.arrow", "frame_index", lambda values: swap(values)),
        (f"{TAR}.index.arrow", "member_crc32c", lambda values: values[3].reverse()),
        (f"{TAR}.index.arrow", "episode_id", lambda values: values.reverse()),
        (f"frames/{REP}.arrow", "frame_index", lambda values: swap(values)),
        (f"frames/{REP}.arrow", "action", lambda values: swap(values)),
        (f"episodes/{REP}.arrow", "first_row", lambda values: swap(values, 1, 2)),
    ],
)
def test_what_is_wrong_under_right_digests_is_found(
    shards: Path, curated: Path, name: str, column: str, change: Callable[[list], Any]
):
    rewrite(shards / name, lambda columns: change(columns[column]))
    sealed(shards)
    found = places(shards, curated)
    assert found
    assert any(place.startswith(name) and place.endswith(column) for place in found)


def rewritten_tar(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """A tar whose first such member has other content of the same size, with a right index."""
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        entry = next(entry for entry in tar if entry.name.endswith(member))
    begin, end = entry.offset_data, entry.offset_data + entry.size
    content[begin:end] = changed = change(bytes(content[begin:end]))
    assert len(changed) == entry.size
    path.write_bytes(content)

    def same(columns: dict[str, list]) -> None:
        at = next(k for k, row in enumerate(columns["member_offset"]) if begin in row)
        place = columns["member_offset"][at].index(begin)
        columns["member_crc32c"][at][place] = google_crc32c.value(changed)

    rewrite(path.with_name(f"{path.stem}.index.arrow"), same)


@pytest.mark.parametrize(
    ("member", "change", "problem"),
    [
        ("state.npy", lambda old: old[:-1] + bytes([old[-1] ^ 1]), "state.npy"),
        ("action.npy", lambda old: old[:-1] + bytes([old[-1] ^ 1]), "action.npy"),
        ("meta.json", lambda old: old.replace(b'"frame_index"', b'"frame_indey"'), "meta.json"),
        ("meta.json", lambda old: old.replace(b'"fps":5.0', b'"fps":6.0'), "meta.json"),
        ("image_0.jpg", lambda old: old[:300] + bytes([old[300] ^ 1]) + old[301:], "image_0"),
        ("image_0.jpg", lambda old: bytes(len(old)), "image_0.jpg"),
    ],
)
def test_members_that_are_not_the_datasets_are_found(
    shards: Path, curated: Path, member: str, change: Callable[[bytes], bytes], problem: str
):
    rewritten_tar(shards / f"{TAR}.tar", member, change)
    sealed(shards)
    assert any(problem in place for place in places(shards, curated))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (".info.json", lambda text: text.replace('.tar": ', '.tar": 1', 1)),
        (".info.json", lambda text: text[:-3]),
        ("split.yaml", lambda text: text.replace("train:", "test_:").replace("test:", "train:")),
        ("split.yaml", lambda text: text.replace("  - train-000000.tar\n", "", 1)),
        ("dataset.yaml", lambda text: text.replace("Crude", "")),
    ],
)
def test_what_energon_would_read_is_held_against_the_tars(
    shards: Path, name: str, change: Callable[[str], str]
):
    path = shards / "tars" / REP / ".nv-meta" / name
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    assert [place for place in places(shards) if f"tars/{REP}/.nv-meta" in place]
    path.unlink()
    assert f"tars/{REP}/.nv-meta" in places(shards)


@pytest.mark.parametrize("sample", ["step", "episode"])
def test_what_is_not_compared_is_said(sample: str, curated: Path, tmp_path: Path):
    options = {"every": 2, "resize": (32, 32)} if sample == "step" else {}
    settings = ShardSettings(sample=sample, cameras=("image_0",), **options)  # type: ignore[arg-type]
    shard_datasets([curated], out=tmp_path / "shards", settings=settings)
    report = verify_shards(tmp_path / "shards", [open_dataset(curated)])
    assert report.problems == []
    assert report.pictures == 0
    sets = Shards.open(tmp_path / "shards").document.sets
    assert report.not_checked == [
        f"what {one.samples} encoded pictures of set {one.name}, camera image_0 show"
        for one in sets
    ]
    assert report.compared == sum(one.episodes for one in sets)


def test_a_sample_twice_and_one_lost_are_found(shards: Path):
    tars = sorted((shards / "tars" / REP).glob("*.tar"))
    assert len(tars) > 1
    for suffix in (".tar", ".tar.idx"):
        shutil.copy(tars[0].with_suffix(suffix), tars[1].with_suffix(suffix))
    index = tars[1].with_name(f"{tars[1].stem}.index.arrow")
    shutil.copy(tars[0].with_name(f"{tars[0].stem}.index.arrow"), index)
    rewrite(index, lambda columns: columns.update(tar=[1] * len(columns["tar"])))
    sealed(shards)
    assert f"set {REP}" in places(shards)


def test_copies_on_two_sides_are_found(shards: Path, curated: Path):
    document = Shards.open(shards).document
    held = next(one.name for one in document.sets if one.side == "heldout")
    opened = Shards.open(shards)
    one, other = (opened.episodes(name).value("episode_id", 0) for name in (REP, held))
    dataset = open_dataset(curated)
    copies = pl.when(pl.col("episode_id") == other).then(pl.lit(one)).alias("duplicate_of")
    dataset = SimpleNamespace(
        verdicts=dataset.verdicts.with_columns(copies), iter_episodes=dataset.iter_episodes
    )
    found = [problem.place for problem in verify_shards(shards, [dataset]).problems]
    assert found == [f"episode {other}, a copy of {one}"]
