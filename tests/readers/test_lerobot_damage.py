"""LeRobot datasets of which something is absent, damaged, or not what is declared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from readers.lerobot_episodes import all_found, episode_of, first_episode
from sources import generic_lerobot, robocoin
from sources.generic_lerobot import CAMERA
from sources.lerobot_writer import WrittenEpisode, write_lerobot, write_table

from finedata.errors import (
    CorruptRecordError,
    FeatureError,
    FinedataError,
    MissingFeatureError,
    SourceError,
)
from finedata.readers import files as files_module
from finedata.readers.lerobot.source import open_lerobot


def edit_info(folder: Path, **changes) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_damaged_vocabulary_costs_itself_only(tmp_path):
    robocoin.write(tmp_path, videos=False)
    with (tmp_path / "annotations/subtask_annotations.jsonl").open("a") as lines:
        lines.write('{"subtask_index": 9, "sub')
    episode = first_episode(tmp_path)
    assert episode.has("dataset/fps")
    assert not episode.has("absent")
    assert episode.texts("annotations/scene_annotations#scene") == [
        "a table with a cup and a plate"
    ]
    with pytest.raises(FeatureError, match="line 5"):
        episode.texts("annotations/subtask_annotations#subtask")


def test_a_camera_without_a_file_in_one_episode(tmp_path):
    episodes = [
        WrittenEpisode({"x": np.arange(12.0)}, ("a",)),
        WrittenEpisode({"x": np.arange(12.0)}, ("a",), missing_videos=(CAMERA,)),
    ]
    write_lerobot(tmp_path, episodes, cameras=(CAMERA,))
    first, second = (episode_of(tmp_path, shard) for shard in (0, 1))
    assert first.video(CAMERA).frames == 12
    assert not second.has(CAMERA)
    assert (second.camera_kind(CAMERA), CAMERA in second.feature_names()) == ("video", True)
    with pytest.raises(MissingFeatureError):
        second.video(CAMERA)
    assert second.picture_shape(CAMERA) == (32, 48, 3)
    assert len(second.digest({})) == 64


def test_a_video_that_is_none(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1")
    for path in tmp_path.glob("videos/**/episode_000000.mp4"):
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FeatureError):
        first_episode(tmp_path).video(CAMERA)
    assert len(first_episode(tmp_path).digest({})) == 64


def test_declared_episodes_without_a_file_are_missing(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1")
    (tmp_path / "data/chunk-000/episode_000001.parquet").unlink()
    source = open_lerobot(tmp_path)
    assert source.missing_shards == ("data/chunk-000/episode_000001.parquet",)
    found = [(one.reason, one.message, there) for _, one, there in all_found(source)]
    assert [reason for reason, _, _ in found] == [None, "absent", None]
    assert "episode 1 is declared" in found[1][1]
    assert [episode.texts("dataset/episode") for _, _, episode in found if episode] == [
        ["0"],
        ["2"],
    ]
    edit_info(tmp_path, discarded_episode_indices=[1])
    assert open_lerobot(tmp_path).missing_shards == ()


def test_declared_files_without_a_file_are_missing(tmp_path):
    generic_lerobot.write(tmp_path, version="v3.0")
    (tmp_path / "data/chunk-000/file-000.parquet").unlink()
    source = open_lerobot(tmp_path)
    assert source.missing_shards == ("data/chunk-000/file-000.parquet",)
    found = [(one.reason, episode) for _, one, episode in all_found(source)]
    assert [reason for reason, _ in found] == ["absent", "absent", None]
    assert [episode.texts("dataset/episode")[0] for _, episode in found if episode] == ["2"]


def test_rows_that_do_not_fit_the_description_fail_alone(tmp_path):
    episodes = [WrittenEpisode({"x": np.arange(6.0)}, ("a",), {}) for _ in range(3)]
    write_lerobot(tmp_path, episodes, version="v3.0", episodes_per_file=3)
    rows = np.concatenate([np.full(6, 0), np.full(4, 1), np.full(6, 7)])
    write_table(
        tmp_path / "data/chunk-000/file-000.parquet",
        {"x": np.arange(16.0), "episode_index": rows},
    )
    found = [(found, episode) for _, found, episode in all_found(open_lerobot(tmp_path))]
    assert [f.reason for f, _ in found] == [None, "framing_error", None, "absent"]
    assert "4 rows" in found[1][0].message
    assert "episode 2 is declared, and has no row" in found[3][0].message
    assert [e.texts("dataset/episode")[0] for _, e in found if e] == ["0", "7"]
    opened = open_lerobot(tmp_path).open_shard(0)
    assert opened.episode(found[2][0]).numbers("x").tolist() == list(range(10, 16))
    with pytest.raises(SourceError):
        opened.episode(found[1][0])


def test_rows_of_one_episode_that_lie_apart(tmp_path):
    episodes = [WrittenEpisode({"x": np.arange(6.0)}, ("a",), {}) for _ in range(2)]
    write_lerobot(tmp_path, episodes, version="v3.0")
    rows = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0])
    write_table(
        tmp_path / "data/chunk-000/file-000.parquet", {"x": np.arange(12.0), "episode_index": rows}
    )
    found = [found for _, found, _ in all_found(open_lerobot(tmp_path))]
    assert [f.reason for f in found] == ["framing_error", None, "framing_error"]
    assert found[0].message == found[2].message == "rows of episode 0 lie apart"


def test_without_episode_numbers_the_declared_lengths_decide(tmp_path):
    episodes = [WrittenEpisode({"x": np.arange(n, dtype=float)}, ("a",), {}) for n in (6, 4)]
    write_lerobot(tmp_path, episodes, version="v3.0", drop=("episode_index",))
    values = [episode.numbers("x").tolist() for _, _, episode in all_found(open_lerobot(tmp_path))]
    assert values == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3]]
    write_table(tmp_path / "data/chunk-000/file-000.parquet", {"x": np.arange(9.0)})
    reasons = [found.reason for _, found, _ in all_found(open_lerobot(tmp_path))]
    assert reasons == ["framing_error", "framing_error"]


def test_an_episode_of_no_rows_is_given(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1", episodes=1)
    path = tmp_path / "data/chunk-000/episode_000000.parquet"
    pa.parquet.write_table(pa.parquet.read_table(path).slice(0, 0), path)
    ((_, found, _),) = all_found(open_lerobot(tmp_path))
    assert found.length == 0
    assert found.reason is None
    episode = first_episode(tmp_path)
    assert episode.numbers("action").shape == (0, 6)
    assert episode.texts("task") == []


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-9], "truncated"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"", "truncated"),
        (lambda data: b"<html>not found</html>" * 9, "unparsable"),
        (lambda data: data[:-8] + b"\xff\xff\xff\x7f" + b"PAR1", "unparsable"),
    ],
)
def test_broken_files_fail_with_a_reason(tmp_path, version, damage, reason):
    generic_lerobot.write(tmp_path, version=version)
    path = sorted(tmp_path.glob("data/**/*.parquet"))[0]
    path.write_bytes(damage(path.read_bytes()))
    found = [found for _, found, _ in all_found(open_lerobot(tmp_path))]
    lost = 2 if version == "v3.0" else 1
    assert [f.reason for f in found] == [reason] * lost + [None] * (3 - lost)
    assert all(f.message for f in found[:lost])


def test_a_file_that_cannot_be_opened(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1")
    source = open_lerobot(tmp_path)
    (tmp_path / "data/chunk-000/episode_000001.parquet").unlink()
    reasons = [found.reason for _, found, _ in all_found(source)]
    assert reasons == [None, "unreadable_file", None]


def test_damaged_words_cost_their_own_episode_only(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1")
    path = tmp_path / "meta/tasks.jsonl"
    first, _, _ = path.read_text().split("\n")
    path.write_text(first + '\n{"task_index": 1, "ta\n')
    assert episode_of(tmp_path, 0).texts("task")[0] == "pick up the red block"
    assert episode_of(tmp_path, 1).texts("task")[0] == "open the drawer"  # meta/episodes knows
    flags = [found.flags for _, found, _ in all_found(open_lerobot(tmp_path))]
    assert flags == [(), ("annotation_unreadable",), ()]
    episodes = tmp_path / "meta/episodes.jsonl"
    episodes.write_text(episodes.read_text().replace("open the drawer", ""))
    with pytest.raises(FeatureError, match=r"meta/tasks\.jsonl: found no JSON object in line 2"):
        episode_of(tmp_path, 1).texts("task")
    # An index that a whole table lacks is an empty text.
    path.write_text(first + "\n")
    assert set(episode_of(tmp_path, 1).texts("task")) == {""}


def test_an_episode_does_not_outlive_its_shard(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1", episodes=1)
    ((_, _, episode),) = list(all_found(open_lerobot(tmp_path)))
    with pytest.raises(ValueError, match="was closed"):
        episode.numbers("action")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"features": 3}', "\xff"])
def test_an_info_json_that_is_none(tmp_path, text):
    generic_lerobot.write(tmp_path / "a", version="v2.1", episodes=1)
    (tmp_path / "a/meta/info.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SourceError, match=r"info\.json"):
        open_lerobot(tmp_path / "a")
    generic_lerobot.write(tmp_path / "b", version="v2.1", episodes=1)
    found = [found for _, found, _ in all_found(open_lerobot(tmp_path))]
    assert [f.reason for f in found] == ["unparsable", None]


@pytest.mark.parametrize(
    "changes",
    [
        {"fps": 0},
        {"fps": "ten"},
        {"fps": None},
        {"splits": {"train": "all"}},
        {"splits": "0:3"},
        {"splits": {}},
        {"chunks_size": 0},
        {"features": {"action": 7, CAMERA: {"dtype": "video", "shape": "big"}}},
        {"features": {"action": {"dtype": "float32", "shape": [-1], "names": {"a": [1]}}}},
    ],
)
def test_an_info_json_of_odd_values(tmp_path, changes):
    generic_lerobot.write(tmp_path, version="v2.1", episodes=2)
    edit_info(tmp_path, **changes)
    found = list(all_found(open_lerobot(tmp_path)))
    assert len(found) == 2
    episode = first_episode(tmp_path)
    assert episode.has("dataset/fps") == ("fps" not in changes)
    assert episode.numbers("action").shape == (16, 6)
    episode.columns_of("action")
    episode.picture_shape(CAMERA)


def test_nothing_to_open(tmp_path):
    with pytest.raises(SourceError, match=r"no meta/info\.json"):
        open_lerobot(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{}")
    with pytest.raises(SourceError, match="no Parquet"):
        open_lerobot(tmp_path)


def test_numbers_never_cost_pictures_nor_other_episodes(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = [b"\xff\xd8\xff" + rng.bytes(20_000) for _ in range(64)]
    columns = {"x": rng.normal(size=(64, 500)), "x.camera": images}
    episodes = [WrittenEpisode(columns, ("a",), {}) for _ in range(4)]
    write_lerobot(tmp_path, episodes, version="v3.0", episodes_per_file=4, row_group_size=64)
    episode = first_episode(tmp_path)
    read = []
    inner = files_module._LocalReader.read

    def counted(self, offset, length):
        data = inner(self, offset, length)
        read.append(len(data))
        return data

    monkeypatch.setattr(files_module._LocalReader, "read", counted)
    episode.numbers("frame_index")
    assert sum(read) < 20_000
    read.clear()
    episode.numbers("x")
    assert 64 * 500 * 8 <= sum(read) < 64 * 500 * 8 * 1.5
    read.clear()
    assert len(episode.pictures("x.camera")) == 64
    assert sum(read) < 64 * 20_003 * 1.2


def test_a_disk_that_fails_for_now_is_no_damage(tmp_path, monkeypatch):
    generic_lerobot.write(tmp_path, version="v2.1")
    source = open_lerobot(tmp_path)

    def failing(self, offset, length):
        raise OSError(5, "the disk is away")

    opened = source.open_shard(0)
    monkeypatch.setattr(files_module._LocalReader, "read", failing)
    with pytest.raises(OSError, match="the disk is away"):
        opened.episode(opened.found[0]).numbers("action")
    with pytest.raises(OSError, match="the disk is away"):
        list(source.scan(1))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_mutations_end_in_errors_with_names_or_in_results(tmp_path, version):
    generic_lerobot.write(tmp_path, version=version, pictures=True, episodes=2, length=12)
    path = sorted(tmp_path.glob("data/**/*.parquet"))[0]
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    failed = 0
    for turn in range(120):
        data = bytearray(whole)
        if turn % 6 == 0:
            del data[int(rng.integers(len(data))) :]
        # Half of the flips go into the footer, where the structure is.
        low = len(whole) - 3000 if turn % 2 else 0
        for _ in range(1 + turn % 4):
            at = int(rng.integers(low, len(whole)))
            if at < len(data):
                data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(data))
        try:
            for _, found, episode in all_found(open_lerobot(tmp_path)):
                if episode is None:
                    assert found.message
                    failed += 1
                    continue
                for name in episode.feature_names():
                    if episode.camera_kind(name) == "pictures":
                        episode.pictures(name).joined()
                for name in ("action", "observation.state", "timestamp"):
                    episode.columns_of(name)
                    assert len(episode.numbers(name)) == found.length
                episode.texts("task")
                episode.digest({})
        except FinedataError:
            failed += 1
    assert failed > 60


def test_a_page_that_does_not_decode_is_damage(tmp_path):
    generic_lerobot.write(tmp_path, version="v2.1", episodes=1, lists="list")
    path = tmp_path / "data/chunk-000/episode_000000.parquet"
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptRecordError):
        first_episode(tmp_path).numbers("observation.state")
    # A column that nobody converts must not stop the run: the digest says that it is unreadable.
    assert len(first_episode(tmp_path).digest({})) == 64
