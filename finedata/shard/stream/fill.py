"""Fills the arrays of a batch: the one place where samples are read, in a worker or without one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from finedata.errors import ConformError, UsageError
from finedata.shard.files import member_crc32c
from finedata.shard.stream.batch import Layout
from finedata.shard.stream.few import FewSamples
from finedata.shard.stream.numbers import VectorReader
from finedata.shard.stream.parts import resolve
from finedata.shard.stream.pictures import PictureDecoder, depth_into
from finedata.shard.stream.places import SamplePlaces
from finedata.shard.stream.sequence import Samples
from finedata.shard.stream.words import WordReader

if TYPE_CHECKING:
    from finedata.schema.roles_file import RolesFile
    from finedata.shard.shards import Shards
    from finedata.shard.stream.settings import Wanted

_MATRIX = 9
_MEMBER_COLUMNS = ("member_offset", "member_size", "member_crc32c")


@dataclass(frozen=True, slots=True)
class Bad:
    """A sample of a batch that could not be read.

    Attributes:
        at: Its place in the batch.
        tar: The tar, relative to the shards.
        reason: What was found.
    """

    at: int
    tar: str
    reason: str


class _Slot(NamedTuple):
    """Where the pictures of a sample's step go and come from.

    Attributes:
        at: The sample's place in the batch.
        step: Which of its pictures.
        place: Place in the tar.
        inside: Whether the frame is in the episode.
    """

    at: int
    step: int
    place: int
    inside: bool


class Filler:
    """Reads samples of some sets.

    Args:
        shards: The shards.
        wanted: Of which sets, and what of them.

    Raises:
        UsageError: The roles do not fit the sets.
    """

    def __init__(self, shards: Shards, wanted: Wanted) -> None:
        self._shards = shards
        self._wanted = wanted
        roles = wanted.roles
        self._parts = [resolve(shards.sets[name], roles) for name in wanted.sets]
        self._cameras = roles.cameras
        self._numbers = VectorReader(shards, roles, self._parts, wanted.numbers, wanted.statistics)
        self._words = WordReader(
            shards,
            wanted.words,
            revision=wanted.revision,
            policy=wanted.policy,
            seed=wanted.seed,
        )
        self._decoder = PictureDecoder()
        self._encoder: Any = None
        if wanted.encoding is not None:
            module, _, name = wanted.encoding.encoder.partition(":")
            self._encoder = getattr(import_module(module), name).of(wanted.encoding.settings)
        self._missing = lru_cache(maxsize=65_536)(self._read_missing)
        pictures = wanted.pictures
        # Frames back from a sample to its pictures, its own last.
        self._ago = pictures.stride * np.arange(pictures.history, -1, -1)
        self._places = SamplePlaces(shards, wanted.sets)
        self._few = FewSamples(
            shards,
            sets=wanted.sets,
            views=wanted.views,
            revision=wanted.revision,
            policy=wanted.policy,
        )
        self.vectors = self._numbers.vectors
        self.codecs = self._numbers.codecs
        for part in self._parts:
            for role, (camera, _) in part.cameras.items():
                if camera.codec not in ("jpeg", "png"):
                    raise UsageError(
                        place=f"picture role {role} of set {part.name}",
                        found=f"camera {camera.name} as {camera.codec}",
                        wanted="pictures",
                    )

    def layout(self, batch: int) -> Layout:
        """The layout of batches of so many samples."""
        return Layout.of(
            batch,
            cameras=self._cameras,
            size=self._wanted.size,
            steps=(len(self._ago),) if len(self._ago) > 1 else (),
            vectors=self.vectors,
            encoded=self._encoder.arrays() if self._encoder else {},
            depth=self._wanted.depth,
        )

    def fill(self, samples: Samples, arrays: dict[str, np.ndarray]) -> list[Bad]:
        """Read pictures and numbers; those that cannot be read are left as they are and told.

        Args:
            samples: The samples.
            arrays: See `Layout.arrays`; one entry a sample.

        Raises:
            ConformError: A table of the shards is damaged.
        """
        self._fill_numbers(
            samples,
            {
                vector.role: (arrays[f"vector:{vector.role}"], arrays[f"vector_mask:{vector.role}"])
                for vector in self.vectors
            },
        )
        bad: list[Bad] = []
        if self._wanted.depth:
            self._fill_matrices(samples, arrays)
        if self._cameras:
            shard_set, episode = samples.shard_set.tolist(), samples.episode.tolist()
            by_tar: dict[tuple[int, int], list[_Slot]] = {}
            for at, steps in enumerate(zip(*self._pictures_of(samples), strict=True)):
                for step, (tar, place, inside) in enumerate(zip(*steps, strict=True)):
                    slot = _Slot(at, step, place, inside)
                    by_tar.setdefault((shard_set[at], tar), []).append(slot)
            for (number, tar), slots in sorted(by_tar.items()):
                bad += self._fill_pictures(number, tar, slots, episode, arrays)
        # One reason is enough of a sample of which several pictures are bad.
        first: dict[int, Bad] = {}
        for one in sorted(bad, key=lambda one: one.at):
            first.setdefault(one.at, one)
        return list(first.values())

    def encode(self, text: list[str], arrays: dict[str, np.ndarray]) -> None:
        """Let the encoder, if there is one, fill its arrays from the others.

        Raises:
            FinedataError: It refuses.
        """
        if self._encoder is not None:
            by_kind: dict[str, dict[str, np.ndarray]] = {}
            for name, array in arrays.items():
                kind, _, inner = name.partition(":")
                by_kind.setdefault(kind, {})[inner] = array
            # Shards without a camera have no pictures at all.
            pictures, mask = by_kind.get("picture", {}), by_kind.get("picture_mask", {})
            space = {"depth": by_kind.get("depth", {}), "matrix": by_kind.get("matrix", {})}
            more = space if self._wanted.depth else {}
            self._encoder.encode(text, pictures, mask, by_kind["encoded"], **more)

    def numbers(self, samples: Samples) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Vector role to its windows (n, steps, width) float32, and their mask.

        Raises:
            ConformError: A table of the shards is damaged.
        """
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for vector in self.vectors:
            shape = len(samples), vector.steps, len(vector.names)
            found[vector.role] = np.empty(shape, np.float32), np.empty(shape, bool)
        self._fill_numbers(samples, found)
        return found

    def words(self, samples: Samples) -> tuple[list[str], list[dict[str, Any] | None]]:
        """Texts and traces.

        Raises:
            ConformError: An episode lacks what is asked for.
        """
        texts: list[str] = []
        traces: list[dict[str, Any] | None] = []
        rows: list[list[int]] = samples.columns().T.tolist()
        for _, view, source, ordinal, _, shard_set, _, _, episode, frame_index in rows:
            name = self._wanted.sets[shard_set]
            texts.append(
                self._words.text(
                    name,
                    episode,
                    view=self._wanted.views[view],
                    source=self._wanted.sources[view][source],
                    ordinal=ordinal,
                )
            )
            traces.append(self._words.trace(name, episode, frame_index))
        return texts, traces

    def _fill_numbers(
        self, samples: Samples, found: dict[str, tuple[np.ndarray, np.ndarray]]
    ) -> None:
        for shard_set in sorted(set(samples.shard_set.tolist())):
            here = np.flatnonzero(samples.shard_set == shard_set)
            read = self._numbers.read(shard_set, samples.episode[here], samples.frame_index[here])
            for role, (values, mask) in read.items():
                found[role][0][here], found[role][1][here] = values, mask

    def _fill_matrices(self, samples: Samples, arrays: dict[str, np.ndarray]) -> None:
        for shard_set in map(int, np.unique(samples.shard_set)):
            part = self._parts[shard_set]
            here = np.flatnonzero(samples.shard_set == shard_set)
            for role in self._cameras:
                found = arrays[f"matrix:{role}"]
                known = part.depth.get(role)
                if known is None or not known[2].matrix:
                    found[here] = np.nan
                    continue
                depth = known[2]
                numbers = np.array(depth.matrix if isinstance(depth.matrix, tuple) else ())
                if isinstance(depth.matrix, str):
                    first = self._shards.episodes(part.name).take(
                        "first_row", samples.episode[here]
                    )
                    rows = first + samples.frame_index[here]
                    numbers = self._shards.frames(part.name).take(depth.matrix, rows)
                found[here] = camera_matrices(numbers, of=depth.size, size=self._wanted.size)

    def _pictures_of(
        self, samples: Samples
    ) -> tuple[list[list[int]], list[list[int]], list[list[bool]]]:
        """Tar and place of each picture of each sample, and whether it is in the episode."""
        if len(self._ago) == 1:
            alone = [[True]] * len(samples)
            return samples.tar[:, None].tolist(), samples.place[:, None].tolist(), alone
        ago = np.minimum(self._ago, samples.frame_index[:, None])
        tar, place = np.empty_like(ago), np.empty_like(ago)
        for shard_set in map(int, np.unique(samples.shard_set)):
            here = np.flatnonzero(samples.shard_set == shard_set)
            some = Samples.of(samples.columns()[:, here])
            tar[here], place[here] = self._places.find(shard_set, some, ago[here])
        return tar.tolist(), place.tolist(), (ago == self._ago).tolist()

    def _fill_pictures(
        self,
        shard_set: int,
        tar: int,
        slots: list[_Slot],
        episode: list[int],
        arrays: dict[str, np.ndarray],
    ) -> list[Bad]:
        """The pictures that are in one tar; `episode` of each sample of the batch."""
        part = self._parts[shard_set]

        def bad_at(at: int, reason: str) -> Bad:
            path = self._shards.tar_path(part.name, tar).relative_to(self._shards.root)
            return Bad(at, path.as_posix(), reason)

        try:
            ranges = self._few.ranges(part.name, tar)
            remote = self._shards.remote
            if ranges is None or remote is None:
                content = self._shards.tar(part.name, tar)
            else:
                content = remote.mapped_ranges(part.name, tar, ranges)
        except ConformError as error:
            return [bad_at(slot.at, error.found) for slot in slots]
        index = self._shards.index(part.name, tar)
        rows = np.array([slot.place for slot in slots])
        offset, size, crc = (index.take(name, rows).tolist() for name in _MEMBER_COLUMNS)
        roles = [
            (arrays[f"picture:{role}"], arrays[f"picture_mask:{role}"], part.cameras.get(role))
            for role in self._cameras
        ]
        deep = [
            (arrays[f"depth:{role}"], part.depth.get(role), part.cameras.get(role))
            for role in (self._cameras if self._wanted.depth else ())
        ]
        bad: list[Bad] = []
        for k, (at, step, place, inside) in enumerate(slots):
            missing = self._missing(shard_set, episode[at])
            slot = (at, step) if len(self._ago) > 1 else at

            def read(member: int, *, k: int = k) -> bytes:
                begin = offset[k][member]
                if ranges is not None:
                    begin = ranges.inside(begin)
                data = bytes(content[begin : begin + size[k][member]])
                if member_crc32c(data) != crc[k][member]:
                    raise ValueError("other bytes than were written")  # noqa: EM101
                return data

            name = ""
            try:
                for pictures, mask, camera in roles:
                    pixels = pictures[slot]
                    there = camera is not None and camera[0].name not in missing
                    mask[slot] = there and inside
                    if camera is None or not there:
                        pixels[:] = 0
                        continue
                    name = camera[0].member
                    self._decoder.into(pixels, read(camera[1]), codec=camera[0].codec)
                for metres, known, camera in deep:
                    if known is None or camera is None or {known[0].name, camera[0].name} & missing:
                        metres[at] = 0
                        continue
                    name = known[0].member
                    depth_into(metres[at], read(known[1]), unit_m=known[2].unit_m)
            except ValueError as error:
                bad.append(bad_at(at, f"member {name} of sample {place}: {error}"))
        return bad

    def _read_missing(self, shard_set: int, episode: int) -> frozenset[str]:
        table = self._shards.episodes(self._wanted.sets[shard_set])
        return frozenset(table.value("cameras_missing", episode))


