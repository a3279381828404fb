"""Every verb over one dataset, in this process: what each answered, or the traceback it raised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.errors import FinedataError

_ASKING = ("--all", "--dry-run", "--teacher", "gemini", "--model", "gemini-2.5-flash")


@dataclass(frozen=True)
class Said:
    """What a verb said."""

    code: int
    text: str
    refusal: FinedataError | None


def say(*words: object) -> Said:
    """Run one command line; anything but an answer or a refusal of ours is raised."""
    found = CliRunner().invoke(app, [str(word) for word in words])
    error = found.exception
    if error is not None and not isinstance(error, SystemExit | FinedataError):
        raise error
    refusal = error if isinstance(error, FinedataError) else None
    return Said(found.exit_code, found.output, refusal)


def every_verb(root: Path, out: Path) -> dict[str, Said]:
    """Verb to what it said of the dataset `root`; what it writes goes below `out`."""
    lines: dict[str, tuple[object, ...]] = {
        "info": ("info", root),
        "episodes": ("episodes", root),
        "query": ("query", root, "select * from episodes"),
        "gate released": ("gate", root, "--method", "released", "--dry-run"),
        "gate": ("gate", root),
        "cluster dry": ("cluster", root, "--dry-run"),
        "cluster state": ("cluster", root, "--on", "state"),
        "cluster": ("cluster", root, "--budget", 2),
        "report": ("report", root, "--out", out / "report.html"),
        "kinematic": ("annotate", "kinematic", root, "--all"),
        "kinematic chosen": ("annotate", "kinematic", root),
        "facts": ("annotate", "facts", root, *_ASKING),
        "traces": ("annotate", "traces", root, *_ASKING),
        "status": ("annotate", "status", root),
        "summary": ("summary", root),
    }
    for name in ("finevla", "refinevla", "robofine", "lerobot-language"):
        target = out / f"annotations-{name}"
        lines[f"annotate export {name}"] = (
            "annotate", "export", root, "--format", name, "--out", target,
        )  # fmt: skip
    for name in ("finedata", "lerobot-v2.1", "starvla", "unified80", "rlds"):
        lines[f"export {name}"] = ("export", root, "--format", name, "--out", out / name)
    shards, alone = out / "shards", ("--workers", 1)
    lines |= {
        "shard": ("shard", root, "--out", shards, *alone),
        "shard episodes": ("shard", root, "--out", out / "clips", "--type", "episode", *alone),
        "shard by episode": ("shard", root, "--out", out / "ordered", "--order", "episode", *alone),
        "verify shards": ("verify", shards, "--input", root),
        "stream": ("stream", shards, "--mix", "raw=1", "--batches", 1, "--batch", 4),
        "stream fg": ("stream", shards, "--mix", "fg=1", "--batches", 1),
        "card": ("card", root),
        "publish": ("publish", root, "--repo-id", "org/name", "--dry-run"),
    }
    out.mkdir(parents=True, exist_ok=True)
    return {verb: say(*words) for verb, words in lines.items()}
