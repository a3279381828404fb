"""What making shards comes to in numbers: one form for the library and for `--json`."""

from __future__ import annotations

import msgspec

from finedata.schema.shards_file import ViewCounts  # noqa: TC001  (msgspec resolves it)
from finedata.store.summary import Summary

__all__ = ["ShardEstimate", "ShardSummary"]


class SetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A set in numbers."""

    name: str
    tier: str
    side: str
    episodes: int
    samples: int
    tars: int
    bytes: int
    encoded: int
    psnr_db: float | None


class ShardSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What shards hold.

    Attributes:
        out: Their folder.
        identity: Their identity; "" where only a share was written.
        sets: The sets.
        views: What each view holds under the newest text revision.
        left_out: Reason to how many episodes are in no set.
        share: `i/n` where only a share was written, else "".
        added: Episodes that this call added; 0 where all of them had been there.
    """

    out: str
    identity: str
    sets: list[SetSummary]
    views: list[ViewCounts]
    left_out: dict[str, int]
    share: str = ""
    added: int = 0


class ShardEstimate(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What a run would write.

    Attributes:
        sets: The sets; their bytes are estimated from a few samples each.
        left_out: Reason to how many episodes are in no set.
        bytes: Of all tars.
        scratch_bytes: Of the spill files meanwhile.
    """

    sets: list[SetSummary]
    left_out: dict[str, int]
    bytes: int
    scratch_bytes: int
