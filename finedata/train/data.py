# pyright: basic, reportMissingImports=false
"""What a recipe draws from shards, and batches of it as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from finedata.errors import UsageError
from finedata.shard.depth import depth_name
from finedata.shard.stream.opening import stream
from finedata.shard.stream.parts import resolve
from finedata.shard.stream.settings import Encoding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.schema.codecs_file import CodecsFile
    from finedata.schema.recipe_file import Recipe
    from finedata.schema.shards_file import Side
    from finedata.shard.shards import Shards
    from finedata.shard.stream.batch import Batch
    from finedata.shard.stream.stream import Stream
    from finedata.train.encode import EncoderSettings

# Prompts are padded to a multiple of this, so that few shapes are met.
_LENGTHS = 32
_BY_TOKEN = ("ids", "positions", "seen", "labels", "answer")
# So many first samples tell how actions are spread.
_LOOK = 2_000


@dataclass(frozen=True, kw_only=True)
class Data:
    """What the shards give to a recipe.

    Attributes:
        shards: The shards.
        cameras: Picture roles in the order of the prompt.
        states: Vector roles of the state that the head is given.
        actions: Vector roles that are predicted.
        state_names: Of the states' numbers as they are given, side by side.
        action_names: Of the actions'.
        codecs: How each part's numbers are written, and read back.
        lengths: Lengths to which prompts are padded; see `cut`.
    """

    shards: Shards
    cameras: tuple[str, ...]
    states: tuple[str, ...]
    actions: tuple[str, ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    codecs: CodecsFile
    lengths: tuple[int, ...] = ()

    @property
    def state_dim(self) -> int:
        """Width of the states, side by side."""
        return len(self.state_names)

    @property
    def action_dim(self) -> int:
        """Width of the actions, side by side."""
        return len(self.action_names)


def given_numbers(codecs: CodecsFile, roles: Sequence[str]) -> tuple[str, ...]:
    """Names of the numbers of roles as a policy sees them, side by side."""
    names = {codec.role: codec.given_names for codec in codecs.codecs}
    return tuple(name for role in roles for name in names[role])


def look(shards: Shards, recipe: Recipe) -> Data:
    """Hold a recipe against shards.

    Raises:
        UsageError: A view is empty, a role is none, the actions are of another width, or there are
            no statistics.
    """
    opened = _stream(shards, recipe, batch=1)
    widths = {codec.role: len(codec.given_names) for codec in opened.codecs.codecs}
    kinds = {codec.role: codec.kind for codec in opened.codecs.codecs}
    of_actions = tuple(role for role in opened.vectors if kinds[role] == "action")
    actions = recipe.actions or of_actions
    known = {
        "cameras": opened.wanted.roles.cameras,
        "states": tuple(role for role in opened.vectors if kinds[role] == "state"),
        "actions": of_actions,
    }
    for key, roles in known.items():
        unknown = [role for role in getattr(recipe, key) if role not in roles]
        if unknown or (key == "actions" and not actions):
            raise UsageError(
                parameter=key,
                found=", ".join(unknown) or "none",
                wanted=f"roles of the shards: {', '.join(roles) or '(none)'}",
            )
    found = Data(
        shards=shards,
        # The head steer can do without pictures, so it is given none that nobody names.
        cameras=recipe.cameras or (() if recipe.head == "steer" else known["cameras"]),
        states=recipe.states,
        actions=actions,
        state_names=given_numbers(opened.codecs, recipe.states),
        action_names=given_numbers(opened.codecs, actions),
        codecs=opened.codecs,
        lengths=recipe.prompt_lengths,
    )
    if recipe.ego3d == "depth":
        _check_depth(shards, opened, found.cameras, recipe)
    if recipe.action_dim not in (0, found.action_dim):
        raise UsageError(
            parameter="action_dim",
            found=f"{recipe.action_dim} in the recipe, {found.action_dim} in {shards.root}: "
            + ", ".join(f"{role} {widths[role]}" for role in actions),
            wanted="one width; rotation=6d has six numbers where quaternion has four",
        )
    return found


def open_stream(
    data: Data,
    recipe: Recipe,
    settings: EncoderSettings,
    *,
    batch: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    side: Side = "train",
    mix: str = "",
    stop: int | None = None,
) -> Stream:
    """The stream of a run: words and pictures are encoded where they are read.

    Args:
        data: See `look`.
        recipe: What is drawn.
        settings: How it is encoded.
        batch: Samples of all ranks.
        rank: Of this process.
        world: How many there are.
        workers: Processes that read and encode.
        side: Train, or held out.
        mix: Another mixture than the recipe's.
        stop: After so many samples.

    Raises:
        UsageError: A view is empty on that side.
    """
    encoding = Encoding(
        encoder="finedata.train.encode:Encoder", settings=msgspec.to_builtins(settings)
    )
    return _stream(
        data.shards,
        recipe,
        batch=batch,
        rank=rank,
        world=world,
        workers=workers,
        side=side,
        mix=mix or recipe.mix,
        stop=stop,
        encoding=encoding,
    )


def look_at_answers(head: Any, data: Data, recipe: Recipe) -> list[str]:
    """Fit a head's grid to a run's first samples, and look for their traces; returns notes.

    Raises:
        UsageError: There is no trace at all, or the actions cannot be written as tokens.
    """
    notes = head.fit(data, *_first_actions(data, recipe))
    if recipe.ego3d == "depth":
        notes += _depth_notes(data, _stream(data.shards, recipe, batch=1))
    if _reasons(recipe) and (share := _first_traces(data, recipe)) < 1:
        notes.append(
            f"{share:.1%} of samples have a trace; the others learn actions alone"
            + (" (traces=hold takes the last one before)" if recipe.traces == "exact" else "")
        )
    return notes


def _reasons(recipe: Recipe) -> bool:
    """Whether traces are learnt: the head `steer` reasons where it is told in which order."""
    speaks = recipe.head == "tokens" or (recipe.head == "steer" and bool(recipe.order))
    return speaks and recipe.traces != "none"


def _check_depth(shards: Shards, opened: Stream, cameras: tuple[str, ...], recipe: Recipe) -> None:
    """Refuse shards without depth, or with that of another model than the policy will ask.

    Raises:
        UsageError: They are such.
    """
    parts = [resolve(shards.sets[name], opened.wanted.roles) for name in opened.wanted.sets]
    known = [part.depth[role] for part in parts for role in cameras if role in part.depth]
    if not known:
        raise UsageError(
            parameter="ego3d",
            place=str(shards.root),
            found=f"no depth of {', '.join(cameras)}",
            wanted="shards with depth, and `[parts.depth.ROLE]` in their roles.toml",
            next_command="finedata shard DIR --out SHARDS --depth Intel/zoedepth-nyu-kitti@COMMIT",
        )
    made = shards.document.options.depth
    estimated = any(camera.depth_of is not msgspec.UNSET for camera, _, _ in known)
    if recipe.depth_model and estimated and depth_name(recipe.depth_model) != made:
        raise UsageError(
            parameter="depth_model",
            found=f"{recipe.depth_model} ({depth_name(recipe.depth_model)})",
            wanted=f"{made}, by which the shards' depth was estimated",
        )


def _depth_notes(data: Data, opened: Stream) -> list[str]:
    """Which cameras have no depth, and which no matrix."""
    blind: list[str] = []
    guessed: list[str] = []
    for name in sorted(opened.wanted.sets):
        part = resolve(data.shards.sets[name], opened.wanted.roles)
        blind += [f"{role} of {name}" for role in data.cameras if role not in part.depth]
        guessed += [
            f"{role} of {name}" for role, (_, _, depth) in part.depth.items() if not depth.matrix
        ]
    notes: list[str] = []
    if blind:
        notes.append(f"no depth of {', '.join(blind)}: nothing is added to their features")
    if guessed:
        notes.append(
            f"no camera matrix of {', '.join(guessed)}: SpatialVLA's default, which is BridgeData's"
        )
    return notes


def _first_actions(data: Data, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Actions of a run's first samples and where they are real: (n, horizon, action_dim) each."""
    opened = _stream(data.shards, recipe, batch=1)
    read = opened.numbers(opened.sequence.samples(0, _LOOK))
    values, real = (np.concatenate([read[role][k] for role in data.actions], -1) for k in (0, 1))
    return values, real


