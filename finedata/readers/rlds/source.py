"""RLDS as TFDS writes it, read without TensorFlow and TFDS.

One `tf.train.Example` is one episode; per-step tensors are flattened over time. What is read are
`features.json`, `dataset_info.json` and the shards of TFRecord. One episode is in memory at a time;
of a large one only what is looked at.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import numpy as np

from finedata.errors import CorruptRecordError, FeatureError, MissingFeatureError, SourceError
from finedata.readers.byte_slices import BytesSlices
from finedata.readers.episode import Absent, CameraKind, Found, Shard, VideoClip
from finedata.readers.files import SourceFile, SourceFolder, open_folder
from finedata.readers.rlds.example import Feature, parse_example
from finedata.readers.rlds.features import (
    FeatureInfo,
    Ragged,
    decode_feature,
    parse_features_json,
)
from finedata.readers.rlds.large_record import LargePayload, LargeSlices, is_large
from finedata.readers.rlds.tfrecord import scan_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from finedata.readers.files import RangeReader
    from finedata.readers.rlds.tfrecord import Record

__all__ = ["RldsEpisode", "RldsSource", "open_rlds", "recognises"]

_DEFAULT_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_SHARD_NAME = re.compile(r".+-([^-]+)\.tfrecord-(\d+)-of-(\d+)")
# A version folder lies at most this far below what the user names.
_SEARCH_DEPTH = 2


@dataclass(frozen=True, slots=True)
class RldsSource:
    """An RLDS dataset of one version.

    Attributes:
        folder: Where it lies.
        version: Version in dataset_info.json; empty where that file is missing.
        features: Declared leaves by name.
        shards: The shards that are there, in the order of splits and shard numbers.
        missing_shards: Names that dataset_info.json declares and the folder lacks.
    """

    folder: SourceFolder
    version: str
    features: dict[str, FeatureInfo]
    shards: tuple[Shard, ...]
    missing_shards: tuple[str, ...]

    @property
    def one_part(self) -> bool:
        """One features.json holds for all episodes."""
        return True

    @property
    def byte_ranges(self) -> bool:
        """Records are byte ranges of their shard."""
        return True

    def scan(self, shard: int) -> Iterator[tuple[Found, RldsEpisode | None]]:
        """Every record of a shard, checked by its checksums; see `Source.scan`."""
        described = self.shards[shard]
        count = 0
        with closing(self.folder.open(described.file)) as reader:
            for record in scan_records(reader):
                count += 1
                yield self._viewed(record)
                # The caller is done with it: free it before the next one is read.
                del record
        for number in range(count, described.declared_records or 0):
            message = (
                f"not in the file, although dataset_info.json says {described.declared_records}"
            )
            yield Found(number, described.size, 0, "truncated", message), None

    def _viewed(self, record: Record) -> tuple[Found, RldsEpisode | None]:
        found = Found(record.number, record.offset, record.length, record.reason, record.message)
        if record.payload is None:
            return found, None
        try:
            return found, self.episode(record.payload)
        except CorruptRecordError as error:
            return replace(found, reason="unparsable", message=str(error)), None

    def open_shard(self, shard: int) -> _OpenRldsShard:
        """Open a shard for its records; see `Source.open_shard`."""
        return _OpenRldsShard(self, self.folder.open(self.shards[shard].file), shard)

    def episode(self, payload: bytes | LargePayload) -> RldsEpisode:
        """View a record's payload as an episode.

        Raises:
            CorruptRecordError: The payload is not a tf.train.Example.
        """
        return RldsEpisode(payload, parse_example(payload), self.features)


class _OpenRldsShard:
    """A shard's file; see `OpenShard`."""

    def __init__(self, source: RldsSource, reader: RangeReader, shard: int) -> None:
        self._source = source
        self._reader = reader
        self._place = source.shards[shard].file

    def episode(self, found: Found) -> RldsEpisode:
        """Read the record that the scan found; see `OpenShard.episode`."""
        reader = _PlannedBytes(self._reader, f"record {found.number} of {self._place}")
        if not is_large(found.length):
            return self._source.episode(reader.read(found.offset, found.length))
        payload = LargePayload(reader, offset=found.offset, length=found.length)
        return self._source.episode(payload)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class _PlannedBytes:
    """A shard's file where the plan read before: what fails now is the source's, and says so."""

    def __init__(self, reader: RangeReader, place: str) -> None:
        self._reader = reader
        self._place = place
        self.size = reader.size

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly so many bytes.

        Raises:
            SourceError: They are no longer there, or cannot be read.
        """
        try:
            data = self._reader.read(offset, length)
        except OSError as error:
            raise SourceError(
                place=self._place,
                found=f"{error.strerror or error}",
                wanted="bytes that could be read when it was planned",
                next_command="run the same command again: it continues where it stopped",
            ) from error
        if len(data) != length:
            raise SourceError(
                place=self._place,
                found=f"{len(data)} bytes",
                wanted=f"{length}, as when it was planned",
                next_command="restore the source file, then run the same command again",
            )
        return data

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


@dataclass(slots=True)
class RldsEpisode:
    """One record, its features undecoded until asked for; see `RawEpisode`."""

    payload: bytes | LargePayload
    raw: dict[str, Feature]
    infos: dict[str, FeatureInfo]

    def has(self, feature: str) -> bool:
        """Whether the record holds the feature."""
        return feature in self.raw or f"{feature}/ragged_flat_values" in self.raw

    def feature_names(self) -> list[str]:
        """The declared features that the record holds, then those that nothing declares."""
        there = dict.fromkeys(name.split("/ragged_")[0] for name in self.raw)
        declared = [name for name in self.infos if self.has(name)]
        return declared + [name for name in there if name not in self.infos]

    def columns_of(self, feature: str) -> tuple[str, ...] | None:
        """TFDS names no columns; see `RawEpisode.columns_of`."""
        del feature

    def picture_info(self, feature: str) -> dict[str, Any] | None:
        """Nothing: see `RawEpisode.picture_info`."""
        del feature

    def declared_absent(self) -> dict[str, Absent]:
        """Declared features that the record lacks; an absent camera's size is declared."""
        return {
            name: "other"
            for name, info in self.infos.items()
            if info.kind != "image" and not self.has(name)
        }

    def is_derived(self, feature: str) -> bool:
        """Nothing is: a record holds all its features."""
        del feature
        return False

    def as_declared(self) -> bool:
        """True: what has another shape does not decode."""
        return True

    def camera_kind(self, feature: str) -> CameraKind | None:
        """See `RawEpisode.camera_kind`."""
        info = self.infos.get(feature)
        return "pictures" if info is not None and info.kind == "image" else None

    def picture_shape(self, feature: str) -> tuple[int, int, int] | None:
        """What features.json declares; see `RawEpisode.picture_shape`."""
        info = self.infos.get(feature)
        sizes = tuple(size for size in info.shape if size is not None) if info else ()
        return (sizes[0], sizes[1], sizes[2]) if len(sizes) == 3 else None

    def video(self, feature: str) -> VideoClip:
        """RLDS holds no videos; see `RawEpisode.video`."""
        raise FeatureError(place=f"feature {feature}", found="no video", wanted="a video")

    def digest(self, pictures: Mapping[str, tuple[str, np.ndarray]]) -> str:
        """The tree digest of a record.

        Pictures are nearly all of a record, and their sha256 is taken anyway for the receipt. So
        this is a tree, as in git: sha256 over the record's bytes in order, in which each list of
        pictures stands as the sha256 of its pictures joined, followed by their lengths. Every
        byte is covered once and hashed once.
        """
        digest = hashlib.sha256()
        position = 0
        for name, feature in sorted(self.raw.items(), key=lambda item: item[1].start):
            info = self.infos.get(name)
            if info is None or info.kind != "image" or feature.buffer is not self.payload:
                continue
            if name in pictures:
                joined, lengths = bytes.fromhex(pictures[name][0]), pictures[name][1]
            else:
                slices = feature.slices()
                joined, lengths = _joined_sha256(slices), slices.lengths
            for piece in _pieces(self.payload, position, feature.start):
                digest.update(piece)
            digest.update(joined)
            digest.update(lengths.astype("<i8").tobytes())
            position = feature.end
        for piece in _pieces(self.payload, position, len(self.payload)):
            digest.update(piece)
        return digest.hexdigest()

    def close(self) -> None:
        """Let go of the record: whoever still holds the episode holds no megabytes."""
        self.payload, self.raw = b"", {}

    def numbers(self, feature: str) -> np.ndarray:
        """Decode a numeric feature; see `RawEpisode.numbers`."""
        values = decode_feature(self.raw, self._declared(feature))
        if isinstance(values, np.ndarray):
            return values
        kind = "a nested sequence" if isinstance(values, Ragged) else "text or pictures"
        raise FeatureError(place=f"feature {feature}", found=kind, wanted="numbers")

    def texts(self, feature: str) -> list[str]:
        """Decode a text feature; see `RawEpisode.texts`."""
        values = decode_feature(self.raw, self._declared(feature))
        if not isinstance(values, list):
            raise FeatureError(place=f"feature {feature}", found="numbers", wanted="text")
        try:
            # Steps repeat one instruction: decode each distinct one once.
            known = {value: value.decode() for value in set(values)}
        except UnicodeDecodeError as error:
            raise FeatureError(
                place=f"feature {feature}", found=f"bytes ({error})", wanted="UTF-8 text"
            ) from error
        return [known[value] for value in values]

    def pictures(self, feature: str) -> BytesSlices | LargeSlices:
        """Slices of a camera's encoded pictures; see `RawEpisode.pictures`."""
        raw = self.raw.get(feature)
        if raw is None:
            raise MissingFeatureError(
                place=f"feature {feature}",
                found="no such feature in the record",
                wanted="one encoded picture a step",
            )
        if raw.kind not in ("bytes", "empty"):
            raise FeatureError(
                place=f"feature {feature}",
                found=f"a list of {raw.kind}",
                wanted="one encoded picture a step",
            )
        return raw.slices()

    def _declared(self, feature: str) -> FeatureInfo:
        info = self.infos.get(feature)
        if info is None:
            raise MissingFeatureError(
                place=f"feature {feature}",
                found="no such feature in features.json",
                wanted=f"one of {', '.join(self.infos)}",
            )
        return info


