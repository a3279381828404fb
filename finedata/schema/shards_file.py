"""`shards.json`: what a shards folder is, what is in it, and the digest of every file.

Three things change at different times and therefore have digests of their own. The *identity*
covers tars, frames and episodes: it enters the order of every stream, so it must not change when
words do. A *text revision* is named by what its files hold. `roles.toml` is edited by hand, so its
digest is taken when a stream opens it, and is part of what the stream records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from finedata.errors import ConformError
from finedata.schema.documents import (
    Count,
    FileDigest,
    Sha256,
    decode_document,
    digest_of,
)
from finedata.schema.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Lineage",
    "Shard",
    "ShardCamera",
    "ShardFeature",
    "ShardOptions",
    "ShardSet",
    "ShardsFile",
    "Statistics",
    "TextRevision",
    "TextSet",
    "ViewCounts",
    "decode_shards",
    "shards_identity",
    "text_revision",
]

SHARDS_FILE = "shards.json"

Order = Literal["step", "episode"]
Tier = Literal["rep", "rest", "unlabelled", "failed"]
Side = Literal["train", "heldout"]
Policy = Literal["reviewed", "not_contradicted"]


class ShardOptions(Strict, frozen=True, kw_only=True):
    """The options that change bytes.

    Attributes:
        cameras: Cameras taken; empty for all.
        height: Of pictures, in pixels; null: as they are.
        width: Of pictures, in pixels; null: as they are.
        quality: JPEG quality of pictures that had to be encoded.
        shard_bytes: Wanted size of a tar; how many samples go into one is decided by a mean, so
            tars differ a little from it.
        horizon: Steps of the action chunk in the tars.
        every: One sample every so many frames.
        thin: Whether the tars hold pictures only.
        where: SQL condition over `episodes`; "" for all.
        held_out: The share as a fraction `p/q`, or "" where a list was given.
        held_out_ids_sha256: Digest of the sorted list of held-out ids, one a line; "" for none.
        held_out_by: Whether share and list are of episodes or of tasks.
        text_policy: Which words a fine-grained view may show.
        with_failed: Whether the tiers `unlabelled` and `failed` are there.
        bake: Words that are in the tars too, as members `<word>.txt`: those of the first of
            `texts`.
        seed: Of the shuffle.
        depth: The model that estimated depth, by name and commit or by digest; absent for none.
    """

    cameras: list[str]
    height: int | None
    width: int | None
    quality: int
    shard_bytes: int
    horizon: int
    every: int
    thin: bool
    where: str
    held_out: str
    held_out_ids_sha256: str
    held_out_by: Literal["episode", "task"]
    text_policy: Policy
    with_failed: bool
    bake: list[Literal["instruction", "fine", "trace"]]
    seed: int
    depth: str | msgspec.UnsetType = msgspec.UNSET


class ShardCamera(Strict, frozen=True, kw_only=True):
    """A camera of a set.

    Attributes:
        name: Of the camera in the dataset.
        member: Suffix of its member in the tars; one of the set's `members`.
        codec: What the member holds; `mp4` where a sample is an episode.
        height: In pixels.
        width: In pixels.
        untouched: Pictures that are the source's bytes.
        encoded: Pictures that were decoded and encoded again.
        psnr_db: Of a sample of the encoded ones against what was decoded; null where lossless.
        depth_of: The camera whose depth a model estimated here, in millimetres, 0 where there is
            none; absent where a source recorded the pictures.
    """

    name: str
    member: str
    codec: Literal["jpeg", "png", "mp4"]
    height: int
    width: int
    untouched: Count
    encoded: Count
    psnr_db: float | None
    depth_of: str | msgspec.UnsetType = msgspec.UNSET


class ShardFeature(Strict, frozen=True, kw_only=True):
    """A column of numbers of a set: its width and the names of its numbers."""

    name: str
    width: Count
    names: list[str]


class Shard(Strict, frozen=True, kw_only=True):
    """A tar: name, size and digest, how many samples, and the digest of its index."""

    name: str
    bytes: Count
    sha256: Sha256
    samples: Count
    index_sha256: Sha256


class ShardSet(Strict, frozen=True, kw_only=True):
    """All tars of one source, part, tier and side; folder `tars/<name>/`.

    Attributes:
        name: Lower-case letters, digits, `_` and `-`.
        source: Name of the source.
        part: Part of the dataset.
        tier: See `enums.SHARD_TIERS`.
        side: See `enums.SHARD_SIDES`.
        embodiment: The robot.
        space: What state and action hold.
        fps: Frames a second.
        licences: Of its episodes, sorted.
        members: Suffixes of every sample's members, in the tars' order.
        cameras: Its cameras.
        features: Its columns of numbers.
        episodes: How many episodes.
        frames: How many frames.
        samples: How many samples.
        tars: Its tars, by number.
        episodes_file: `episodes/<name>.arrow`.
        frames_file: `frames/<name>.arrow`.
    """

    name: str
    source: str
    part: str
    tier: Tier
    side: Side
    embodiment: str
    space: str
    fps: float
    licences: list[str]
    members: list[str]
    cameras: list[ShardCamera]
    features: list[ShardFeature]
    episodes: Count
    frames: Count
    samples: Count
    tars: list[Shard]
    episodes_file: FileDigest
    frames_file: FileDigest


class Statistics(Strict, frozen=True, kw_only=True):
    """Of one feature over all training frames of an embodiment and space, a number a name.

    NaN counts nowhere; of a name without any number all are null.
    """

    embodiment: str
    space: str
    feature: str
    names: list[str]
    count: list[Count]
    mean: list[float | None]
    std: list[float | None]
    min: list[float | None]
    max: list[float | None]
    q01: list[float | None]
    q99: list[float | None]


class ViewCounts(Strict, frozen=True, kw_only=True):
    """What a view holds under a text revision.

    Attributes:
        view: `fg` or `raw`.
        side: Of its sets.
        policy: Which its words pass; null where they are the source's.
        sets: Names of its sets.
        episodes: With words that pass.
        samples: Of these episodes.
    """

    view: Literal["fg", "raw"]
    side: Side
    policy: Policy | None
    sets: list[str]
    episodes: Count
    samples: Count


class TextSet(Strict, frozen=True, kw_only=True):
    """How many samples of each tar of a set have fine-grained text, by the set's list of tars.

    Attributes:
        name: Of the set.
        not_contradicted: Bits that are one in `fg.bits`, of each tar.
        reviewed: The same of `fg_reviewed.bits`.
    """

    name: str
    not_contradicted: list[Count]
    reviewed: list[Count]


class TextRevision(Strict, frozen=True, kw_only=True):
    """A snapshot of the words, folder `text/<revision>/`.

    Attributes:
        revision: First 16 digits of the digest.
        sha256: See `text_revision`.
        files: Its files, by path.
        runs: Runs of annotation whose rows are in it, sorted.
        rows: Table to its number of rows.
        left_out: `<table>: <reason>` to how many rows of these episodes are not in it: `rejected`,
            `contradicted`, `fact_left_out` (an instruction that names one) or `another_run`.
        sets: Its sets, in the order of `shards.json`.
        views: What each view holds.
    """

    revision: str
    sha256: Sha256
    files: list[FileDigest]
    runs: list[str]
    rows: dict[str, Count]
    left_out: dict[str, Count]
    sets: list[TextSet]
    views: list[ViewCounts]


class Lineage(Strict, frozen=True, kw_only=True):
    """A dataset that was sharded, by what made its tables; "" where a table was not there.

    `converters_sha256` and `options_sha256` are those of its receipts, sorted; the others are the
    `settings_sha256` of the tables' rows. `receipts_sha256` is the digest of the file.
    """

    sources: list[str]
    finedata_version: str
    converters_sha256: list[Sha256]
    options_sha256: list[Sha256]
    receipts_sha256: Sha256
    gate_settings_sha256: str
    clusters_settings_sha256: str
    representatives_settings_sha256: str


class ShardsFile(Strict, frozen=True, kw_only=True):
    """The document.

    Attributes:
        schema: `shards`.
        version: 1.
        identity: See `shards_identity`.
        finedata_version: Which wrote it.
        libraries: Those whose version changes bytes, with their versions.
        order: How samples stand in the tars.
        sample: What a sample is.
        options: What was asked for.
        sets: By name.
        left_out: Reason to how many episodes are in no set.
        statistics: By embodiment, space and feature.
        texts: In the order in which they were made; the last is the default.
        lineage: The datasets, in the order given.
    """

    schema: Literal["shards"] = msgspec.field(name="finedata.schema", default="shards")
    version: Literal[1] = msgspec.field(name="finedata.version", default=1)
    identity: Sha256
    finedata_version: str
    libraries: dict[str, str]
    order: Order
    sample: Order
    options: ShardOptions
    sets: list[ShardSet]
    left_out: dict[str, Count]
    statistics: list[Statistics]
    texts: list[TextRevision]
    lineage: list[Lineage]


def shards_identity(sets: Sequence[ShardSet], *, order: Order, sample: Order) -> str:
    """The identity: what a stream's order depends on, and nothing else.

    SHA-256 of the canonical JSON `{"finedata.schema": "shards", "finedata.version": 1, "order",
    "sample", "sets": [{"name", "members", "tars": [[name, sha256], ...], "episodes": sha256,
    "frames": sha256}, ...]}`, the sets sorted by name, tars as listed.
    """
    preimage: dict[str, Any] = {
        "finedata.schema": "shards",
        "finedata.version": 1,
        "order": order,
        "sample": sample,
        "sets": [
            {
                "name": one.name,
                "members": one.members,
                "tars": [[tar.name, tar.sha256] for tar in one.tars],
                "episodes": one.episodes_file.sha256,
                "frames": one.frames_file.sha256,
            }
            for one in sorted(sets, key=lambda one: one.name)
        ],
    }
    return digest_of(preimage)


def text_revision(files: Sequence[FileDigest]) -> str:
    """The digest of a snapshot of words.

    SHA-256 of the canonical JSON `[[path, sha256], ...]`, sorted by path; paths are relative to the
    revision's own folder, which is named by the first 16 digits.

    Args:
        files: With paths relative to that folder.
    """
    return digest_of(sorted([file.path, file.sha256] for file in files))


def decode_shards(data: bytes | str, *, place: str) -> ShardsFile:
    """Decode `shards.json`, and hold its identity against its content.

    Raises:
        ConformError: It is not such a document, two sets have one name, a camera's member is none
            of its set's, or the identity is not that of its sets.
    """
    found = decode_document(data, ShardsFile, place=place)
    names = [one.name for one in found.sets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConformError(place=place, found=f"two sets named {twice!r}", wanted="one of a name")
    for one in found.sets:
        for camera in one.cameras:
            if camera.member not in one.members:
                raise ConformError(
                    place=f"{place}, set {one.name!r}, camera {camera.name!r}",
                    found=f"the member {camera.member!r}",
                    wanted=f"one of {', '.join(one.members)}",
                )
    wanted = shards_identity(found.sets, order=found.order, sample=found.sample)
    if found.identity != wanted:
        raise ConformError(
            place=f"{place}, identity",
            found=found.identity,
            wanted=f"{wanted}, the digest of its sets",
            next_command="finedata verify SHARDS  # which files are as they were",
        )
    return found
