"""Many processes that share a folder make, byte for byte, what one process makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from convert.trees import tree_digest
from sources import bridge, rh20t, robomind_v2

import finedata
from finedata.convert.run import convert_many
from finedata.convert.sharded import convert_share, is_sharded, merge_shards
from finedata.errors import UsageError


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("sources")
    bridge.write(folder / "bridge")
    robomind_v2.write(folder / "robomind", robots=("franka", "ur"))
    rh20t.write(folder / "rh20t", cfgs=(3,), episodes=2)
    return [
        ("bridge_v2", str(folder / "bridge")),
        ("robomind_v2", str(folder / "robomind")),
        ("rh20t", str(folder / "rh20t")),
    ]


@pytest.fixture(scope="module")
def whole(sources: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    convert_many(sources, out=out)
    return out


def test_several_sources_are_one_dataset(whole: Path) -> None:
    dataset = finedata.open(whole)
    assert [source.name for source in dataset.info.sources] == ["bridge_v2", "robomind_v2", "rh20t"]
    assert [part.name for part in dataset.parts] == [
        "bridge_v2-widowx_250",
        "robomind_v2-franka_fr3_dual",
        "robomind_v2-ur5e_dual",
        "rh20t-rh20t_ur5_wsg50",
    ]
    episodes = dataset.episodes.collect()
    assert episodes.height == 3 + 4 + 2
    assert episodes["episode_id"].n_unique() == episodes.height
    for part in dataset.parts:
        rows = episodes.filter(episodes["part"] == part.name)
        assert rows["episode_index"].to_list() == list(range(part.episodes))
        assert rows["length"].sum() == part.frames


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=str)
def test_shares_in_any_order_are_the_whole(
    sources: list[tuple[str, str]], whole: Path, order: tuple[int, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    files = 0
    for index in order:
        assert is_sharded(out) == (index != order[0])
        share = convert_share(sources, out=out, shard_index=index, num_shards=3)
        files += share.files
    assert files == share.all_files
    summary = merge_shards(out)
    assert summary.episodes == 9
    assert not is_sharded(out)
    assert tree_digest(out) == tree_digest(whole)


def test_a_share_that_is_run_again_does_no_harm(
    sources: list[tuple[str, str]], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for index in (0, 0, 1, 0):
        convert_share(sources, out=out, shard_index=index, num_shards=2)
    merge_shards(out)
    merge_shards(out)
    assert tree_digest(out) == tree_digest(whole)


def test_a_missing_share_is_named(sources: list[tuple[str, str]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for index in (0, 2):
        convert_share(sources, out=out, shard_index=index, num_shards=3)
    with pytest.raises(UsageError, match="not finished: 1 of 3"):
        merge_shards(out)
    assert not (out / "finedata.json").exists()


def test_a_lost_file_is_written_again(
    sources: list[tuple[str, str]], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for index in (0, 1):
        convert_share(sources, out=out, shard_index=index, num_shards=2)
    lost = sorted(out.glob("*/data/*/*.parquet"))[0]
    lost.unlink()
    with pytest.raises(UsageError, match="not finished"):
        merge_shards(out)
    for index in (0, 1):
        convert_share(sources, out=out, shard_index=index, num_shards=2)
    merge_shards(out)
    assert tree_digest(out) == tree_digest(whole)


def test_other_settings_are_refused(sources: list[tuple[str, str]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert_share(sources, out=out, shard_index=0, num_shards=2)
    with pytest.raises(UsageError):
        convert_share(sources, out=out, shard_index=0, num_shards=3)
    with pytest.raises(UsageError):
        convert_share(sources[:1], out=out, shard_index=1, num_shards=2)


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2)])
def test_no_such_share(
    sources: list[tuple[str, str]], index: int, count: int, tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        convert_share(sources, out=tmp_path / "out", shard_index=index, num_shards=count)


def test_one_source_twice_is_refused(sources: list[tuple[str, str]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bridge_v2 twice"):
        convert_many([sources[0], sources[0]], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_merging_again_keeps_what_was_annotated_since(
    sources: list[tuple[str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    convert_share(sources, out=out, shard_index=0, num_shards=1)
    merge_shards(out)
    reviewed = out / "annotations" / "reviews" / "part-00000.parquet"
    later = out / "annotations" / "instructions" / "part-00001.parquet"
    for file in (reviewed, later):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"a person's work")
    merge_shards(out)
    (out / "finedata.json").unlink()
    merge_shards(out)
    assert (out / "finedata.json").is_file()
    assert reviewed.read_bytes() == later.read_bytes() == b"a person's work"