def _joined_sha256(slices: BytesSlices | LargeSlices) -> bytes:
    """Digest of all values one after the other."""
    if isinstance(slices, BytesSlices):
        return hashlib.sha256(slices.joined()).digest()
    digest = hashlib.sha256()
    for index in range(len(slices)):
        digest.update(slices[index])
    return digest.digest()


def _pieces(payload: bytes | LargePayload, first: int, last: int) -> Iterator[bytes | memoryview]:
    """The bytes [first, last), of a large payload a few megabytes at a time."""
    if isinstance(payload, LargePayload):
        yield from payload.pieces(first, last)
    else:
        yield memoryview(payload)[first:last]


def recognises(files: list[SourceFile]) -> bool:
    """Whether a folder with these files holds an RLDS dataset (or several versions of one)."""
    return any(
        file.name.split("/")[-1] == "features.json" and file.name.count("/") <= _SEARCH_DEPTH
        for file in files
    )


def open_rlds(address: str | Path) -> RldsSource:
    """Open an RLDS dataset: the folder that holds features.json, or one above it.

    Raises:
        SourceError: No features.json, several versions to choose from, or no shard at all.
    """
    folder, files = _version_folder(open_folder(address))
    features = parse_features_json(
        folder.read_all("features.json"), place=f"{folder.address}/features.json"
    )
    info = _read_info(folder, files)
    shards, missing = _find_shards(info, files)
    if not shards:
        raise SourceError(
            place=folder.address,
            found=f"{len(missing)} declared shards, none of them there",
            wanted="at least one *.tfrecord-*-of-* file",
            next_command=f"ls {folder.address}",
        )
    return RldsSource(folder, str(info.get("version", "")), features, shards, missing)


