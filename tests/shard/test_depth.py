"""Depth in shards: estimated when they are made, or a camera's own, and as a stream gives it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from shard.curation import curate
from shard.members import members
from shard.tiny_depth import make_zoe

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.errors import FinedataError, SpecError, UsageError
from finedata.schema.roles_file import decode_roles, roles_digest
from finedata.shard.making.compact import compact_shards
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.roles import depth_of, roles_text
from finedata.shard.shards import Shards
from finedata.shard.stream.fill import camera_matrices
from finedata.shard.stream.opening import stream
from finedata.shard.stream.pictures import PictureDecoder, depth_into
from finedata.shard.verify import verify_shards
from finedata.store.dataset import open_dataset

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from finedata.shard.depth import DepthModel, depth_name  # noqa: E402

SIZE = (28, 28)


@pytest.fixture(scope="module")
def zoe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_zoe(tmp_path_factory.mktemp("zoe") / "zoe")


@pytest.fixture(scope="module")
def dataset(corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("deep") / "bridge"
    options = ConvertOptions(episodes=("0-2",))
    convert("bridge_v2", input=corpus.folder, out=root, options=options)
    curate(root, every=2)
    return root


def settings(zoe: Path) -> ShardSettings:
    return ShardSettings(depth=str(zoe), resize=SIZE, cameras=("image_0",), every=5)


@pytest.fixture(scope="module")
def deep(dataset: Path, zoe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "shards"
    shard_datasets([dataset], out=out, settings=settings(zoe))
    return out


def test_every_picture_has_the_depth_that_the_model_gives_of_its_member(
    deep: Path, zoe: Path
) -> None:
    model = DepthModel(str(zoe), device="cpu")
    found = members(deep)
    pictures = {name: data for name, data in found.items() if name.endswith("image_0.jpg")}
    assert len(pictures) > 3
    several: set[int] = set()
    for name, data in pictures.items():
        pixels = np.empty((*SIZE, 3), np.uint8)
        PictureDecoder().into(pixels, data, codec="jpeg")
        depth = np.empty(SIZE, np.float32)
        depth_into(depth, found[name.replace("0.jpg", "0_depth.png")], unit_m=1.0)
        assert (depth == model.millimetres(pixels)).all()
        assert depth.min() >= 1
        several |= set(depth.ravel().astype(int).tolist())
    assert len(several) > 10
    camera = next(iter(Shards.open(deep).sets.values())).cameras[1]
    assert (camera.name, camera.depth_of, camera.codec) == ("image_0_depth", "image_0", "png")


def test_bytes_follow_from_the_input(deep: Path, dataset: Path, zoe: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"  # as other threads and folders change no byte
    shutil.copytree(zoe, moved)
    torch.set_num_threads(2)
    try:
        shard_datasets([dataset], out=tmp_path / "again", settings=settings(moved))
    finally:
        torch.set_num_threads(1)
    for path in sorted(one for one in deep.rglob("*") if one.is_file()):
        if ".finedata" not in path.parts:
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(deep)).read_bytes()
    document = Shards.open(deep).document
    assert document.options.depth == depth_name(str(zoe))
    assert {"torch", "transformers"} <= document.libraries.keys()
    assert str(zoe) not in (deep / "shards.json").read_text()


def test_the_words_of_shards_without_depth_stay_as_they_were(dataset: Path, tmp_path: Path) -> None:
    shard_datasets([dataset], out=tmp_path / "plain", settings=ShardSettings(every=8))
    text = (tmp_path / "plain/shards.json").read_text()
    assert "depth" not in text
    assert "depth" not in (tmp_path / "plain/roles.toml").read_text()


def test_shards_with_depth_are_verified_and_compacted(
    deep: Path, dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(deep, tmp_path / "shards")
    report = verify_shards(tmp_path / "shards", [open_dataset(dataset)])
    assert not report.problems
    assert any("image_0_depth" in one for one in report.not_checked)
    shutil.copytree(dataset, tmp_path / "bridge")
    curate(tmp_path / "bridge", every=1)
    compact_shards(tmp_path / "shards", [open_dataset(tmp_path / "bridge")])
    assert not verify_shards(tmp_path / "shards").problems
    cameras = [one.cameras for one in Shards.open(tmp_path / "shards").sets.values()]
    assert {camera.depth_of for one in cameras for camera in one} == {msgspec.UNSET, "image_0"}


def test_a_stream_gives_depth_and_the_matrix_of_a_picture(deep: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(deep, root)
    text = (root / "roles.toml").read_text()
    assert '[parts.depth."image_0"]\ncamera = "image_0_depth"' in text
    batch = next(iter(stream(deep, mix="raw=1", batch=2, depth=True, size=(14, 7))))
    assert batch.depth["image_0"].shape == (2, 14, 7)
    assert np.isnan(batch.matrix["image_0"]).all()
    plain = next(iter(stream(deep, mix="raw=1", batch=2, size=(14, 7))))
    assert plain.depth == {}
    assert (plain.pictures["image_0"] == batch.pictures["image_0"]).all()
    whole = next(iter(stream(deep, mix="raw=1", batch=2, depth=True)))
    # The middle of row r of 14 is in row 2 r + 1 of 28, of column c of 7 in column 4 c + 2.
    assert (batch.depth["image_0"] == whole.depth["image_0"][:, 1::2, 2::4]).all()
    told = text.replace("unit_m = 0.001", "unit_m = 0.002\nmatrix = [600.0, 500.0, 320.0, 240.0]\n"
                        "size = [640, 480]")  # fmt: skip
    (root / "roles.toml").write_text(told)
    batch = next(iter(stream(root, mix="raw=1", batch=2, depth=True)))
    assert np.allclose(batch.depth["image_0"], 2 * whole.depth["image_0"])
    wanted = [[600 * 28 / 640, 0, 14], [0, 500 * 28 / 480, 14], [0, 0, 1]]
    assert np.allclose(batch.matrix["image_0"], [wanted] * 2)
    batch = next(iter(stream(root, mix="raw=1", batch=1, depth=True, size=(14, 7))))
    wanted = [[600 * 7 / 640, 0, 3.5], [0, 500 * 14 / 480, 7], [0, 0, 1]]
    assert np.allclose(batch.matrix["image_0"], [wanted])


def test_a_matrix_may_be_a_column_of_the_frames(deep: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(deep, root)
    text = (root / "roles.toml").read_text()
    told = text.replace("unit_m", 'matrix = "observation.state"\nsize = [28, 28]\nunit_m')
    (root / "roles.toml").write_text(told)
    with pytest.raises(UsageError, match="of 8 numbers"):
        stream(root, mix="raw=1", depth=True)
    matrix = np.arange(1, 10, dtype=np.float32)
    assert (camera_matrices(matrix, of=(28, 28), size=(28, 28)) == matrix.reshape(3, 3)).all()


def test_roles_of_depth_are_held_against_the_file(deep: Path) -> None:
    text = (deep / "roles.toml").read_text()
    plain = text[: text.index("\n[parts.depth")] + text[text.index("\n[parts.vectors") :]
    assert roles_digest(decode_roles(text, place="x")) != roles_digest(
        decode_roles(plain, place="x")
    )
    for wrong, said in [
        (text.replace("0.001", "0.0"), "units of 0.0 m"),
        (text.replace("unit_m = 0.001", "matrix = [1.0, 1.0, 1.0, 1.0]"), "without the `size`"),
        (text.replace('parts.depth."image_0"', 'parts.depth."image_9"'), "no such camera role"),
    ]:
        with pytest.raises(SpecError, match=said):
            decode_roles(wrong, place="x")


@pytest.mark.parametrize(
    ("camera", "deep_ones", "wanted"),
    [
        ("front", ["front_depth", "wrist_depth"], "front_depth"),
        ("front_rgb", ["depth_front"], "depth_front"),
        ("image_0", ["depth_0", "depth_1"], "depth_0"),
        ("image_0", ["image_0_depth"], "image_0_depth"),
        ("front", ["front_depth", "front_depth_image"], None),
        ("front", ["wrist_depth"], None),
    ],
)
def test_a_camera_of_depth_is_known_by_its_name(
    camera: str, deep_ones: list[str], wanted: str | None
) -> None:
    assert depth_of(camera, deep_ones) == wanted


def test_an_estimated_depth_is_of_its_camera_whatever_its_name(deep: Path) -> None:
    one = next(iter(Shards.open(deep).sets.values()))
    colours, depth = one.cameras
    left = msgspec.structs.replace(colours, name="left")
    named = msgspec.structs.replace(depth, name="estimated", depth_of="left")
    text = roles_text([msgspec.structs.replace(one, cameras=[left, named])])
    assert '[parts.depth."left"]\ncamera = "estimated"' in text


def test_what_gives_no_metres_is_refused(deep: Path, zoe: Path, tmp_path: Path) -> None:
    from transformers import DepthAnythingConfig, Dinov2Config

    backbone = Dinov2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=1)
    DepthAnythingConfig(backbone_config=backbone).save_pretrained(tmp_path / "relative")
    (tmp_path / "relative/model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="not said to be metres"):
        DepthModel(str(tmp_path / "relative"))
    with pytest.raises(UsageError, match="without weights"):
        depth_name(str(tmp_path))
    with pytest.raises(UsageError, match="tells the commit"):
        depth_name("Intel/zoedepth-nyu")
    with pytest.raises(UsageError, match="depth is no film"):
        ShardSettings(depth=str(zoe), sample="episode").check()
    with pytest.raises(UsageError, match="own frame"):
        stream(deep, mix="raw=1", depth=True, picture_history=1)


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _odd_configuration(folder: Path) -> None:
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(msgspec.json.encode(config | {"backbone_config": 7}))


def _other_width(folder: Path) -> None:
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(msgspec.json.encode(config | {"fusion_hidden_size": 16}))


def _without_a_layer(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: one for name, one in weights.items() if not name.startswith("relative_head")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "damage", [_cut, _empty, _odd_configuration, _other_width, _without_a_layer]
)
def test_a_damaged_model_is_refused_before_anything_is_written(
    dataset: Path, zoe: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(zoe, tmp_path / "zoe")
    damage(tmp_path / "zoe")
    with pytest.raises(FinedataError, match=r"(?s)depth .*zoe.*next: fetch the model again"):
        shard_datasets([dataset], out=tmp_path / "out", settings=settings(tmp_path / "zoe"))
    assert not (tmp_path / "out").exists()


def test_zoes_borders_are_cut_off_again(zoe: Path) -> None:
    """As others missed (its output holds the reflected borders): a depth lies on its own pixel."""
    model = DepthModel(str(zoe), device="cpu")
    rows, columns = np.mgrid[0:60, 0:80]
    picture = np.stack([2 * rows + columns + 20] * 3, -1).astype(np.uint8)

    class Echo:
        def __call__(self, *, pixel_values):
            self.asked = tuple(pixel_values.shape)
            self.predicted_depth = (pixel_values[:, 0] * 0.5 + 0.5) * 255 / 1000
            return self

    model._model = echo = Echo()
    found = model.millimetres(picture)
    assert echo.asked == (1, 3, 384, 384)
    assert found.shape == (60, 80)
    assert np.abs(found.astype(int) - picture[..., 0]).max() <= 1


def test_a_picture_of_colours_is_no_depth() -> None:
    def png(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    metres = np.ones((4, 6), np.float32)
    depth_into(metres, png(np.zeros((4, 6, 3), np.uint8)), unit_m=0.001)
    assert (metres == 0).all()  # a black one stands for a camera that is not there
    depth_into(metres, png(np.full((4, 6), 40_000, np.uint16)), unit_m=0.0001)
    assert np.allclose(metres, 4)  # 16 bits, in units of a tenth of a millimetre
    for pixels in (np.full((4, 6, 3), 9, np.uint8), np.full((4, 6), 9, np.uint8)):
        with pytest.raises(ValueError, match="no PNG of 16 bits"):
            depth_into(metres, png(pixels), unit_m=0.001)
