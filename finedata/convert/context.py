"""What every step of one conversion knows: the sources, their converters, the options, the output.

`ConvertOptions` are what the user may choose. `RunContext` is what travels to the workers:
plain values, small, the same for every task; a worker opens a source and decodes its
converter from it once.
"""

from __future__ import annotations

import hashlib
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

import msgspec

from finedata.errors import SourceError
from finedata.readers.files import open_folder
from finedata.readers.hdf5 import source as hdf5
from finedata.readers.lerobot import source as lerobot
from finedata.readers.rh20t import source as rh20t
from finedata.readers.rlds import source as rlds
from finedata.schema.converter_file import decode_converter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from finedata.readers.episode import Source
    from finedata.readers.files import SourceFile
    from finedata.schema.converter_file import ConverterFile

__all__ = [
    "ConvertOptions",
    "RunContext",
    "SourceContext",
    "decoded_converter",
    "library_versions",
    "opened_source",
    "recognised_reader",
    "run_key",
]

# Libraries whose version can change a byte of the output.
_LIBRARIES = ("numpy", "pyarrow", "pillow", "simplejpeg", "av")

_READERS: dict[str, tuple[Callable[[list[SourceFile]], bool], Callable[[str | Path], Source]]] = {
    "rlds": (rlds.recognises, rlds.open_rlds),
    "lerobot": (lerobot.recognises, lerobot.open_lerobot),
    "rh20t": (rh20t.recognises, rh20t.open_rh20t),
    "hdf5": (hdf5.recognises, hdf5.open_hdf5),
}


class ConvertOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The choices that change the output's bytes.

    Attributes:
        cameras: Cameras to keep, by the converter's names; empty for all.
        episodes: Which episodes: positions in the source's order (`"7"`, `"10-19"`), or
            episode ids; empty for all.
        max_episodes: Stop after this many written episodes.
        image_stats: Whether to decode a few pictures of each episode, and a few frames of videos,
            for LeRobot's statistics.
        choices: (option, choice) of the converter files.
        fix_colour: Whether pictures with red and blue exchanged are rewritten.
        transcode: Codec to encode all cameras with; none keeps the source's bytes.
        resize: (height, width) of all cameras; none keeps the source's size.
    """

    cameras: tuple[str, ...] = ()
    episodes: tuple[str, ...] = ()
    max_episodes: int | None = None
    image_stats: bool = True
    choices: tuple[tuple[str, str], ...] = ()
    fix_colour: bool = False
    transcode: Literal["av1", "h264"] | None = None
    resize: tuple[int, int] | None = None

    @property
    def sha256(self) -> str:
        """Hex sha256 of the options, as receipts record it."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class SourceContext(msgspec.Struct, frozen=True, kw_only=True):
    """One source of a conversion: where it lies and how it is read."""

    address: str
    reader: str
    converter_text: str
    converter_origin: str
    choices: tuple[tuple[str, str], ...] = ()


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """One conversion, in values that travel to a worker."""

    sources: tuple[SourceContext, ...]
    out: str
    options: ConvertOptions


@lru_cache(maxsize=16)
def opened_source(address: str, reader: str) -> Source:
    """The source, opened once in this process."""
    return _READERS[reader][1](address)


@lru_cache(maxsize=16)
def decoded_converter(context: SourceContext) -> ConverterFile:
    """The converter, decoded once in this process."""
    return decode_converter(
        context.converter_text, origin=context.converter_origin, choices=dict(context.choices)
    )


def recognised_reader(address: str, readers: Sequence[str]) -> str:
    """Which of a converter's readers reads what lies at an address.

    Raises:
        UsageError: There is no such folder.
        SourceError: None of them recognises its files.
    """
    if len(set(readers)) == 1:
        return readers[0]
    files = open_folder(address).files()
    for reader in dict.fromkeys(readers):
        if _READERS[reader][0](files):
            return reader
    raise SourceError(
        place=address,
        found=f"{len(files)} files that are none of {', '.join(dict.fromkeys(readers))}",
        wanted="features.json (RLDS), meta/info.json (LeRobot), *.hdf5, or RH20T scene folders",
        next_command=f"ls {address}",
    )


def library_versions() -> dict[str, str]:
    """Versions of the libraries that shape the output's bytes."""
    return dict(_library_versions())


@cache
def _library_versions() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def run_key(context: RunContext, *, finedata_version: str) -> tuple[str, dict[str, str]]:
    """What a run is: a hash of everything that can change a byte of it, and the same in words.

    Addresses are not part of it: the same files on another disk are the same run.
    """
    names: list[str] = []
    files = hashlib.sha256()
    converters = hashlib.sha256()
    for described in context.sources:
        source = opened_source(described.address, described.reader)
        converter = decoded_converter(described)
        names.append(f"{converter.converter.name} {source.version or 'unversioned'}")
        shards = [(shard.file, shard.size, shard.split) for shard in source.shards]
        files.update(msgspec.json.encode(shards))
        converters.update(converter.sha256.encode())
    settings = {
        "source": ", ".join(names),
        "files": files.hexdigest()[:16],
        "converter": converters.hexdigest()[:16],
        "options": msgspec.json.encode(context.options, order="sorted").decode(),
        "finedata": finedata_version,
        "libraries": ", ".join(f"{name} {number}" for name, number in library_versions().items()),
    }
    key = hashlib.sha256(msgspec.json.encode(settings, order="sorted")).hexdigest()
    return key, settings
