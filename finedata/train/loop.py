# pyright: basic, reportMissingImports=false
"""The training loop: one for every recipe.

A step draws its batch, sums each loss term over micro-batches and ranks and divides once by how
many numbers it is a mean of, so padding, masks and the split into micro-batches weigh nothing.
Which samples, which learning rate and which random numbers a step has follow from its number. So a
run that was killed goes on from its checkpoint as if nothing had happened: on a CPU bit for bit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from finedata.errors import FinedataError, OutputError, UsageError
from finedata.schema.recipe_file import recipe_toml
from finedata.shard.shards import Shards
from finedata.store.atomic import write_atomic
from finedata.store.lock import take_lock
from finedata.train.annotator.lesson_stream import LessonStream, look_at_lessons
from finedata.train.checkpoint import (
    Environment,
    Saved,
    newest_checkpoint,
    read_checkpoint,
    restore,
    save_checkpoint,
)
from finedata.train.data import inputs, look, look_at_answers, open_stream
from finedata.train.estimate import Cost, measured_flops, peak_flops
from finedata.train.evaluate import evaluate
from finedata.train.log import Log, read_log
from finedata.train.optimise import Average, make_optimiser, reseed, set_learning_rates
from finedata.train.policy import make_policy
from finedata.train.ranks import join, synchronised
from finedata.train.start import begin_with, check_pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from finedata.schema.recipe_file import RecipeFile
    from finedata.shard.stream.batch import Batch
    from finedata.train.ranks import Sharding

__all__ = ["Trained", "Trainer"]

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run did.

    Attributes:
        run: Its folder.
        step: Optimiser steps done.
        checkpoint: The newest.
        last: Its last entry in the log.
        heldout: Its last evaluation; see `evaluate`.
        heldout_before: Its first one, before anything was learnt; empty where there was none.
        notes: What a reader should know: other environment, weights that were missing.
    """

    run: Path
    step: int
    checkpoint: Path | None
    last: dict[str, Any]
    heldout: dict[str, dict[str, float]]
    heldout_before: dict[str, dict[str, float]]
    notes: tuple[str, ...]


