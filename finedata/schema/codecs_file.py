"""How the numbers of a vector role are written for a policy: what a checkpoint keeps of a stream.

A policy that was trained on normalised, relative numbers can be served only by somebody who knows
the very statistics and conventions. So they are a document of their own, without the shards: one
entry for each part and vector role, everything by name.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from finedata.schema.strict import Strict

__all__ = ["Action", "CodecsFile", "Normalisation", "Rotation", "VectorCodec"]

Action: TypeAlias = Literal["absolute", "relative", "delta"]
Rotation: TypeAlias = Literal["quaternion", "6d", "euler"]
Normalisation: TypeAlias = Literal["none", "quantile", "min-max", "mean-std"]


class VectorCodec(Strict, frozen=True, kw_only=True):
    """One vector role of one part.

    A number x of the role is written as (x - centre) / half, and one whose `half` is 0 is constant:
    it is written as 0 and read as `centre`.

    Attributes:
        source: Of the part.
        part: Its name.
        embodiment: The robot.
        role: The vector role.
        kind: What its numbers are.
        names: Of the role's numbers in the shards, rotations as `qx`, `qy`, `qz`, `qw`.
        given_names: Of the numbers as a policy sees them.
        filled: Whether the part has this number at all.
        action: What actions are relative to; `absolute` of a state.
        rotation: How rotations are written.
        normalise: Which statistics `centre` and `half` are of.
        centre: What becomes 0, by `names`.
        half: What becomes 1 above it; 1 of rotations, which are left as they are.
        fill: What stands for a number that the part does not have.
    """

    source: str
    part: str
    embodiment: str
    role: str
    kind: Literal["state", "action"]
    names: tuple[str, ...]
    given_names: tuple[str, ...]
    filled: tuple[bool, ...]
    action: Action
    rotation: Rotation
    normalise: Normalisation
    centre: tuple[float, ...]
    half: tuple[float, ...]
    fill: float = 0.0


class CodecsFile(Strict, frozen=True, kw_only=True):
    """The document.

    Attributes:
        schema: `vector-codecs`.
        version: 1.
        horizon: Steps of an action chunk.
        stride: Frames from one step to the next.
        history: Steps of the state before the present one.
        codecs: By source, part and role.
    """

    schema: Literal["vector-codecs"] = msgspec.field(
        name="finedata.schema", default="vector-codecs"
    )
    version: Literal[1] = msgspec.field(name="finedata.version", default=1)
    horizon: int
    stride: int
    history: int
    codecs: tuple[VectorCodec, ...]
