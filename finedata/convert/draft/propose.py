"""A first converter file for a source nobody described.

The file decodes, and it converts the very source that it was drafted from. What it says of arms,
units and signs are guesses, each with the reason beside it. Where arms cannot be told, or the
guess does not hold, conventions stay undeclared: a LeRobot dataset then keeps every feature as it
is, which is better than a pose that is wrong.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from finedata.convert.cameras import safe_name
from finedata.convert.canonical import canonical_motion
from finedata.convert.context import ConvertOptions
from finedata.convert.draft.guess import guess_arms
from finedata.convert.draft.look import look_at, spread
from finedata.convert.draft.text import draft_text
from finedata.convert.forms import choose_variant
from finedata.convert.planning.examine import examine
from finedata.convert.source_episode import read_episode
from finedata.errors import FinedataError, SourceError
from finedata.schema.converter_file import decode_converter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.convert.draft.look import Look
    from finedata.readers.episode import Found, RawEpisode
    from finedata.schema.converter import Converter

__all__ = ["draft_converter"]

_ORIGIN = "the draft"
# Of each file family the converter file that is nearest to one of one's own.
_NEAREST = {"rlds": "bridge_v2", "lerobot": "lerobot", "hdf5": "robomind_v1"}
# Files of which an episode is tried: most must convert.
_TRIED = 5


def draft_converter(address: str, *, name: str | None = None) -> str:
    """Propose a converter file.

    Args:
        address: A LeRobot dataset (or a folder of some), a folder of HDF5 recordings, or an RLDS
            dataset: what `finedata convert --input` takes.
        name: The converter's name; the folder's, where none is given.

    Returns:
        TOML text that `finedata.schema.converter_file.decode_converter` accepts.

    Raises:
        UsageError: There is no such folder, or it needs no draft.
        SourceError: No episode in it can be read, or none has a step.

    Example:
        >>> text = draft_converter("so100_pick")  # doctest: +SKIP
    """
    look = look_at(address)
    parts = [part for part in look.source.folder.address.split("/") if part]
    # An RLDS dataset lies in a folder of its version, below the one of its name.
    named = [part for part in parts if not re.fullmatch(r"[0-9.]+", part)]
    name = safe_name(name or "".join(named[-1:]), instead="drafted")
    guess = guess_arms(look)
    text = draft_text(look, guess, name=name)
    problem = _problem(look, text)
    if problem is not None and guess.arms and look.mixed:
        # perhaps only episodes of other widths do not convert
        text = draft_text(look, guess, name=name, widths=True)
        problem = _problem(look, text)
    if problem is not None and guess.arms:
        why = f"a guess of arms did not convert ({problem})".replace("\n", " ")
        guess = replace(guess, arms=(), space="undeclared", reference="next_state", why=why)
        text = draft_text(look, guess, name=name)
        problem = _problem(look, text)
    if problem is not None:
        raise SourceError(
            place=address,
            found=f"nothing that can be converted as it is ({problem}); {_seen(look)}",
            wanted="state, action or cameras with one row a step",
            next_command=f"finedata sources copy {_NEAREST[look.reader]} ./mine.toml  # names the "
            "features of such a source: write yours into it",
        )
    return text


def _seen(look: Look) -> str:
    """What the sample holds, so that a file can be written without opening the source."""
    vectors = [f"{v.feature} ({'x'.join(map(str, v.values.shape))})" for v in look.vectors]
    cameras = [f"{camera.feature} ({camera.frames} pictures)" for camera in look.cameras]
    found = [*vectors, *cameras, *(f"{name} (text)" for name in look.texts)]
    return f"seen: {', '.join(found) or 'no feature at all'}"


def _problem(look: Look, text: str) -> str | None:
    """Why a draft does not convert most of those it is for, of a sample; `None` where it does."""
    try:
        converter = decode_converter(text, origin=_ORIGIN).converter
    except FinedataError as error:
        return f"{error.place}: {error.found}"
    converted = 0
    others: list[str] = []
    problems: list[str] = []
    for number, found, raw in _tried(look):
        shard = look.source.shards[number]
        try:
            variant = choose_variant(raw, converter.variants, shard=shard, reader=look.reader)
        except FinedataError as error:  # of another form than the draft is for
            others.append(f"{error.place}: {error.found}")
            continue
        try:
            _try(look, converter, number, found, raw, variant=variant)
            converted += 1
        except FinedataError as error:
            problems.append(f"{error.place}: {error.found}")
    if converted > len(problems):
        return None
    return next(iter(problems + others), None)


def _tried(look: Look) -> Iterator[tuple[int, Found, RawEpisode]]:
    """Readable episodes, one a file, of files that are spread over the source."""
    for number in spread(len(look.source.shards), _TRIED):
        for found, raw in look.source.scan(number):
            if raw is not None:
                yield number, found, raw
                break


def _try(
    look: Look, converter: Converter, shard: int, found: Found, raw: RawEpisode, *, variant: int
) -> None:
    """Examine an episode and derive its motion, as a conversion would.

    Raises:
        FinedataError: It fails.
    """
    options = ConvertOptions()
    episode = read_episode(
        raw,
        converter,
        options,
        source=look.source,
        shard=shard,
        reader=look.reader,
        found=found,
        variant=variant,
    )
    facts = examine(episode, options, folder=look.source.folder, source_number=0)
    if episode.variant.space != "undeclared":
        canonical_motion(episode.view, episode.variant, frames=facts.frames)
