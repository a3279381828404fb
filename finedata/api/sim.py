"""The closed loop in a simulator: recording demonstrations, and judging policies by the physics."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from finedata.api.sim_policy import Asked
    from finedata.engine.progress import OnProgress
    from finedata.sim.acting import Mind
    from finedata.sim.cells import CellDifference
    from finedata.sim.compare import Difference, Rate
    from finedata.sim.evaluate import Result, Run
    from finedata.sim.film import Film
    from finedata.sim.record import RecordSummary
    from finedata.sim.world import World

__all__ = [
    "sim_compare",
    "sim_estimate",
    "sim_evaluate",
    "sim_film",
    "sim_rates",
    "sim_record",
    "sim_report",
    "sim_result",
]

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
    from finedata.sim.acting import SCRIPTED, Scripted
    from finedata.sim.camera import Cameras, find_renderer
    from finedata.sim.evaluate import EvaluateSettings, evaluate

    wanted = EvaluateSettings(**settings)
    with ExitStack() as stack:
        mind: Mind
        run: Run | None = None
        eyes: Callable[[World], Cameras] | None = None
        if str(policy) in SCRIPTED:
            mind, known = Scripted(str(policy)), str(policy)
        else:
            asked = stack.enter_context(_asked(policy, api_key=api_key, device=device))
            mind, known, run = asked, asked.name, asked.run
            if asked.cameras:
                eyes = partial(Cameras, size=asked.pictures, renderer=find_renderer())
        return evaluate(
            mind,
            out,
            policy=name or known,
            settings=wanted,
            run=run,
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


def sim_film(
    policy: str | Path,
    *,
    out: str | Path,
    wishes: Sequence[str] = (),
    prompts: Sequence[str] = (),
    name: str = "",
    api_key: str = "",
    device: str = "",
    **settings: Any,
) -> Film:
    """Film one scene under several instructions: what the words change, and nothing else.

    Args:
        policy: As for `sim_evaluate`.
        out: A new folder: `film.json`, an mp4 file an instruction, and some of its pictures.
        wishes: Each `colour,arm,approach,rotation,half of the tray`, said in a held-out phrasing;
            three of the scene's own where neither wishes nor prompts are given.
        prompts: Words of your own; what was done is told, and not scored.
        name: What the film calls the policy.
        api_key: What the server wants to be shown.
        device: Of a run.
        settings: `scene`, `camera` (`front`, `top`), `pictures` (pixels), `strip` (pictures that
            are kept), `video` and `execute`; see `finedata.sim.film.FilmSettings`.

    Raises:
        MissingExtraError: Without the extra `sim`, `video` for mp4 files, or what the policy needs.
        FinedataError: Another MuJoCo, no renderer, or the server is gone.
        UsageError: No such policy, a wish that is none, a setting out of its range, or something in
            `out`.

    Example:
        >>> sim_film("expert", out="film")  # doctest: +SKIP
    """
    from finedata.sim.acting import SCRIPTED, Scripted
    from finedata.sim.camera import Cameras, find_renderer
    from finedata.sim.film import FilmSettings, Instruction, instructions_of, make_film, wish_of
    from finedata.sim.scene import scene_of

    wanted = FilmSettings(**settings)
    scene = scene_of(wanted.scene)
    asked = [Instruction(prompt=text) for text in prompts]
    if wishes or not prompts:
        asked += instructions_of(scene, [wish_of(one, scene) for one in wishes])
    renderer = find_renderer()

    def draw(world: World, size: int) -> Cameras:
        return Cameras(world, size=size, renderer=renderer)

    with ExitStack() as stack:
        mind: Mind
        run: Run | None = None
        eyes: Callable[[World], Cameras] | None = None
        if str(policy) in SCRIPTED:
            mind, known = Scripted(str(policy)), str(policy)
        else:
            served = stack.enter_context(_asked(policy, api_key=api_key, device=device))
            mind, known, run = served, served.name, served.run
            if served.cameras:
                eyes = partial(draw, size=served.pictures)
        return make_film(
            mind, out, policy=name or known, asked=asked, draw=draw, settings=wanted, run=run,
            eyes=eyes,
        )  # fmt: skip


def sim_report(
    results: Sequence[Result | str | Path],
    *,
    out: str | Path,
    films: Sequence[str | Path] = (),
    seed: int = 0,
) -> list[CellDifference]:
    """Write results as one HTML page: rates, curves over mixtures, differences, films.

    Args:
        results: Of the same scenes; runs that differ in their seed alone are one cell.
        out: The file; replaced.
        films: Folders of `sim_film`.
        seed: Of the bootstrap over scenes and seeds.

    Returns:
        Of each question every further cell against its first one.

    Raises:
        ConformError: A file is no result, or a folder no films.
        UsageError: Results are of other scenes, or one is named twice.
        OutputError: It cannot be written.
    """
    from pathlib import Path

    from finedata.report.closed_loop import write_closed_loop_report
    from finedata.sim.evaluate import read_result

    read = [read_result(one) if isinstance(one, str | Path) else one for one in results]
    return write_closed_loop_report(read, Path(out), films=[Path(one) for one in films], seed=seed)


@contextmanager
def _asked(policy: str | Path, *, api_key: str, device: str) -> Generator[Asked]:
    """A run in this process, or a served policy, for as long as the context lasts."""
    from pathlib import Path

    from finedata.api.sim_policy import Asked, Here
    from finedata.sim.acting import SCRIPTED

    place = str(policy)
    if place.startswith(_ADDRESS):
        from finedata.serve.client import connect

        asked = Asked(place, partial(connect, place, api_key=api_key))
    else:
        if not Path(policy).exists():
            raise UsageError(
                place=place,
                found="no such run",
                wanted=f"a run, ws://HOST:PORT, or one of {', '.join(SCRIPTED)}",
                next_command="finedata sim evaluate expert --out RESULT",
            )
        from finedata.api.policy import policy as load

        desk = load(policy, device=device).desk()
        asked = Asked(place, partial(Here, desk, desk.metadata()))
    try:
        yield asked
    finally:
        asked.close()
