# pyright: basic, reportMissingImports=false
"""Weights to begin with: those of a run here, or of a Hub repository pinned to a commit.

A name without a commit means other weights tomorrow, so it is refused. Of a repository only weights
and configurations are fetched: what `finedata train export` wrote, a checkpoint's folder, or any
model of the backbone's kind. What had no counterpart is told name by name, never passed over.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from finedata.errors import UsageError
from finedata.store.remote.hub import endpoint, hub_errors, import_hub
from finedata.train.checkpoint import copy_tensors, find_checkpoint, load_weights, weights_of
from finedata.train.heads.spatialvla import is_spatialvla, load_spatialvla

if TYPE_CHECKING:
    from finedata.schema.recipe_file import Recipe
    from finedata.train.policy import Policy

_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_PINNED = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
_WANTED = ("*.safetensors", "*.json")
_UNWANTED = ("*training_state/*", "*average.safetensors")
_HEAD, _BACKBONE = "head.", "backbone.model."


def is_hub_name(text: str) -> bool:
    """Whether a text is `org/name` and no folder here."""
    return _HUB.fullmatch(text) is not None and not Path(text).exists()


def commit_command(name: str) -> str:
    """What to type to learn the newest commit of a model on the Hub."""
    return f"hf models info {name} tells the commit as `sha`"


def check_pinned(recipe: Recipe) -> None:
    """Refuse names of the Hub that tomorrow may mean other weights; nothing is asked of the Hub.

    Raises:
        UsageError: `backbone` is a Hub name without `revision`, or `init_from` one without commit.
    """
    if is_hub_name(recipe.backbone) and not recipe.revision:
        raise UsageError(
            parameter="revision",
            place=f"backbone {recipe.backbone}",
            found="a name on the Hub without a commit",
            wanted="the commit whose weights are meant, 40 hex digits",
            next_command=f"--set revision=COMMIT; {commit_command(recipe.backbone)}",
        )
    start, _, revision = recipe.init_from.partition("@")
    if is_hub_name(start) and not _PINNED.fullmatch(recipe.init_from):
        raise UsageError(
            parameter="init_from",
            place=f"init_from {recipe.init_from}",
            found=f"no folder of that name, and on the Hub no commit: {revision or 'none given'}",
            wanted="a run, a checkpoint, or org/name@COMMIT with 40 hex digits",
            next_command=f"--set init_from={start}@COMMIT; {commit_command(start)}",
        )


def begin_with(init_from: str, policy: Policy) -> list[str]:
    """Take weights over, and nothing else.

    Args:
        init_from: A run, a checkpoint of one, SpatialVLA's folder, or `org/name@COMMIT`; see
            `check_pinned`.
        policy: Takes them.

    Returns:
        What a reader should know: names on either side that have no partner.

    Raises:
        UsageError: There are none, or none with a name of the policy's.
        ConformError: A file is cut, or a shape is another.
        SourceError: The Hub does not answer.
    """
    pinned = _PINNED.fullmatch(init_from)
    if pinned is None or Path(init_from).exists():
        if is_spatialvla(Path(init_from)):
            return load_spatialvla(Path(init_from), policy)
        return _told(*load_weights(find_checkpoint(Path(init_from)), policy))
    place = f"init_from {init_from}"
    hub = import_hub(place)
    with hub_errors(place):
        folder = Path(
            hub.snapshot_download(
                pinned[1],
                revision=pinned[2],
                endpoint=endpoint(),
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
            )
        )
    if is_spatialvla(folder):
        return load_spatialvla(folder, policy)
    mine = dict(weights_of(policy))
    taken: set[str] = set()
    family = policy.backbone.model_type
    if (folder / "pretrained_model").is_dir():
        folder /= "pretrained_model"
    spare = _take(folder, mine, taken, family, place=place)
    if not taken:
        raise UsageError(
            parameter="init_from",
            place=place,
            found=f"{len(spare)} weights, none with a name of this policy's",
            wanted="weights of the same backbone, or of a policy over it",
        )
    return _told(sorted(set(mine) - taken), spare)


def _told(missing: list[str], spare: list[str]) -> list[str]:
    return [
        *(f"init_from has no {name}" for name in missing),
        *(f"init_from has {name} besides" for name in spare),
    ]


def _take(
    folder: Path, mine: dict[str, Any], taken: set[str], family: str, *, place: str
) -> list[str]:
    """Copy what a fetched folder holds; returns names that the policy has not."""
    model, head = folder / "model.safetensors", folder / "head.safetensors"
    if (folder / "train_config.json").is_file() and not head.is_file():
        return copy_tensors(model, mine, taken)  # a checkpoint: named as here
    spare: list[str] = []
    if head.is_file():
        of_head = {k.removeprefix(_HEAD): v for k, v in mine.items() if k.startswith(_HEAD)}
        found: set[str] = set()
        spare += [_HEAD + name for name in copy_tensors(head, of_head, found)]
        taken |= {_HEAD + name for name in found}
    return spare + _take_backbone(folder, mine, taken, family, place=place)


@torch.no_grad()
def _take_backbone(
    folder: Path, mine: dict[str, Any], taken: set[str], family: str, *, place: str
) -> list[str]:
    """Copy a model that transformers loads: it knows under which names a family was once saved."""
    from transformers import AutoModelForImageTextToText

    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            parameter="init_from",
            place=place,
            found=next(iter(str(error).strip().splitlines()), type(error).__name__),
            wanted="a vision-language model in safetensors that transformers loads without code "
            "of its own, an export, or a checkpoint",
        ) from error
    model, told = loaded
    if model.config.model_type != family:
        # Some names are the same in every family; their weights would mean nothing here.
        raise UsageError(
            parameter="init_from",
            place=place,
            found=f"a model of the family {model.config.model_type}",
            wanted=f"one of {family}, which the recipe's backbone is",
        )
    absent, spare = set(told["missing_keys"]), sorted(told["unexpected_keys"])
    for name, theirs in model.named_parameters():
        known = mine.get(_BACKBONE + name)
        if known is None or known.shape != theirs.shape:
            spare.append(name)
        elif name not in absent:
            known.copy_(theirs)
            taken.add(_BACKBONE + name)
    return spare
