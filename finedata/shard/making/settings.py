"""What can be asked of `finedata shard`, and what of it changes bytes.

Workers, shares and folders are not here: they never do. What is here is hashed with the datasets'
own digests into the key of a run, so that a run which was stopped is continued only by its like.
"""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import msgspec

from finedata.errors import UsageError
from finedata.schema.shards_file import Order, Policy, ShardOptions
from finedata.shard.depth import depth_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BAKED", "Baked", "HeldOutBy", "ShardSettings", "read_ids", "shard_settings"]

HeldOutBy = Literal["episode", "task"]
Baked = Literal["instruction", "fine", "trace"]
BAKED: tuple[Baked, ...] = ("instruction", "fine", "trace")
"""Words that can stand in the tars too; each is a member `<name>.txt`."""


class ShardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Choices that change what is written.

    Attributes:
        cameras: Cameras to take, by their names in the datasets; empty for all.
        resize: (height, width) of pictures; None: as they are.
        quality: JPEG quality of pictures that have to be encoded.
        shard_bytes: Wanted size of a tar.
        order: How samples stand in the tars; None: `step` for steps, `episode` for episodes.
        sample: Whether a sample is a time step or an episode.
        horizon: Steps of the action chunk in the tars.
        every: One sample every so many frames.
        thin: Whether the tars hold pictures only.
        where: SQL condition over `episodes`; "" for all.
        held_out: Share of the episodes (or tasks) that is held out, as `p/q` or a decimal.
        held_out_ids: Ids that are held out instead, sorted.
        held_out_by: Whether a share or list is of episodes or of tasks.
        text_policy: Which words a fine-grained view may show.
        with_failed: Whether the tiers `unlabelled` and `failed` are made too.
        bake: Words that stand in the tars too, of `BAKED`.
        seed: Of the shuffle.
        depth: A model that estimates the depth of cameras without any; see
            `finedata.shard.depth.depth_name`. "" for none.
    """

    cameras: tuple[str, ...] = ()
    resize: tuple[int, int] | None = None
    quality: int = 90
    shard_bytes: int = 256_000_000
    order: Order | None = None
    sample: Order = "step"
    horizon: int = 16
    every: int = 1
    thin: bool = False
    where: str = ""
    held_out: str = ""
    held_out_ids: tuple[str, ...] = ()
    held_out_by: HeldOutBy = "episode"
    text_policy: Policy = "not_contradicted"
    with_failed: bool = False
    bake: tuple[Baked, ...] = ()
    seed: int = 0
    depth: str = ""

    @property
    def tar_order(self) -> Order:
        """How samples stand in the tars."""
        return self.order or self.sample

    @property
    def share(self) -> Fraction:
        """The share that is held out."""
        return Fraction(self.held_out or "0")

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: A value is out of range, or two of them contradict each other.
        """
        for name, value, low, high in (
            ("quality", self.quality, 1, 100),
            ("shard_bytes", self.shard_bytes, 1024, 1 << 40),
            ("horizon", self.horizon, 1, 10_000),
            ("every", self.every, 1, 1_000_000),
            *(("resize", side, 1, 16384) for side in self.resize or ()),
        ):
            if not low <= value <= high:
                raise UsageError(parameter=name, found=f"{value}", wanted=f"{low} to {high}")
        self._check_held_out()
        unknown = sorted(set(self.bake) - set(BAKED))
        if unknown:
            raise UsageError(parameter="bake", found=unknown[0], wanted=f"of {', '.join(BAKED)}")
        of_steps = self.order == "step" or self.every > 1 or self.thin or self.bake
        if self.sample == "episode" and of_steps:
            raise UsageError(
                parameter="sample",
                found="episode, with order step, every, thin or bake",
                wanted="a sample that is a whole episode, in the order of episodes",
            )
        if self.sample == "episode" and self.depth:
            raise UsageError(
                parameter="depth",
                found="depth of samples that are episodes",
                wanted="samples that are steps: depth is no film",
            )
        if self.thin and self.bake:
            raise UsageError(
                parameter="thin",
                found="thin and bake",
                wanted="pictures only, or words in the tars too",
            )

    def _check_held_out(self) -> None:
        try:
            right = 0 <= self.share < 1
        except (ValueError, ZeroDivisionError):
            right = False
        if not right:
            raise UsageError(
                parameter="held_out",
                found=f"{self.held_out!r}",
                wanted="a share from 0 to below 1, as 0.05 or 1/20, or a file of ids",
            )
        if self.held_out and self.held_out_ids:
            raise UsageError(parameter="held_out", found="a share and ids", wanted="one of them")

    def as_options(self) -> ShardOptions:
        """What `shards.json` says of them."""
        height, width = self.resize or (None, None)
        ids = "".join(f"{one}\n" for one in self.held_out_ids)
        return ShardOptions(
            cameras=list(self.cameras),
            height=height,
            width=width,
            quality=self.quality,
            shard_bytes=self.shard_bytes,
            horizon=self.horizon,
            every=self.every,
            thin=self.thin,
            where=self.where,
            held_out=str(self.share) if self.held_out else "",
            held_out_ids_sha256=hashlib.sha256(ids.encode()).hexdigest() if ids else "",
            held_out_by=self.held_out_by,
            text_policy=self.text_policy,
            with_failed=self.with_failed,
            bake=list(self.bake),
            seed=self.seed,
            depth=depth_name(self.depth) if self.depth else msgspec.UNSET,
        )


def read_ids(text: str) -> tuple[str, ...]:
    """Ids of a list, one a line; white space around them and empty lines do not count."""
    return tuple(sorted({line.strip() for line in text.splitlines()} - {""}))


def shard_settings(values: Mapping[str, object]) -> ShardSettings:
    """Settings by name.

    Raises:
        UsageError: There is no such setting, or a value is of another type.
    """
    unknown = sorted(set(values) - set(ShardSettings.__struct_fields__))
    if unknown:
        raise UsageError(
            parameter=unknown[0],
            found="a setting that shards do not have",
            wanted=f"one of {', '.join(ShardSettings.__struct_fields__)}",
        )
    try:
        return msgspec.convert(_as_stored(values), ShardSettings, strict=True)
    except msgspec.ValidationError as error:
        # "... - at `$.bake[...]`"
        name = re.search(r"\$\.(\w+)", f"{error}")
        raise UsageError(
            parameter=name[1] if name else "",
            place=name[1] if name else "the settings of shards",
            found=f"{error}",
            wanted="see ShardSettings",
        ) from error


def _as_stored(values: Mapping[str, object]) -> dict[str, object]:
    """What people write shorter: `resize=224`, `cameras="wrist"`, `held_out=0.05`."""
    found = dict(values)
    if isinstance(size := found.get("resize"), int):
        found["resize"] = (size, size)
    for name in ("cameras", "bake", "held_out_ids"):
        if isinstance(text := found.get(name), str):
            found[name] = tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(words := found.get("bake"), tuple | list):
        given = [str(word) for word in words]  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
        for word in given:
            if word not in BAKED:
                raise UsageError(
                    parameter="bake", found=f"{word!r}", wanted=f"of {', '.join(BAKED)}"
                )
        found["bake"] = tuple(word for word in BAKED if word in given)
    if isinstance(share := found.get("held_out"), float):
        found["held_out"] = str(share)
    return found
