"""How much of a GPU training uses, and what each step towards that gives; under 8 minutes.

    python benchmarks/mfu.py [--minutes 8] [--batch 32] [--trace FOLDER] [--only NAME]
    python benchmarks/mfu.py --tiny      # everything at tiny size, on any machine; what tests run

Random weights of the classes of Qwen3-VL-4B, then Qwen3.5-4B, under both heads, in the very trainer
and on the very stream of `finedata train`: three pictures of 224 pixels and some 380 tokens a
sample. Printed are samples a second, the share of the hardware's operations by both denominators
(the data sheet's, and what a plain matrix product reaches here), the share of time spent waiting
for data, and memory. Then, for the first case, the same without one step each: what a step gives is
the difference. A plain CPU has no such figures: there everything runs, and is said not to be
measured. Last come the CUDA kernels of DTW, measured and tested, where there is a GPU.

Qwen3.5's linear attention needs the package flash-linear-attention to be fast; whether it is there
is printed.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec
import torch
from torch.nn import functional

# In the place of this folder, whose modules have the names of tests' packages.
ROOT = Path(__file__).parent.parent
sys.path[0] = str(ROOT / "tests")

from shard.stream.tiny_shards import TinySet, make_shards  # noqa: E402

from finedata.schema.recipe_file import RecipeFile, find_recipe  # noqa: E402
from finedata.train import data, loop, policy  # noqa: E402
from finedata.train.backbone import Backbone  # noqa: E402
from finedata.train.estimate import measured_flops, peak_flops  # noqa: E402
from finedata.train.tiny import tiny_backbone  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

CAMERAS = ("high", "left", "right")
# With 3 x 49 visual tokens and 16 queries some 370 tokens by the tiny tokenizer.
WORDS = "{text} " + "then lift the red cup slowly and put it next to the blue plate " * 10
WORDS += "Please predict the next {horizon} robot actions:"
AIM = 0.4


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run.

    Attributes:
        name: What is printed.
        family: Of the backbone.
        head: Of the policy.
        without: The step that is left out; see `left_out`.
    """

    name: str
    family: str
    head: str
    without: str = ""


CASES = (
    Case(name="Qwen3-VL-4B, oft", family="qwen3_vl", head="oft"),
    Case(name="Qwen3-VL-4B, gr00t", family="qwen3_vl", head="gr00t"),
    Case(name="Qwen3.5-4B, oft", family="qwen3_5", head="oft"),
    Case(name="Qwen3.5-4B, gr00t", family="qwen3_5", head="gr00t"),
    *(
        Case(name=f"  {told}", family="qwen3_vl", head="oft", without=step)
        for step, told in (
            ("base", "with the LM head called"),
            ("shapes", "with another length each step"),
            ("attention", "with attention picture by picture"),
            ("linear", "with Conv3d patches"),
            ("fused", "with plain AdamW"),
            ("compile", "without compiled blocks"),
        )
    ),
)


