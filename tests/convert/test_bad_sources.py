"""Bad HDF5 and RLDS input: a receipt that says why, everything else converted, nothing lost.

Fixtures of `tests/sources` are broken one thing at a time; `receipts_of` holds the counts against
each other whatever happens. RLDS has more of this in `test_bad_input.py`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from convert.bad import Opened, reasons, receipts_of, truncate
from corpora.declaration import write_declaration
from corpora.record import encode_bridge_episode
from corpora.tfrecord import write_tfrecord
from sources import rdt, robomind_v1

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.errors import SourceError
from finedata.store.pictures import black_jpeg

# HDF5


@pytest.fixture(scope="module")
def rdt_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rdt")
    rdt.write(folder, episodes=3, frames=4, size=(9, 13), still=1)
    return folder


@pytest.fixture
def hdf5(rdt_source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rdt_source, tmp_path / "source"))


def hdf5_files(source: Path) -> list[Path]:
    return sorted(source.rglob("*.hdf5"))


def replaced(file: Path, name: str, values: Any, **how: Any) -> None:
    with h5py.File(file, "a") as h5:
        del h5[name]
        h5.create_dataset(name, data=values, **how)


def removed(name: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        with h5py.File(file, "a") as h5:
            del h5[name]

    return change


def with_objects(file: Path) -> None:
    """Object references where numbers should be: nothing to resolve, nothing to unpickle."""
    with h5py.File(file, "a") as h5:
        del h5["observations/qpos"]
        kind = h5py.special_dtype(ref=h5py.Reference)
        h5.create_dataset("observations/qpos", (4,), dtype=kind)[:] = h5.ref


HDF5_DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated": (truncate, "truncated", "truncated"),
    "empty": (lambda file: file.write_bytes(b""), "truncated", "empty file"),
    "another_kind": (lambda file: file.write_bytes(b"PK\x03\x04" * 99), "unparsable", ""),
    "no_state": (removed("observations/qpos"), "unknown_form", "no variant knows"),
    "narrow": (
        lambda file: replaced(file, "observations/qpos", np.zeros((4, 3), np.float32)),
        "unknown_form",
        "no variant knows",
    ),
    "shorter_action": (
        lambda file: replaced(file, "action", np.zeros((2, 14), np.float32)),
        "unequal_lengths",
        "2 steps",
    ),
    "longer_state": (
        lambda file: replaced(file, "observations/qpos", np.zeros((99, 14), np.float32)),
        "unequal_lengths",
        "wanted 99",
    ),
    "short_camera": (
        lambda file: replaced(
            file, "observations/images/cam_high", np.array([black_jpeg(9, 13)] * 2)
        ),
        "unequal_lengths",
        "2 steps",
    ),
    "no_steps": (
        lambda file: [
            replaced(file, name, np.zeros((0, 14), np.float32))
            for name in ("observations/qpos", "action")
        ],
        "unequal_lengths",
        "wanted 0",
    ),
    "text_for_numbers": (
        lambda file: replaced(file, "action", [b"a", b"b", b"c", b"d"]),
        "wrong_type",
        "wanted numbers",
    ),
    "objects": (with_objects, "wrong_type", "refused"),
    "three_axes": (
        lambda file: replaced(file, "action", np.zeros((4, 2, 14), np.float32)),
        "unknown_form",
        "",
    ),
}


@pytest.mark.parametrize("name", HDF5_DAMAGE)
def test_a_damaged_hdf5_file_costs_itself(name: str, hdf5: Path, tmp_path: Path) -> None:
    damage, reason, message = HDF5_DAMAGE[name]
    damage(hdf5_files(hdf5)[1])
    rows = receipts_of("rdt", hdf5, tmp_path / "out")
    assert reasons(rows) == [None, reason, None]
    assert message in rows[1]["message"]
    assert rows[1]["source_file"] == hdf5_files(hdf5)[1].relative_to(hdf5).as_posix()


@pytest.mark.parametrize("link", ["external_link", "external_storage", "virtual"])
def test_hdf5_never_leaves_its_file(
    link: str, hdf5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere.hdf5"
    shutil.copy(hdf5_files(hdf5)[0], elsewhere)
    with h5py.File(hdf5_files(hdf5)[0], "a") as h5:
        del h5["action"]
        if link == "external_link":
            h5["action"] = h5py.ExternalLink(str(elsewhere), "/action")
        elif link == "external_storage":
            external = [(str(elsewhere), 0, 4 * 14 * 4)]
            h5.create_dataset("action", (4, 14), np.float32, external=external)
        else:
            layout = h5py.VirtualLayout((4, 14), np.float32)
            layout[:] = h5py.VirtualSource(str(elsewhere), "action", (4, 14))
            h5.create_virtual_dataset("action", layout)
    opened = Opened(monkeypatch)
    rows = receipts_of("rdt", hdf5, tmp_path / "out")
    assert reasons(rows)[1:] == [None, None]
    assert reasons(rows)[0] in ("unknown_form", "wrong_type", "missing_feature")
    assert str(elsewhere) not in opened.paths


def test_nan_and_undecodable_pictures_are_written_and_flagged(hdf5: Path, tmp_path: Path) -> None:
    file = hdf5_files(hdf5)[0]
    with h5py.File(file, "a") as h5:
        h5["observations/qpos"][1] = np.nan
        h5["action"][2, :3] = np.inf
        h5["observations/images/cam_high"][2] = b"\xff\xd8\xff no picture"
    rows = receipts_of("rdt", hdf5, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    flags = set(rows[0]["flags"])
    assert {"nonfinite_state", "nonfinite_action", "undecodable_picture"} <= flags
    assert not {"nonfinite_state", "undecodable_picture"} & set(rows[1]["flags"])


@pytest.mark.parametrize("options", [{"fix_colour": True}, {"transcode": "h264"}])
def test_broken_pictures_stop_no_rewriting(
    options: dict[str, Any], hdf5: Path, tmp_path: Path
) -> None:
    """A whole header before bytes that do not decode."""
    file = hdf5_files(hdf5)[0]
    with h5py.File(file, "a") as h5:
        pictures = h5["observations/images/cam_high"]
        picture = bytes(pictures[2]).rstrip(b"\0")
        pictures[2] = picture[:300] + b"\xff\xd8" * 40 + b"\xff\xd9"
    rows = receipts_of("rdt", hdf5, tmp_path / "out", ConvertOptions(**options))
    assert reasons(rows) == [None, None, None]


def test_a_picture_that_claims_a_great_size_costs_no_memory(hdf5: Path, tmp_path: Path) -> None:
    file = hdf5_files(hdf5)[0]
    with h5py.File(file, "a") as h5:
        pictures = h5["observations/images/cam_high"]
        for row in range(len(pictures)):
            picture = bytearray(bytes(pictures[row]))
            at = picture.index(b"\xff\xc0") + 5
            picture[at : at + 4] = b"\xff\xf0\xff\xf0"
            pictures[row] = bytes(picture)
    rows = receipts_of("rdt", hdf5, tmp_path / "out")
    assert reasons(rows) == ["missing_feature", None, None]
    assert "none of them whole" in rows[0]["message"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b"null", b'{"instruction": 3}'])
def test_an_empty_annotation_file_leaves_the_episodes(
    content: bytes, hdf5: Path, tmp_path: Path
) -> None:
    for file in hdf5.rglob("*.json"):
        file.write_bytes(content)
    rows = receipts_of("rdt", hdf5, tmp_path / "out")
    assert reasons(rows) == [None, None, None]
    told = {"annotation_missing", "annotation_unreadable"}
    assert all(told & set(row["flags"]) or row["instruction_count"] for row in rows)


def test_annotations_of_robomind_may_be_empty_or_nonsense(tmp_path: Path) -> None:
    source = tmp_path / "source"
    robomind_v1.write(source, episodes=1, frames=6, embodiments=("franka_1rgb", "ur_1rgb"))
    files = sorted(source.rglob("h5_*.json"))
    assert len(files) == 2
    files[0].write_text("[]")
    files[1].write_text(json.dumps([{"id": "../../../etc", "response": {"steps": 7}}, None]))
    rows = receipts_of("robomind_v1", source, tmp_path / "out")
    assert reasons(rows) == [None, None]


def test_a_file_of_another_layout_is_of_unknown_form(tmp_path: Path) -> None:
    data = os.environ.get("FINEDATA_REAL_DATA")
    file = Path(data or "") / "robosuite_hdf5" / "demo.hdf5"
    if data is None or not file.is_file():
        pytest.skip("FINEDATA_REAL_DATA names no folder with robosuite_hdf5/demo.hdf5")
    source = tmp_path / "source"
    source.mkdir()
    (source / "demo.hdf5").symlink_to(file)
    for name in ("rdt", "robomind_v1", "robomind_v2"):
        rows = receipts_of(name, source, tmp_path / name)
        assert reasons(rows) == ["unknown_form"]
        assert "demo.hdf5" in rows[0]["message"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads what nobody may")
def test_a_file_that_nobody_may_read(hdf5: Path, tmp_path: Path) -> None:
    hdf5_files(hdf5)[1].chmod(0)
    rows = receipts_of("rdt", hdf5, tmp_path / "out")
    assert reasons(rows) == [None, "unreadable_file", None]


def test_a_file_that_cannot_be_opened(
    hdf5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as above for root: the system's own answer, given by hand."""
    really, closed = os.open, str(hdf5_files(hdf5)[1])

    def refuse(path: Any, flags: int, *rest: Any) -> int:
        if str(path) == closed:
            raise PermissionError(13, "Permission denied")
        return really(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    rows = receipts_of("rdt", hdf5, tmp_path / "out")
    assert reasons(rows) == [None, "unreadable_file", None]
    assert "Permission denied" in rows[1]["message"]


def test_a_folder_with_the_name_of_a_file_is_no_file(hdf5: Path, tmp_path: Path) -> None:
    (hdf5 / "rdt_data" / "pour_water" / "episode_99.hdf5").mkdir()
    assert reasons(receipts_of("rdt", hdf5, tmp_path / "out")) == [None, None, None]


def test_two_files_of_one_episode(hdf5: Path, tmp_path: Path) -> None:
    first = hdf5_files(hdf5)[0]
    again = hdf5 / "zz_copy" / first.parent.name / first.name
    again.parent.mkdir(parents=True)
    shutil.copy(first, again)
    rows = receipts_of("rdt", hdf5, tmp_path / "out")
    assert reasons(rows) == [None, None, None, "duplicate_id"]
    assert first.name in rows[-1]["message"]


# RLDS


def rlds(folder: Path, episodes: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    payloads = [
        encode_bridge_episode(
            **(
                {
                    "state": np.linspace(0.1, 0.2, 21, dtype=np.float32).reshape(3, 7),
                    "action": np.zeros((3, 7), np.float32),
                    "pictures": {"image_0": [black_jpeg(8, 8)] * 3},
                    "instruction": "go",
                    "file_path": "/a/b/out.npy",
                    "source_episode_id": number,
                }
                | changes
            )
        )
        for number, changes in enumerate(episodes)
    ]
    name = "bridge_dataset-train.tfrecord-00000-of-00001"
    size = write_tfrecord(folder / name, payloads)
    write_declaration(folder, image_size=8, cameras=1, splits={"train": [(len(payloads), size)]})
    return folder


@pytest.mark.parametrize(
    "text",
    ["", "a\0b", "\u00e9\U0001f600" * 9, "x" * 10_000_000],
    ids=["none", "NUL", "emoji", "10 MB"],
)
def test_any_instruction_is_written(text: str, tmp_path: Path) -> None:
    source = rlds(tmp_path / "source", [{"instruction": text}, {}])
    rows = receipts_of("bridge_v2", source, tmp_path / "out")
    assert reasons(rows) == [None, None]
    assert ("empty_instruction" in rows[0]["flags"]) == (not text)


def test_an_instruction_that_is_no_text_costs_its_episode(tmp_path: Path) -> None:
    source = rlds(tmp_path / "source", [{"instruction": "\u00e9"}, {}])
    (file,) = source.glob("*.tfrecord-*")
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    broken = data[12 : 12 + length].replace("\u00e9".encode(), b"\xff\xfe")
    rest = data[16 + length :]
    write_tfrecord(file, [broken, rest[12:-4]])
    rows = receipts_of("bridge_v2", source, tmp_path / "out")
    assert reasons(rows) == ["wrong_type", None]
    assert "UTF-8" in rows[0]["message"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38])
def test_any_number_is_written(value: float, tmp_path: Path) -> None:
    odd = {
        "state": np.full((3, 7), value, np.float32),
        "action": np.full((3, 7), value, np.float32),
    }
    rows = receipts_of("bridge_v2", rlds(tmp_path / "source", [odd, {}]), tmp_path / "out")
    assert reasons(rows) == [None, None]
    assert {"nonfinite_action"} <= set(rows[0]["flags"])


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff",
        b'{"splits": 3}',
        b'{"splits": [3]}',
        b'{"splits": [{"name": "train", "shardLengths": ["2147483648"]}]}',
        b'{"splits": [{"name": "train", "shardLengths": ["-1"]}]}',
        b'{"splits": [{"name": "train", "shardLengths": null}]}',
    ],
)
def test_a_description_that_is_none_is_refused_at_the_start(content: bytes, tmp_path: Path) -> None:
    source = rlds(tmp_path / "source", [{}, {}])
    (source / "dataset_info.json").write_bytes(content)
    with pytest.raises(SourceError, match="dataset_info"):
        convert("bridge_v2", input=source, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_shard_name_never_leads_out_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rlds(tmp_path / "source", [{}, {}])
    (file,) = source.glob("*.tfrecord-*")
    shutil.copy(file, tmp_path / "outside")
    info = json.loads((source / "dataset_info.json").read_text())
    split = info["splits"][0]
    for template in ("../outside", str(tmp_path / "outside")):
        split["filepathTemplate"] = template
        (source / "dataset_info.json").write_text(json.dumps(info))
        opened = Opened(monkeypatch)
        rows = receipts_of("bridge_v2", source, tmp_path / f"out{template.count('/')}")
        assert reasons(rows) == [None, None]  # of the shard inside, found by its own name
        assert str(tmp_path / "outside") not in opened.paths
