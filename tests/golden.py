"""Whether two commits write the same bytes: `python tests/golden.py OLD NEW`. A tool, no test.

Both commits run in this interpreter with its libraries, over the same inputs, one process each:
the demo's corpus, the fixtures of every reader family (`tests/sources`, written by this checkout)
and, where FINEDATA_REAL_DATA names them, real Bridge and GR00T bytes; through the command line
alone, as that stays when functions move. Every file that a verb writes is compared by its bytes,
and what it prints; no digest is kept anywhere, so nothing goes stale.

Not compared: SQLite ledgers (`.finedata/`), whose pages depend on the order of commits. What is
known to differ is listed in `tests/golden_announced.toml`, each with its reason, and is applied
and reported; an entry that nothing needed is reported, too.

Exit code: 0 where all differences are announced, 1 otherwise, 2 where a side did not run.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden_compare import compare, read_announced

HERE = Path(__file__).resolve().parent
ANNOUNCED = HERE / "golden_announced.toml"
# The first of each: what a person would look at first. The rest is counted.
SHOWN = 40

# --- inputs: written once, for both


@dataclass(frozen=True)
class Input:
    """A source: where it is, what converts it, and whether it goes through every verb."""

    name: str
    converter: str
    folder: str
    options: tuple[str, ...] = ()
    whole: bool = False


def write_inputs(folder: Path) -> list[Input]:
    """Write every fixture below a folder, and name the real bytes that are there."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    from corpora.corpus import write_bridge_corpus
    from sources import generic_lerobot
    from sources.case import all_cases

    write_bridge_corpus(folder / "demo", episodes=10, image_size=48, mean_length=20)
    demo = str(folder / "demo" / "bridge_dataset" / "1.0.0")
    found = [
        Input("demo", "bridge_v2", demo, whole=True),
        Input("demo-fixed", "bridge_v2", demo, ("--resize", "32x32", "--max-episodes", "3")),
    ]
    for case in all_cases():
        case.write(folder / case.name)
        options = [f"{name}={value}" for name, value in case.options]
        flags = tuple(word for option in options for word in ("--option", option))
        whole = case.name in ("robomind_v1", "galaxea_lerobot")
        found.append(Input(case.name, case.converter, str(folder / case.name), flags, whole=whole))
    swapped = str(folder / "robomind_v1")
    found.append(Input("robomind_v1-fixed", "robomind_v1", swapped, ("--fix-colour",)))
    (folder / "generic").mkdir()
    generic_lerobot.write(folder / "generic")
    found.append(Input("generic", "lerobot", str(folder / "generic")))
    real = os.environ.get("FINEDATA_REAL_DATA")
    if real:
        found += [
            Input("real-bridge", "bridge_v2", f"{real}/bridge_v2_rlds/1.0.0", whole=True),
            Input("real-gr00t", "lerobot", f"{real}/gr00t_lerobot_v20", whole=True),
        ]
    return found


# --- one side: every verb, in one process