def large_backbone(family: str, device: torch.device) -> Backbone:
    """Random weights of the 4B class, made on the device; a tiny tokenizer."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    small, tokenizer, processor = tiny_backbone(family, pictures=56)
    processor.patch_size = 16
    one = small.config
    vision = {
        "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
        "patch_size": 16, "out_hidden_size": 2560, "num_position_embeddings": 2304,
    }  # fmt: skip
    text = {"hidden_size": 2560, "max_position_embeddings": 4096}
    if family == "qwen3_vl":
        vision["deepstack_visual_indexes"] = [5, 11, 17]
        text |= {
            "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6,
                                "mrope_section": [24, 20, 20], "mrope_interleaved": True},
        }  # fmt: skip
    else:
        text |= {
            "intermediate_size": 9216, "num_hidden_layers": 32, "num_attention_heads": 16,
            "num_key_value_heads": 4, "vocab_size": 248_320,
        }  # fmt: skip
    config = AutoConfig.for_model(
        family, text_config=text, vision_config=vision, tie_word_embeddings=True,
        image_token_id=one.image_token_id, vision_start_token_id=one.vision_start_token_id,
        vision_end_token_id=one.vision_end_token_id,
    )  # fmt: skip
    with device:
        return Backbone(AutoModelForImageTextToText.from_config(config), tokenizer, processor)


def recipe_of(case: Case, options: argparse.Namespace) -> RecipeFile:
    file = find_recipe(f"tiny_{case.head}")
    compiled = not options.tiny and case.without != "compile"
    changes: dict[str, Any] = {
        "mix": "raw=1", "backbone": f"tiny:{case.family}", "horizon": 16, "steps": options.steps,
        "batch": options.batch, "micro_batch": options.batch, "log_every": options.steps // 3,
        "save_every": 10**9, "warmup": 1, "pictures": 56 if options.tiny else 224,
        "max_tokens": 512, "prompt": WORDS, "prompt_lengths": (384, 448),
        "precision": "fp32" if options.tiny else "bf16",
        "compile": "blocks" if compiled else "none",
    }  # fmt: skip
    if case.head == "gr00t" and not options.tiny:
        changes |= {"dit_width": 768, "dit_heads": 12, "dit_layers": 16, "dit_future": 32}
    return msgspec.structs.replace(
        file, recipe=msgspec.structs.replace(file.recipe, **changes), changed={}
    )


@contextmanager
def left_out(step: str) -> Iterator[None]:
    """Everything that is made inside is without a step of the list."""
    lengths = cycle((416, 448, 480, 512))
    cut = data.cut

    def another(encoded: Any, _: Any = ()) -> Any:
        return cut(encoded, (next(lengths),))

    made = loop.make_optimiser

    def plain(module: Any, recipe: Any, *, device: torch.device, world: int) -> Any:
        del device
        return made(module, recipe, device=torch.device("cpu"), world=world)

    with ExitStack() as stack:
        if step == "shapes":
            stack.enter_context(mock.patch.object(data, "cut", another))
        if step == "fused":
            stack.enter_context(mock.patch.object(loop, "make_optimiser", plain))
        yield


def undo(backbone: Backbone, step: str) -> Backbone:
    """A backbone without a step that it takes itself."""
    if step == "attention":
        for block in backbone.vision.blocks:
            del block.attn.forward  # what is ours; transformers' own is the class's
    if step == "linear":
        embed = backbone.vision.patch_embed

        def convolved(patches: torch.Tensor) -> torch.Tensor:
            weight = embed.proj.weight
            depth, side = weight.shape[2], weight.shape[3]
            frames = patches.view(-1, 3, 1, side, side).expand(-1, -1, depth, -1, -1)
            found = functional.conv3d(frames.to(weight.dtype), weight, embed.proj.bias,
                                      stride=(depth, side, side))  # fmt: skip
            return found.view(len(patches), -1)

        embed.forward = convolved
    if step == "base":
        run = backbone.run

        def called(batch: Any, **more: Any) -> Any:
            output = run(batch, **more)
            hidden = output.last_hidden_state
            logits = backbone.model.get_output_embeddings()(hidden)
            output.last_hidden_state = hidden + 0 * logits.mean(-1, keepdim=True)
            return output

        backbone.run = called  # pyright: ignore[reportAttributeAccessIssue]
    return backbone


def measure(case: Case, shards: Path, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The last two thirds of a run."""
    device = torch.device(options.device)
    entries: list[dict[str, Any]] = []

    def backbone(_: Any, *, meta: bool = False) -> Backbone:
        del meta
        if options.tiny:
            made = Backbone(*tiny_backbone(case.family, pictures=56))
        else:
            made = large_backbone(case.family, device)
        return undo(made, case.without)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with left_out(case.without), mock.patch.object(policy, "load_backbone", backbone):
        trainer = loop.Trainer(
            recipe_of(case, options), shards, folder, workers=0 if options.tiny else 4,
            device=options.device, on_log=entries.append,
        )  # fmt: skip
        trainer.save = lambda: None  # 50 GB that nobody reads
        if options.trace and not case.without:
            traced(trainer, options.trace / f"{case.family}_{case.head}.json")
        trainer.train()
    later = entries[1:]
    found = {
        "samples_per_s": min(entry["samples_per_s"] for entry in later),
        "mfu": {k: min(e["mfu"][k] for e in later) for k in later[-1]["mfu"]},
        "waiting": max(entry["waiting_share"] for entry in later),
        "loss": later[-1]["loss"],
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
    }
    del trainer
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    torch._dynamo.reset()
    return found


