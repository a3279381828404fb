# pyright: basic, reportMissingImports=false
"""A Hugging Face vision-language model as the body of a policy: hidden states of a prompt.

The base model is called, never its language-model head: logits over 150,000 words would cost a
tenth of the time and nobody reads them. Three things are done otherwise than transformers does, to
the same values: what depends on the pictures' grid alone is computed once; attention of Qwen's
vision encoder runs over all pictures at once, since all are of one size; its Conv3d over patches is
the matrix product that it is (on some versions the convolution takes seconds).
"""

from __future__ import annotations

import re
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from finedata.errors import FinedataError, UsageError
from finedata.train.encode import EncoderSettings
from finedata.train.families import family_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from finedata.schema.recipe_file import Recipe

_TINY = "tiny:"


class Backbone(nn.Module):
    """A model with its tokenizer and image processor.

    Args:
        model: What `AutoModelForImageTextToText` gives.
        tokenizer: Its tokenizer.
        processor: Its image processor: only its numbers are used.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, model: Any, tokenizer: Any, processor: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.processor = processor
        self.family = family_of(model.config.model_type, place=model.config.model_type)
        self.width: int = model.config.get_text_config().hidden_size
        self.causal = False
        # What a head adds to visual features by where they are; a method, so no part of this.
        self.placed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
        mean, std = (torch.tensor(getattr(processor, f"image_{name}")) for name in ("mean", "std"))
        self.register_buffer("scale", processor.rescale_factor / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        self._grids: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
        if self.family.patches:
            _as_matrix_product(self.vision.patch_embed)
            for block in self.vision.blocks:
                block.attn.forward = MethodType(_attend_equal_pictures, block.attn)

    @property
    def model_type(self) -> str:
        """Its family, as its configuration has it."""
        return self.model.config.model_type

    @property
    def base(self) -> Any:
        """The model without its head."""
        return self.model.model

    @property
    def vision(self) -> Any:
        """The vision encoder."""
        return self.base.get_submodule(self.family.vision)

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks of the language model, in order."""
        return self.base.get_submodule(self.family.blocks)  # pyright: ignore[reportReturnType]

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Hidden states of the last layer.

        Args:
            batch: `ids` (n, length), `positions` (n, axes, length), `seen` (n, length) bool,
                `pixels` (n, pictures, ...) uint8; see `finedata.train.encode`. `answer` (n, length)
                bool where something is said behind the prompt; see `finedata.train.answer`.
                `pictured` (n, pictures) bool where prompts have different numbers of pictures.
                `points` and `pointed` of a model that is told of space; see `Ego3D.forward`.

        Returns:
            (n, length, width).
        """
        return self.run(batch).last_hidden_state

    def run(
        self, batch: Mapping[str, torch.Tensor], *, use_cache: bool = False, cache: Any = None
    ) -> Any:
        """As `forward`, but all that transformers gives, `cache` with it.

        Args:
            batch: See `forward`; without `pixels` where it goes on with a cache, and then `seen` is
                of all tokens so far.
            use_cache: Keep keys and values, to go on with.
            cache: That of the tokens before.
        """
        pixels = batch.get("pixels")
        if pixels is not None and not pixels.shape[1]:
            pixels = None  # a question in words alone
        if pixels is not None:
            if "pictured" in batch:  # one after the other, as their tokens are in the prompts
                pixels = pixels[batch["pictured"]][None]
            pixels = self.normalised(pixels)
        positions = batch["positions"].long()
        inputs: dict[str, Any] = {
            "input_ids": batch["ids"].long(),
            "attention_mask": batch["seen"],
            "use_cache": use_cache,
        }
        if cache is not None:
            inputs["cache"] = cache
        if self.family.positions == "mrope":
            inputs["position_ids"] = positions.permute(1, 0, 2)
        else:
            inputs["position_ids"] = positions[:, 0]
        if pixels is None:
            return self.base(**inputs)
        if self.family.patches:
            inputs["mm_encoder_outputs"] = {"image": self._features(pixels)}
        elif self.model.config.model_type == "paligemma":
            if self.placed is None:
                inputs["pixel_values"] = pixels.flatten(0, 1)
            else:
                inputs["mm_encoder_outputs"] = {"image": self._features_in_space(pixels, batch)}
            if not self.causal:
                # All of the prompt is prefix; without this it would silently be attended to
                # causally.
                said = batch.get("answer")
                prefix = torch.zeros_like(inputs["input_ids"])
                inputs["token_type_ids"] = prefix if said is None else said.to(prefix.dtype)
        else:
            inputs["pixel_values"] = pixels
        return self.base(**inputs)

    def _features_in_space(self, pixels: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> Any:
        """Visual tokens of (n, pictures, 3, height, width), positions added before the projector.

        Source: `get_image_features` of SpatialVLA's `model/modeling_spatialvla.py`.
        """
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        seen: Any = self.base.vision_tower(pixels.flatten(0, 1)).last_hidden_state
        added: Any = self.placed
        where = added(batch["points"].flatten(0, 1), batch["pointed"].flatten(0, 1))
        found = self.base.multi_modal_projector(seen + where.to(seen.dtype))
        return BaseModelOutputWithPooling(last_hidden_state=seen, pooler_output=found)

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Colours 0 to 255 as the model's image processor would have them; float32."""
        if self.family.patches:
            colours = pixels.unflatten(-1, (3, -1)).float()
            return (colours * self.scale[:, None] + self.shift[:, None]).flatten(-2)
        planes = pixels.float()
        return planes * self.scale[:, None, None] + self.shift[:, None, None]

    def _features(self, patches: torch.Tensor) -> Any:
        """Visual tokens of (n, pictures, cells, patch) normalised patches."""
        pictures, cells = patches.shape[0] * patches.shape[1], patches.shape[2]
        known = self._grids.get((pictures, cells))
        if known is None:
            known = self._grids[pictures, cells] = self._of_grid(pictures, cells, patches.device)
        return self.base.get_image_features(patches.flatten(0, 2), return_dict=True, **known)

    def _of_grid(self, pictures: int, cells: int, device: torch.device) -> dict[str, torch.Tensor]:
        """What depends on the pictures' grid only; the grid itself stays on the host."""
        from transformers.vision_utils import (
            get_vision_cu_seqlens,
            get_vision_interpolation_indices_and_weights,
            get_vision_position_ids,
        )

        vision, side = self.vision, round(cells**0.5)
        grid = torch.tensor([[1, side, side]] * pictures)
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid,
            num_grid_per_side=vision.num_grid_per_side,
            mode=vision.interpolation_mode,
            align_corners=vision.interpolation_align_corners,
            spatial_merge_size=vision.config.spatial_merge_size,
        )
        found = {
            "interp_indices": indices,
            "interp_weights": weights,
            "position_ids": get_vision_position_ids(grid, vision.config.spatial_merge_size),
            "cu_seqlens": get_vision_cu_seqlens(grid),
        }
        return {f"image_{k}": v.to(device) for k, v in found.items()} | {"image_grid_thw": grid}

    def encoder_settings(
        self, recipe: Recipe, *, cameras: tuple[str, ...], queries: int
    ) -> EncoderSettings:
        """How workers encode for this model.

        Args:
            recipe: For the prompt and the size of pictures.
            cameras: Picture roles in the order of the prompt.
            queries: Action queries at the end of a prompt.

        Raises:
            UsageError: A token is none of the tokenizer's, or pictures are not of a size that the
                model takes.
        """
        family, config = self.family, self.model.config.vision_config
        patch = config.patch_size
        merge = config.spatial_merge_size if family.patches else 1
        side, rest = divmod(recipe.pictures, patch * merge)
        if rest or (family.vision == "vision_tower" and recipe.pictures != config.image_size):
            raise UsageError(
                parameter="pictures",
                place=f"pictures of {recipe.backbone}",
                found=f"{recipe.pictures} pixels",
                wanted=f"{config.image_size} pixels"
                if family.vision == "vision_tower"
                else f"a multiple of {patch * merge} pixels",
            )
        if family.vision == "vision_model":
            side //= self.model.config.scale_factor
        image = self.token(family.image_token, parameter="backbone")
        prefix: list[int] = self._ids(family.begin)
        spans: list[tuple[int, int, int]] = []
        for _ in cameras:
            prefix += self._ids(family.before_picture)
            spans.append((len(prefix), side, side))
            prefix += [image] * side * side + self._ids(family.after_picture)
        prefix += self._ids(family.before_text)
        return EncoderSettings(
            tokenizer=self.tokenizer.backend_tokenizer.to_str(),
            cameras=cameras,
            height=recipe.pictures,
            width=recipe.pictures,
            prefix=tuple(prefix),
            pictures=tuple(spans),
            prompt=recipe.prompt.replace("{horizon}", str(recipe.horizon)),
            suffix=family.after_text,
            query=self.token(recipe.query_token, parameter="query_token") if queries else 0,
            queries=queries,
            pad=self.tokenizer.pad_token_id or 0,
            max_tokens=recipe.max_tokens,
            positions=family.positions,  # pyright: ignore[reportArgumentType]
            first_position=family.first_position,
            layout="patches" if family.patches else "planes",
            patch=patch,
            merge=merge,
            points=0 if self.placed is None else recipe.ego3d_points,
        )

    def save(self, folder: Path) -> None:
        """Write what transformers needs to load it, but for its weights."""
        for one in (self.model.config, self.tokenizer, self.processor):
            one.save_pretrained(folder)

    def token(self, text: str, *, parameter: str) -> int:
        """The id of a text that must be one token.

        Raises:
            UsageError: The tokenizer splits it; `parameter` is named.
        """
        return _one_token(self.tokenizer, text, parameter=parameter)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids if text else []

    def freeze(self, recipe: Recipe) -> list[str]:
        """Leave what a recipe says as it is, and the head, which only an annotator calls.

        Returns:
            What a reader should know: with the head `tokens`, whose paper freezes 24 blocks of 26,
            a smaller model has all of its blocks frozen.

        Raises:
            UsageError: The model has fewer blocks, under another head.
        """
        blocks, notes = self.blocks, list[str]()
        if recipe.freeze_blocks > len(blocks) and recipe.head == "tokens":
            notes.append(
                f"{len(blocks)} blocks are frozen, not {recipe.freeze_blocks}: all of them"
            )
        elif recipe.freeze_blocks > len(blocks):
            raise UsageError(
                parameter="freeze_blocks",
                found=f"{recipe.freeze_blocks} blocks",
                wanted=f"at most {len(blocks)}, which {recipe.backbone} has",
            )
        embeddings = self.model.get_input_embeddings()
        head = self.model.get_output_embeddings()
        frozen = [*blocks[: recipe.freeze_blocks]]
        speaks = recipe.head == "annotator"
        if head is not None and head.weight is not embeddings.weight and not speaks:
            frozen.append(head)
        frozen += [self.vision] * recipe.freeze_vision + [embeddings] * recipe.freeze_embeddings
        for module in frozen:
            module.requires_grad_(requires_grad=False)
        return notes

    def attend(self, recipe: Recipe) -> None:
        """Attend to prompts as a recipe with answers says.

        Raises:
            UsageError: `prefix`, of a family that always attends causally.
        """
        paligemma = self.model.config.model_type == "paligemma"
        if recipe.attention == "prefix" and not paligemma:
            raise UsageError(
                parameter="attention",
                found="prefix",
                wanted="causal, which " + self.model.config.model_type + " always is",
            )
        self.causal = recipe.attention == "causal"

    def add_lora(self, recipe: Recipe) -> None:
        """Adapters in the language model's blocks; all else of the backbone stays as it is.

        Raises:
            UsageError: No module has such a name.
        """
        from peft import LoraConfig, inject_adapter_in_model

        ends = "|".join(map(re.escape, recipe.lora_targets))
        pattern = rf".*{re.escape(self.family.blocks)}\..*\.({ends})"
        if not any(re.fullmatch(pattern, name) for name, _ in self.base.named_modules()):
            raise UsageError(
                parameter="lora_targets",
                found=", ".join(recipe.lora_targets),
                wanted="ends of names of modules in the blocks of " + recipe.backbone,
            )
        settings = LoraConfig(
            r=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,  # pyright: ignore[reportArgumentType]
            lora_dropout=recipe.lora_dropout,
            target_modules=pattern,
        )
        inject_adapter_in_model(settings, self.base)


