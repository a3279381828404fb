"""The closed loop: a policy acts in scenes that nobody recorded, and the physics says what it did.

Runs are paired: scenes, wishes, phrasings and the policy's own noise depend on the scene's number
and the settings alone, so two results of the same scenes differ by their policies. The scenes'
digest stands in each result, and results of other scenes are not compared. A policy whose answer is
no number has failed that episode, which is counted by itself; a server that is gone ends the run,
and the same command goes on with the episode that it was asked about.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from finedata.engine.progress import Progress
from finedata.errors import ConformError, UsageError
from finedata.sim.acting import act_out
from finedata.sim.factors import Goals, balanced_wishes
from finedata.sim.outcome import Outcome, scored
from finedata.sim.scene import scene_of
from finedata.sim.wording import goal, say
from finedata.sim.world import MUJOCO, World, check_mujoco
from finedata.store.atomic import output_errors, sync_folder
from finedata.store.lock import take_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from finedata.engine.progress import OnProgress
    from finedata.sim.acting import Mind
    from finedata.sim.factors import Wish
    from finedata.sim.scene import Scene

__all__ = [
    "FIRST_SCENE",
    "EvaluateSettings",
    "Judged",
    "Result",
    "Run",
    "evaluate",
    "read_result",
    "scenes_digest",
]

FIRST_SCENE = 1_000_000
"""Scenes from here on are never recorded by default."""


class EvaluateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy is put before.

    Attributes:
        scenes: How many.
        first: Number of the first one.
        prompts: `raw` names the goal only, `fine` the manner too.
        wording: Phrasings that describe demonstrations (`seen`), or the `held_out` ones.
        goals: Those that `fine` texts speak of, those that `raw_only` data has, or `all`.
        execute: Steps of an answer that are taken before the policy is asked again.
        seed: Of wishes and phrasings.
    """

    scenes: int = 192
    first: int = FIRST_SCENE
    prompts: Literal["raw", "fine"] = "fine"
    wording: Literal["seen", "held_out"] = "held_out"
    goals: Goals = "fine"
    execute: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no evaluation.

        Raises:
            UsageError: A number below its least; fine prompts of goals that they do not speak of.
        """
        for name, least in (("scenes", 1), ("first", 0), ("execute", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(
                    parameter=name, found=f"{getattr(self, name)}", wanted=f"at least {least}"
                )
        if self.prompts == "fine" and self.goals != "fine":
            raise UsageError(
                parameter="goals",
                found=f"{self.goals!r} with fine prompts",
                wanted="'fine': no fine-grained text speaks of the mat or of a yellow block",
                next_command="finedata sim evaluate POLICY --prompts raw --goals raw_only",
            )


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """An episode: what was wished, said, and done.

    Attributes:
        scene: Number of the scene.
        wish: What was wished.
        prompt: What was said.
        outcome: What the physics says.
        scored: `goal`, each factor, `all`; no `side` where the mat was wished.
        frames: How many actions were executed.
        fault: `not_finite` where the policy's answer was no number; else empty.
        out_of_reach: How many of the actions were cut off, being where no arm gets.
    """

    scene: int
    wish: dict[str, str | None]
    prompt: str
    outcome: Outcome
    scored: dict[str, bool]
    frames: int
    fault: str = ""
    out_of_reach: int = 0


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was trained: what tells the runs of a study apart, and what they share.

    Attributes:
        recipe: Name of the recipe.
        family: Its digest without mixture, seed and length.
        mix: Views and weights.
        seed: Of order, wording, initial weights and noise.
        step: Optimiser steps done.
        batch: Samples of each.
        drawn: View -> samples that were learnt from.
        shards: Digest of what they were drawn from.
        changed: What else was set for the run otherwise than the recipe has it, as texts; empty
            too of a policy that does not tell it.
    """

    recipe: str
    family: str
    mix: str
    seed: int
    step: int
    batch: int
    drawn: dict[str, int]
    shards: str
    changed: dict[str, str] = {}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A whole evaluation, as its file holds it.

    Attributes:
        policy: Its name.
        settings: What it was put before.
        scenes_sha256: Of scenes and wishes: what must be equal for a comparison.
        mujoco: Its version.
        episodes: In the order of the scenes.
        run: What was trained; None of a scripted policy, or of a server that does not tell.
    """

    policy: str
    settings: EvaluateSettings
    scenes_sha256: str
    mujoco: str
    episodes: list[Judged]
    run: Run | None = None


def evaluate(
    mind: Mind,
    out: str | Path,
    *,
    policy: str,
    settings: EvaluateSettings | None = None,
    run: Run | None = None,
    camera: Callable[[World], Any] | None = None,
    on_progress: OnProgress = None,
) -> Result:
    """Put a policy before scenes, and write what the physics says; the same call goes on.

    Args:
        mind: What acts.
        out: The result, JSON Lines; `OUT.partial` until it is whole.
        policy: Its name, in the result.
        settings: What it is put before.
        run: What was trained.
        camera: Makes what draws a world, where the policy wants pictures.
        on_progress: Told after each episode.

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another MuJoCo, or the policy's server is gone.
        UsageError: `out` is of another policy or of other settings, or another process writes it;
            the policy's answers are of another shape than `ACTION_NAMES` wants, or empty.
        OutputError: It cannot be written.
    """
    check_mujoco()
    wanted = settings or EvaluateSettings()
    scenes = [scene_of(wanted.first + k) for k in range(wanted.scenes)]
    wishes = balanced_wishes(scenes, seed=wanted.seed, goals=wanted.goals)
    head = {
        "policy": policy,
        "settings": msgspec.to_builtins(wanted),
        "scenes_sha256": scenes_digest(scenes, wishes),
        "mujoco": MUJOCO,
        "run": msgspec.to_builtins(run),
    }
    path = Path(out)
    partial = path.with_name(path.name + ".partial")
    with _alone(path):
        if path.exists():
            _same(path, _lines(path), head)
            return read_result(path)
        done = _begun(partial, head)
        world = World(scenes[0])
        eyes = None if camera is None else camera(world)
        with output_errors(partial), partial.open("ab") as file:
            for k in range(done, len(scenes)):
                judged = _episode(mind, scenes[k], wishes[k], wanted, world=world, eyes=eyes)
                file.write(msgspec.json.encode(judged) + b"\n")
                file.flush()
                os.fsync(file.fileno())
                if on_progress is not None:
                    on_progress(Progress("acting", k + 1, len(scenes)))
        with output_errors(path):
            partial.replace(path)
            sync_folder(path.parent)
    return read_result(path)


def read_result(path: str | Path) -> Result:
    """Read a whole result.

    Raises:
        ConformError: It is none, or lacks episodes.
    """
    head, *rest = _lines(Path(path)) or [b""]
    try:
        found: dict[str, Any] = msgspec.json.decode(head)
        episodes = [msgspec.json.decode(line, type=Judged) for line in rest]
        result = msgspec.convert({**found, "episodes": []}, Result)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ConformError(
            place=str(path),
            found=str(error) if head else "no whole line",
            wanted="a result of finedata sim evaluate",
            next_command="the same finedata sim evaluate with another --out writes it anew",
        ) from error
    settings = result.settings
    numbers = [one.scene for one in episodes]
    if numbers != list(range(settings.first, settings.first + len(episodes))):
        raise ConformError(
            place=str(path),
            found="episodes of other scenes, or in another order",
            wanted=f"scenes from {settings.first} on, each once",
            next_command="finedata sim evaluate with another --out",
        )
    if len(episodes) != settings.scenes:
        raise ConformError(
            place=str(path),
            found=f"{len(episodes)} episodes",
            wanted=f"{settings.scenes}",
            next_command="the same finedata sim evaluate again goes on",
        )
    return msgspec.structs.replace(result, episodes=episodes)


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Keep other processes from writing the same result.

    The lock's file is removed while it is held: who opened it before finds the result there.

    Raises:
        UsageError: One is at it.
        OutputError: The lock cannot be made.
    """
    beside = path.with_name(f".{path.name}.lock")
    lock = take_lock(beside, wait=False)
    if lock is None:
        raise UsageError(
            place=str(path),
            found="another process that writes it",
            wanted="one at a time",
            next_command="wait for it, or another --out",
        )
    try:
        yield
    finally:
        beside.unlink(missing_ok=True)
        lock.release()


