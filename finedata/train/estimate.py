# pyright: basic, reportMissingImports=false
"""What a recipe costs before it is begun, and how well the hardware was used when it ran.

Nothing is allocated: the policy is made without memory for its weights. Operations are counted as
two for each weight and token forward, and four more backward where something is trained; attention
over the prompt comes on top. Of Qwen3.5's linear-attention layers the recurrence is not counted,
nor is what reads words before the head `steer`: each text of a batch is read once, or was long ago.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from finedata.errors import UsageError
from finedata.shard.shards import Shards
from finedata.train.annotator.lesson_encode import LessonEncoder
from finedata.train.annotator.lesson_stream import look_at_lessons
from finedata.train.data import look, look_at_answers, open_stream
from finedata.train.encode import Encoder
from finedata.train.policy import make_policy
from finedata.train.start import check_pinned

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.schema.recipe_file import Recipe, RecipeFile
    from finedata.train.annotator.lesson_stream import LessonData
    from finedata.train.encode import EncoderSettings
    from finedata.train.policy import Policy

__all__ = ["Cost", "Estimate", "estimate", "measured_flops", "peak_flops"]

# Dense bf16 of data sheets, operations a second.
_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12, "L40S": 362e12}
# How many of a run's first samples are looked at, and of its lessons, whose pictures are read.
_LOOK = 2_000
_LESSONS = 60


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Operations, forward and backward.

    Attributes:
        per_sample: Of a sample, whatever its prompt.
        per_token: Of a token of a prompt.
        per_pair: Of a token and another one, in attention.
    """

    per_sample: float
    per_token: float
    per_pair: float

    @classmethod
    def of(cls, policy: Policy, settings: EncoderSettings) -> Cost:
        """Count the weights that each token meets."""
        backbone = policy.backbone
        blocks = sum(map(_operations, backbone.blocks))
        merged = settings.merge**2 if settings.layout == "patches" else 1
        cells = sum(rows * columns for _, rows, columns in settings.pictures) * merged
        head = _operations(policy.head)
        steps = getattr(policy.head, "repeats", 1) * (
            policy.head.queries or policy.head.answer_tokens or policy.head.tokens
        )
        return cls(
            per_sample=_operations(backbone.vision) * cells + head * steps,
            per_token=blocks,
            per_pair=12 * len(backbone.blocks) * backbone.width / 2,
        )

    def operations(self, samples: float, tokens: float) -> float:
        """Of all samples together; of their prompts the mean length alone is asked for."""
        pairs = tokens * tokens / samples if samples else 0.0
        return self.per_sample * samples + self.per_token * tokens + self.per_pair * pairs


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a dry run says.

    Attributes:
        recipe: Its name.
        sha256: Its digest.
        trained: Part to parameters that are trained.
        frozen: Part to parameters that are not.
        visual_tokens: Of a sample.
        tokens_mean: Of a prompt, pictures, queries and the longest answer included.
        tokens_longest: Of the prompts that were looked at.
        memory_bytes: What to how many bytes, on one device.
        flops_per_sample: Operations of a sample, forward and backward.
        samples: View to how many there are.
        epochs: View to how often the run sees each.
        steps_per_epoch: View to optimiser steps.
        asked: View and source to the share asked for.
        drawn: View and source to the share of the first samples.
        notes: What a run would tell or refuse: what action tokens alone cost, blocks that are not
            there, a name of the Hub without its commit.
    """

    recipe: str
    sha256: str
    trained: dict[str, int]
    frozen: dict[str, int]
    visual_tokens: int
    tokens_mean: float
    tokens_longest: int
    memory_bytes: dict[str, int]
    flops_per_sample: float
    samples: dict[str, int]
    epochs: dict[str, float]
    steps_per_epoch: dict[str, float]
    asked: dict[str, float]
    drawn: dict[str, float]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        total = sum(self.memory_bytes.values())
        parts = {**self.frozen, **self.trained}
        lines = [
            f"{self.recipe}, {self.sha256[:16]}",
            *(
                f"  {part}: {self.trained.get(part, 0):,} parameters trained, "
                f"{self.frozen.get(part, 0):,} frozen"
                for part in parts
            ),
            f"  prompt: {self.tokens_mean:.0f} tokens on average, {self.tokens_longest} at most, "
            f"{self.visual_tokens} of them visual",
            f"  memory: {total / 1e9:,.1f} GB on one device: "
            + ", ".join(f"{name} {size / 1e9:,.1f}" for name, size in self.memory_bytes.items()),
            f"  {self.flops_per_sample / 1e12:,.3g} TFLOP a sample",
            *(
                f"  view {view}: {count:,} samples, {self.steps_per_epoch[view]:,.0f} steps see "
                f"each once, {self.epochs[view]:,.2f} epochs in all"
                for view, count in self.samples.items()
            ),
            *(
                f"  {name}: {share:.2%} asked, {self.drawn.get(name, 0):.2%} drawn"
                for name, share in self.asked.items()
            ),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def estimate(file: RecipeFile, shards: str | Path) -> Estimate:
    """Look at what a run would do; nothing is trained or written.

    Args:
        file: The recipe.
        shards: The shards.

    Raises:
        UsageError: They do not fit together.
    """
    recipe = file.recipe
    if recipe.head == "annotator":
        return _of_lessons(file, look_at_lessons(shards, recipe))
    data = look(Shards.open(shards), recipe)
    policy = make_policy(
        recipe,
        state_dim=data.state_dim,
        action_dim=data.action_dim,
        states=data.state_names,
        actions=data.action_names,
        meta=True,
    )
    settings = policy.backbone.encoder_settings(
        recipe, cameras=data.cameras, queries=policy.head.queries
    )
    opened = open_stream(data, recipe, settings, batch=recipe.micro_batch)
    total = recipe.steps * recipe.batch
    samples = opened.sequence.samples(0, min(_LOOK, total))
    encoder = Encoder.of(msgspec.to_builtins(settings))
    behind = policy.head.answer_tokens
    lengths = [len(encoder.ids(text)) + behind for text in opened.words(samples)[0]]
    views, sources = opened.sequence.views, opened.wanted.sources
    names = [
        f"{views[v]}/{sources[v][s]}"
        for v, s in zip(samples.view.tolist(), samples.source.tolist(), strict=True)
    ]
    asked = opened.sequence.shares
    sizes = {view.name: view.size for view in opened.sequence.mixture.views}
    shares = {view: sum(x for k, x in asked.items() if k.split("/")[0] == view) for view in sizes}
    cost = Cost.of(policy, settings)
    mean = float(np.mean(lengths))
    trained, frozen = _parameters(policy)
    notes = [*policy.notes]
    if policy.head.fit is not None:
        notes += look_at_answers(policy.head, data, recipe)
    return Estimate(
        recipe=file.name,
        sha256=file.sha256,
        trained=trained,
        frozen=frozen,
        visual_tokens=sum(rows * columns for _, rows, columns in settings.pictures),
        tokens_mean=mean,
        tokens_longest=max(lengths),
        memory_bytes=_memory(policy, recipe, mean, sum(trained.values()), sum(frozen.values())),
        flops_per_sample=cost.operations(1, mean),
        samples=sizes,
        epochs={view: total * shares[view] / size for view, size in sizes.items()},
        steps_per_epoch={v: n / (recipe.batch * shares[v]) for v, n in sizes.items() if shares[v]},
        asked=asked,
        drawn={name: names.count(name) / len(names) for name in sorted(set(names))},
        notes=(*notes, *_refused(recipe)),
    )


def _of_lessons(file: RecipeFile, data: LessonData) -> Estimate:
    """What a run over lessons would do."""
    recipe = file.recipe
    policy = make_policy(recipe, state_dim=0, action_dim=0, meta=True)
    settings = policy.backbone.encoder_settings(
        recipe, cameras=("picture",) * data.pictures, queries=0
    )
    encoder = LessonEncoder(policy.backbone, recipe)
    seen = data.train[:: max(1, len(data.train) // _LESSONS)]
    requests = [data.lessons.request(one) for one in seen]
    lengths = [
        encoder.length(*pair) for pair in zip(requests, (x.answer for x in seen), strict=True)
    ]
    cost, mean = Cost.of(policy, settings), float(np.mean(lengths))
    trained, frozen = _parameters(policy)
    counts = Counter(f"{one.stage}/{one.source}" for one in data.train)
    stages = Counter(one.stage for one in data.train)
    shares = {name: n / len(data.train) for name, n in sorted(counts.items())}
    epochs = recipe.steps * recipe.batch / len(data.train)
    _, rows, columns = settings.pictures[0]
    held = len(data.sides["heldout"])
    return Estimate(
        recipe=file.name,
        sha256=file.sha256,
        trained=trained,
        frozen=frozen,
        visual_tokens=round(rows * columns * np.mean([len(one.pictures) for one in requests])),
        tokens_mean=mean,
        tokens_longest=max(lengths),
        memory_bytes=_memory(policy, recipe, mean, sum(trained.values()), sum(frozen.values())),
        flops_per_sample=cost.operations(1, mean),
        samples=dict(stages),
        epochs=dict.fromkeys(stages, epochs),
        steps_per_epoch=dict.fromkeys(stages, len(data.train) / recipe.batch),
        asked=shares,
        drawn=shares,
        notes=(
            *policy.notes,
            *data.notes,
            f"{len(data.sides['train'])} episodes are learnt from, {held} are held out; lengths "
            f"are of {len(seen)} lessons",
            *_refused(recipe),
        ),
    )


def _refused(recipe: Recipe) -> tuple[str, ...]:
    """What training would refuse."""
    try:
        check_pinned(recipe)
    except UsageError as error:
        return (f"training refuses {error.place}: {error.found}; {error.next_command}",)
    return ()


def peak_flops(device: torch.device) -> float | None:
    """Operations a second by the data sheet; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAK.items() if part in name), None)