def _version_folder(folder: SourceFolder) -> tuple[SourceFolder, list[SourceFile]]:
    files = folder.files()
    places = sorted(
        file.name.removesuffix("features.json")
        for file in files
        if file.name.split("/")[-1] == "features.json" and file.name.count("/") <= _SEARCH_DEPTH
    )
    if "" in places:
        return folder, [file for file in files if "/" not in file.name]
    if len(places) == 1:
        prefix = places[0]
        inside = [
            SourceFile(file.name.removeprefix(prefix), file.size)
            for file in files
            if file.name.startswith(prefix)
        ]
        return folder.child(prefix.rstrip("/")), [file for file in inside if "/" not in file.name]
    found = f"{len(places)} versions ({', '.join(places)})" if places else "no features.json"
    raise SourceError(
        place=folder.address,
        found=found,
        wanted="one RLDS version folder, with features.json, dataset_info.json and its shards",
        next_command=f"--input {folder.address}/{places[0] if places else '<version>'}",
    )


class _DeclaredSplit(msgspec.Struct, frozen=True):
    """A split; a count beyond any shard is damage, which would become as many receipts."""

    name: str
    filepathTemplate: str | None = None
    shardLengths: list[Annotated[int, msgspec.Meta(ge=0, le=100_000)]] = []


