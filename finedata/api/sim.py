"""The closed loop in a simulator: recording demonstrations, and judging policies by the physics."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from finedata.engine.progress import OnProgress
    from finedata.serve.client import Connection
    from finedata.sim.compare import Difference, Rate
    from finedata.sim.evaluate import Mind, Result
    from finedata.sim.record import RecordSummary
    from finedata.sim.world import World

__all__ = ["sim_compare", "sim_estimate", "sim_evaluate", "sim_rates", "sim_record", "sim_result"]

_ADDRESS = ("ws://", "wss://")


def sim_record(
    out: str | Path, *, workers: int = 1, on_progress: OnProgress = None, **settings: Any
) -> RecordSummary:
    """Record simulated demonstrations as a canonical dataset; `open(out)` is it.

    Args:
        out: The dataset; the recording it is made of lies in `OUT.source`.
        workers: Processes; they change no byte.
        on_progress: Told after every few demonstrations.
        settings: `episodes`, `first` (number of the first scene), `noise`, `pictures` (pixels; 0
            for none) and `fine` (share with fine-grained text).

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another MuJoCo, or no renderer where pictures are wanted.
        UsageError: A setting out of its range, or a folder of another recording.
        OutputError: It cannot be written; the same call continues later.

    Example:
        >>> sim_record("steer", episodes=200, pictures=0)  # doctest: +SKIP
    """
    from finedata.sim.record import RecordSettings, record

    return record(
        out, settings=RecordSettings(**settings), workers=workers, on_progress=on_progress
    )


def sim_estimate(**settings: Any) -> dict[str, Any]:
    """What a recording would take: frames, CPU seconds, bytes of pictures, and what draws them.

    Args:
        settings: As for `sim_record`.

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another MuJoCo, or no renderer where pictures are wanted.
        UsageError: A setting out of its range.
    """
    from finedata.sim.record import RecordSettings, estimate_recording

    return estimate_recording(RecordSettings(**settings))


def sim_evaluate(
    policy: str | Path,
    *,
    out: str | Path,
    name: str = "",
    api_key: str = "",
    device: str = "",
    on_progress: OnProgress = None,
    **settings: Any,
) -> Result:
    """Put a policy before scenes that nobody recorded; the physics says what it did.

    Args:
        policy: A run or checkpoint, the address of a served policy (`ws://`), or `expert`, `usual`
            or `random`.
        out: The result, JSON Lines. The same call goes on with one that was stopped.
        name: What the result calls the policy; its recipe and step, or its word, by default.
        api_key: What the server wants to be shown.
        device: Of a run.
        on_progress: Told after each episode.
        settings: `scenes`, `first`, `prompts` (`raw`, `fine`), `wording` (`seen`, `held_out`),
            `goals` (`fine`, `raw_only`, `all`), `execute` and `seed`; see
            `finedata.sim.evaluate.EvaluateSettings`.

    Raises:
        MissingExtraError: Without the extra `sim`, or what the policy needs.
        FinedataError: Another MuJoCo; the server is gone or refuses.
        UsageError: No such policy, a setting out of its range, a policy of another robot, or an
            `out` of another evaluation.

    Example:
        >>> sim_evaluate("expert", out="expert.jsonl", scenes=16)  # doctest: +SKIP
    """
    from pathlib import Path

    from finedata.sim.camera import Cameras, find_renderer
    from finedata.sim.evaluate import SCRIPTED, EvaluateSettings, Scripted, evaluate

    wanted = EvaluateSettings(**settings)
    with ExitStack() as stack:
        mind: Mind
        eyes: Callable[[World], Cameras] | None = None
        if str(policy) in SCRIPTED:
            mind, known = Scripted(str(policy)), str(policy)
        else:
            address = str(policy)
            if not address.startswith(_ADDRESS):
                if not Path(policy).exists():
                    raise UsageError(
                        place=str(policy),
                        found="no such run",
                        wanted=f"a run, ws://HOST:PORT, or one of {', '.join(SCRIPTED)}",
                        next_command="finedata sim evaluate expert --out RESULT",
                    )
                from finedata.api.policy import policy as load

                address = stack.enter_context(load(policy, device=device).serving()).address
            served = _Served(address, api_key=api_key)
            stack.callback(served.close)
            mind, known = served, served.name
            if served.cameras:
                renderer, size = find_renderer(), served.pictures
                eyes = partial(Cameras, size=size, renderer=renderer)
        return evaluate(
            mind,
            out,
            policy=name or known,
            settings=wanted,
            camera=eyes,
            on_progress=on_progress,
        )


def sim_result(path: str | Path) -> Result:
    """A whole result.

    Raises:
        ConformError: It is none, or lacks episodes.
    """
    from finedata.sim.evaluate import read_result

    return read_result(path)


def sim_compare(results: Sequence[Result], *, seed: int = 0) -> list[Difference]:
    """Differences of every further result against the first, scene by scene.

    Args:
        results: Of the same scenes and wishes.
        seed: Of the bootstrap over scenes.

    Raises:
        UsageError: They are of other scenes.
    """
    from finedata.sim.compare import differences

    return differences(results, seed=seed)


def sim_rates(result: Result) -> list[Rate]:
    """How often goal, each factor and all of it came true, with Wilson's intervals."""
    from finedata.sim.compare import rates

    return rates(result)


