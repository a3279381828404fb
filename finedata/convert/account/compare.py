"""Holding a source's inventory against the output: of each thing, what became of it.

Counts, names, texts, numbers that are kept as they are, and pictures are compared without asking
the reader or the converter. Which stored camera is which of the source decides what it shows, byte
for byte, whatever it is called; numbers that are made of others (poses, grippers) are proved by
converting again (`finedata.convert.verify.run`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.convert.account.cameras import CameraAccount
from finedata.convert.account.named import Use, ignored_texts, uses_of
from finedata.convert.account.tally import Tallies
from finedata.convert.account.things import DAMAGE, UnreadError, said

if TYPE_CHECKING:
    from finedata.convert.account.output import Output, StoredEpisode
    from finedata.convert.account.things import Inventory, SourceEpisode
    from finedata.convert.context import ConvertOptions
    from finedata.convert.verify.report import VerifyReport
    from finedata.readers.files import SourceFolder
    from finedata.schema.converter import Converter

# Columns that say where a row is: a source of another family may use such a name for anything.
_POSITIONS = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})
_LEFT_OUT = "_not_converted"
_OWN = "a column of every LeRobot dataset, made anew of the order of rows"


def account_for(
    inventory: Inventory,
    output: Output,
    report: VerifyReport,
    *,
    converter: Converter,
    reader: str,
    folder: SourceFolder,
    options: ConvertOptions,
    complete: bool,
    decode: bool,
) -> None:
    """Say of each thing of a source what became of it; what nobody says is a problem.

    Args:
        inventory: What the source declares and holds.
        output: The dataset's raw files.
        report: Grows.
        converter: The converter that the dataset was made with.
        reader: The family of the source's files.
        folder: The source.
        options: Those of the conversion.
        complete: Whether every episode was asked for.
        decode: Whether to decode pictures.
    """
    account = _Account(inventory, output, report, converter, reader, options, folder, decode=decode)
    account.check(complete=complete)


class _Account:
    def __init__(
        self,
        inventory: Inventory,
        output: Output,
        report: VerifyReport,
        converter: Converter,
        reader: str,
        options: ConvertOptions,
        folder: SourceFolder,
        *,
        decode: bool,
    ) -> None:
        self._inventory, self._output, self._report = inventory, output, report
        self._name = converter.name
        self._uses = uses_of(converter, reader)
        self._every = [use for uses in self._uses.values() for use in uses]
        self._form = self._every
        self._ignored = ignored_texts(converter)
        self._tallies = Tallies()
        self._cameras = CameraAccount(
            output, report, self._tallies, folder=folder, options=options, decode=decode
        )
        self._left_out = {part.name: part.left_out for part in output.info.parts}
        self._receipts = {
            (receipt["source_file"], receipt["source_record"]): receipt
            for receipt in output.receipts
            if receipt["source"] == self._name
        }

    def check(self, *, complete: bool) -> None:
        report, seen = self._report, 0
        self._inventory.written = frozenset(
            file for (file, _), receipt in self._receipts.items() if receipt["status"] == "written"
        )
        for episode in self._inventory.episodes():
            receipt = self._receipts.get((episode.file, episode.record))
            place = f"{episode.file}, record {episode.record}"
            if receipt is None:
                if complete:
                    report.add(place, "no receipt", "one for every record")
                continue
            seen += 1
            if receipt["status"] == "failed":
                self._tallies.of("episode", f"{episode.file}, {episode.name}").left_out(
                    f"failed: {receipt['reason']}: {receipt['message']}"
                )
                continue
            stored = self._output.episodes.get(receipt["episode_id"])
            if stored is None:
                report.add(place, "no row in meta/episodes", f"one of {receipt['episode_id']}")
                continue
            if episode.unread:
                report.note(f"{place}: {episode.unread}")
                continue
            self._looked_into(episode, stored, place)
        for text, place in self._inventory.tasks.items():
            tally = self._tallies.of("task", text)
            if not tally.verdicts:
                tally.absent(f"{place} declares it, and no written episode's rows name it")
        for name, place in self._inventory.absent.items():
            self._tallies.of("episode", name).absent(f"declared in {place}, no row of it anywhere")
        for note in self._inventory.notes:
            report.note(note)
        for name, declared in self._inventory.things.items():
            kind = "camera" if declared.kind == "camera" else "feature"
            tally = self._tallies.of(kind, name)
            if not tally.verdicts:
                tally.absent(f"{declared.place} declares it, and no written episode holds it")
        self._cameras.finish()
        self._tallies.report(report, source=self._name)

    def _looked_into(self, episode: SourceEpisode, stored: StoredEpisode, place: str) -> None:
        """Check an episode; damage of the source is a note, damage of the output a problem."""
        try:
            self._check_episode(episode, stored, place)
        except UnreadError as error:
            self._report.note(f"{place}: {error}")
        except DAMAGE as error:
            self._report.add(f"{place}: its rows", said(error), "rows that can be read")

    def _check_episode(self, episode: SourceEpisode, stored: StoredEpisode, place: str) -> None:
        report, receipt = self._report, stored.receipt
        if episode.look is not None:
            episode.look()
        self._form = self._uses.get(stored.row["variant"], self._every)
        if episode.length is not None:
            report.expect(f"{place}: frames_read", receipt["frames_read"], episode.length)
        report.expect(
            f"{place}: rows in the data file", self._output.rows(stored), receipt["frames_written"]
        )
        for flag, seen in episode.doubts.items():
            if flag not in receipt["flags"]:
                report.add(f"{place}: flags", f"no {flag}", f"it, because {seen}")
        for name in episode.values:
            self._check_feature(name, episode, stored, place)
        self._cameras.check(episode, stored, place, self._uses_of)
        self._check_texts(episode, stored, place)

    def _uses_of(self, name: str) -> list[Use]:
        return [use for use in self._form if use.holds(name)]

    def _check_feature(
        self, name: str, episode: SourceEpisode, stored: StoredEpisode, place: str
    ) -> None:
        tally = self._tallies.of("feature", name)
        uses = self._uses_of(name)
        declared = self._inventory.things.get(name)
        flags = stored.receipt["flags"]
        made = [use for use in uses if use.kind not in ("keep", "left_out", "camera")]
        if declared is not None and declared.made_anew:
            columns = [use.stored for use in made if use.kind == "number"]
            tally.kept(columns[0] if columns else name, same=not columns, because=_OWN)
            return
        if made:
            stored_as = dict.fromkeys(use.stored for use in made)
            tally.kept(*stored_as, same=False, because=f"as {self._name} declares")
            return
        if any(use.kind == "keep" for use in uses) and not (declared and declared.describes):
            self._check_kept(name, episode, stored, place)
            return
        flag = next((use.flag for use in uses if use.kind == "left_out"), "")
        if flag and flag not in flags:
            tally.is_lost(f"{place}: feature {name}", f"no flag {flag}", "one, or its numbers")
        elif flag:
            tally.left_out(f"flag {flag}")
        elif declared is not None and declared.describes:
            tally.left_out(f"it describes the recording, and {self._name} names it nowhere")
        else:
            tally.left_out(f"{self._name} names it nowhere")

    def _check_kept(
        self, name: str, episode: SourceEpisode, stored: StoredEpisode, place: str
    ) -> None:
        """Numbers or texts that are to be stored as they are: where are they?"""
        tally = self._tallies.of("feature", name)
        frames = stored.receipt["frames_written"]
        wanted = episode.values[name]()[:frames]
        columns = self._output.columns(stored)
        for column in sorted(columns, key=lambda column: column != name):
            if column.removeprefix("observation.images.") in stored.cameras:
                continue
            values = self._output.values(stored, column)
            if values is not None and _same(wanted, values):
                tally.kept(column, same=column == name)
                return
            if column == name and name not in _POSITIONS:
                tally.is_lost(
                    f"{place}: column {name}", _difference(wanted, values), "the source's numbers"
                )
                return
        flags = [flag for flag in stored.receipt["flags"] if flag.endswith(_LEFT_OUT)]
        why = self._left_out.get(stored.part, {}).get(name)
        if flags and why is not None:
            tally.left_out(f"flag {', '.join(flags)}: {why}")
            return
        tally.is_lost(f"{place}: feature {name}", "in no column, and no flag says so", "its values")

    def _check_texts(self, episode: SourceEpisode, stored: StoredEpisode, place: str) -> None:
        for text, where in episode.texts.items():
            uses = self._uses_of(where)
            if where in self._inventory.things and not any(use.kind == "text" for use in uses):
                continue  # a text of the file's own: told of as a feature
            tally = self._tallies.of("task", text)
            if text in stored.texts:
                tally.kept("instructions", same=True)
            elif text.strip().casefold() in self._ignored:
                tally.left_out(f"{self._name} declares that it means nothing")
            elif not [use for use in uses if use.kind == "text"]:
                tally.left_out(f"{self._name} does not name {where} as an instruction")
            elif any(kept in text for kept in stored.texts):
                tally.kept("instructions", same=False, because="formed as the converter declares")
            else:
                tally.is_lost(f"{place}: task {text!r}", f"{sorted(stored.texts)}", "this text")


def _same(wanted: np.ndarray | list[Any], stored: np.ndarray | list[Any]) -> bool:
    """Whether values are the same, whatever the type that holds them."""
    if isinstance(wanted, np.ndarray) and isinstance(stored, np.ndarray):
        if wanted.size != stored.size:
            return False
        a, b = wanted.reshape(-1), stored.reshape(-1)
        floats = "f" in a.dtype.kind + b.dtype.kind
        return bool(np.array_equal(a, b, equal_nan=floats))
    return isinstance(wanted, list) and isinstance(stored, list) and wanted == stored


def _difference(wanted: np.ndarray | list[Any], stored: np.ndarray | list[Any] | None) -> str:
    """Where values begin to differ."""
    if not isinstance(wanted, np.ndarray) or not isinstance(stored, np.ndarray):
        return "other values"
    if wanted.size != stored.size:
        return f"{stored.size} numbers instead of {wanted.size}"
    found, given = stored.reshape(-1), wanted.reshape(-1)
    different = ~((found == given) | ((found != found) & (given != given)))
    at = int(np.flatnonzero(different)[0])
    row, column = divmod(at, wanted.size // len(wanted))
    return f"{found[at]} in row {row}, column {column}, instead of {given[at]}"
