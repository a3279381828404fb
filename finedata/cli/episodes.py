"""`finedata episodes`: LeRobot's indices to episode ids, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.api import Dataset
    from finedata.store.index_map import EpisodePlace

HELP = """Show where episodes are: episode_id, LeRobot's part and indices, and files.

Without options all of them. first and last are LeRobot's `index` of the first and last row.

Example: finedata episodes bridge --index 12,13
"""


def episodes(
    *,
    root: Annotated[str, typer.Argument(metavar="DIR", help="A finedata dataset.")],
    where: Annotated[
        str, typer.Option(help='Only episodes for which this SQL holds: "length > 100".')
    ] = "",
    index: Annotated[
        str,
        typer.Option(
            metavar="PART:N,N", help="By LeRobot's episode_index; PART only where there are more."
        ),
    ] = "",
    frame: Annotated[
        str, typer.Option(metavar="PART:N,N", help="By LeRobot's index of any of their rows.")
    ] = "",
    id_: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="By episode_id; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """See HELP."""
    import msgspec

    from finedata.api import open

    given = [bool(value) for value in (where, index, frame, id_)]
    if sum(given) > 1:
        raise UsageError(
            place="finedata episodes",
            found="several of --where, --index, --frame, --id",
            wanted="one of them",
        )
    places = _found(open(root), where=where, index=index, frame=frame, ids=id_ or [])
    if as_json:
        typer.echo(msgspec.json.encode(places).decode())
        return
    for line in _lines(places):
        typer.echo(line)


def _found(
    dataset: Dataset, *, where: str, index: str, frame: str, ids: list[str]
) -> list[EpisodePlace]:
    if ids:
        named = [name.strip() for text in ids for name in text.split(",") if name.strip()]
        return dataset.places(ids=named)
    if index:
        part, numbers = _numbers(index, option="--index")
        return dataset.places(part=part, episode_indices=numbers)
    if frame:
        part, numbers = _numbers(frame, option="--frame")
        return dataset.places(part=part, indices=numbers)
    return dataset.places(where=where)


def _numbers(text: str, *, option: str) -> tuple[str | None, list[int]]:
    part, colon, listed = text.rpartition(":")
    numbers = [number.strip() for number in listed.split(",")]
    if not all(number.isdecimal() for number in numbers):
        raise UsageError(
            place=option,
            found=f"{text!r}",
            wanted="numbers from 0, after the name of the part",
            next_command=f"{option} PART:12,13",
        )
    return (part if colon else None), [int(number) for number in numbers]


def _lines(places: list[EpisodePlace]) -> list[str]:
    """A table whose columns are as wide as they need."""
    head = ("episode_id", "part", "episode_index", "first", "last", "data", "videos")
    rows = [head] + [
        (
            place.episode_id,
            place.part,
            str(place.episode_index),
            str(place.first_index),
            str(place.last_index),
            place.data_file,
            " ".join(f"{v.file}@{v.from_s:.6g}-{v.to_s:.6g}s" for v in place.videos),
        )
        for place in places
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