def measured_flops(device: torch.device, *, bf16: bool) -> float:
    """Operations a second that this device reaches in a product of two square matrices."""
    side = 8192 if device.type == "cuda" else 512
    dtype = torch.bfloat16 if bf16 and device.type == "cuda" else torch.float32
    a = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        _wait(device)
        began = perf_counter()
        torch.mm(a, a)
        _wait(device)
        best = min(best, perf_counter() - began)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _operations(module: Any) -> float:
    """Of a token, forward and backward; some modules say which part is `used` how often for it."""
    used = getattr(module, "used", {})

    def often(name: str) -> float:
        return next((n for part, n in used.items() if f"{name}.".startswith(f"{part}.")), 1)

    return sum(
        p.numel() * (6 if p.requires_grad else 4) * often(name)
        for name, p in module.named_parameters()
        if p.ndim > 1
    )


def _parameters(policy: Policy) -> tuple[dict[str, int], dict[str, int]]:
    vision = {id(p) for p in policy.backbone.vision.parameters()}
    head = {id(p) for p in policy.head.parameters()}
    found: tuple[dict[str, int], dict[str, int]] = {}, {}
    for p in policy.parameters():
        part = "vision" if id(p) in vision else "head" if id(p) in head else "vlm"
        into = found[0 if p.requires_grad else 1]
        into[part] = into.get(part, 0) + p.numel()
    return found


def _memory(
    policy: Policy, recipe: Recipe, tokens: float, trained: int, frozen: int
) -> dict[str, int]:
    """Bytes on one device that holds everything; activations by a rule of thumb.

    Source: Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models",
    2022: 34 bytes a token, width and layer in bf16 without attention's own; 2 when recomputed.
    """
    kept = 2 if recipe.checkpoint_activations else 34
    scale = 1 if recipe.precision == "bf16" else 2
    blocks, width = len(policy.backbone.blocks), policy.backbone.width
    return {
        "weights": 4 * (trained + frozen),
        "gradients": 4 * trained,
        "AdamW": 8 * trained,
        "average": 4 * trained if recipe.ema else 0,
        "activations": int(kept * scale * tokens * width * blocks * recipe.micro_batch),
    }