def _first_traces(data: Data, recipe: Recipe) -> float:
    """Share of a run's first samples that have a trace.

    Raises:
        UsageError: None has.
    """
    opened = _stream(data.shards, recipe, batch=1)
    _, traces = opened.words(opened.sequence.samples(0, _LOOK))
    share = sum(trace is not None for trace in traces) / len(traces)
    if not share:
        raise UsageError(
            parameter="traces",
            found=f"no trace of any of the first {len(traces):,} samples",
            wanted="traces of the shards' text",
            next_command="--set traces=none trains without; finedata annotate traces writes them",
        )
    return share


def _stream(shards: Shards, recipe: Recipe, **more: Any) -> Stream:
    arguments: dict[str, Any] = {
        "mix": recipe.mix,
        "seed": recipe.seed,
        "horizon": recipe.horizon,
        "stride": recipe.stride,
        "action": recipe.action,
        "rotation": recipe.rotation,
        "normalise": recipe.normalise,
        "words": {"fg": recipe.words_fg, "raw": recipe.words_raw},
        "paraphrase": recipe.paraphrase,
        "size": (recipe.pictures, recipe.pictures),
        "traces": recipe.traces if _reasons(recipe) else "none",
        "on_bad": recipe.on_bad,
        "bad_quota": recipe.bad_quota,
        "depth": recipe.ego3d == "depth",
    }
    return stream(shards, **(arguments | more))


