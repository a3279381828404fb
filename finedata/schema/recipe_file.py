"""A training recipe: one flat TOML file that says everything which changes the weights.

There are no includes and nothing is derived behind the reader's back: what a run did is what its
recipe says, and the *resolved* recipe, every default written out, is in each checkpoint under its
digest. A key that the chosen head does not read is an error, as a typo is.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from finedata.errors import SpecError, UsageError
from finedata.papers import paper_room
from finedata.schema.documents import Sha256, digest_of
from finedata.schema.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

__all__ = [
    "Recipe",
    "RecipeFile",
    "decode_recipe",
    "find_recipe",
    "list_recipes",
    "recipe_digest",
    "recipe_toml",
]

Positive = Annotated[int, msgspec.Meta(ge=1)]
Whole = Annotated[int, msgspec.Meta(ge=0)]
Rate = Annotated[float, msgspec.Meta(ge=0)]
Bins = Annotated[int, msgspec.Meta(ge=2, le=64)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Form = Literal["none", "goal", "fine", "steps", "numbered", "both", "facts"]


class Recipe(Strict, frozen=True, kw_only=True):
    """The file; see docs/train.md for what each value does.

    Attributes:
        version: 1.
        head: `oft`, action queries through an MLP; `gr00t`, a flow-matching transformer; `tokens`,
            actions and reasoning as words of the backbone; `annotator`, what happens in an episode;
            `steer`, a small one over words and states.
        backbone: A Hugging Face vision-language model by Hub name or folder, or `tiny:FAMILY`, a
            small one with random weights that is made on the spot. Of the head `steer`
            `words:minilm`, frozen features of words, or `words:trained`.
        revision: The commit of a Hub name, 40 hex digits.
        init_from: A run, a checkpoint of one, or `org/name@COMMIT` on the Hub, whose weights are
            taken; "" for none.
        mix: Views and weights.
        words_fg: Form of words of the view fg.
        words_raw: Form of words of the view raw.
        paraphrase: Probability that another wording of the goal stands for it, where there is one.
        prompt: What is asked. Of an annotator `{request}` is the pipeline's question with the
            answer's schema, `{stage}` its name, `{given}` the earlier answers that it shows, and
            `{instruction}`, `{arms}`, `{last_frame}`, `{duration_s}` the episode's. Of others
            `{text}` is the sample's words, `{lower}` the same in small letters, `{horizon}` the
            steps of a chunk.
        cameras: Picture roles in the order of the prompt; empty for all of the shards, and for none
            with the head `steer`. Of an annotator cameras of the dataset; empty for one that is
            drawn, as a teacher is shown.
        pictures: Height and width of pictures in pixels.
        states: Vector roles that the head is given (`gr00t`, `steer`); empty for none.
        actions: Vector roles that are predicted, side by side; empty for all actions.
        action_dim: Their width; 0 for that of the shards.
        horizon: Steps of an action chunk.
        stride: Frames from one step to the next.
        action: What actions refer to.
        rotation: How rotations are written.
        normalise: By which statistics.
        max_tokens: Longest prompt, pictures included; a longer one is an error, never cut.
        prompt_lengths: Lengths to which a batch's prompts are padded, `max_tokens` behind them, so
            that few shapes are met (`compile`); by default to the next multiple of 32.
        query_token: The token that stands for an action to come (`oft`); must be one token.
        mlp_blocks: Residual blocks of the MLP (`oft`).
        dit_width: Width of the transformer (`gr00t`), as all that begins with `dit`.
        dit_heads: Attention heads.
        dit_layers: Layers, cross- and self-attention in turn.
        dit_dropout: Dropout.
        dit_future: Learned tokens beside state and actions.
        dit_mlp: Hidden width of state encoder and action decoder.
        loss: `flow`, flow matching, or `l1` (`steer`, as all that begins with `steer`).
        steer_width: Width of the layers.
        steer_blocks: Residual blocks.
        steer_noise_blocks: The same of what takes noise away (`flow`).
        steer_queries: Learned queries that read the words.
        steer_code: Numbers that they come to.
        steer_dropout: Share of the features of words that a reading must do without.
        steer_heads: How many objects are looked at, at once.
        noise_repeats: Draws of noise and time for each sample and step (`gr00t`, and `steer` with
            `flow`, as all that begins with `noise`).
        noise_beta: First parameter of the Beta distribution of time; the second is 1.
        noise_steps: Euler steps of a prediction.
        order: What is said first (`tokens`, as all down to `depth_model`): `action_first` or
            `reasoning_first`. The paper does not say, so a recipe must. With it, `steer` reasons,
            too, and reads `traces`, `reasoning_weight` and `reasoning_tokens`, words there.
        attention: `prefix`: prompts are attended to in both directions; `causal`.
        traces: Reasoning of a sample: the trace of its very frame (`exact`), the last one at or
            before it (`hold`), or `none`.
        reasoning_weight: Of the cross-entropy of reasoning, a mean over tokens as that of actions.
        reasoning_tokens: Longest reasoning, its end included; a longer one is an error.
        grid: Bins of action tokens: a Gaussian `fit` to the actions, `uniform`, or a published one.
        grid_bins: How many of theta, phi, r, and of each angle of a rotation.
        stay_bin: A bin that stands still, which the published grid has not.
        ego3d: Add to visual features where in space their patch is: `depth`, by the depth that the
            shards have; `none`.
        ego3d_points: Points on a side of a patch.
        depth_model: What estimates the depth of a picture that comes without, when the policy is
            asked: the model that the shards were made with (`finedata shard --depth`).
        answers: What an annotator learns to say (`annotator`, as all down to `max_answer`): the
            `staged` answers of the pipeline, or a `caption` in RoboFine-VLM's form.
        fps: Frames a second of the first look.
        refinement_fps: The same of the later looks.
        max_frames: Of a camera, at most.
        width: Wider pictures are made so wide before all else, as a teacher is sent them.
        max_facts: Facts of an episode that are taught, the surest; 0 for all.
        max_answer: Longest answer in tokens; a longer lesson is an error.
        held_out: Share of the episodes that is not learnt from, as shards hold them out.
        steps: Optimiser steps.
        batch: Samples of an optimiser step, over all ranks.
        micro_batch: Samples of a rank that are in memory at once.
        seed: Of order, wording, initial weights, noise and dropout.
        lr_vlm: Highest learning rate of the language model, or of `words:trained`.
        lr_vision: Of the vision encoder.
        lr_head: Of the head.
        schedule: `cosine` down to `lr_min_ratio`, or `constant`.
        warmup: Steps of linear warm-up.
        lr_min_ratio: What is left of a learning rate at the end of a cosine.
        beta1: Of AdamW.
        beta2: Of AdamW.
        epsilon: Of AdamW.
        weight_decay: Of matrices.
        clip: Largest norm of all gradients together; 0 for any.
        precision: `bf16`: autocast over fp32 parameters; `fp32`.
        ema: Decay of the averaged weights, which evaluation and export use; 0 for none.
        freeze_vision: Leave the vision encoder as it is.
        freeze_embeddings: Leave the token embeddings as they are.
        freeze_blocks: Leave so many first blocks of the language model as they are.
        lora_rank: Rank of LoRA adapters in the language model; 0 for full fine-tuning.
        lora_alpha: Their scale.
        lora_dropout: Their dropout.
        lora_targets: Ends of the names of the modules that get one.
        checkpoint_activations: Compute activations again in the backward pass.
        compile: `none`, or `blocks`: compile each block of the language model.
        save_every: Steps between checkpoints.
        keep: How many checkpoints are kept.
        eval_every: Steps between evaluations on held-out sides; 0 for none.
        eval_samples: Held-out samples of each view.
        log_every: Steps between lines of the log.
        on_bad: At a sample that cannot be read: `raise`, or the `next` of its source.
        bad_quota: How many samples may be replaced.
    """

    version: Literal[1]
    head: Literal["oft", "gr00t", "tokens", "annotator", "steer"]
    backbone: str
    revision: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{40})?$")] = ""
    init_from: str = ""

    mix: str = "fg=1,raw=1"
    words_fg: Form = "steps"
    words_raw: Form = "goal"
    paraphrase: Share = 0.0
    prompt: str = "{text} Please predict the next {horizon} robot actions:"
    cameras: tuple[str, ...] = ()
    pictures: Positive = 224
    states: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    action_dim: Whole = 0
    horizon: Positive = 16
    stride: Positive = 1
    action: Literal["absolute", "relative", "delta"] = "absolute"
    rotation: Literal["quaternion", "6d", "euler"] = "6d"
    normalise: Literal["none", "quantile", "min-max", "mean-std"] = "quantile"
    max_tokens: Positive = 1024
    prompt_lengths: tuple[Positive, ...] = ()

    query_token: str = ""
    mlp_blocks: Positive = 2
    dit_width: Positive = 768
    dit_heads: Positive = 12
    dit_layers: Positive = 16
    dit_dropout: Share = 0.2
    dit_future: Whole = 32
    dit_mlp: Positive = 1024
    loss: Literal["flow", "l1"] = "flow"
    steer_width: Positive = 256
    steer_blocks: Positive = 3
    steer_noise_blocks: Positive = 2
    steer_queries: Positive = 8
    steer_code: Positive = 192
    steer_heads: Positive = 4
    steer_dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    noise_repeats: Positive = 4
    noise_beta: Annotated[float, msgspec.Meta(gt=0)] = 1.5
    noise_steps: Positive = 4

    order: Literal["", "action_first", "reasoning_first"] = ""
    attention: Literal["prefix", "causal"] = "prefix"
    traces: Literal["none", "exact", "hold"] = "exact"
    reasoning_weight: Rate = 0.3
    reasoning_tokens: Positive = 244
    grid: Literal["fit", "uniform", "bridge", "fractal", "pretrain"] = "fit"
    grid_bins: tuple[Bins, Bins, Bins, Bins] = (16, 32, 8, 16)
    stay_bin: bool = False
    ego3d: Literal["none", "depth"] = "none"
    ego3d_points: Positive = 2
    depth_model: str = ""

    answers: Literal["staged", "caption"] = "staged"
    fps: Annotated[float, msgspec.Meta(gt=0)] = 4.0
    refinement_fps: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    max_frames: Annotated[int, msgspec.Meta(ge=4)] = 512
    width: Positive = 512
    max_facts: Whole = 0
    max_answer: Positive = 4096
    held_out: Share = 0.1

    steps: Positive
    batch: Positive
    micro_batch: Positive
    seed: Whole = 42
    lr_vlm: Rate = 0.0
    lr_vision: Rate = 0.0
    lr_head: Rate = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Whole = 0
    lr_min_ratio: Share = 0.0
    beta1: Share = 0.9
    beta2: Share = 0.95
    epsilon: Rate = 1e-8
    weight_decay: Rate = 1e-8
    clip: Rate = 1.0
    precision: Literal["bf16", "fp32"] = "bf16"
    ema: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    freeze_vision: bool = False
    freeze_embeddings: bool = False
    freeze_blocks: Whole = 0
    lora_rank: Whole = 0
    lora_alpha: Rate = 16.0
    lora_dropout: Share = 0.0
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    checkpoint_activations: bool = False
    compile: Literal["none", "blocks"] = "none"

    save_every: Positive = 1000
    keep: Positive = 3
    eval_every: Whole = 0
    eval_samples: Positive = 256
    log_every: Positive = 10
    on_bad: Literal["raise", "next"] = "raise"
    bad_quota: Whole = 100


class RecipeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe with its name and what was set besides, which a run records."""

    name: str
    recipe: Recipe
    changed: dict[str, str]

    @property
    def sha256(self) -> Sha256:
        """Digest of what the recipe says, however it is written."""
        return recipe_digest(self.recipe)


