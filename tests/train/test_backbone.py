"""Ids, positions, patches and hidden states equal what transformers makes by its own ways."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from shard.stream.tiny_shards import TinySet, make_shards
from train.recipes import recipe

from finedata.errors import FinedataError, UsageError
from finedata.shard.stream.opening import stream
from finedata.shard.stream.settings import Encoding

torch = pytest.importorskip("torch", reason="torch is not installed")

from finedata.train.backbone import Backbone, load_backbone  # noqa: E402
from finedata.train.encode import Encoder  # noqa: E402

FAMILIES = ("qwen3_vl", "qwen3_5", "paligemma", "smolvlm")
CAMERAS = ("main", "wrist")
TEXTS = ["put the red cup on the plate", "öffne die Schublade", "1. reach 2. grasp the lid 3. lift"]


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(1)
    return load_backbone(recipe(backbone=f"tiny:{request.param}")).eval()


def encoded(backbone: Backbone, *, queries: int = 4, absent: int | None = None):
    settings = backbone.encoder_settings(recipe(), cameras=CAMERAS, queries=queries)
    encoder = Encoder.of(msgspec.to_builtins(settings))
    n = len(TEXTS)
    out = {name: np.empty((n, *shape), dtype) for name, (shape, dtype) in encoder.arrays().items()}
    rng = np.random.default_rng(3)
    pictures = {name: rng.integers(0, 256, (n, 56, 56, 3)).astype(np.uint8) for name in CAMERAS}
    mask = {name: np.ones(n, bool) for name in CAMERAS}
    if absent is not None:
        mask["wrist"][absent] = False
    encoder.encode(TEXTS, pictures, mask, out)
    longest = int(out["length"].max())
    cut = {k: v[..., :longest] if k in ("ids", "positions", "seen") else v for k, v in out.items()}
    return pictures, {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in cut.items()}


def processed(backbone: Backbone, pictures) -> dict:
    """What the family's own image processor makes of all pictures, sample by sample."""
    images = [pictures[camera][k] for k in range(len(TEXTS)) for camera in CAMERAS]
    return backbone.processor(images=images, return_tensors="pt", do_resize=False)


def test_pixels_equal_the_familys_own_processor(backbone: Backbone) -> None:
    pictures, batch = encoded(backbone)
    wanted = processed(backbone, pictures)["pixel_values"]
    found = backbone.normalised(batch["pixels"]).flatten(0, 1)
    if backbone.family.patches:
        # transformers repeats a picture over the two frames of its kernel
        wanted = wanted.reshape(*found.shape[:2], 3, 2, -1)
        assert torch.equal(wanted[:, :, :, 0], wanted[:, :, :, 1])
        wanted = wanted[:, :, :, 0].flatten(2)
    assert (wanted.reshape(found.shape) - found).abs().max() <= 1e-6


def test_ids_equal_those_of_the_whole_text(backbone: Backbone) -> None:
    _, batch = encoded(backbone)
    family, cells = backbone.family, 4 if backbone.model.config.model_type != "paligemma" else 16
    one = family.before_picture + family.image_token * cells + family.after_picture
    for k, text in enumerate(TEXTS):
        whole = family.begin + one * 2 + family.before_text + text + family.after_text
        wanted = backbone.tokenizer(whole, add_special_tokens=False).input_ids
        length = int(batch["length"][k])
        assert batch["ids"][k, : length - 4].tolist() == wanted
        query = backbone.tokenizer.convert_tokens_to_ids("<|action|>")
        assert batch["ids"][k, length - 4 : length].tolist() == [query] * 4
        assert batch["seen"][k].tolist() == [at < length for at in range(batch["ids"].shape[1])]


def test_hidden_states_equal_those_of_transformers(backbone: Backbone) -> None:
    import copy

    from transformers import AutoModelForImageTextToText

    pictures, batch = encoded(backbone)
    found = backbone(batch)
    config = copy.deepcopy(backbone.model.config)
    eager = config.model_type == "paligemma"
    how = {"attn_implementation": "eager"} if eager else {}
    plain = AutoModelForImageTextToText.from_config(config, **how).eval()
    plain.load_state_dict(backbone.model.state_dict())
    for k in range(len(TEXTS)):
        length = int(batch["length"][k])
        ids = batch["ids"][k : k + 1, :length].long()
        images = [pictures[camera][k] for camera in CAMERAS]
        own = dict(backbone.processor(images=images, return_tensors="pt", do_resize=False))
        if backbone.family.patches:
            own["mm_token_type_ids"] = (ids == config.image_token_id).int()
        elif eager:
            own["token_type_ids"] = torch.zeros_like(ids)
        wanted = plain.model(input_ids=ids, use_cache=False, **own).last_hidden_state
        assert (found[k, :length] - wanted[0]).abs().max() < 1e-5


def test_what_an_absent_camera_shows_changes_nothing(backbone: Backbone) -> None:
    _, batch = encoded(backbone, absent=1)
    before = backbone(batch)
    batch["pixels"][1, 1] = 7
    length = int(batch["length"][1])
    words = slice(length - 10, length)
    assert torch.allclose(backbone(batch)[1, words], before[1, words], atol=1e-6)
    batch["pixels"][1, 0] = 7
    assert not torch.allclose(backbone(batch)[1, words], before[1, words], atol=1e-3)


def test_refusals_name_the_knob(backbone: Backbone) -> None:
    def settings(**changes):
        return backbone.encoder_settings(recipe(**changes), cameras=("main",), queries=4)

    with pytest.raises(UsageError, match="query_token: token 'two words'"):
        settings(query_token="two words")
    with pytest.raises(UsageError, match="pictures"):
        settings(pictures=60)
    short = Encoder.of(msgspec.to_builtins(settings(max_tokens=30)))
    with pytest.raises(UsageError, match="max_tokens"):
        short.ids("a " * 40)
    with pytest.raises(UsageError, match=f"at most {len(backbone.blocks)}"):
        backbone.freeze(recipe(freeze_blocks=5))
    with pytest.raises(UsageError, match="lora_targets"):
        backbone.add_lora(recipe(lora_rank=2, lora_targets=("nothing",)))


def test_a_history_of_pictures_is_refused_where_it_is_read(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "s", [TinySet("a", "rep", [5], size=(56, 56))])
    one = load_backbone(recipe(backbone="tiny:qwen3_vl"))
    settings = one.encoder_settings(recipe(), cameras=("front",), queries=4)
    encoding = Encoding(
        encoder="finedata.train.encode:Encoder", settings=msgspec.to_builtins(settings)
    )
    more = {"mix": "raw=1", "batch": 5, "stop": 5, "size": (56, 56), "encoding": encoding}
    for workers in (0, 1):
        with stream(shards, workers=workers, **more) as opened:
            assert next(iter(opened)).encoded["pixels"].shape[:2] == (5, 1)
        with (
            stream(shards, workers=workers, picture_history=2, **more) as opened,
            pytest.raises(UsageError, match=r"picture_history.*2 earlier pictures of front"),
        ):
            next(iter(opened))


def test_a_family_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="qwen3_vl, qwen3_5"):
        load_backbone(recipe(backbone="tiny:bert"))


def test_a_folder_with_cut_weights_is_said(backbone: Backbone, tmp_path: Path) -> None:
    backbone.model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(FinedataError, match=r"(?s)backbone .*next: a folder with the model"):
        load_backbone(recipe(backbone=str(tmp_path)))