def inputs(batch: Batch, data: Data, device: torch.device) -> dict[str, torch.Tensor]:
    """A batch as a policy takes it.

    Returns:
        `ids`, `positions`, `seen`, `length`, `pixels` (see `Backbone.forward`), `action` and
        `action_mask` (n, horizon, action_dim), `state` and `state_mask` (n, state_dim). Prompts are
        cut to the longest of the batch, rounded up. With answers also `labels` and `answer`.
    """
    arrays = cut(batch.encoded, data.lengths)
    for kind, roles in (("action", data.actions), ("state", data.states)):
        if roles:
            values = np.concatenate([batch.vectors[role] for role in roles], -1)
            mask = np.concatenate([batch.vector_mask[role] for role in roles], -1)
            arrays[kind] = values if kind == "action" else values[:, -1]
            arrays[f"{kind}_mask"] = mask if kind == "action" else mask[:, -1]
    return {name: _on(array, device) for name, array in arrays.items()}


def cut(encoded: Mapping[str, np.ndarray], lengths: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """What an encoder made, without what is behind the longest prompt, rounded up.

    Args:
        encoded: See `Encoder.arrays`.
        lengths: To the first of these that is long enough, or nothing is cut; to a multiple of 32
            where there are none.
    """
    longest = int(encoded["length"].max())
    if lengths:
        longest = next((n for n in lengths if n >= longest), encoded["ids"].shape[-1])
    else:
        longest = -(-longest // _LENGTHS) * _LENGTHS
    return {
        name: array[..., :longest] if name in _BY_TOKEN else array
        for name, array in encoded.items()
    }


def _on(array: np.ndarray, device: torch.device) -> torch.Tensor:
    # A copy: the stream's memory is filled again as soon as nobody holds it.
    tensor = torch.from_numpy(np.array(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