class Trainer:
    """A run: opened, gone on with where it stopped, and trained to its recipe's end.

    Args:
        recipe: What is trained.
        shards: On what.
        run: The run's folder.
        resume: Go on from the newest checkpoint; otherwise there must be none.
        workers: Processes that read and encode.
        device: See `join`.
        sharding: How several ranks share the weights.
        trackers: See `Log`.
        on_log: Called with every entry of the log.

    Raises:
        UsageError: Recipe, shards and folder do not fit together.
        ConformError: The checkpoint is damaged.
        OutputError: Another process trains in this folder.
    """

    def __init__(
        self,
        recipe: RecipeFile,
        shards: str | Path,
        run: str | Path,
        *,
        resume: bool = False,
        workers: int = 2,
        device: str = "",
        sharding: Sharding = "fsdp",
        trackers: tuple[str, ...] = (),
        on_log: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.recipe, self.file, self.run_folder = recipe.recipe, recipe, Path(run)
        self.ranks = join(device)
        self.notes: list[str] = []
        one = self.recipe
        if one.batch % (one.micro_batch * self.ranks.world):
            raise UsageError(
                parameter="micro_batch",
                found=f"batch {one.batch}, micro_batch {one.micro_batch}, {self.ranks.world} ranks",
                wanted="a batch that ranks times micro_batch divide",
            )
        check_pinned(one)
        annotates = one.head == "annotator"
        self.data: Any = (
            look_at_lessons(shards, one) if annotates else look(Shards.open(shards), one)
        )
        saved = self._saved(resume=resume)
        self.policy = make_policy(
            one,
            state_dim=self.data.state_dim,
            action_dim=self.data.action_dim,
            states=() if annotates else self.data.state_names,
            actions=() if annotates else self.data.action_names,
        )
        self.notes += [*self.policy.notes, *(self.data.notes if annotates else ())]
        if self.policy.head.fit is not None and saved is None:
            self.notes += look_at_answers(self.policy.head, self.data, one)
        if one.init_from and saved is None:
            self.notes += begin_with(one.init_from, self.policy)
        self.policy.to(self.ranks.device)
        self._prepare()
        self.module = self.ranks.spread(self.policy, sharding)
        self.optimiser = make_optimiser(
            self.policy, one, device=self.ranks.device, world=self.ranks.world
        )
        self.average = Average(self.policy, one.ema) if one.ema else None
        self.environment = Environment.here(
            world=self.ranks.world, device=self.ranks.device, optimiser=self.optimiser
        )
        pictures = ("picture",) * self.data.pictures if annotates else self.data.cameras
        self.settings = self.policy.backbone.encoder_settings(
            one, cameras=pictures, queries=self.policy.head.queries
        )
        drawn: dict[str, Any] = {
            "batch": one.micro_batch * self.ranks.world,
            "rank": self.ranks.rank,
            "world": self.ranks.world,
            "workers": workers,
        }
        self.stream: Any = (
            LessonStream(self.data, one, self.policy.backbone, **drawn)
            if annotates
            else open_stream(self.data, one, self.settings, **drawn)
        )
        self.step, self._earlier = 0, []
        if saved is not None:
            self._go_on(saved)
        self._lock = take_lock(self.run_folder / ".lock", wait=False) if self.ranks.first else None
        if self.ranks.first and self._lock is None:
            raise OutputError(
                place=str(self.run_folder),
                found="a run that is training",
                wanted="a folder that no other process trains in",
            )
        self._log = self._open_log(trackers, on_log) if self.ranks.first else None
        self._last: dict[str, Any] = {}
        self._suspect: Any = None
        self.evaluated: dict[str, dict[str, float]] = {}
        self._rate, self._norm = 0.0, torch.zeros(())
        self._cost = Cost.of(self.policy, self.settings)
        self._peak = peak_flops(self.ranks.device)
        self._matmul = measured_flops(self.ranks.device, bf16=one.precision == "bf16")

    def train(self, *, stop: int | None = None) -> Trained:
        """Train to the end of the recipe, or of step `stop`; 0 only evaluates, where wanted.

        Raises:
            UsageError: `stop` is below 0.
            FinedataError: A loss is no number: the samples are named.
        """
        one = self.recipe
        end = one.steps if stop is None else min(one.steps, stop)
        if end < 0:
            self.close()
            raise UsageError(parameter="stop", found=str(stop), wanted="0 or more steps")
        self.policy.train()
        self._begin_interval()
        batches = iter(self.stream)
        try:
            if one.eval_every and not self.step:
                self.evaluate()  # what nothing learnt looks like
            while self.step < end:
                self._one_step(batches)
                self.step += 1
                if self.step % one.log_every == 0 or self.step == end:
                    self._write_log()
                if one.eval_every and (self.step % one.eval_every == 0 or self.step == end):
                    self.evaluate()
                if self.step % one.save_every == 0 or self.step == end:
                    self.save()
        except torch.OutOfMemoryError as error:
            raise FinedataError(
                place=f"step {self.step} of {self.run_folder}",
                found=str(error).splitlines()[0],
                wanted="room for a micro-batch",
                next_command=f"--set micro_batch={max(1, one.micro_batch // 2)}, or "
                "checkpoint_activations=true, lora_rank=16, freeze_vision=true, fewer pictures",
            ) from error
        finally:
            self.close()
        return Trained(
            run=self.run_folder,
            step=self.step,
            checkpoint=newest_checkpoint(self.run_folder),
            last=self._last,
            heldout=self.evaluated,
            heldout_before=next(
                (e["heldout"] for e in read_log(self.run_folder) if "heldout" in e), {}
            ),
            notes=tuple(self.notes),
        )

    def close(self) -> None:
        """End the workers and free the folder."""
        self.stream.close()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._lock is not None:
            self._lock.release()

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Errors on held-out samples, with the averaged weights where there are, into the log."""
        if self.average is not None:
            self.average.swap(self.policy)
        found = evaluate(
            self.module, self.data, self.recipe, self.settings, ranks=self.ranks, workers=0
        )
        if self.average is not None:
            self.average.swap(self.policy)
        self.evaluated = found
        if self._log is not None:
            self._log.write({"step": self.step, "heldout": found})
        self._begin_interval()
        return found

    def save(self) -> None:
        """Write a checkpoint."""
        save_checkpoint(
            self.run_folder,
            self.step,
            self.policy,
            self.optimiser,
            average=self.average,
            recipe=self.file,
            data=self.data,
            environment=self.environment,
            stream_state=self.stream.state_dict(),
            receipts=[*self._earlier, self.stream.receipt()],
            keep=self.recipe.keep,
            writes=self.ranks.first,
        )
        self.ranks.wait()

    @property
    def _accumulation(self) -> int:
        return self.recipe.batch // (self.recipe.micro_batch * self.ranks.world)

    def _one_step(self, batches: Iterator[Batch]) -> None:
        one, policy = self.recipe, self.policy
        reseed(one.seed, self.step, self.ranks.rank)
        drawn = [self._drawn(batches) for _ in range(self._accumulation)]
        micro = [batch for batch, _ in drawn]
        counts = self.ranks.sum(torch.stack([self._counts(batch) for batch in micro]).sum(0))
        for batch in synchronised(self.module, micro):
            sums = self._stacked(self.module(batch))
            # Ranks are averaged, and are to be summed.
            means = (sums / counts.clamp(min=1)) * self._weights
            means.sum().mul(self.ranks.world).backward()
            self._sum += sums.detach()
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm: Any = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        self._check(norm, drawn)
        if one.clip:
            torch.nn.utils.clip_grads_with_norm_(trained, one.clip, norm)
        self._rate = set_learning_rates(self.optimiser, self.step, one)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(policy, self.step)
        self._count += counts
        self._norm = norm

    def _counts(self, batch: Tensors) -> torch.Tensor:
        return self._stacked(self.policy.head.counts(batch)).double()

    def _stacked(self, terms: Tensors) -> torch.Tensor:
        return torch.stack([terms[name] for name in self.policy.head.terms])

    def _drawn(self, batches: Iterator[Batch]) -> tuple[Tensors, list[str]]:
        """The next micro-batch, and the names of its samples."""
        began = perf_counter()
        batch = next(batches)
        self._waited_s += perf_counter() - began
        if self.policy.head.answer is not None:
            self.policy.head.answer(batch, self.data)
        self._tokens += int(batch.encoded["length"].sum())
        self._drawn_by.update(zip(batch.view, batch.source, strict=True))
        frames = zip(batch.episode_id, batch.frame_index.tolist(), strict=True)
        return inputs(batch, self.data, self.ranks.device), [f"{e} frame {f}" for e, f in frames]

    def _check(self, norm: torch.Tensor, drawn: list[tuple[Tensors, list[str]]]) -> None:
        """Stop before weights are ruined by a gradient that is no number.

        A GPU is not waited for: it leaves such a step out by itself (AdamW's `found_inf`), and is
        asked about it one step later.
        """
        broken = ~norm.isfinite()
        if self.ranks.device.type != "cuda":
            if broken:
                raise self._unusable(drawn, self.step)
            return
        self.optimiser.found_inf = broken.float()  # pyright: ignore[reportAttributeAccessIssue]
        told = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(broken, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        before, self._suspect = self._suspect, (drawn, self.step, told, event)
        if before is not None:
            before[3].synchronize()
            if before[2]:
                raise self._unusable(before[0], before[1])

    @torch.no_grad()
    def _unusable(self, drawn: list[tuple[Tensors, list[str]]], step: int) -> FinedataError:
        """Which samples have a loss that is no number: each is computed by itself."""
        named: list[str] = []
        for batch, names in drawn:
            for k, name in enumerate(names):
                reseed(self.recipe.seed, step, self.ranks.rank)
                sums = self._stacked(self.module({key: v[k : k + 1] for key, v in batch.items()}))
                if not sums.isfinite().all():
                    named.append(name)
        return FinedataError(
            place=f"step {step} of {self.run_folder}",
            found="a loss that is no number, of " + "; ".join(named)
            if named
            else "a gradient that is no number, while every sample's loss is one",
            wanted="numbers; no weight was changed by this step",
            next_command="--set on_bad=next skips no such sample: look at it, "
            "lower the learning rate, or set precision=fp32",
        )

    def _begin_interval(self) -> None:
        terms = len(self.policy.head.terms)
        self._weights = torch.tensor(self.policy.head.weights, device=self.ranks.device)
        self._sum = torch.zeros(terms, device=self.ranks.device)
        self._count = torch.zeros(terms, device=self.ranks.device, dtype=torch.float64)
        self._drawn_by: Counter[tuple[str, str]] = Counter()
        self._waited_s, self._since, self._from = 0.0, perf_counter(), self.step
        self._tokens = 0

    def _write_log(self) -> None:
        """One entry: the only place where a step waits for the device."""
        means = (self.ranks.sum(self._sum.double()) / self._count.clamp(min=1)).tolist()
        took = perf_counter() - self._since
        steps = self.step - self._from
        entry = {
            "step": self.step,
            "samples": self.step * self.recipe.batch,
            "loss": sum(w * x for w, x in zip(self.policy.head.weights, means, strict=True)),
            "terms": dict(zip(self.policy.head.terms, means, strict=True)),
            "gradient_norm": float(self._norm),
            "lr": {group["name"]: group["lr"] for group in self.optimiser.param_groups},
            "step_s": took / steps,
            "samples_per_s": steps * self.recipe.batch / took,
            "waiting_share": self._waited_s / took,
            "mfu": self._used(took),
            "drawn": self._shares(),
            "asked": self.stream.sequence.shares,
        }
        self._last = entry
        if self._log is not None:
            self._log.write(entry)
        self._begin_interval()

    def _used(self, took_s: float) -> dict[str, float]:
        """Operations of the model a second, of those of the data sheet and of a plain product."""
        samples = sum(self._drawn_by.values())
        reached = self._cost.operations(samples, self._tokens) / took_s
        found = {"of_matmul": reached / self._matmul}
        return found if self._peak is None else found | {"of_peak": reached / self._peak}

    def _shares(self) -> dict[str, float]:
        """View and source to the share of this rank's samples since the last entry."""
        total = sum(self._drawn_by.values())
        return {f"{v}/{s}": n / total for (v, s), n in sorted(self._drawn_by.items())}

    def _prepare(self) -> None:
        backbone = self.policy.backbone
        if self.recipe.checkpoint_activations:
            backbone.model.activation_checkpointing_enable({"use_reentrant": False})
        if self.recipe.compile == "blocks":
            for block in backbone.blocks:
                block.compile()

    def _saved(self, *, resume: bool) -> Saved | None:
        """The checkpoint to go on from."""
        newest = newest_checkpoint(self.run_folder)
        if newest is None:
            return None
        if not resume:
            raise UsageError(
                parameter="out",
                place=f"out {self.run_folder}",
                found=f"a run at step {int(newest.name)}",
                wanted="a new folder",
                next_command="--resume goes on with it",
            )
        saved = read_checkpoint(newest)
        if saved.recipe.sha256 != self.file.sha256:
            mine, theirs = self.recipe, saved.recipe.recipe
            other = [
                f"{key} {getattr(mine, key)!r}, not {getattr(theirs, key)!r}"
                for key in mine.__struct_fields__
                if getattr(mine, key) != getattr(theirs, key)
            ]
            raise UsageError(
                parameter="recipe",
                place=f"recipe of {newest}",
                found="; ".join(other),
                wanted="the recipe that the run was begun with",
                next_command="a new run takes its weights with --set init_from=" + str(newest),
            )
        if saved.codecs != self.data.codecs:
            raise UsageError(
                place=f"{newest}/pretrained_model/codecs.json",
                found="other statistics, or other numbers, than the shards have now",
                wanted="the shards as they were when the run was begun",
            )
        return saved

    def _go_on(self, saved: Saved) -> None:
        restore(saved, self.policy, self.optimiser, self.average)
        self.stream.load_state_dict(saved.stream_state)
        self.step, self._earlier = saved.step, saved.receipts
        self.notes += [
            f"bits may differ from an unbroken run: {difference}"
            for difference in self.environment.differences(saved.environment)
        ]

    def _open_log(
        self, trackers: tuple[str, ...], on_log: Callable[[dict[str, Any]], None] | None
    ) -> Log:
        write_atomic(self.run_folder / "recipe.toml", recipe_toml(self.recipe))
        if self.recipe.head == "annotator":
            sides = msgspec.json.format(msgspec.json.encode(self.data.sides), indent=1)
            write_atomic(self.run_folder / "episodes.json", sides + b"\n")
        return Log(
            self.run_folder,
            first=self.step,
            name=self.run_folder.name,
            trackers=trackers,
            config=msgspec.to_builtins(self.recipe),
            on_log=on_log,
        )
