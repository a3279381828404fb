"""The closed loop in a simulator: recording demonstrations, and judging policies by the physics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.engine.progress import OnProgress
    from finedata.sim.record import RecordSummary

__all__ = ["sim_estimate", "sim_record"]


def sim_record(
    out: str | Path, *, workers: int = 1, on_progress: OnProgress = None, **settings: Any
) -> RecordSummary:
    """Record simulated demonstrations as a canonical dataset; `open(out)` is it.

    Args:
        out: The dataset; the recording it is made of lies in `OUT.source`.
        workers: Processes; they change no byte.
        on_progress: Told after every few demonstrations.
        settings: `episodes`, `first` (number of the first scene), `noise`, `pictures` (pixels; 0
            for none) and `fine` (share with fine-grained text).

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another MuJoCo, or no renderer where pictures are wanted.
        UsageError: A setting out of its range, or a folder of another recording.
        OutputError: It cannot be written; the same call continues later.

    Example:
        >>> sim_record("steer", episodes=200, pictures=0)  # doctest: +SKIP
    """
    from finedata.sim.record import RecordSettings, record

    return record(
        out, settings=RecordSettings(**settings), workers=workers, on_progress=on_progress
    )


def sim_estimate(**settings: Any) -> dict[str, Any]:
    """What a recording would take: frames, CPU seconds, bytes of pictures, and what draws them.

    Args:
        settings: As for `sim_record`.

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another MuJoCo, or no renderer where pictures are wanted.
        UsageError: A setting out of its range.
    """
    from finedata.sim.record import RecordSettings, estimate_recording

    return estimate_recording(RecordSettings(**settings))