_TOKENS = (
    "order", "attention", "traces", "reasoning_weight", "reasoning_tokens", "grid", "grid_bins",
    "stay_bin", "ego3d", "ego3d_points", "depth_model",
)  # fmt: skip
# Of these the head `steer` reads all once it has an `order`, without which it does not reason.
_REASONING = ("order", "traces", "reasoning_weight", "reasoning_tokens")
_ANNOTATOR = (
    "answers", "fps", "refinement_fps", "max_frames", "width", "max_facts", "max_answer",
    "held_out",
)  # fmt: skip
# What is drawn from shards, and what an action is: an annotator has neither.
_OF_POLICIES = (
    "mix", "words_fg", "words_raw", "paraphrase", "states", "actions", "action_dim", "horizon",
    "stride", "action", "rotation", "normalise", "lr_head", "on_bad", "bad_quota",
)  # fmt: skip
# What is about a vision-language model, which the head `steer` has none of.
_OF_MODELS = (
    "revision", "freeze_vision", "freeze_embeddings", "freeze_blocks", "lora_rank",
    "lora_alpha", "lora_dropout", "lora_targets", "checkpoint_activations", "compile",
)  # fmt: skip
# What the head `steer` takes: poses against the present one, metres as metres.
_STEERED = {"action": "relative", "rotation": "quaternion", "normalise": "none"}
# Key -> the heads that alone read it.
_OF_HEAD: dict[str, tuple[str, ...]] = (
    {"query_token": ("oft",), "mlp_blocks": ("oft",), "states": ("gr00t", "steer")}
    | {"loss": ("steer",)}
    | {name: ("gr00t",) for name in Recipe.__struct_fields__ if name.startswith("dit_")}
    | {name: ("gr00t", "steer") for name in Recipe.__struct_fields__ if name.startswith("noise_")}
    | {name: ("steer",) for name in Recipe.__struct_fields__ if name.startswith("steer_")}
    | dict.fromkeys(_TOKENS, ("tokens",))
    | dict.fromkeys(_REASONING, ("tokens", "steer"))
    | dict.fromkeys(_ANNOTATOR, ("annotator",))
)
# Key -> the key that must be set for it to be read, and which values of that one read nothing.
_ONLY_WITH: dict[str, tuple[str, tuple[Any, ...]]] = {
    "lora_alpha": ("lora_rank", (0,)),
    "lora_dropout": ("lora_rank", (0,)),
    "lora_targets": ("lora_rank", (0,)),
    "lr_min_ratio": ("schedule", ("constant",)),
    "eval_samples": ("eval_every", (0,)),
    "bad_quota": ("on_bad", ("raise",)),
    "reasoning_weight": ("traces", ("none",)),
    "reasoning_tokens": ("traces", ("none",)),
    "ego3d_points": ("ego3d", ("none",)),
    "depth_model": ("ego3d", ("none",)),
}