def load_backbone(recipe: Recipe, *, meta: bool = False) -> Backbone:
    """The backbone of a recipe, in fp32, everything trainable.

    Args:
        recipe: Names it.
        meta: Make it without memory for weights, from its configuration.

    Raises:
        UsageError: It is of no family that is known.
        FinedataError: It cannot be loaded.
    """
    if recipe.backbone.startswith(_TINY):
        from finedata.train.tiny import tiny_backbone

        family = recipe.backbone.removeprefix(_TINY)
        with torch.device("meta" if meta else "cpu"):
            made = tiny_backbone(
                family, pictures=recipe.pictures, annotates=recipe.head == "annotator"
            )
        return Backbone(*made)
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForImageTextToText,
        AutoTokenizer,
    )

    where = {"revision": recipe.revision or None, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(recipe.backbone, **where)
        family_of(config.model_type, place=recipe.backbone)
        # Gemma2 caps its scores, which only this does with a mask of the prefix.
        how = {"attn_implementation": "eager"} if config.model_type == "paligemma" else {}
        if meta:
            with torch.device("meta"):
                model = AutoModelForImageTextToText.from_config(config, **how)
        else:
            model = AutoModelForImageTextToText.from_pretrained(
                recipe.backbone, dtype=torch.float32, **where, **how
            )
        tokenizer = AutoTokenizer.from_pretrained(recipe.backbone, use_fast=True, **where)
        processor = AutoImageProcessor.from_pretrained(recipe.backbone, use_fast=False, **where)
    except FinedataError:
        raise
    except Exception as error:  # of files, configurations and weights, each with its own kinds
        raise FinedataError(
            place=f"backbone {recipe.backbone}",
            found=str(error).strip().splitlines()[0] if str(error) else type(error).__name__,
            wanted="a vision-language model that transformers loads without code of its own",
            next_command="a folder with the model, or its name on the Hub and a network",
        ) from error
    return Backbone(model, tokenizer, processor)


def _one_token(tokenizer: Any, token: str, *, parameter: str) -> int:
    """The id of a text that must be one token.

    Raises:
        UsageError: The tokenizer splits it.
    """
    ids = tokenizer(token, add_special_tokens=False).input_ids
    if len(ids) != 1:
        raise UsageError(
            parameter=parameter,
            place=f"{parameter}: token {token!r}",
            found=f"{len(ids)} tokens, {tokenizer.convert_ids_to_tokens(ids)}",
            wanted="one token of the backbone's tokenizer",
        )
    return ids[0]


def _as_matrix_product(embed: Any) -> None:
    """Make a Conv3d over whole patches a product; its weights keep their names and shapes.

    A picture is one frame, repeated over the kernel's depth: so the kernel is summed over depth.
    """

    def forward(self: Any, patches: torch.Tensor) -> torch.Tensor:
        weight = self.proj.weight.sum(2).flatten(1)
        return functional.linear(patches.to(weight.dtype), weight, self.proj.bias)

    embed.forward = MethodType(forward, embed)


def _attend_equal_pictures(
    self: Any,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    **_: Any,
) -> torch.Tensor:
    """Attention of Qwen's vision encoder inside each of several pictures of one size.

    Source: `Qwen3VLVisionAttention.forward`, which splits and attends picture by picture.
    """
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

    length, pictures = hidden_states.shape[0], len(cu_seqlens) - 1
    query, key, value = self.qkv(hidden_states).reshape(length, 3, self.num_heads, -1).unbind(1)
    query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    query, key, value = (
        one.unflatten(0, (pictures, -1)).transpose(1, 2) for one in (query, key, value)
    )
    found = functional.scaled_dot_product_attention(query, key, value, scale=self.scaling)
    return self.proj(found.transpose(1, 2).reshape(length, -1))