def traced(trainer: Any, out: Path) -> None:
    """Let a step behind the first third be written as a trace that browsers open."""
    step = trainer._one_step
    at = trainer.recipe.steps // 3

    def profiled(batches: Any) -> None:
        if trainer.step != at:
            step(batches)
            return
        with torch.profiler.profile() as profile:
            step(batches)
        out.parent.mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(out))

    trainer._one_step = profiled


def told(case: Case, found: dict[str, Any], base: float) -> str:
    """A line; without a `base` to hold it against where sizes are tiny."""
    mfu = found["mfu"]
    parts = [f"{found['samples_per_s']:7.1f} samples/s"]
    if "of_peak" in mfu:
        parts.append(f"{mfu['of_peak']:6.1%} of the data sheet's")
    parts += [f"{mfu['of_matmul']:6.1%} of its own matmul's", f"waiting {found['waiting']:.1%}"]
    if found["memory_gb"] is not None:
        parts.append(f"{found['memory_gb']:.0f} GB")
    if case.without and base:
        parts.append(f"the step gives {base / found['samples_per_s'] - 1:+.1%}")
    parts.append(f"loss {found['loss']:.6f}")
    return f"{case.name:36} " + ", ".join(parts)


def dtw(options: argparse.Namespace, left_s: float) -> None:
    """The CUDA kernels of DTW: their benchmark and their tests."""
    if options.device == "cpu":
        print("DTW's CUDA kernels: not run, no GPU here")
        return
    for command in (
        [sys.executable, "benchmarks/dtw_cuda.py", "--tracks", "1000", "--rounds", "3"],
        [sys.executable, "-m", "pytest", "-q", "tests/motion/test_dtw_cuda.py"],
    ):
        try:
            subprocess.run(command, cwd=ROOT, check=False, timeout=max(30.0, left_s))
        except subprocess.TimeoutExpired:
            print(f"not finished in the time: {' '.join(command[1:])}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args(arguments)
    options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cpu" and not options.tiny:
        parser.error("no GPU here; --tiny runs everything at tiny size")
    if options.tiny:
        options.batch, options.steps = min(options.batch, 4), min(options.steps, 6)
    began = time.perf_counter()
    device = torch.device(options.device)
    peak, own = peak_flops(device), measured_flops(device, bf16=True)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "a CPU"
    sheet = f"{peak / 1e12:.0f} TFLOP/s by its data sheet" if peak else "no data sheet"
    print(f"{name}: {sheet}, {own / 1e12:.1f} in a product of its own; torch {torch.__version__}")
    print(f"flash-linear-attention is {'here' if find_spec('fla') else 'not installed'}")
    if options.tiny:
        print("tiny sizes: what runs, and no measurement of anything that names say")
    base, slowest = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        size = (56, 56) if options.tiny else (224, 224)
        sets = [TinySet("a", "rest", [100] * (1 if options.tiny else 20), cameras=CAMERAS,
                        size=size, tar_samples=200)]  # fmt: skip
        shards = make_shards(Path(folder) / "shards", sets)
        for number, case in enumerate(CASES):
            if options.only not in case.name:
                continue
            if options.tiny and case.without == "compile":
                print(f"{case.name:36} not run: nothing is compiled at tiny size")
                continue
            if time.perf_counter() - began + slowest > 60 * options.minutes:
                print(f"{case.name:36} not run: {options.minutes:g} minutes are over")
                continue
            since = time.perf_counter()
            found = measure(case, shards, options, Path(folder) / f"run_{number}")
            slowest = max(slowest, time.perf_counter() - since)
            base = base or found["samples_per_s"]
            print(told(case, found, 0.0 if options.tiny else base), flush=True)
            if not case.without and found["mfu"].get("of_peak", 1.0) < AIM:
                print(f"{'':36} below the aim of {AIM:.0%} of the data sheet's")
    dtw(options, 60 * options.minutes - (time.perf_counter() - began))


if __name__ == "__main__":
    main()
