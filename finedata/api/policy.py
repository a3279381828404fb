"""A trained policy: asked here, or served to robots and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finedata.errors import UsageError, need

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from finedata.report.replay import ReplayError
    from finedata.serve.client import Action
    from finedata.serve.desk import Desk
    from finedata.serve.form import GripperForm, RotationForm
    from finedata.serve.server import Listening
    from finedata.store.dataset import Dataset
    from finedata.train.predict import Predictor

__all__ = ["Policy", "policy"]


def policy(run: str | Path, *, device: str = "") -> Policy:
    """The policy of a run's newest checkpoint, or of a checkpoint; averaged where it has averages.

    Args:
        run: The run or checkpoint.
        device: `cpu`, `cuda` or one of several; the GPU by default where there is one.

    Raises:
        MissingExtraError: Without the extra `train`.
        UsageError: There is no checkpoint.
        ConformError: It is damaged, or without statistics.

    Example:
        >>> policy("runs/a").predict({"front": picture, "prompt": "lift the cup"})  # doctest: +SKIP
    """
    need("torch", "transformers", "safetensors", extra="train", place="a policy")
    from finedata.train.predict import Predictor

    return Policy(Predictor.load(run, device=device))


@dataclass(frozen=True, eq=False)
class Policy:
    """A policy; see `policy`, which loads one.

    Attributes:
        predictor: The weights, the encoder and the codecs.
    """

    predictor: Predictor

    def predict(self, observation: Mapping[str, Any], *, reasoning: bool = False) -> Action:
        """What to do now, in the dataset's own convention; without a server.

        Args:
            observation: As `Connection.act` takes it.
            reasoning: And why, of a policy that speaks.

        Raises:
            UsageError: It is not shown or told what it needs.
        """
        from finedata.serve.client import Action
        from finedata.serve.session import Session

        desk = self.desk()
        request = desk.read({**observation, "reasoning": reasoning})
        found = desk.ask([Session(desk.use)], [request])
        return Action(
            actions=found.actions[0],
            names=found.names,
            reasoning=next(iter(found.reasoning), None),
            timing={"model_ms": 1000 * found.model_s},
        )

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        api_key: str = "",
        on_ready: Callable[[Listening], None] | None = None,
        **how: Any,
    ) -> None:
        """Serve until interrupted.

        Args:
            host: Where to listen. Beyond the loopback a key is required.
            port: Its port; 0 takes a free one.
            api_key: What every client must show.
            on_ready: Called once it listens.
            how: `execute`, `ensemble`, `rotation`, `gripper`, `key`, `reasoning`; see `serving`.

        Raises:
            MissingExtraError: Without the extra `serve`.
            UsageError: Nothing can listen there, or an argument does not fit the policy.
        """
        from finedata.serve.server import serve

        serve(self.desk(**how), host=host, port=port, api_key=api_key, on_ready=on_ready)

    def serving(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = "",
        execute: int | None = None,
        ensemble: bool = False,
        rotation: RotationForm = "quaternion_xyzw",
        gripper: GripperForm = "open",
        key: Mapping[str, str] | None = None,
        reasoning: bool = False,
    ) -> AbstractContextManager[Listening]:
        """A server in a thread of its own, for as long as the context lasts.

        Args:
            host: Where to listen. Beyond the loopback a key is required.
            port: Its port; 0 takes a free one.
            api_key: What every client must show.
            execute: Steps of a chunk that are taken before the policy is asked again; all.
            ensemble: Ask at every step, and average what all chunks say about it.
            rotation: How clients write rotations.
            gripper: Which way their grippers count.
            key: A client's name for something to the policy's; `-` leaves it out.
            reasoning: Say why with every answer.

        Raises:
            MissingExtraError: Without the extra `serve`.
            UsageError: An argument does not fit the policy.

        Example:
            >>> with policy("runs/a").serving() as listening:  # doctest: +SKIP
            ...     print(listening.address)
        """
        from finedata.serve.server import serving

        desk = self.desk(
            execute=execute,
            ensemble=ensemble,
            rotation=rotation,
            gripper=gripper,
            key=key,
            reasoning=reasoning,
        )
        return serving(desk, host=host, port=port, api_key=api_key)

    def replay(
        self,
        dataset: Dataset | str | Path,
        *,
        out: str | Path | None = None,
        shards: str | Path | None = None,
        episodes: int = 4,
        **how: Any,
    ) -> list[ReplayError]:
        """Show recorded episodes to the served policy, and hold its answers against what was done.

        Args:
            dataset: The dataset.
            out: An HTML file with plots of predicted against recorded; replaced.
            shards: What the policy was trained on: only their held-out episodes are shown, and
                their roles say which camera is which.
            episodes: How many.
            how: As for `serving`, but `key`.

        Returns:
            Mean errors by number, beside those of holding still.

        Raises:
            UsageError: No episode is of a robot that the policy knows, nothing was held out, or the
                policy must be shown depth, and no shards say which camera has it.
        """
        from itertools import islice
        from pathlib import Path

        from finedata.api.opening import open
        from finedata.report.replay import replay_errors, write_replay_report
        from finedata.serve.replay import replay
        from finedata.serve.server import serving
        from finedata.train.recorded import recorded_episodes

        desk, predictor = self.desk(**how), self.predictor
        if predictor.needs_depth and shards is None:
            raise UsageError(
                parameter="shards",
                found="none, for a policy that must be shown depth",
                wanted="the shards it was trained on, whose roles say which camera has it",
            )
        opened = open(dataset) if isinstance(dataset, str | Path) else dataset
        recorded = recorded_episodes(
            opened,
            predictor.robots,
            predictor.cameras,
            shards=None if shards is None else Path(shards),
        )
        with serving(desk) as listening:
            told = list(replay(desk, listening.address, islice(recorded, episodes)))
        if not told:
            raise UsageError(
                parameter="replay",
                place=f"replay {opened.root}",
                found="no episode with words of a robot that the policy knows"
                + ("" if shards is None else ", held out"),
                wanted=f"episodes of {', '.join(predictor.robots)}",
            )
        if out is not None:
            saved = predictor.saved
            title = f"{saved.recipe.name}, step {saved.step:,}: predicted and recorded"
            write_replay_report(told, Path(out), title=title, held_out=shards is not None)
        return replay_errors(told)

    def describe(self, **how: Any) -> dict[str, Any]:
        """What a client would be told first, and what each robot must be shown.

        Args:
            how: As for `serving`.

        Raises:
            UsageError: An argument does not fit the policy.
        """
        return self.desk(**how).metadata()

    def desk(
        self,
        *,
        execute: int | None = None,
        ensemble: bool = False,
        rotation: RotationForm = "quaternion_xyzw",
        gripper: GripperForm = "open",
        key: Mapping[str, str] | None = None,
        reasoning: bool = False,
    ) -> Desk:
        """What a server asks, without one.

        Args:
            execute: As for `serving`, as all that follows.
            ensemble: See there.
            rotation: See there.
            gripper: See there.
            key: See there.
            reasoning: See there.

        Raises:
            UsageError: An argument does not fit the policy.
        """
        from finedata.serve.desk import Desk
        from finedata.serve.form import Form
        from finedata.serve.session import Use

        return Desk(
            predictor=self.predictor,
            use=Use.of(self.predictor.horizon, execute=execute, ensemble=ensemble),
            form=Form(rotation=rotation, gripper=gripper),
            renamed=key or {},
            reasoning=reasoning,
        )
