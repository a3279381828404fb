"""What became of each camera: which stored one shows its pictures, and whether at the right rows.

Pictures are compared byte for byte, videos packet by packet (`packets`). A camera is recognised by
what it shows; only where it shows nothing that is stored, its name says which one was meant, and
the message how far that one is from it.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.convert.account.decoded import DecodedFiles, small_pictures, unlike_rows
from finedata.convert.account.packets import (
    Packets,
    frame_at,
    read_packets,
    shift_between,
    unseen_rows,
)
from finedata.convert.account.things import Pictures, VideoWindow
from finedata.errors import FinedataError, MissingExtraError
from finedata.readers.files import file_object, local_path
from finedata.store.videos.frames import decoded_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from finedata.convert.account.named import Use
    from finedata.convert.account.output import Output, StoredEpisode
    from finedata.convert.account.tally import Tallies, Tally
    from finedata.convert.account.things import SourceEpisode
    from finedata.convert.context import ConvertOptions
    from finedata.convert.verify.report import VerifyReport
    from finedata.readers.files import SourceFolder

_PACKETS_KEPT = 32
_REWRITTEN = ("raw_pictures", "colour_fixed")


class CameraAccount:
    """Holds the cameras of one source's episodes against those of the output."""

    def __init__(
        self,
        output: Output,
        report: VerifyReport,
        tallies: Tallies,
        *,
        folder: SourceFolder,
        options: ConvertOptions,
        decode: bool,
    ) -> None:
        self._output, self._report, self._tallies = output, report, tallies
        self._folder, self._options, self._decode = folder, options, decode
        self._unnamed = {part.name: part.left_out for part in output.info.parts}
        self._packets: OrderedDict[str, Packets | None] = OrderedDict()
        self._small: tuple[str, np.ndarray] = ("", np.zeros((0, 1, 1)))
        self._decoded = DecodedFiles(report)

    def finish(self) -> None:
        """Decode what was gathered, where that was asked for, and forget what was read."""
        self._packets.clear()
        self._decoded.check()

    def check(
        self,
        episode: SourceEpisode,
        stored: StoredEpisode,
        place: str,
        uses_of: Callable[[str], list[Use]],
    ) -> None:
        """Say what became of every camera of an episode."""
        taken: set[str] = set()
        missing: set[str] = set(stored.row.get("cameras_missing") or ())
        # What is recognised goes first: a camera that shows something else takes what is left.
        later: list[tuple[str, VideoWindow | Pictures, Tally, list[str]]] = []
        for name, shown in episode.cameras.items():
            tally = self._tallies.of("camera", name)
            uses = uses_of(name)
            named = [use.stored for use in uses if use.kind in ("camera", "keep")]
            flag = next((use.flag for use in uses if use.kind == "left_out"), "")
            unnamed = self._unnamed.get(stored.part, {}).get(name)
            if unnamed and all(use.kind != "camera" for use in uses):
                tally.left_out(unnamed)
            elif not named and flag:
                self._left_out(name, flag, stored, place, tally, is_there=shown is not None)
            elif not named:
                tally.left_out("the converter names it nowhere")
            elif shown is None:
                tally.absent("no video of it for some episodes")
            elif self._options.cameras and not self._is_asked_for(name, named):
                tally.left_out("--cameras names others")
            elif not self._recognised(name, shown, stored, taken, tally):
                later.append((name, shown, tally, named))
        for name, shown, tally, named in later:
            self._unrecognised(name, shown, stored, taken, place, tally, missing, named)
        self._check_times(stored, place)

    def _check_times(self, stored: StoredEpisode, place: str) -> None:
        """Every row's frame is where LeRobot looks for it, in each stored video."""
        for camera, is_video in stored.cameras.items():
            where = self._output.video(stored, camera) if is_video else None
            if where is None:
                if is_video:
                    self._report.add(f"{place}: frames of {camera}", "no place of its video", "one")
                continue
            packets = self._read(str(where[0]), where[0])
            if packets is not None:
                rows, fps = stored.row["length"], stored.row["fps"]
                unseen = unseen_rows(packets, where[1], rows, fps)
                if self._decode and "undecodable_picture" not in stored.receipt["flags"]:
                    self._decoded.add(
                        where[0], place=place, camera=camera, start_s=where[1], rows=rows, fps=fps
                    )
                if unseen is not None:
                    found = f"{unseen[1]} for row {unseen[0]}"
                    wanted = "one at from + k / fps for each row"
                    self._report.add(f"{place}: frames of {camera}", found, wanted)

    def _left_out(
        self,
        name: str,
        flag: str,
        stored: StoredEpisode,
        place: str,
        tally: Tally,
        *,
        is_there: bool,
    ) -> None:
        if flag in stored.receipt["flags"]:
            tally.left_out(f"flag {flag}")
        elif not is_there:
            # A flag is for what an episode has: of a camera without files nothing was left out.
            tally.absent("no video of it for some episodes")
        else:
            tally.is_lost(f"{place}: camera {name}", f"no flag {flag}", "one, or its pictures")

    def _is_asked_for(self, name: str, named: list[str]) -> bool:
        asked = self._options.cameras
        return any(one in asked for one in named if one) or any(
            _likeness(name, one) > 0 for one in asked
        )

    # Recognising

    def _recognised(
        self,
        name: str,
        shown: VideoWindow | Pictures,
        stored: StoredEpisode,
        taken: set[str],
        tally: Tally,
    ) -> bool:
        """Whether a stored camera shows exactly these pictures; the one named most alike."""
        cameras = [
            camera
            for camera, is_video in stored.cameras.items()
            if camera not in taken and is_video == isinstance(shown, VideoWindow)
        ]
        for camera in sorted(cameras, key=lambda camera: -_likeness(name, camera)):
            if self._shows(camera, shown, stored):
                taken.add(camera)
                column = f"observation.images.{camera}"
                tally.kept(column, same=column == name)
                return True
        return False

    def _shows(self, camera: str, shown: VideoWindow | Pictures, stored: StoredEpisode) -> bool:
        frames = stored.receipt["frames_written"]
        if isinstance(shown, Pictures):
            found, wanted = self._both(camera, shown, stored)
            return found == wanted
        wanted, found = self._windows(camera, shown, stored)
        if wanted is None or found is None:
            return False
        # Frames that no row shows are there for others to be decoded from: the source's, too.
        if not _in_order(found[0].whole, wanted[0].whole):
            return False
        if shown.any_frames:
            return len(found[2]) == frames
        if np.array_equal(wanted[2], found[2]):
            return True
        # Where the source's own statements differ, a neighbour may be meant: the receipt says so.
        doubted = "video_start_differs" in stored.receipt["flags"]
        shift = shift_between(found[2], wanted[0].digests, wanted[1]) if doubted else None
        return shift is not None and abs(shift) == 1

    def _both(
        self, camera: str, shown: Pictures, stored: StoredEpisode
    ) -> tuple[list[bytes], list[bytes]]:
        """The pictures that are stored, and those that should be."""
        found = self._output.pictures(stored, camera)
        wanted = shown.read()[: stored.receipt["frames_written"]]
        if shown.padded:
            found = [picture.rstrip(b"\0") for picture in found]
            wanted = [picture.rstrip(b"\0") for picture in wanted]
        return found, wanted

    def _windows(
        self, camera: str, shown: VideoWindow, stored: StoredEpisode
    ) -> tuple[tuple[Packets, int, np.ndarray] | None, tuple[Packets, int, np.ndarray] | None]:
        """(file, first frame, digests of the frames) of the source's window and of the output's."""
        frames = stored.receipt["frames_written"]
        source = self._source_packets(shown.file)
        place = self._output.video(stored, camera)
        if source is None or place is None or not len(source.time_s):
            return None, None
        path, start_s = place
        target = self._target_packets(path, shown.file, source)
        if target is None or not len(target.time_s):
            return None, None
        first, away_s = frame_at(source, shown.start_s, from_first=True)
        if away_s > shown.tolerance_s and "video_start_differs" not in stored.receipt["flags"]:
            where = f"{stored.receipt['source_file']}, record {stored.receipt['source_record']}"
            self._report.add(
                f"{where}: flags",
                "no video_start_differs",
                f"it, because {shown.file} has no frame at {shown.start_s} s",
            )
        begin, _ = frame_at(target, start_s, from_first=False)
        return (
            (source, first, source.digests[first : first + frames]),
            (target, begin, target.digests[begin : begin + frames]),
        )

    # What is not recognised

    def _unrecognised(
        self,
        name: str,
        shown: VideoWindow | Pictures,
        stored: StoredEpisode,
        taken: set[str],
        place: str,
        tally: Tally,
        missing: set[str],
        named: list[str],
    ) -> None:
        receipt = stored.receipt
        rewritten = self._rewritten(receipt)
        left = [camera for camera in stored.cameras if camera not in taken]
        # The converter's own name of it, where it gives one: else the name that is most like it.
        meant = [camera for camera in left if camera.removesuffix("_bgr") in named]
        camera = max(meant or left, key=lambda camera: _likeness(name, camera), default=None)
        if camera is None or (not meant and _likeness(name, camera) == 0 and len(left) != 1):
            if "camera_left_out" in receipt["flags"]:
                tally.left_out("flag camera_left_out")
                return
            kept = ", ".join(sorted(stored.cameras)) or "none"
            tally.is_lost(
                f"{place}: camera {name}",
                f"its pictures in no stored camera ({kept})",
                "one that shows them",
            )
            return
        taken.add(camera)
        column = f"observation.images.{camera}"
        images = {image["camera"]: image for image in receipt["images"]}
        placeholders = images.get(camera, {}).get("placeholder_count") or 0
        if rewritten and self._decode and isinstance(shown, VideoWindow) and not placeholders:
            unlike = self._unlike(camera, shown, stored)
            if unlike:
                found = f"another picture in {len(unlike)} rows, the first of them row {unlike[0]}"
                tally.is_lost(f"{place}: frames of {camera}", found, "the source's")
                return
            tally.kept(column, same=column == name, because=f"{rewritten}; pictures compared")
            return
        if rewritten or placeholders or camera in missing:
            why = rewritten or "placeholders stand for it"
            tally.kept(column, same=column == name, because=f"not compared: {why}")
            self._report.note(f"pictures of camera {camera}: not compared, because {why}")
            return
        if isinstance(shown, VideoWindow) and not self._is_sound(shown.file):
            tally.kept(column, same=column == name, because="not compared")
            return
        tally.is_lost(
            f"{place}: frames of {camera}", self._how_far(camera, shown, stored), "the source's"
        )

    def _rewritten(self, receipt: dict[str, Any]) -> str:
        """Why the stored bytes are no longer the source's; empty where they must be."""
        options = self._options
        if options.transcode is not None:
            return f"--transcode {options.transcode} encoded it anew"
        if options.resize is not None:
            return "--resize encoded it anew"
        return next((f"flag {flag}" for flag in _REWRITTEN if flag in receipt["flags"]), "")

    def _how_far(self, camera: str, shown: VideoWindow | Pictures, stored: StoredEpisode) -> str:
        """In words, how a stored camera differs from what it should show."""
        if isinstance(shown, Pictures):
            found, wanted = self._both(camera, shown, stored)
            if len(found) != len(wanted):
                return f"{len(found)} pictures instead of {len(wanted)}"
            other = [row for row, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b]
            return f"another picture in {len(other)} rows, the first of them row {other[0]}"
        wanted, found = self._windows(camera, shown, stored)
        if wanted is None or found is None:
            return "no video"
        shift = shift_between(found[2], wanted[0].digests, wanted[1])
        if shift is not None:
            return f"frames {abs(shift)} {'later' if shift > 0 else 'earlier'} in the source"
        if len(found[2]) != len(wanted[2]):
            return f"{len(found[2])} frames instead of {len(wanted[2])}"
        other = np.flatnonzero(found[2] != wanted[2])
        return f"another frame in {len(other)} rows, the first of them row {int(other[0])}"

    def _unlike(self, camera: str, shown: VideoWindow, stored: StoredEpisode) -> list[int]:
        """Rows of a video that was encoded anew whose picture is not the source's."""
        where = self._output.video(stored, camera)
        source = self._source_packets(shown.file)
        if where is None or source is None or shown.any_frames:
            self._report.note(f"pictures of {shown.file}: not compared, because rows choose frames")
            return []
        first, _ = frame_at(source, shown.start_s, from_first=True)
        path = local_path(self._folder, shown.file)
        opened = file_object(self._folder.open(shown.file)) if path is None else path
        try:
            if self._small[0] != shown.file:
                self._small = (shown.file, small_pictures(opened)[1])
            times, pictures = small_pictures(where[0])
        except FinedataError as error:
            self._report.note(f"{shown.file}: pictures not compared: {error.found}")
            return []
        finally:
            if not isinstance(opened, Path):
                opened.close()
        begin = int(np.searchsorted(times, where[1] - 1e-4))
        rows = pictures[begin : begin + stored.receipt["frames_written"]]
        return unlike_rows(rows, self._small[1], first)

    # Files

    def _is_sound(self, file: str) -> bool:
        """Whether a source's video can be read and its first frame decoded; says where not."""
        if self._source_packets(file) is None:
            return False
        path = local_path(self._folder, file)
        source = file_object(self._folder.open(file)) if path is None else path
        try:
            next(decoded_frames(source, 0, 1))
        except FinedataError as error:
            self._report.note(
                f"{file}: packets differ, and the source's do not decode: {error.found}"
            )
            return False
        finally:
            if not isinstance(source, Path):
                source.close()
        return True

    def _source_packets(self, file: str) -> Packets | None:
        path = local_path(self._folder, file)
        if path is not None:
            return self._read(str(path), path)
        opened = file_object(self._folder.open(file))
        try:
            return self._read(f"{self._folder.address}/{file}", opened)
        finally:
            opened.close()

    def _target_packets(self, path: Path, file: str, source: Packets) -> Packets | None:
        same = local_path(self._folder, file)
        if same is not None and path.exists() and path.samefile(same):
            self._packets[str(path)] = source  # a hard link: one file
        return self._read(str(path), path)

    def _read(self, name: str, source: Any) -> Packets | None:
        if name not in self._packets:
            while len(self._packets) >= _PACKETS_KEPT:
                self._packets.popitem(last=False)
            try:
                self._packets[name] = read_packets(source)
            except MissingExtraError as error:
                self._packets[name] = None
                self._report.note(f"packets of videos: not compared, because of {error.found}")
            except FinedataError as error:
                self._packets[name] = None
                self._report.note(f"{name}: packets not compared, because of {error.found}")
        return self._packets[name]


def _in_order(shown: np.ndarray, whole: np.ndarray) -> bool:
    """Whether frames are some of a file's, each once and in order."""
    left = iter(whole.tolist())
    return all(frame in left for frame in shown.tolist())


def _likeness(name: str, camera: str) -> int:
    """How much a stored name looks like the source's: what tells cameras of one picture apart."""
    own = "".join(letter for letter in name.lower() if letter.isalnum())
    other = "".join(letter for letter in camera.lower() if letter.isalnum())
    other = other.removesuffix("bgr") or other
    if own.endswith(other):
        return 2 + len(other)
    return 1 if other and other in own else 0