def camera_matrices(
    numbers: np.ndarray, *, of: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Pinholes of pictures that were brought to another size, their aspect not kept.

    Args:
        numbers: (..., 4) fx, fy, cx, cy, or (..., 9) the matrix row by row.
        of: Width and height of the pictures that they are of, in pixels.
        size: Height and width of the pictures that there are.

    Returns:
        (..., 3, 3) float32.
    """
    if numbers.shape[-1] == _MATRIX:
        found = numbers.astype(np.float64).reshape(*numbers.shape[:-1], 3, 3).copy()
    else:
        found = np.zeros((*numbers.shape[:-1], 3, 3))
        found[..., 0, 0], found[..., 1, 1] = numbers[..., 0], numbers[..., 1]
        found[..., 0, 2], found[..., 1, 2] = numbers[..., 2], numbers[..., 3]
        found[..., 2, 2] = 1
    found[..., 0, :] *= size[1] / of[0]
    found[..., 1, :] *= size[0] / of[1]
    return found.astype(np.float32)


def picture_size(
    shards: Shards, sets: tuple[str, ...], roles: RolesFile, size: tuple[int, int] | None
) -> tuple[int, int]:
    """The size of pictures: as asked for, or that of all cameras of the roles.

    Raises:
        UsageError: Their sizes differ and none is asked for, or it is not positive.
    """
    if size is not None:
        if min(size) < 1:
            raise UsageError(place="size", found=str(size), wanted="height and width in pixels")
        return size
    sizes = {
        (camera.height, camera.width)
        for name in sets
        for camera, _ in resolve(shards.sets[name], roles).cameras.values()
    }
    if len(sizes) > 1:
        raise UsageError(
            place="pictures",
            found="of sizes " + ", ".join(f"{h}x{w}" for h, w in sorted(sizes)),
            wanted="one size for a batch",
            next_command="size=(224, 224)",
        )
    return sizes.pop() if sizes else (1, 1)