def _episode(
    mind: Mind, scene: Scene, wish: Wish, settings: EvaluateSettings, *, world: World, eyes: Any
) -> Judged:
    held = settings.wording == "held_out"
    prompt = say(wish, wording=settings.prompts, seed=scene.number + settings.seed, held_out=held)
    if settings.prompts == "raw" and not held:
        prompt = goal(wish)
    acted = act_out(mind, scene, wish, prompt, execute=settings.execute, world=world, eyes=eyes)
    return Judged(
        scene=scene.number,
        wish=msgspec.to_builtins(wish),
        prompt=prompt,
        outcome=acted.outcome,
        scored=scored(acted.outcome, wish),
        frames=acted.frames,
        fault=acted.fault,
        out_of_reach=acted.out_of_reach,
    )


def scenes_digest(scenes: list[Scene], wishes: list[Wish]) -> str:
    """What results must share to be compared."""
    return hashlib.sha256(msgspec.json.encode([scenes, wishes], order="sorted")).hexdigest()


def _begun(partial: Path, head: dict[str, Any]) -> int:
    """How many episodes are there; begins the file, and cuts off a line that was not finished."""
    if not partial.exists():
        with output_errors(partial):
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(msgspec.json.encode(head) + b"\n")
        return 0
    lines = _lines(partial)
    if not lines:
        partial.unlink()
        return _begun(partial, head)
    _same(partial, lines, head)
    with output_errors(partial):
        os.truncate(partial, sum(len(line) + 1 for line in lines))
    return len(lines) - 1


def _lines(path: Path) -> list[bytes]:
    """Whole lines of a file."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise ConformError(
            place=str(path),
            found=f"{error.strerror or error}",
            wanted="the file of a result",
            next_command="finedata sim evaluate expert --out RESULT  # writes one",
        ) from error


def _same(path: Path, lines: list[bytes], head: dict[str, Any]) -> None:
    """Refuse a file of another evaluation.

    Raises:
        UsageError: It is.
    """
    try:
        found: Any = msgspec.json.decode(lines[0]) if lines else {}
    except msgspec.DecodeError:
        found = {}
    if found != head:
        raise UsageError(
            place=str(path),
            found="a result of another policy, other settings or another MuJoCo",
            wanted="a new file, or the same command",
            next_command="another --out",
        )
