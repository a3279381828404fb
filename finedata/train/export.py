# pyright: basic, reportMissingImports=false
"""A checkpoint as a plain Hugging Face folder, which transformers loads without finedata.

The backbone lies there as any model of its family does, averaged weights and merged adapters
included; what makes a policy of it stands beside: `head.safetensors`, the recipe, the codecs.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec
from safetensors.torch import save_file

from finedata.errors import UsageError
from finedata.schema.codecs_file import CodecsFile
from finedata.schema.documents import decode_document
from finedata.store.atomic import atomic_folder, check_new_folder, output_errors
from finedata.train.checkpoint import (
    TrainConfig,
    copy_tensors,
    find_checkpoint,
    load_weights,
    read_checkpoint,
)
from finedata.train.data import given_numbers
from finedata.train.policy import make_policy

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.schema.recipe_file import Recipe
    from finedata.train.checkpoint import Saved
    from finedata.train.policy import Policy

__all__ = ["export_policy", "load_any", "load_policy"]

_BESIDE = ("train_config.json", "codecs.json")


def load_policy(place: Path, *, averaged: bool = True) -> tuple[Policy, Saved]:
    """The policy of a checkpoint, ready to predict.

    Args:
        place: A run, or a checkpoint of one.
        averaged: With the averaged weights, where there are.

    Raises:
        UsageError: There is no checkpoint.
        ConformError: It is damaged.
    """
    saved = read_checkpoint(find_checkpoint(place))
    policy = _made(saved.recipe.recipe, saved.codecs, saved.actions)
    load_weights(saved.folder, policy, averaged=averaged)
    return policy.eval(), saved


def load_any(place: Path) -> tuple[Policy, Recipe]:
    """The policy of a run, a checkpoint, or an export, ready to predict, and its recipe.

    Raises:
        UsageError: It is none of these.
        ConformError: It is damaged.
    """
    config = place / "train_config.json"
    if not (place / "head.safetensors").is_file() or not config.is_file():
        policy, saved = load_policy(place)
        return policy, saved.recipe.recipe
    values = msgspec.json.decode(config.read_bytes(), type=TrainConfig)
    recipe = msgspec.structs.replace(values.recipe, backbone=str(place), revision="", lora_rank=0)
    codecs = decode_document((place / "codecs.json").read_bytes(), CodecsFile, place=str(place))
    policy = _made(recipe, codecs, values.actions)
    head = {**dict(policy.head.named_parameters()), **dict(policy.head.named_buffers())}
    copy_tensors(place / "head.safetensors", head, set())
    return policy.eval(), recipe


def _made(recipe: Recipe, codecs: CodecsFile, actions: tuple[str, ...]) -> Policy:
    states, acts = given_numbers(codecs, recipe.states), given_numbers(codecs, actions)
    return make_policy(
        recipe, state_dim=len(states), action_dim=len(acts), states=states, actions=acts
    )


def export_policy(place: Path, out: Path) -> Path:
    """Write a checkpoint as a plain Hugging Face folder.

    Args:
        place: A run, or a checkpoint of one.
        out: A new folder.

    Raises:
        UsageError: There is no checkpoint, `out` is not new, or the policy reads words alone and
            has no such model in it.
        OutputError: It cannot be written.
    """
    check_new_folder(out)
    policy, saved = load_policy(place)
    if saved.recipe.recipe.head == "steer":
        raise UsageError(
            place=str(place),
            found="a policy over words, without a vision-language model",
            wanted="one with a model that transformers loads",
            next_command=f"finedata serve {place}  # a run is served as it is",
        )
    if saved.recipe.recipe.lora_rank:
        _merge_adapters(policy.backbone.base)
    backbone = policy.backbone
    with atomic_folder(out) as partial, output_errors(out):
        backbone.model.save_pretrained(partial)
        backbone.tokenizer.save_pretrained(partial)
        backbone.processor.save_pretrained(partial)
        # With what a head keeps besides, as the grid of action tokens.
        kept = policy.head.state_dict()
        head = {name: tensor.detach().contiguous() for name, tensor in kept.items()}
        save_file(head, partial / "head.safetensors", metadata={"format": "pt"})
        for name in _BESIDE:
            shutil.copyfile(saved.folder / "pretrained_model" / name, partial / name)
    return out


def _merge_adapters(base: Any) -> None:
    """Put each adapted layer's own layer, adapter added, in its place."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(base.named_modules()):
        if isinstance(module, LoraLayer):
            merged: Any = module
            merged.merge()
            parent, _, last = name.rpartition(".")
            setattr(base.get_submodule(parent), last, merged.get_base_layer())
