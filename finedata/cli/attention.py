"""`finedata attention`: what a policy looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finedata.cli.frame import AsJson, emit
from finedata.errors import UsageError

HELP = """Draw what a policy looks at in an episode: heat maps over pictures, and shares in boxes.

Weights of the language model's attention, over all heads and the layers that have attention
matrices, as largest, mean, and mean of the --top largest; of the tokens that foretell actions, or
of words of the instruction. With --against, another run's beside it on one scale.

Example: finedata attention runs/a bridge --episode bridge_v2-0e404e523b5e87b3 --out maps.html

Example: finedata attention runs/a bridge --episode ID --frame 12 --query actions --query drawer \
--against runs/a/checkpoints/000100 --box handle=image_0:0.4,0.5,0.6,0.7 --out maps.html
"""


def attention(
    *,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or checkpoint.")],
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.")],
    episode: Annotated[str, typer.Option(help="Its episode_id.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("maps.html"),
    frame: Annotated[int, typer.Option(min=0, help="Of the episode.")] = 0,
    against: Annotated[
        Path | None, typer.Option(help="Another run or checkpoint.", show_default=False)
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(help="actions, or a word of the text; may be given again. [actions]"),
    ] = None,
    text: Annotated[str, typer.Option(help="What it is told. [the instruction]")] = "",
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=ROLE:X0,Y0,X1,Y1", help="In shares; may be given again."),
    ] = None,
    camera: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=NAME", help="Where the names differ.")
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option(
            help="What it was trained on: which camera is which, and which has depth.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="The map `top` is the mean of so many.")] = 5,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import attention as draw

    cameras: dict[str, str] = {}
    for one in camera or []:
        role, equals, name = one.partition("=")
        if not equals:
            raise UsageError(parameter="camera", found=one, wanted="ROLE=NAME")
        cameras[role] = name
    found = draw(
        run,
        dataset,
        episode=episode,
        out=out,
        frame=frame,
        against=against,
        text=text,
        queries=tuple(query or ("actions",)),
        boxes=tuple(box or ()),
        cameras=cameras,
        shards=shards,
        k=top,
        device=device,
    )
    lines = [found.out]
    for name, shares in found.on_pictures.items():
        for asked, share in shares.items():
            inside = found.inside[name][asked].items()
            told = "".join(f", {where} {part:.1%}" for where, part in inside)
            lines.append(f"  {name}, {asked}: {share:.1%} of attention on pictures{told}")
    emit(found, lines, as_json=as_json)
