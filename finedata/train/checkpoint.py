# pyright: basic, reportMissingImports=false
"""Checkpoints in LeRobot's tree, without pickles: all that a run needs to go on bit for bit.

    checkpoints/000200/
      pretrained_model/   model.safetensors, config.json, train_config.json, codecs.json,
                          tokenizer and image processor; average.safetensors with EMA
      training_state/     optimizer_state.safetensors, optimizer_param_groups.json,
                          training_step.json, stream_state.json, stream_receipts.json
    checkpoints/last      a link to the newest

Written beside and renamed, so that a folder with a number is whole. Tensors carry the names of the
parameters; a sharded parameter is gathered, one at a time, so a checkpoint says nothing of how many
ranks wrote it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import finedata
from finedata.errors import ConformError, UsageError
from finedata.schema.codecs_file import CodecsFile
from finedata.schema.documents import decode_document, encode_document
from finedata.schema.recipe_file import Recipe, RecipeFile, recipe_digest
from finedata.schema.strict import Strict
from finedata.store.atomic import atomic_folder, output_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from finedata.train.data import Data
    from finedata.train.optimise import Average
    from finedata.train.policy import Policy

_MODEL, _STATE = "pretrained_model", "training_state"


class Environment(Strict, frozen=True, kw_only=True):
    """What changes bits although the recipe does not say it."""

    threads: int
    world: int
    device: str
    adamw: str
    machine: str
    torch: str
    transformers: str
    finedata: str

    @classmethod
    def here(cls, *, world: int, device: torch.device, optimiser: Any) -> Environment:
        """That of this process."""
        import transformers

        kind = device.type if device.type == "cpu" else torch.cuda.get_device_name(device)
        return cls(
            threads=torch.get_num_threads(),
            world=world,
            device=kind,
            adamw="fused" if optimiser.defaults["fused"] else "plain",
            machine=platform.machine(),
            torch=str(torch.__version__),
            transformers=transformers.__version__,
            finedata=finedata.__version__,
        )

    def differences(self, other: Environment) -> list[str]:
        """What is different there, as `name: here, not there`."""
        pairs = (
            (name, getattr(self, name), getattr(other, name)) for name in self.__struct_fields__
        )
        return [f"{name}: {mine}, not {theirs}" for name, mine, theirs in pairs if mine != theirs]


class TrainConfig(Strict, frozen=True, kw_only=True):
    """`train_config.json`: the resolved recipe with its name and digest, and the roles it met."""

    name: str
    recipe_sha256: str
    changed: dict[str, str]
    recipe: Recipe
    cameras: tuple[str, ...]
    actions: tuple[str, ...]


class TrainingStep(Strict, frozen=True, kw_only=True):
    """`training_step.json`."""

    step: int
    environment: Environment


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint's documents.

    Attributes:
        folder: Where it is.
        step: Optimiser steps done.
        recipe: What was trained.
        environment: Where.
        codecs: How numbers are written.
        cameras: Picture roles in the order of the prompt.
        actions: Vector roles that are predicted, side by side.
        stream_state: Of the stream.
        receipts: Of the stream, one for each time the run was begun or gone on with.
    """

    folder: Any
    step: int
    recipe: RecipeFile
    environment: Environment
    codecs: CodecsFile
    cameras: tuple[str, ...]
    actions: tuple[str, ...]
    stream_state: dict[str, Any]
    receipts: list[dict[str, Any]]