class Side:
    """Runs the command line of the tree on `sys.path`, and keeps what it says."""

    def __init__(self, out: Path, inputs: list[dict[str, Any]]) -> None:
        from typer.testing import CliRunner

        self.out = out
        self.inputs = inputs
        self._app = importlib.import_module("finedata.cli.app").app
        self._runner = CliRunner()
        self._said = out / "said"
        self._said.mkdir(parents=True)

    def run(self, name: str, *words: str) -> None:
        """Run a verb; its exit code, stdout and error are one file, without the folder's name."""
        result = self._runner.invoke(self._app, list(words))
        text = result.stdout.replace(str(self.out), "OUT")
        ended = "" if result.exit_code == 0 else result.stderr.replace(str(self.out), "OUT")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            error = "".join(traceback.format_exception(result.exception))
            print(f"{name}: {error}", file=sys.stderr)
            ended += f"{type(result.exception).__name__}: {result.exception}".replace(
                str(self.out), "OUT"
            )
        # Times of day and speeds are no output.
        text = re.sub(
            r'"(seconds|elapsed_s|wall_s|[a-z_]*per_second)": ?[0-9.e-]+', r'"\1": 0', text
        )
        path = self._said / f"{name}.txt"
        path.write_text(f"exit {result.exit_code}\n{text}{ended}", encoding="utf-8")

    def everything(self) -> None:
        """All verbs over all inputs."""
        for one in self.inputs:
            self._source(Input(**{**one, "options": tuple(one["options"])}))
        roots = [str(self.out / name) for name in ("demo", "robomind_v1", "real-gr00t")]
        roots = [root for root in roots if Path(root).is_dir()]
        words = ["merge", *roots, "--out", str(self.out / "merged"), "--allow-mixed-licences"]
        self.run("merge", *words, "--json")
        self._exports("merged", ("finedata", "lerobot-v2.1", "rlds"))
        self.run("sources", "sources", "--json")

    def _source(self, one: Input) -> None:
        root = str(self.out / one.name)
        convert = ["convert", one.converter, "--input", one.folder, "--out", root, "--json"]
        self.run(f"{one.name}-convert", *convert, *one.options, "--num-workers", "1")
        verify = ["verify", root, "--input", one.folder, "--json"]
        self.run(f"{one.name}-verify", *verify, *(["--decode"] if one.whole else []))
        self.run(f"{one.name}-gate", "gate", root, "--json")
        self.run(f"{one.name}-kinematic", "annotate", "kinematic", root, "--all", "--json")
        if not one.whole:
            self._exports(one.name, ("unified80", "rlds"))
            return
        self.run(f"{one.name}-cluster", "cluster", root, "--json", "--threads", "2")
        recorded = self.out / f"said/{one.name}-answers.jsonl"
        recorded.write_text("\n".join(answers(Path(root))) + "\n", encoding="utf-8")
        teacher = ["--teacher", "replay", "--recorded", str(recorded), "--model", "m", "--all"]
        prices = ["--input-price", "1", "--output-price", "2", "--concurrency", "1", "--json"]
        for product, more in (("facts", []), ("traces", ["--every", "7"])):
            words = ["annotate", product, root, *teacher, *prices, *more]
            self.run(f"{one.name}-{product}-estimate", *words, "--dry-run")
            self.run(f"{one.name}-{product}", *words)
        page = str(self.out / f"{one.name}-report.html")
        self.run(f"{one.name}-report", "report", root, "--out", page, "--json")
        self._exports(one.name, ("finedata", "lerobot-v2.1", "starvla", "unified80", "rlds"))
        for name in ("lerobot-v2.1", "starvla"):
            self._exports(one.name, (name,), "--keep-pictures")
        for name in ("finevla", "robofine", "refinevla", "lerobot-language"):
            out = str(self.out / "exports" / f"{one.name}-annotations-{name}")
            words = ["annotate", "export", root, "--format", name, "--out", out, "--json"]
            self.run(f"{one.name}-annotations-{name}", *words)
        for verb in ("info", "episodes", "summary"):
            self.run(f"{one.name}-{verb}", verb, root, "--json")
        self.run(f"{one.name}-status", "annotate", "status", root, "--json")
        query = (
            "select task, count(*) as n, sum(length) as frames from episodes group by task "
            "order by task"
        )
        self.run(f"{one.name}-query", "query", root, query, "--json")

    def _exports(self, name: str, formats: tuple[str, ...], *flags: str) -> None:
        for format_name in formats:
            label = f"{name}-{format_name}{'-pictures' if flags else ''}"
            out = str(self.out / "exports" / label)
            words = ["export", str(self.out / name), "--format", format_name, "--out", out]
            self.run(f"{label}-export", *words, "--json", *flags)


def answers(root: Path) -> list[str]:
    """Recorded answers to every question about a dataset's episodes, as JSON lines."""
    import polars as pl

    rows = pl.concat(
        [
            pl.read_parquet(path, columns=["episode_id", "length"])
            for path in sorted(root.rglob("meta/episodes/*/*.parquet"))
        ]
    )
    files = sorted(root.glob("annotations/steps/*.parquet"))
    columns = ["episode_id", "origin", "kind"]
    of_source = Counter(
        (episode_id, kind)
        for path in files
        for episode_id, origin, kind in pl.read_parquet(path, columns=columns).iter_rows()
        if origin == "source"
    )
    lines: list[str] = []
    for episode_id, length in rows.iter_rows():
        given = of_source[episode_id, "subtask"] or of_source[episode_id, "primitive"]
        texts = _answers_of(length, given)
        lines += [
            json.dumps(
                {"stage": stage, "episode_id": episode_id, "text": text, "input_tokens": 900}
            )
            for stage, text in texts.items()
        ]
    return lines


