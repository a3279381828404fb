"""What every step of one conversion knows: the source, the converter, the options, the output.

`ConvertOptions` are what the user may choose. `RunContext` is what travels to the workers:
plain values, small, the same for every task; a worker opens the source and decodes the
converter from it once.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from finedata.convert.examine import numeric_features
from finedata.errors import MissingFeatureError, UsageError
from finedata.readers.rlds import open_rlds
from finedata.schema.converter import Converter, decode_converter
from finedata.store.lerobot.layout import Feature, picture_column, standard_features

if TYPE_CHECKING:
    from finedata.readers.rlds import RldsSource
    from finedata.schema.converter import CameraSpec, ConverterFile

__all__ = [
    "ConvertOptions",
    "RunContext",
    "check_features",
    "chosen_cameras",
    "decoded_converter",
    "library_versions",
    "opened_source",
    "part_features",
    "run_key",
]

# Libraries whose version can change a byte of the output.
_LIBRARIES = ("numpy", "pyarrow", "pillow", "simplejpeg")
_EE_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")


class ConvertOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The choices that change the output's bytes.

    Attributes:
        cameras: Cameras to keep, by the converter's names; empty for all.
        episodes: Which episodes: positions in the source's order (`"7"`, `"10-19"`), or
            episode ids; empty for all.
        max_episodes: Stop after this many written episodes.
        image_stats: Whether to decode a few pictures of each episode for LeRobot's statistics.
    """

    cameras: tuple[str, ...] = ()
    episodes: tuple[str, ...] = ()
    max_episodes: int | None = None
    image_stats: bool = True

    @property
    def sha256(self) -> str:
        """Hex sha256 of the options, as receipts record it."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """One conversion, in values that travel to a worker."""

    address: str
    out: str
    converter_text: str
    converter_origin: str
    options: ConvertOptions


@lru_cache(maxsize=4)
def opened_source(address: str) -> RldsSource:
    """The source, opened once in this process."""
    return open_rlds(address)


@lru_cache(maxsize=4)
def decoded_converter(text: str, origin: str) -> ConverterFile:
    """The converter, decoded once in this process."""
    return decode_converter(text, origin=origin)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that shape the output's bytes."""
    return {name: version(name) for name in _LIBRARIES}


def check_features(converter: Converter, source: RldsSource) -> None:
    """Refuse a source that lacks what the converter reads, before a record is touched.

    Cameras and language may be absent; motion and identity may not.

    Raises:
        MissingFeatureError: features.json does not declare a feature.
    """
    needed = [
        *numeric_features(converter.arms),
        converter.time.first_step,
        *re.findall(r"\{([^}]+)\}", converter.episode.locator),
    ]
    for name in needed:
        if name not in source.features:
            raise MissingFeatureError(
                place=f"feature {name}",
                found="no such feature in features.json",
                wanted=f"what converter {converter.name} reads; "
                f"declared are {', '.join(source.features)}",
                next_command=f"finedata sources copy {converter.name} ./mine.toml  # and edit it",
            )


def chosen_cameras(
    converter: Converter, source: RldsSource, options: ConvertOptions
) -> tuple[CameraSpec, ...]:
    """The cameras that the output has: declared by the source, and asked for.

    Raises:
        UsageError: `--cameras` names one that the converter or the source does not have.
    """
    present = [camera for camera in converter.cameras if camera.feature in source.features]
    names = [camera.name for camera in present]
    for name in options.cameras:
        if name not in names:
            raise UsageError(
                place="--cameras",
                found=f"{name!r}",
                wanted=f"some of {', '.join(names)}",
                next_command=f"--cameras {','.join(names)}",
            )
    chosen = options.cameras or tuple(names)
    return tuple(camera for camera in present if camera.name in chosen)


def part_features(
    converter: Converter, source: RldsSource, cameras: tuple[CameraSpec, ...]
) -> dict[str, Feature]:
    """Every stored column of the dataset, as LeRobot declares them.

    Raises:
        MissingFeatureError: A camera whose picture size features.json leaves open.
    """
    features: dict[str, Feature] = {}
    for camera in cameras:
        shape = source.features[camera.feature].shape
        sizes = tuple(size for size in shape if size is not None)
        if len(sizes) != 3:
            raise MissingFeatureError(
                place=f"feature {camera.feature} in features.json",
                found=f"a picture of shape {shape}",
                wanted="height, width and channels",
            )
        features[picture_column(camera.name)] = Feature(
            "image", sizes, ("height", "width", "channels")
        )
    names = tuple(f"{arm.name}_{name}" for arm in converter.arms for name in _EE_NAMES)
    features["observation.state"] = Feature("float32", (len(names),), names)
    features["action"] = Feature("float32", (len(names),), names)
    features["action_valid"] = Feature("bool", (1,))
    return features | standard_features()


def run_key(
    context: RunContext, source: RldsSource, *, finedata_version: str
) -> tuple[str, dict[str, str]]:
    """What a run is: a hash of everything that can change a byte of it, and the same in words.

    The address is not part of it: the same files on another disk are the same run.
    """
    converter = decoded_converter(context.converter_text, context.converter_origin)
    shards = [(shard.file, shard.size, shard.split) for shard in source.shards]
    settings = {
        "source": f"{converter.converter.name} {source.version or 'unversioned'}",
        "files": hashlib.sha256(msgspec.json.encode(shards)).hexdigest()[:16],
        "converter": converter.sha256[:16],
        "options": msgspec.json.encode(context.options, order="sorted").decode(),
        "finedata": finedata_version,
        "libraries": ", ".join(f"{name} {number}" for name, number in library_versions().items()),
    }
    key = hashlib.sha256(msgspec.json.encode(settings, order="sorted")).hexdigest()
    return key, settings