def decode_recipe(text: str, *, place: str, changes: Mapping[str, str] | None = None) -> RecipeFile:
    """Decode a recipe strictly.

    Args:
        text: The TOML text.
        place: What messages call the file; its stem is the recipe's name.
        changes: Key to another value, as `--set` has it; a value is TOML, or a bare word.

    Raises:
        SpecError: It is no TOML, has an unknown key or a wrong type, or one that nothing reads.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _refused(place, f"text that is not TOML ({error})") from error
    for key, value in (changes or {}).items():
        tree[key] = _value(value)
    try:
        recipe = msgspec.convert(tree, Recipe)
    except msgspec.ValidationError as error:
        raise _refused(place, _explained(str(error), tree)) from error
    for problem in _contradictions(recipe, tree):
        raise _refused(place, problem)
    return RecipeFile(name=Path(place).stem, recipe=recipe, changed=dict(changes or {}))


def find_recipe(
    name_or_path: str | Path, *, changes: Mapping[str, str] | None = None
) -> RecipeFile:
    """A recipe by the name of one in `trainers/`, or by the path of a file.

    Raises:
        UsageError: There is none.
        SpecError: It does not decode.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" and path.is_file():
        return decode_recipe(path.read_text("utf-8"), place=str(path), changes=changes)
    name = path.name.removesuffix(".toml")
    packed = paper_room("trainers") / f"{name}.toml"
    if not packed.is_file():
        raise UsageError(
            parameter="recipe",
            place=f"recipe {name_or_path}",
            found="no such file, and none of that name in trainers/",
            wanted=", ".join(list_recipes()),
        )
    return decode_recipe(packed.read_text("utf-8"), place=f"trainers/{name}.toml", changes=changes)