def _answers_of(length: int, source_steps: int) -> dict[str, str]:
    middle = max(1, (length - 1) // 2)
    step = {"verb": "Pick up", "object": "cup", "arm": "right", "text": "Picks up the red cup."}
    other = {"verb": "Place", "object": "cup", "arm": "right", "text": "Places it on the plate."}
    sequence = [
        {"verb": one["verb"], "object": "cup", "arm": "right", "detail": "by its rim"}
        for one in (step, other)
    ]
    spans = [
        step | {"start_frame": 0, "end_frame": middle},
        other | {"start_frame": middle, "end_frame": length},
    ]
    fact = {
        "dimension": "target_object",
        "slot": "color",
        "object": "cup",
        "actor": "right",
        "value": "red",
        "number": None,
        "unit": None,
        "text": "The cup is red.",
        "anchor": "episode",
        "confidence": 0.9,
    }
    facts = [
        fact,
        fact
        | {
            "dimension": "action_sequence",
            "slot": "primitive_action",
            "value": "pick up",
            "text": "The arm picks up the cup.",
            "anchor": "step_1",
        },
        fact
        | {
            "dimension": "initial_configuration",
            "slot": "initial_relation",
            "value": "left of the plate",
            "text": "At first the cup is left of the plate.",
            "anchor": "episode_start",
        },
    ]
    refined = [step | {"text": f"Does thing {k} exactly."} for k in range(source_steps)]
    return {
        "facts/sequence": json.dumps({"action_sequence": sequence, "main_object": "the cup"}),
        "facts/steps": json.dumps({"steps": spans}),
        "facts/refine": json.dumps({"steps": refined}),
        "facts/atoms": json.dumps({"facts": facts}),
        "trace": (
            "<Observation> A cup stands on the table.\n<Situation Analysis> Nothing is held yet.\n"
            "<Spatial Reasoning> The cup is left of the gripper.\n<Task Planning> Fetch it.\n"
            "<logical_steps> <1> reach <2> grasp <sub_action> move left"
        ),
    }


def run_side(tree: Path, out: Path, inputs: Path) -> None:
    """In a process of its own: everything of one tree."""
    import finedata

    found = Path(finedata.__file__).resolve()
    if not found.is_relative_to(tree.resolve()):
        sys.exit(f"golden: finedata came from {found}, not from {tree}")
    Side(out, json.loads(inputs.read_text())).everything()


# --- the tool


def extract(commit: str, folder: Path) -> str:
    """The tree of a commit below a folder; `.` is the working tree as it is. Gives its name."""
    if commit == ".":
        folder.symlink_to(HERE.parent)
        return "the working tree"
    git = ["git", "-C", str(HERE.parent)]
    words = [*git, "rev-parse", "--short", f"{commit}^{{commit}}"]
    name = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    archive = subprocess.run([*git, "archive", name], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return name


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", metavar="OLD", help="a commit")
    parser.add_argument("new", metavar="NEW", help="a commit, or . for the working tree")
    parser.add_argument("--announced", type=Path, default=ANNOUNCED, help="known differences")
    parser.add_argument("--keep", type=Path, help="leave inputs and outputs in this new folder")
    asked = parser.parse_args()
    announced = read_announced(asked.announced)
    with tempfile.TemporaryDirectory(prefix="golden-") as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "inputs").mkdir()
        inputs = [vars(one) for one in write_inputs(folder / "inputs")]
        (folder / "inputs.json").write_text(json.dumps(inputs))
        names: list[str] = []
        for side, commit in (("old", asked.old), ("new", asked.new)):
            begun = time.monotonic()
            tree = folder / f"tree-{side}"
            names.append(extract(commit, tree))
            words = [sys.executable, __file__, "--side", str(tree), str(folder / side)]
            environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
            words.append(str(folder / "inputs.json"))
            if subprocess.run(words, env=environment, cwd=folder, check=False).returncode:
                return 2
            seconds = time.monotonic() - begun
            print(f"{side.upper()} is {names[-1]}: {seconds:.0f} s", file=sys.stderr)
        equal, used, others = compare(folder / "old", folder / "new", announced)
    print(f"{names[0]} and {names[1]}: {equal} files are equal")
    for k, entry in enumerate(announced):
        print(f"announced: {used[k]} files of {', '.join(entry.files)}: {entry.reason}")
    for line in others[:SHOWN]:
        print(f"DIFFERS {line}")
    if len(others) > SHOWN:
        print(f"... and {len(others) - SHOWN} more")
    print(f"{sum(used.values())} announced, {len(others)} not announced")
    return 1 if others else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        run_side(*(Path(word) for word in sys.argv[2:5]))
    else:
        sys.exit(main())
