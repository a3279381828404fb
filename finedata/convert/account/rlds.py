"""The account of RLDS datasets: features.json as plain JSON, shards as length-prefixed protobuf.

A record is parsed by protobuf itself from the published shape of `tf.train.Example`; the reader
walks the wire format by hand. How many steps a record has is counted, not believed.
"""

from __future__ import annotations

import json
import re
import struct
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from finedata.convert.account.things import (
    DAMAGE,
    Declared,
    Inventory,
    Pictures,
    SourceEpisode,
    reading,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.readers.files import RangeReader, SourceFolder

_SHARD = re.compile(r".+-([^-]+)\.tfrecord-(\d+)-of-(\d+)")
# A larger record is not parsed twice: memory is bounded.
_LARGEST_RECORD = 256 << 20
_FIRST = "steps/is_first"


def rlds_inventory(folder: SourceFolder) -> Inventory:
    """List what an RLDS folder declares and holds.

    Raises:
        OSError: The disk or the network failed.
    """
    inventory = Inventory({}, lambda: iter(()))
    try:
        root = json.loads(folder.read_all("features.json").decode("utf-8-sig"))
        shapes = dict(_leaves(root, "", 0))
    except (*DAMAGE, AttributeError) as error:
        inventory.notes.append(f"features.json: not looked into: {said(error)}")
        shapes = {}
    for name, (kind, _) in shapes.items():
        inventory.things[name] = Declared(name, cast("Any", kind), "features.json")
    names = sorted(file.name for file in folder.files() if _SHARD.fullmatch(file.name))
    declared = _declared_records(folder)
    inventory.episodes = lambda: (
        episode
        for name in names
        for episode in _of_shard(folder, name, shapes, declared.get(_key(name), 0), inventory)
    )
    return inventory


def _leaves(node: Any, name: str, sequences: int) -> Iterator[tuple[str, tuple[str, int]]]:
    """(leaf, (kind, numbers a value)) of every leaf that is there; 0 where the size varies."""
    if "featuresDict" in node:
        for key, child in node["featuresDict"]["features"].items():
            yield from _leaves(child, f"{name}/{key}" if name else key, sequences)
    elif "sequence" in node:
        yield from _leaves(node["sequence"]["feature"], name, sequences + 1)
    else:
        kind = "camera" if "image" in node else "text" if "text" in node else "numbers"
        tensor: dict[str, Any] = node.get("tensor") or {}
        if tensor.get("dtype") in ("string", "object", "bytes"):
            kind = "text"
        shape: dict[str, Any] = tensor.get("shape") or {}
        sizes: list[Any] = shape.get("dimensions", [])
        known = [int(size) for size in sizes if size is not None and int(size) > 0]
        width = int(np.prod(known)) if len(known) == len(sizes) else 0
        yield name, (kind, width if sequences == 1 else 0)


def _declared_records(folder: SourceFolder) -> dict[tuple[str, int], int]:
    """(split, shard) -> records, as dataset_info.json says."""
    found: dict[tuple[str, int], int] = {}
    try:
        info = json.loads(folder.read_all("dataset_info.json").decode("utf-8-sig"))
        for split in info["splits"]:
            for number, count in enumerate(split.get("shardLengths", [])):
                found[split["name"], number] = int(count)
    except (*DAMAGE, AttributeError):
        return {}  # it need not be there
    return found


def _key(name: str) -> tuple[str, int]:
    match = _SHARD.fullmatch(name)
    return ("", -1) if match is None else (match[1], int(match[2]))


def _of_shard(
    folder: SourceFolder,
    name: str,
    shapes: dict[str, tuple[str, int]],
    declared: int,
    inventory: Inventory,
) -> Iterator[SourceEpisode]:
    count = 0
    try:
        with closing(folder.open(name)) as reader:
            for payload, problem in _records(reader):
                episode = SourceEpisode(name, count, f"record {count}", unread=problem)
                if payload is not None:
                    _fill(episode, payload, shapes)
                count += 1
                yield episode
                if problem.startswith("framing"):
                    inventory.notes.append(f"{name}: not looked into after record {count - 1}")
                    return
    except DAMAGE as error:
        inventory.notes.append(f"{name}: not looked into: {said(error)}")
        return
    for number in range(count, declared):
        missing = "declared in dataset_info.json, and not in the file"
        yield SourceEpisode(name, number, f"record {number}", unread=missing)


def _records(reader: RangeReader) -> Iterator[tuple[bytes | None, str]]:
    """(payload, what is wrong with it) of every record, by its length and its checksums."""
    at = 0
    while at < reader.size:
        head = reader.read(at, 12)
        length, crc = struct.unpack("<QI", head) if len(head) == 12 else (0, None)
        if crc is None or _masked(head[:8]) != crc:
            yield None, "framing: a length whose checksum is wrong"
            return
        if at + 12 + length + 4 > reader.size:
            yield None, "framing: the file ends inside the record"
            return
        if length > _LARGEST_RECORD:
            yield None, f"a record of {length} bytes is not parsed a second time"
        else:
            payload = reader.read(at + 12, length)
            (crc,) = struct.unpack("<I", reader.read(at + 12 + length, 4))
            good = _masked(payload) == crc
            yield (payload, "") if good else (None, "its checksum is wrong")
        at += 12 + length + 4


def _masked(data: bytes) -> int:
    """CRC-32C as TFRecord stores it."""
    crc = int(cast("Any", google_crc32c).value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _fill(episode: SourceEpisode, payload: bytes, shapes: dict[str, tuple[str, int]]) -> None:
    try:
        features: Any = _example().FromString(payload).features.feature
    except Exception as error:
        episode.unread = f"no tf.train.Example: {said(error)}"
        return
    for name in features:
        plain = name.split("/ragged_")[0]
        kind, width = shapes.get(name, shapes.get(plain, ("numbers", 0)))
        values = _values(features[name])
        if kind == "camera":
            pictures: list[bytes] = list(values)
            episode.cameras[name] = Pictures(len(pictures), reading(list, pictures))
        else:
            episode.values[plain] = reading(_rows, episode, values)
        if kind == "text":
            for text in dict.fromkeys(values):
                if isinstance(text, bytes) and text.strip():
                    episode.texts.setdefault(text.decode(errors="replace"), name)
        if name == _FIRST and width:
            episode.length = len(values) // width
    for name, (kind, _) in shapes.items():
        if kind == "camera" and name not in episode.cameras:
            episode.cameras[name] = None


def _rows(episode: SourceEpisode, values: Any) -> np.ndarray | list[str]:
    """Numbers as an array with one row a step, texts as they read."""
    found: list[Any] = list(values)
    if found and isinstance(found[0], bytes):
        return [text.decode(errors="replace") for text in found]
    steps = episode.length or 1
    return np.array(found).reshape(steps if len(found) % steps == 0 else len(found), -1)


def _values(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else []


@cache
def _example() -> Any:
    """The message class of `tf.train.Example`.

    Source: tensorflow/core/example/feature.proto and example.proto.
    """
    proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="account_example.proto", package="account", syntax="proto3"
    )

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        made = file.message_type.add(name=name)
        for field, number, kind, label, of in fields:
            type_name = f".account.{of}" if of else None
            added: Any = made.field.add(name=field, number=number, type_name=type_name)
            added.type, added.label = kind, label
        return made

    once, many = proto.LABEL_OPTIONAL, proto.LABEL_REPEATED
    message("BytesList", ("value", 1, proto.TYPE_BYTES, many, ""))
    message("FloatList", ("value", 1, proto.TYPE_FLOAT, many, ""))
    message("Int64List", ("value", 1, proto.TYPE_INT64, many, ""))
    feature = message(
        "Feature",
        ("bytes_list", 1, proto.TYPE_MESSAGE, once, "BytesList"),
        ("float_list", 2, proto.TYPE_MESSAGE, once, "FloatList"),
        ("int64_list", 3, proto.TYPE_MESSAGE, once, "Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message(
        "Features", ("feature", 1, proto.TYPE_MESSAGE, many, "Features.FeatureEntry")
    )
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=proto.TYPE_STRING, label=once)
    value = entry.field.add(name="value", number=2, type_name=".account.Feature")
    value.type, value.label = proto.TYPE_MESSAGE, once
    message("Example", ("features", 1, proto.TYPE_MESSAGE, once, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("account.Example"))
