"""Videos given other times by stream copy: no picture is decoded, none changes.

In the new mp4 file row k of the dataset is shown at k / fps. LeRobot looks a frame up by its time,
`timestamp = frame_index / fps`, and accepts 1e-4 s beside; its default decoder turns that time
into a frame number with the average rate in the file's header. Both must find the same frame,
which is what is arranged here.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from finedata.errors import SourceError
from finedata.store.videos.files import (
    LEAST_STEP_TICKS,
    PacketList,
    VideoSource,
    encoder_errors,
    entry_packets,
    fresh_path,
    import_av,
    iter_packets,
    list_packets,
    opened_video,
    video_name,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remux_video"]


def remux_video(
    source: VideoSource,
    target: Path,
    *,
    fps: float,
    rows: np.ndarray | None = None,
    frames: int | None = None,
) -> None:
    """Copy the encoded pictures into an mp4 that shows them at the times of the dataset's rows.

    Frame `rows[k]` of the source (in order of display) is shown at exactly k / fps. Frames that no
    row shows cannot all be left out, because others are decoded from them:

    - before the first row they get negative times, which the file's edit list hides (the same
      mechanism by which every mp4 with B-frames begins at 0);
    - between two rows they are spread evenly between these rows' times;
    - after the last row they follow at the frame rate;
    - those that no needed frame is decoded from (before the last possible key frame, after the
      last needed one) are left out.

    A key frame that a later one in the file is shown before (an open group of pictures) loses its
    mark: a decoder that seeks to the later one would begin there, and miss it.

    The last frame lasts as long as it takes for the average rate in the header to be `fps`:
    LeRobot's default decoder finds frames with that rate. The bytes depend only on the source's
    bytes and the arguments.

    Args:
        source: A path, or a seekable file object (read twice).
        target: The mp4 file to write.
        fps: Frames a second, exactly as the dataset states it (29.97 is not 30000/1001).
        rows: (T,) strictly increasing frame numbers; `None`: 0, 1, 2, ...
        frames: Without `rows`: how many frames; `None` for all.

    Raises:
        OutputError: The disk is full, or `target` cannot be written.
        SourceError: Rows that no stream copy can show (a frame twice, or a number that the file
            has not), a codec that mp4 cannot hold, or frames without times.
        CorruptRecordError: The source cannot be parsed.

    Example:
        A camera that ran at 30 Hz, for rows at 10 Hz::

            remux_video(source, target, fps=10, rows=np.arange(0, 300, 3))
    """
    av = import_av()
    with opened_video(source) as container:
        packets = list_packets(container, video_name(source))
    if rows is None:
        rows = np.arange((~packets.hidden).sum() if frames is None else frames)
    plan = _plan(packets, np.asarray(rows, np.int64), fps, video_name(source))
    options = {
        "fflags": "+bitexact",
        "video_track_timescale": str(plan.timescale),
        "movie_timescale": str(plan.timescale),
    }
    with (
        fresh_path(target) as partial,
        opened_video(source) as container,
        partial.open("wb") as file,
        encoder_errors(video_name(source), "a codec that an mp4 file can hold"),
        av.open(file, "w", format="mp4", options=options) as output,
    ):
        stream = container.streams.video[0]
        copied = output.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(iter_packets(container, video_name(source))):
            if number not in plan.ticks:
                continue
            packet.time_base = Fraction(1, plan.timescale)
            packet.pts, packet.dts, packet.duration = plan.ticks[number]
            packet.is_keyframe = number in plan.entries
            packet.stream = copied
            output.mux_one(packet)


class _RemuxPlan(NamedTuple):
    """What becomes of the packets: number to (pts, dts, duration) in ticks; others are left out.

    `entries` are the numbers of those at which decoding can begin.
    """

    timescale: int
    ticks: dict[int, tuple[int, int, int]]
    entries: frozenset[int]


def _plan(packets: PacketList, rows: np.ndarray, fps: float, name: str) -> _RemuxPlan:
    """Decide which packets stay, and their times."""
    order = np.argsort(packets.ticks, kind="stable")
    shown = order[~packets.hidden[order]]
    if not len(rows) or (np.diff(rows) <= 0).any() or rows[0] < 0 or rows[-1] >= len(shown):
        raise SourceError(
            place=name,
            found=f"rows that show frames {rows[:1].tolist()} to {rows[-1:].tolist()}, "
            "or one twice",
            wanted=f"increasing frame numbers below {len(shown)}",
            next_command="convert with --transcode",
        )
    wanted = shown[rows]
    kept = _kept(packets, wanted)
    by_display = order[np.isin(order, kept)]
    places = np.flatnonzero(np.isin(by_display, wanted))
    rate = Fraction(fps).limit_denominator(1001)
    # A frame between two rows needs ticks of its own, well apart from theirs.
    widest = int(np.diff(places).max(initial=1))
    factor = 1
    while rate.denominator * factor < max(LEAST_STEP_TICKS, 4 * widest):
        factor *= 2
    step, timescale = rate.denominator * factor, rate.numerator * factor
    if timescale >= 1 << 31:
        raise SourceError(place=name, found=f"{fps} frames a second", wanted="a usual rate")
    pts = np.empty(len(packets.ticks), np.int64)
    pts[by_display] = _spread(places, len(by_display), step)
    # Decoding times: the sorted display times, early enough for every B-frame's reference.
    ascending = np.sort(pts[kept])
    dts = ascending - (ascending - pts[kept]).max()
    durations = np.diff(dts, append=dts[0] + step * len(dts))
    return _RemuxPlan(
        timescale,
        {
            int(k): (int(pts[k]), int(at), int(lasts))
            for k, at, lasts in zip(kept, dts, durations, strict=True)
        },
        frozenset(kept[entry_packets(pts[kept], packets.key[kept])].tolist()),
    )


def _kept(packets: PacketList, wanted: np.ndarray) -> np.ndarray:
    """Numbers of the packets to copy: from the last key frame that is enough to the last needed."""
    first = 0
    for key in np.flatnonzero(packets.key[: wanted.min() + 1])[::-1]:
        # Frames decoded after a key frame and shown before it may refer to what was before.
        if (packets.ticks[wanted] >= packets.ticks[key]).all():
            first = int(key)
            break
    numbers = np.arange(first, int(wanted.max()) + 1, dtype=np.int64)
    return numbers[packets.ticks[numbers] >= packets.ticks[first]] if first else numbers


def _spread(places: np.ndarray, count: int, step: int) -> np.ndarray:
    """Times in ticks (count,): k * step at `places[k]`, the others evenly in between or outside."""
    numbers = np.arange(count)
    ticks = np.interp(numbers, places, np.arange(len(places)) * step)
    before = np.minimum(numbers - places[0], 0) * step
    after = np.maximum(numbers - places[-1], 0) * step
    return np.floor(ticks).astype(np.int64) + before + after
