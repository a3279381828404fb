# pyright: basic, reportMissingImports=false
"""What a policy has learnt, on the shards' held-out sides only and by view: its errors in units.

A prediction and the recorded action are both read back through the codec of their part, so errors
are in metres, degrees and shares of an opening, whatever the normalisation. Every number is a mean
over what is real. Noise of a prediction is drawn from the recipe's seed: two evaluations of the
same weights are the same.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from finedata.errors import UsageError
from finedata.motion.quaternion import geodesic_angle_rad
from finedata.shard.stream.codec import denormalise
from finedata.train.annotator.lesson_stream import LessonStream
from finedata.train.data import inputs, open_stream
from finedata.train.optimise import reseed
from finedata.train.ranks import reshard

if TYPE_CHECKING:
    from finedata.schema.codecs_file import VectorCodec
    from finedata.schema.recipe_file import Recipe
    from finedata.shard.stream.batch import Batch
    from finedata.shard.stream.stream import Stream
    from finedata.train.data import Data
    from finedata.train.encode import EncoderSettings
    from finedata.train.ranks import Ranks

_QUATERNION = ("qx", "qy", "qz", "qw")


@torch.no_grad()
def evaluate(
    module: Any,
    data: Data,
    recipe: Recipe,
    settings: EncoderSettings,
    *,
    ranks: Ranks,
    workers: int = 0,
) -> dict[str, dict[str, float]]:
    """Mean errors by view on the held-out sides.

    Args:
        module: The policy, as it is called; left in the mode in which it came.
        data: What the shards give.
        recipe: For the views and `eval_samples`.
        settings: How samples are encoded.
        ranks: Share the work.
        workers: Processes that read.

    Returns:
        View to name to mean: `samples`; `l1`, normalised; `l1/step_03`; `l1/source/NAME`;
        `right_x_m`, `right_rotation_deg`, `right_gripper`. Of a head that speaks also its loss
        terms, where it is told what was said before: cross-entropies and shares of tokens that were
        the likeliest; of an annotator these alone, with its stages as views. Views without held-out
        samples are absent.
    """
    trains = module.training
    module.eval()
    if recipe.head == "annotator":
        found = _stages(module, data, recipe, ranks=ranks)
        reshard(module)
        module.train(trains)
        return found
    found = {}
    for view in sorted(_views(recipe.mix)):
        try:
            opened = open_stream(
                data,
                recipe,
                settings,
                batch=recipe.micro_batch * ranks.world,
                rank=ranks.rank,
                world=ranks.world,
                workers=workers,
                side="heldout",
                mix=f"{view}=1",
                stop=recipe.eval_samples,
            )
        except UsageError:
            continue
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        with opened:
            for number, batch in enumerate(opened):
                reseed(recipe.seed, number, ranks.rank)
                tensors = inputs(batch, data, ranks.device)
                action = module(tensors, predict=True)["action"].float().cpu().numpy()
                _add(sums, opened, batch, data, action)
                head = _head(module)
                if head.answer is not None:
                    head.answer(batch, data)
                    _add_terms(sums, module, inputs(batch, data, ranks.device))
        found[view] = _means(ranks.gathered(dict(sums)))
    reshard(module)
    module.train(trains)
    return found


def _stages(module: Any, data: Any, recipe: Recipe, *, ranks: Ranks) -> dict[str, dict[str, float]]:
    """Loss terms of an annotator on lessons that it does not learn, by stage."""
    found: dict[str, dict[str, float]] = {}
    counts = Counter(lesson.stage for lesson in data.heldout)
    each = recipe.micro_batch * ranks.world
    for stage in sorted(counts):
        most = min(recipe.eval_samples, counts[stage])
        if ranks.world > 1:  # every rank has something to compute, or the others wait for it
            most -= most % each
        if not most:
            continue
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        with LessonStream(
            data,
            recipe,
            _policy(module).backbone,
            batch=each,
            rank=ranks.rank,
            world=ranks.world,
            side="heldout",
            stage=stage,
            stop=most,
        ) as opened:
            drawn: Any = opened
            for batch in drawn:
                sums["samples"][0] += len(batch)
                _add_terms(sums, module, inputs(batch, data, ranks.device))
        found[stage] = _means(ranks.gathered(dict(sums)))
    return found


def _add_terms(sums: dict[str, list[float]], module: Any, tensors: dict[str, Any]) -> None:
    """Add the loss terms of a batch with answers."""
    counts = _head(module).counts(tensors)
    for name, value in module(tensors).items():
        sums[name][0] += float(value)
        sums[name][1] += float(counts[name])


def _means(total: dict[str, list[float]]) -> dict[str, float]:
    return {"samples": total["samples"][0]} | {
        name: sum_ / count
        for name, (sum_, count) in sorted(total.items())
        if count and name != "samples"
    }


def _policy(module: Any) -> Any:
    """The policy inside what spreads it over ranks."""
    return module.module if isinstance(module, DistributedDataParallel) else module


def _head(module: Any) -> Any:
    return _policy(module).head


def _views(mix: str) -> list[str]:
    return [part.split("=")[0].strip() for part in mix.split(",")]


def _add(
    sums: dict[str, list[float]], opened: Stream, batch: Batch, data: Data, predicted: np.ndarray
) -> None:
    """Add the errors of a batch: `predicted` is (n, horizon, action_dim)."""

    def add(name: str, errors: np.ndarray, real: np.ndarray) -> None:
        sums[name][0] += float(errors[real].sum())
        sums[name][1] += float(real.sum())

    sums["samples"][0] += len(batch)
    sets, numbers = opened.sequence.shards.sets, batch.set_names
    begin = 0
    for role in data.actions:
        truth, real = batch.vectors[role], batch.vector_mask[role]
        mine = predicted[..., begin : begin + truth.shape[-1]]
        begin += truth.shape[-1]
        distance = np.abs(mine - truth)
        add("l1", distance, real)
        for step in range(distance.shape[1]):
            add(f"l1/step_{step:02d}", distance[:, step], real[:, step])
        for name in sorted(set(numbers)):
            here = np.flatnonzero(np.array(numbers) == name)
            one = sets[name]
            add(f"l1/source/{one.source}", distance[here], real[here])
            codecs = {
                codec.role: codec
                for codec in data.codecs.codecs
                if (codec.source, codec.part) == (one.source, one.part)
            }
            codec = codecs[role]
            if codec.action == "delta":
                continue  # what each step refers to is not in the batch
            state = _state(codec, codecs, batch, here)
            a, b = (denormalise(codec, x[here], state=state) for x in (mine, truth))
            for key, (errors, counts) in unit_errors(codec, a, b, real[here]).items():
                add(key, errors, counts)


def _state(
    codec: VectorCodec, codecs: dict[str, VectorCodec], batch: Batch, here: np.ndarray
) -> np.ndarray | None:
    """The state now that relative actions refer to, (n, width), not normalised."""
    if codec.action == "absolute":
        return None
    for other in codecs.values():
        if other.kind == "state" and other.names == codec.names:
            return denormalise(other, batch.vectors[other.role][here])[:, -1]
    raise UsageError(
        place=f"evaluation of {codec.role} of {codec.source}",
        found="no state of the same numbers among the roles",
        wanted="one, which relative actions refer to",
    )


def unit_errors(
    codec: VectorCodec, found: np.ndarray, truth: np.ndarray, real: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Errors in units, by name.

    Args:
        codec: Of the numbers.
        found: (n, steps, width) by `codec.names`, absolute.
        truth: The same.
        real: (n, steps, given width) by `codec.given_names`.

    Returns:
        Name to (n, steps) errors and where they count. `..._m` for positions, `..._rotation_deg`
        for rotations, `..._deg` for joints, the plain name for grippers and other numbers.
    """
    errors: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for place, name in enumerate(codec.names):
        if not codec.filled[place]:
            continue
        prefix = name[:-2]
        if name.endswith(_QUATERNION):
            if name.endswith("qx"):
                whole = slice(place, place + 4)
                turned = np.degrees(geodesic_angle_rad(found[..., whole], truth[..., whole]))
                firsts = {prefix + end for end in ("qx", "r0", "roll")}
                first = next(k for k, n in enumerate(codec.given_names) if n in firsts)
                errors[f"{prefix}rotation_deg"] = turned, real[..., first]
            continue
        at = codec.given_names.index(name)
        distance = np.abs(found[..., place] - truth[..., place])
        if re.search(r"(^|_)[xyz]$", name):
            errors[f"{name}_m"] = distance, real[..., at]
        elif "joint" in name:
            errors[f"{name}_deg"] = np.degrees(distance), real[..., at]
        else:
            errors[name] = distance, real[..., at]
    return errors
