"""`finedata serve`: a trained policy behind a socket."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from finedata.cli.frame import AsJson, emit, interruptible
from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.serve.server import Listening

HELP = """Serve a trained policy to robots and benchmarks, over a WebSocket.

One port speaks openpi's and StarVLA's dialects; the path /vla-eval that of vla-evaluation-harness.
Answers are absolute actions by name, in the dataset's convention or in the one you name. It listens
to this machine only, unless --host says otherwise, and then --api-key is required.

Example: finedata serve runs/a --port 8000

Example: finedata serve runs/a --replay bridge --shards shards --out replay.html

Example: finedata serve runs/a --key observation/image=front --rotation rotation_vector --dry-run
"""


def serve(
    *,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run, or a checkpoint.", show_default=False)
    ],
    host: Annotated[
        str, typer.Option(help="Where to listen. Beyond the loopback a key is required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key: Annotated[
        str,
        typer.Option(envvar="FINEDATA_API_KEY", help="What clients must show.", show_default=False),
    ] = "",
    execute: Annotated[
        int | None,
        typer.Option(help="Steps of a chunk before the policy is asked again; all by default."),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Ask at every step; average what chunks say of it.")
    ] = False,
    rotation: Annotated[
        Literal[
            "quaternion_xyzw",
            "quaternion_wxyz",
            "rotation_vector",
            "euler_xyz_extrinsic",
            "rotation_6d",
        ],
        typer.Option(help="How clients write rotations."),
    ] = "quaternion_xyzw",
    gripper: Annotated[
        Literal["open", "closed", "open_signed", "closed_signed"],
        typer.Option(help="What 1 is; signed: -1 is its opposite."),
    ] = "open",
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ROLE",
            help="What a client's name means: a role, state, prompt, depth/ROLE, or - to leave it "
            "out.",
        ),
    ] = None,
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="Say why with every answer.")
    ] = False,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="DATASET", help="Show it recorded episodes instead.", show_default=False
        ),
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option(help="With --replay: held-out episodes of these.", show_default=False),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="With --replay: how many.")] = 4,
    out: Annotated[Path, typer.Option(help="With --replay: the HTML file.")] = Path("replay.html"),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.", show_default=False)] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what clients must send and get; listen nowhere.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api.policy import policy

    how: dict[str, Any] = {
        "execute": execute,
        "ensemble": ensemble,
        "rotation": rotation,
        "gripper": gripper,
        "key": _pairs(key or []),
        "reasoning": reasoning,
    }
    found = policy(run, device=device)
    told = found.describe(**how)
    if dry_run:
        emit(told, _lines(told), as_json=as_json)
        return
    if replay is not None:
        if how.pop("key"):
            raise UsageError(
                parameter="key", found="names of a client", wanted="none with --replay"
            )
        errors = found.replay(replay, out=out, shards=shards, episodes=episodes, **how)
        shown = [f"  {e.name}: {e.predicted:.4g}{_still(e.still)}" for e in errors]
        lines = ["mean error, predicted against recorded", *shown, str(out)]
        emit({"out": str(out), "errors": errors}, lines, as_json=as_json)
        return

    def ready(listening: Listening) -> None:
        lines = [*_lines(told), f"{listening.address}   (Ctrl-C ends it)"]
        emit({"listening": listening, "metadata": told}, lines, as_json=as_json)

    signal.signal(signal.SIGTERM, _as_ctrl_c)
    with interruptible("stopped"):
        found.serve(host=host, port=port, api_key=api_key, on_ready=ready, **how)


def _as_ctrl_c(signum: int, frame: object) -> None:
    """At Ctrl-C the loop ends its tasks; an exception would meet whichever of them runs."""
    del signum, frame
    signal.raise_signal(signal.SIGINT)


def _still(error: float | None) -> str:
    return "" if error is None else f" (holding still {error:.4g})"


def _pairs(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, equals, role = one.partition("=")
        if not (name and equals and role):
            raise UsageError(place=f"--key {one}", found="no pair", wanted="NAME=ROLE")
        found[name] = role
    return found


def _lines(told: dict[str, Any]) -> list[str]:
    one = told["finedata"]
    lines = [
        f"{one['recipe']}, step {one['step']:,}: pictures {', '.join(one['cameras'])}; "
        f"{told['action_chunk_size']} of {one['horizon']} steps an answer"
    ]
    for name, robot in one["embodiments"].items():
        lines.append(f"  {name} is told {', '.join(robot['actions'])}")
        lines += [
            f"    and must show {role}: {', '.join(robot['states'][role])}"
            for role in robot["needed_states"]
        ]
    if one["needed_depth"]:
        deep = ", ".join(f"depth/{camera}" for camera in one["needed_depth"])
        lines.append(
            f"  and must show {deep}, in metres, and matrix/ROLE: without one SpatialVLA's default "
            "is taken"
        )
    return lines