def save_checkpoint(
    run: Path,
    step: int,
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    *,
    average: Average | None,
    recipe: RecipeFile,
    data: Data,
    environment: Environment,
    stream_state: dict[str, Any],
    receipts: list[Any],
    keep: int,
    writes: bool = True,
) -> Path:
    """Write a checkpoint; every rank calls, the one that `writes` writes.

    Args:
        run: The run's folder.
        step: Optimiser steps done.
        policy: Whose weights.
        optimiser: Whose moments.
        average: Averaged weights.
        recipe: Of the run.
        data: What the shards give to it.
        environment: Of this process.
        stream_state: See `Stream.state_dict`.
        receipts: See `Saved`.
        keep: How many checkpoints are kept.
        writes: Whether this rank writes.

    Raises:
        OutputError: The disk is full.
    """
    weights = dict(_gathered(weights_of(policy)))
    moments = dict(_gathered(_moments(policy, optimiser)))
    averaged = dict(_gathered(iter(average.weights.items()))) if average else {}
    folder = run / "checkpoints" / f"{step:06d}"
    if not writes:
        return folder
    if folder.exists():  # a run that went on from an older one comes by again
        shutil.rmtree(folder)
    with atomic_folder(folder) as partial, output_errors(folder):
        model, state = partial / _MODEL, partial / _STATE
        model.mkdir()
        state.mkdir()
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
        if averaged:
            save_file(averaged, model / "average.safetensors", metadata={"format": "pt"})
        policy.backbone.save(model)
        config = TrainConfig(
            name=recipe.name,
            recipe_sha256=recipe.sha256,
            changed=recipe.changed,
            recipe=recipe.recipe,
            cameras=data.cameras,
            actions=data.actions,
        )
        (model / "train_config.json").write_bytes(_json(config))
        (model / "codecs.json").write_bytes(encode_document(data.codecs))
        save_file(moments, state / "optimizer_state.safetensors")
        (state / "optimizer_param_groups.json").write_bytes(_json(_groups(policy, optimiser)))
        (state / "training_step.json").write_bytes(
            _json(TrainingStep(step=step, environment=environment))
        )
        (state / "stream_state.json").write_bytes(_json(stream_state))
        (state / "stream_receipts.json").write_bytes(_json(receipts))
        _sync(partial)
    _point(folder)
    for old in _checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def newest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint of a run; None where there is none."""
    found = _checkpoints(run)
    return found[-1] if found else None


def read_checkpoint(folder: Path) -> Saved:
    """Read the documents of a checkpoint.

    Raises:
        ConformError: It is cut, or none.
    """
    model, state = folder / _MODEL, folder / _STATE

    def decoded(path: Path, kind: Any) -> Any:
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError) as error:
            raise _damaged(path, error) from error

    config = decoded(model / "train_config.json", TrainConfig)
    step = decoded(state / "training_step.json", TrainingStep)
    recipe = RecipeFile(name=config.name, recipe=config.recipe, changed=config.changed)
    # A checkpoint of an earlier finedata does not know of keys that recipes have got since.
    keys = msgspec.json.decode((model / "train_config.json").read_bytes())["recipe"]
    if recipe_digest(recipe.recipe, keys=keys) != config.recipe_sha256:
        raise ConformError(
            place=str(model / "train_config.json"),
            found=f"a recipe whose digest is {recipe.sha256}",
            wanted=config.recipe_sha256,
        )
    codecs = model / "codecs.json"
    try:
        content = codecs.read_bytes()
    except OSError as error:
        raise _damaged(codecs, error) from error
    return Saved(
        folder=folder,
        step=step.step,
        recipe=recipe,
        environment=step.environment,
        codecs=decode_document(content, CodecsFile, place=str(codecs)),
        cameras=config.cameras,
        actions=config.actions,
        stream_state=decoded(state / "stream_state.json", dict[str, Any]),
        receipts=decoded(state / "stream_receipts.json", list[dict[str, Any]]),
    )


def load_weights(
    folder: Path, policy: Policy, *, averaged: bool = False
) -> tuple[list[str], list[str]]:
    """Take the weights of a checkpoint.

    Args:
        folder: The checkpoint.
        policy: Takes them.
        averaged: The averaged ones, where there are.

    Returns:
        Names that the policy has and the checkpoint has not, and the other way round.

    Raises:
        ConformError: The file is cut, or a shape is another.
    """
    model = folder / _MODEL
    taken: set[str] = set()
    mine = dict(weights_of(policy))
    spare = copy_tensors(model / "model.safetensors", mine, taken)
    if averaged and (model / "average.safetensors").is_file():
        copy_tensors(model / "average.safetensors", mine, taken)
    return sorted(set(mine) - taken), spare


@torch.no_grad()
def restore(
    saved: Saved, policy: Policy, optimiser: torch.optim.Optimizer, average: Average | None
) -> None:
    """Put a run back to where a checkpoint was written.

    Raises:
        ConformError: A file is cut, or of another model.
    """
    missing, spare = load_weights(saved.folder, policy)
    if missing or spare:
        raise ConformError(
            place=str(saved.folder / _MODEL / "model.safetensors"),
            found=f"without {', '.join(missing[:5]) or 'nothing'}, "
            f"with {', '.join(spare[:5]) or 'nothing'} besides",
            wanted="the weights of this recipe",
        )
    for parameter in (p for group in optimiser.param_groups for p in group["params"]):
        optimiser.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=_step_device(optimiser, parameter)),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    path = saved.folder / _STATE / "optimizer_state.safetensors"
    moments, taken = dict(_moments(policy, optimiser)), set()
    spare = copy_tensors(path, moments, taken)
    # What had no gradient yet, as a vision encoder without pictures, has no moments either.
    for name, parameter in policy.named_parameters():
        mine = {f"{key}.{name}" for key in optimiser.state.get(parameter, {})}
        if mine.isdisjoint(taken):
            optimiser.state.pop(parameter, None)
            moments = {key: value for key, value in moments.items() if key not in mine}
    if spare or taken != set(moments):
        raise ConformError(
            place=str(path), found="moments of other parameters", wanted="those of this recipe"
        )
    if average is not None:
        path = saved.folder / _MODEL / "average.safetensors"
        copy_tensors(path, average.weights, set())


def weights_of(policy: Policy) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters once each, tied ones under the first name, and buffers that are kept."""
    parameters = dict(policy.named_parameters())
    tied = {name for name, _ in policy.named_parameters(remove_duplicate=False)}
    yield from parameters.items()
    yield from ((k, v) for k, v in policy.state_dict().items() if k not in tied)