class _Declared(msgspec.Struct, frozen=True):
    """What is used of dataset_info.json."""

    splits: list[_DeclaredSplit] = []
    version: str = ""


def _read_info(folder: SourceFolder, files: list[SourceFile]) -> dict[str, Any]:
    if not any(file.name == "dataset_info.json" for file in files):
        return {}
    try:
        info = msgspec.json.decode(folder.read_all("dataset_info.json"))
        # Read as plain values below; checked here.
        msgspec.convert(info, _Declared, strict=False)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SourceError(
            place=f"{folder.address}/dataset_info.json",
            found=f"{error}",
            wanted="a dataset_info.json as written by TFDS, or none at all",
        ) from error
    return cast("dict[str, Any]", info) if isinstance(info, dict) else {}


def _find_shards(
    info: dict[str, Any], files: list[SourceFile]
) -> tuple[tuple[Shard, ...], tuple[str, ...]]:
    """Declared shards first, in declared order; then what lies there undeclared, by name."""
    sizes = {file.name: file.size for file in files}
    # Downloads are renamed (OpenVLA's `bridge_orig`): split and numbers identify a shard.
    numbered = {match.groups(): name for name in sizes if (match := _SHARD_NAME.fullmatch(name))}
    shards: list[Shard] = []
    missing: list[str] = []
    for split in info.get("splits", []):
        counts = [int(count) for count in split.get("shardLengths", [])]
        template = split.get("filepathTemplate") or _DEFAULT_TEMPLATE
        for index, count in enumerate(counts):
            name = _shard_name(template, info, split["name"], index, len(counts))
            key = (split["name"], f"{index:05d}", f"{len(counts):05d}")
            if name not in sizes and key in numbered:
                name = numbered[key]
            if name in sizes:
                shards.append(Shard(name, sizes[name], split["name"], count))
            else:
                missing.append(name)
    known = {shard.file for shard in shards}
    shards += [
        Shard(name, sizes[name], split, None)
        for (split, _, _), name in sorted(numbered.items())
        if name not in known
    ]
    return tuple(shards), tuple(missing)


def _shard_name(template: str, info: dict[str, Any], split: str, index: int, count: int) -> str:
    values = {
        "DATASET": str(info.get("name", "")),
        "SPLIT": split,
        "FILEFORMAT": str(info.get("fileFormat") or "tfrecord"),
        "SHARD_INDEX": f"{index:05d}",
        "NUM_SHARDS": f"{count:05d}",
        "SHARD_X_OF_Y": f"{index:05d}-of-{count:05d}",
    }
    return re.sub(
        r"\$?\{(\w+)\}", lambda match: values.get(match.group(1), match.group(0)), template
    )