class _Served:
    """A served policy, asked through its client.

    Each episode has a connection of its own, so that the policy's noise starts anew with it.

    Attributes:
        name: Its recipe and step.
        cameras: What it must be shown.
        pictures: Pixels of them.
    """

    def __init__(self, address: str, *, api_key: str) -> None:
        self._address, self._api_key = address, api_key
        self._connection = self._connect()
        told = self._connection.metadata.get("finedata", {})
        self.name = f"{told.get('recipe', 'policy')}, step {told.get('step', '?')}"
        self.cameras: tuple[str, ...] = tuple(told.get("cameras", ()))
        self.pictures = int(self._connection.metadata.get("training_obs_image_size", [128])[0])
        robots: Mapping[str, Any] = told.get("embodiments", {})
        self._robot = next(
            (one for one in robots if one.endswith("gantry")), next(iter(robots), "")
        )
        self._states: dict[str, list[str]] = robots.get(self._robot, {}).get("states", {})
        self._needed: list[str] = robots.get(self._robot, {}).get("needed_states", [])

    def begin(self, scene: Any, wish: Any) -> None:
        """Begin a connection; the policy is told neither scene nor wish."""
        del scene, wish
        self._connection.close()
        self._connection = self._connect()

    def act(self, view: Any, scene: Any, prompt: str, pictures: Any) -> np.ndarray:
        """Ask; see `finedata.sim.evaluate.Mind`."""
        from finedata.sim.evaluate import ACTION_NAMES, observed

        numbers = observed(view, scene)
        shown: dict[str, Any] = {"prompt": prompt}
        if self._robot:
            shown["embodiment"] = self._robot
        for role in self._needed:
            missing = [one for one in self._states[role] if one not in numbers]
            if missing:
                raise self._stranger(found=f"a policy that must be told {', '.join(missing[:3])}")
            shown[f"state/{role}"] = np.array(
                [numbers[one] for one in self._states[role]], np.float32
            )
        if self.cameras:
            drawn = pictures()
            unknown = [one for one in self.cameras if one not in drawn]
            if unknown:
                raise self._stranger(found=f"a policy that must be shown {', '.join(unknown)}")
            shown |= {one: drawn[one] for one in self.cameras}
        said = self._connection.act(shown)
        if sorted(said.names) != sorted(ACTION_NAMES):
            raise self._stranger(found=f"answers named {', '.join(said.names[:4]) or 'nothing'}")
        order = [said.names.index(one) for one in ACTION_NAMES]
        return np.asarray(said.actions, np.float64)[:, order]

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _connect(self) -> Connection:
        from finedata.serve.client import connect

        return connect(self._address, api_key=self._api_key)

    def _stranger(self, *, found: str) -> UsageError:
        return UsageError(
            place=self._address,
            found=found,
            wanted="a policy that was trained on what finedata sim record wrote",
        )