def list_recipes() -> list[str]:
    """Names of the recipes in `trainers/`, sorted."""
    names = (entry.name for entry in paper_room("trainers").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def recipe_digest(recipe: Recipe, *, keys: Container[str] | None = None) -> Sha256:
    """SHA-256 of the canonical JSON of every key, defaults too.

    Fractions are written as the shortest decimal text that reads back as the same double.

    Args:
        recipe: The recipe.
        keys: Of these only: those that there were when it was written.
    """
    plain = msgspec.to_builtins(recipe)
    return digest_of(
        {
            key: repr(v) if isinstance(v, float) else v
            for key, v in plain.items()
            if keys is None or key in keys
        }
    )


def recipe_toml(recipe: Recipe) -> str:
    """Every key of a recipe as TOML, without those that its head does not read."""
    plain = {k: v for k, v in msgspec.to_builtins(recipe).items() if not _unread(recipe, k)}
    # JSON's texts, numbers, booleans and flat lists are TOML's.
    return "".join(f"{key} = {msgspec.json.encode(v).decode()}\n" for key, v in plain.items())


def _unread(recipe: Recipe, key: str) -> str:
    """The key because of which another is read by nothing; "" where it is read."""
    if recipe.head not in _OF_HEAD.get(key, (recipe.head,)):
        return "head"
    if recipe.head == "annotator" and key in _OF_POLICIES:
        return "head"
    if recipe.head == "steer":
        if key in _OF_MODELS:
            return "head"
        if key in _REASONING[1:] and not recipe.order:
            return "order"
        if key == "lr_vlm" and recipe.backbone != "words:trained":
            return "backbone"
        if key.startswith(("noise_", "steer_noise_")) and recipe.loss != "flow":
            return "loss"
        if key in ("pictures", "lr_vision") and not recipe.cameras:
            return "cameras"
    other, without = _ONLY_WITH.get(key, ("", ()))
    return other if other and getattr(recipe, other) in without else ""


def _contradictions(recipe: Recipe, tree: Mapping[str, Any]) -> Iterator[str]:
    for key in tree:
        other = _unread(recipe, key)
        if other and other != "loss":  # one file serves both losses
            yield f"`{key}`, which nothing reads while `{other}` is {getattr(recipe, other)!r}"
    if recipe.head == "steer":
        if recipe.order and recipe.traces == "none":
            yield "`traces` 'none', of which no `order` is"
        if not recipe.backbone.startswith("words:"):
            yield f"`backbone` {recipe.backbone!r}, where the head steer takes 'words:minilm' or so"
        for key, value in _STEERED.items():
            if getattr(recipe, key) != value:
                yield f"`{key}` {getattr(recipe, key)!r}, where the head steer takes {value!r}"
    elif recipe.backbone.startswith("words:"):
        yield f"`backbone` {recipe.backbone!r}, which the head {recipe.head} does not take"
    if recipe.head == "oft" and not recipe.query_token:
        yield "no `query_token`, which the head oft needs"
    if recipe.head == "tokens":
        if not recipe.order:
            yield "no `order`, which the head tokens needs: action_first or reasoning_first"
        if recipe.rotation != "euler":
            yield f"`rotation` {recipe.rotation!r}, where the head tokens takes 'euler'"
        if recipe.normalise not in ("quantile", "min-max"):
            yield f"`normalise` {recipe.normalise!r}, where the head tokens takes -1 to 1"
    lengths = (*recipe.prompt_lengths, recipe.max_tokens)
    if list(lengths) != sorted(set(lengths)):
        yield f"`prompt_lengths` {list(recipe.prompt_lengths)}, not rising and below `max_tokens`"
    if recipe.batch % recipe.micro_batch:
        yield f"`batch` {recipe.batch}, no multiple of `micro_batch` {recipe.micro_batch}"
    if recipe.dit_width % recipe.dit_heads:
        yield f"`dit_width` {recipe.dit_width}, no multiple of `dit_heads` {recipe.dit_heads}"
    for key in ("lr_vlm", "lr_vision", "lr_head"):
        if key not in tree and not _unread(recipe, key):
            yield f"no `{key}`, which the head {recipe.head} needs"
    if recipe.head == "annotator":
        if "{request}" not in recipe.prompt and "{stage}" not in recipe.prompt:
            yield "a `prompt` without {request} or {stage}"
    elif "{text}" not in recipe.prompt and "{lower}" not in recipe.prompt:
        yield "a `prompt` without {text}"
    if recipe.revision and recipe.backbone.startswith("tiny:"):
        yield "a `revision` of a backbone that is made on the spot"


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explained(message: str, tree: Mapping[str, Any]) -> str:
    """The decoder's message; for a key that is none, the nearest that is one."""
    from difflib import get_close_matches

    unknown = [key for key in tree if key not in Recipe.__struct_fields__]
    near = get_close_matches(unknown[0], Recipe.__struct_fields__, 1) if unknown else []
    return f"{message} (did you mean `{near[0]}`?)" if near else message


def _refused(place: str, found: str) -> SpecError:
    return SpecError(
        place=place, found=found, wanted="a recipe as in schemas/v1/recipe.schema.json"
    )