def _moments(
    policy: Policy, optimiser: torch.optim.Optimizer
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in policy.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            yield f"{key}.{name}", value


def _gathered(tensors: Iterator[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Whole tensors on the host; a collective where they are sharded."""
    for name, tensor in tensors:
        whole: Any = tensor.detach()
        if hasattr(whole, "full_tensor"):
            whole = whole.full_tensor()
        yield name, whole.cpu().contiguous().clone()


@torch.no_grad()
def copy_tensors(path: Path, into: dict[str, torch.Tensor], taken: set[str]) -> list[str]:
    """Copy the tensors of a file by name.

    Args:
        path: The file.
        into: Name to the tensor that is filled.
        taken: Gets the names that were filled.

    Returns:
        Names of the file that `into` has not.

    Raises:
        ConformError: The file is cut, or a shape is another.
    """
    spare: list[str] = []
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (it is no mapping)
                if name not in into:
                    spare.append(name)
                    continue
                mine: Any = into[name]
                theirs = file.get_tensor(name)
                if mine.shape != theirs.shape:
                    raise ConformError(
                        place=f"{path}, {name}",
                        found=f"shape {tuple(theirs.shape)}",
                        wanted=f"{tuple(mine.shape)}",
                    )
                if hasattr(mine, "device_mesh"):
                    from torch.distributed.tensor import distribute_tensor

                    theirs = distribute_tensor(
                        theirs.to(mine.device), mine.device_mesh, mine.placements
                    )
                mine.copy_(theirs)
                taken.add(name)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    return spare


def _step_device(optimiser: torch.optim.Optimizer, parameter: torch.Tensor) -> Any:
    return parameter.device if optimiser.defaults["fused"] else "cpu"


def _groups(policy: Policy, optimiser: torch.optim.Optimizer) -> list[dict[str, Any]]:
    names = {id(p): name for name, p in policy.named_parameters()}
    return [
        {key: value for key, value in group.items() if isinstance(value, int | float | str | tuple)}
        | {"params": [names[id(p)] for p in group["params"]]}
        for group in optimiser.param_groups
    ]


def _checkpoints(run: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if path.name.isdigit()), key=lambda p: int(p.name)
    )


def _point(folder: Path) -> None:
    """Let `last` link to a checkpoint, in one step."""
    link, beside = folder.parent / "last", folder.parent / ".last.partial"
    beside.unlink(missing_ok=True)
    beside.symlink_to(folder.name)
    beside.replace(link)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _json(value: Any) -> bytes:
    return json.dumps(msgspec.to_builtins(value), indent=2).encode() + b"\n"


def _damaged(path: Path, error: Exception) -> ConformError:
    return ConformError(
        place=str(path),
        found=str(error),
        wanted="a file of a whole checkpoint",
        next_command="remove this checkpoint and go on from an older one",
    )


def find_checkpoint(place: Path) -> Path:
    """A checkpoint by its folder, or the newest of a run.

    Raises:
        UsageError: There is none.
    """
    if (place / _MODEL).is_dir():
        return place.resolve()
    found = newest_checkpoint(place)
    if found is None:
        raise UsageError(
            place=str(place),
            found="no checkpoint",
            wanted="a run, or a checkpoint of one",
            next_command=f"finedata train RECIPE --shards SHARDS --out {place}",
        )
    return found
