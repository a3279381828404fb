"""A training recipe: what is trained, and everything about how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from finedata.errors import need
from finedata.schema.recipe_file import Recipe as RecipeValues
from finedata.schema.recipe_file import RecipeFile, find_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from finedata.train.estimate import Estimate
    from finedata.train.loop import Trained

__all__ = ["Recipe", "export_policy", "recipe", "recipe_of_texts", "training_report"]


def recipe(name: str | Path, **changes: Any) -> Recipe:
    """A recipe by its name in `trainers/`, or by the path of a TOML file.

    Args:
        name: Name or path.
        changes: Keys with other values: `recipe("oft_rdt", mix="fg=2,raw=1", steps=1000)`.

    Raises:
        UsageError: There is none of that name.
        SpecError: It does not decode, or nothing reads a key.

    Example:
        >>> run = recipe("tiny_oft", steps=100).train("shards", out="runs/a")  # doctest: +SKIP
    """
    import msgspec

    texts = {key: msgspec.json.encode(value).decode() for key, value in changes.items()}
    return recipe_of_texts(name, texts)


def recipe_of_texts(name: str | Path, changes: Mapping[str, str]) -> Recipe:
    """`recipe` with changes as texts, as a command line has them."""
    return Recipe(find_recipe(name, changes=changes))


@dataclass(frozen=True)
class Recipe:
    """A recipe; see `recipe`, which finds one.

    Attributes:
        file: The recipe with its name and what was changed.
    """

    file: RecipeFile

    @property
    def values(self) -> RecipeValues:
        """Every key, defaults too."""
        return self.file.recipe

    @property
    def sha256(self) -> str:
        """Digest of every key."""
        return self.file.sha256

    def estimate(self, shards: str | Path) -> Estimate:
        """What a run on shards would do and cost; nothing is trained or written.

        Args:
            shards: The folder of shards.

        Raises:
            UsageError: Recipe and shards do not fit together.
        """
        need("torch", "transformers", extra="train", place="an estimate of training")
        from finedata.train.estimate import estimate

        return estimate(self.file, shards)

    def train(
        self,
        shards: str | Path,
        *,
        out: str | Path,
        resume: bool = False,
        workers: int = 2,
        device: str = "",
        sharding: Literal["fsdp", "ddp"] = "fsdp",
        trackers: tuple[str, ...] = (),
        stop: int | None = None,
        on_log: Callable[[dict[str, Any]], None] | None = None,
    ) -> Trained:
        """Train on shards; under torchrun with all ranks together.

        Args:
            shards: The folder of shards.
            out: The run's folder.
            resume: Go on from the newest checkpoint there, if there is one.
            workers: Processes that read and encode; changes no bit.
            device: `cpu`, `cuda` or one of several; the GPU by default where there is one.
            sharding: How several ranks share the weights.
            trackers: `tensorboard`, `wandb`, `trackio`.
            stop: End after this step; the recipe's end otherwise.
            on_log: Called with every entry of the log.

        Raises:
            UsageError: Recipe, shards and folder do not fit together.
            FinedataError: A loss is no number, or memory is too small.
        """
        need("torch", "transformers", "safetensors", extra="train", place="training")
        from finedata.train.loop import Trainer

        return Trainer(
            self.file,
            shards,
            out,
            resume=resume,
            workers=workers,
            device=device,
            sharding=sharding,
            trackers=trackers,
            on_log=on_log,
        ).train(stop=stop)


def export_policy(run: str | Path, out: str | Path) -> Path:
    """Write a run's newest checkpoint, or a checkpoint, as a plain Hugging Face folder.

    Args:
        run: The run or checkpoint.
        out: A new folder.

    Raises:
        UsageError: There is no checkpoint, or `out` is not new.
    """
    need("torch", "transformers", "safetensors", extra="train", place="an export")
    from pathlib import Path

    from finedata.train.export import export_policy

    return export_policy(Path(run), Path(out))


def training_report(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write one page that compares runs: curves with bands over seeds, and what was drawn.

    Args:
        runs: Folders of runs.
        out: The HTML file.

    Raises:
        UsageError: A folder is no run.
    """
    from pathlib import Path

    from finedata.report.training import write_training_report

    return write_training_report([Path(run) for run in runs], Path(out))
