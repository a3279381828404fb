"""Which episodes are exact copies, and which one is kept: the first that fails nothing else.

Equal means the same names, states and actions, bit by bit in float32 but for the sign of zero. An
episode without any number is nobody's copy.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finedata.quality.segments import segment_max

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.store.motion.tracks import PartTracks

_DIGEST_BYTES = 16


def has_motion(tracks: PartTracks) -> NDArray[np.bool_]:
    """(N,) whether any number was recorded: two episodes without one are not each other's copy."""
    known = np.zeros(len(tracks), np.bool_)
    for values in (tracks.state, tracks.action):
        if values.shape[1]:
            finite = np.isfinite(values).astype(np.float32)
            known |= segment_max(finite, tracks.offsets).max(axis=1) > 0
    return known


def motion_digests(tracks: PartTracks) -> NDArray[np.uint64]:
    """Digest of each episode's names, states and actions (float32, -0 as 0).

    Returns:
        (N, 2) the 128 bits of BLAKE2b.
    """
    heading = "\n".join((*tracks.names, "", *tracks.action_names)).encode()
    # Adding zero makes 0 of -0, which is the same motion.
    state = np.ascontiguousarray(tracks.state, np.float32) + np.float32(0.0)
    action = np.ascontiguousarray(tracks.action, np.float32) + np.float32(0.0)
    found = bytearray()
    for begin, end in zip(tracks.offsets[:-1].tolist(), tracks.offsets[1:].tolist(), strict=True):
        digest = hashlib.blake2b(heading, digest_size=_DIGEST_BYTES)
        digest.update(cast("Any", state[begin:end]))
        digest.update(cast("Any", action[begin:end]))
        found += digest.digest()
    return np.frombuffer(bytes(found), "<u8").reshape(-1, 2)


def kept_equals(
    digests: NDArray[np.uint64],
    failed: NDArray[np.bool_],
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """For each episode the equal one that is kept: the first that fails nothing else.

    Where all of them fail something, the first.

    Args:
        digests: (N, 2) from `motion_digests`, in the dataset's order.
        failed: (N,) whether an episode fails another check.
        known: (N,) from `has_motion`; the others equal nothing. All by default.

    Returns:
        (N,) number of the kept episode; its own for most.
    """
    number = np.arange(len(digests))
    order = np.lexsort((number, failed, digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    kept = np.empty(len(order), np.int64)
    kept[order] = order[begins][np.cumsum(begins) - 1] if len(order) else order
    return kept if known is None else np.where(known, kept, number)
