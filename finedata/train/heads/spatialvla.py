# pyright: basic, reportMissingImports=false
"""The weights of a SpatialVLA checkpoint, by name, without its code.

Its folder has the weights of PaliGemma2 under older names, rows for action tokens behind those of
text in the output matrix, `spatial_embed_tokens`, and the bins in `processor_config.json`. The bins
come with the weights: an embedding means its bin. How angles are scaled stays as it was fitted on
the shards. With the recipe's `ego3d` the weights of `position_embedding_3d` come too; Zoe, which
estimates depth when shards are made, is told as left over.

Source: `model/modeling_spatialvla.py` and `model/action_tokenizer.py` of SpatialVLA (e480753).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from finedata.errors import ConformError, UsageError
from finedata.train.heads.grid import AXES, SPANS, Grid
from finedata.train.heads.tokens import TokenHead

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.train.policy import Policy

_BASE = "backbone.model.model."
# Their beginning of a name to ours, the longer first.
_NAMES = (
    ("vision_tower.vision_model.", _BASE + "vision_tower."),
    ("vision_tower.", _BASE + "vision_tower."),
    ("multi_modal_projector.", _BASE + "multi_modal_projector."),
    ("language_model.model.", _BASE + "language_model."),
    ("spatial_embed_tokens.", "head.inputs."),
    ("position_embedding_3d.", "head.ego3d."),
    ("language_model.lm_head.", "head.rows."),
)
_TEXT_ROWS = ("head.rows.weight", _BASE + "language_model.embed_tokens.weight")
# Their ends are rounded: so far from the true ones they may be.
_ROUNDED = 1e-2


def is_spatialvla(folder: Path) -> bool:
    """Whether a folder is a SpatialVLA checkpoint."""
    path = folder / "config.json"
    return path.is_file() and json.loads(path.read_bytes()).get("model_type") == "spatialvla"


@torch.no_grad()
def load_spatialvla(folder: Path, policy: Policy) -> list[str]:
    """Take the weights and bins of a SpatialVLA checkpoint.

    Args:
        folder: With `config.json`, `processor_config.json` and safetensors.
        policy: One with the head `tokens`, its grid fitted.

    Returns:
        What a reader should know: names on either side that have no partner.

    Raises:
        UsageError: The policy has another head, other bins, or a bin that stands still.
        ConformError: A file is cut, or a shape is another.
    """
    head = policy.head
    if not isinstance(head, TokenHead) or head.recipe.stay_bin:
        raise UsageError(
            parameter="init_from",
            place=f"init_from {folder}",
            found="a SpatialVLA checkpoint",
            wanted="the head tokens with stay_bin=false",
        )
    begin = json.loads((folder / "config.json").read_bytes())["action_token_begin_idx"]
    edges = _edges(folder / "processor_config.json", head.bins)
    fitted = head.answers.grid
    head.set_grid(Grid(edges, fitted.centre, fitted.half))
    mine: dict[str, Any] = dict(policy.named_parameters())
    taken: set[str] = set()
    spare: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for theirs in file.keys():  # noqa: SIM118  (it is no mapping)
                    name = _mine(theirs)
                    if name not in mine:
                        spare.append(theirs)
                        continue
                    _copy(mine[name], file.get_tensor(theirs), name, begin=begin, first=head.first)
                    taken.add(name)
        except (OSError, SafetensorError, ValueError) as error:
            raise ConformError(
                place=str(path), found=str(error), wanted="weights of this recipe's backbone"
            ) from error
    return [
        *(f"init_from has no {name}" for name in sorted(set(mine) - taken)),
        *(f"init_from has {name} besides" for name in sorted(spare)),
    ]


def _mine(theirs: str) -> str:
    for begin, ours in _NAMES:
        if theirs.startswith(begin):
            return ours + theirs.removeprefix(begin)
    return ""


def _copy(into: torch.Tensor, theirs: torch.Tensor, name: str, *, begin: int, first: int) -> None:
    """Copy a tensor; text and action tokens are rows of one matrix, and ours begin elsewhere."""
    if name in _TEXT_ROWS:
        text = min(begin, first)
        if len(theirs) < begin or into.shape[1:] != theirs.shape[1:]:
            raise ValueError(_shapes(name, into, theirs))
        into[:text] = theirs[:text]
        actions = theirs[begin : begin + len(into) - first]
        if name == _TEXT_ROWS[0]:
            if len(actions) != len(into) - first:
                raise ValueError(_shapes(name, into, theirs))
            into[first:] = actions
        return
    if into.shape != theirs.shape:
        raise ValueError(_shapes(name, into, theirs))
    into.copy_(theirs)


def _shapes(name: str, into: torch.Tensor, theirs: torch.Tensor) -> str:
    return f"{name} of shape {tuple(theirs.shape)}, where ours is {tuple(into.shape)}"


def _edges(path: Path, bins: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Bins of a processor's configuration, ends pinned.

    Raises:
        ConformError: There are none.
        UsageError: They are not those of the recipe.
    """
    try:
        policy = json.loads(path.read_bytes())["bin_policy"]
        both = policy["translation"] | policy["rotation"]
        found = [np.array(both[f"{axis}_bins"], np.float64) for axis in AXES]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConformError(
            place=str(path), found=f"no bins ({error!r})", wanted="bin_policy of SpatialVLA"
        ) from error
    counts = tuple(len(edges) - 1 for edges in found)
    if counts != bins:
        raise UsageError(
            parameter="grid_bins",
            place=str(path),
            found=f"bins of theta, phi, r, roll, pitch, yaw {counts}",
            wanted=f"{bins}, as the recipe has",
        )
    for edges, span in zip(found, SPANS, strict=True):
        off = max(abs(edges[0] - span[0]), abs(edges[-1] - span[1]))
        edges[[0, -1]] = span
        if off > _ROUNDED or (np.diff(edges) <= 0).any():
            raise ConformError(
                place=str(path), found=f"edges {edges.tolist()}", wanted=f"rising ones of {span}"
            )
    return tuple(found)
