"""A teacher that answers from a file: for tests, for demonstrations, and for looking again.

A line of JSON is an answer and what it answers. `record` writes such a file from a ledger, so that
a run can be repeated by anybody, without a key and without a cent.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from finedata.errors import UsageError
from finedata.store.atomic import atomic_path
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.protocol import Answer, RefusedAnswerError, TeacherError, Usage

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.teachers.protocol import Request


class RecordedAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of the file.

    Attributes:
        call_id: The call it answers; empty to answer by the patterns below.
        stage: Pattern of stages, e.g. `facts/*`.
        episode_id: Pattern of episodes.
        text: The answer; empty with `refused`.
        refused: Whether the teacher declined.
        input_tokens: Tokens sent.
        output_tokens: Tokens received.
    """

    call_id: str = ""
    stage: str = "*"
    episode_id: str = "*"
    text: str = ""
    refused: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None


class ReplayTeacher:
    """Answers from a file: the line with the call's id, else the first whose patterns fit.

    Args:
        path: JSON lines of `RecordedAnswer`.

    Raises:
        UsageError: It is not there, or a line is of another shape.
    """

    name = "replay"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_call: dict[str, RecordedAnswer] = {}
        self._patterns: list[RecordedAnswer] = []
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise UsageError(
                place=str(path), found=error.strerror or str(error), wanted="recorded answers"
            ) from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                answer = msgspec.json.decode(line, type=RecordedAnswer)
            except (msgspec.DecodeError, UnicodeError) as error:
                raise UsageError(
                    place=f"{path}:{number}", found=f"{error}", wanted="a recorded answer as JSON"
                ) from error
            if answer.call_id:
                self._by_call[answer.call_id] = answer
            else:
                self._patterns.append(answer)

    async def ask(self, request: Request) -> Answer:
        """See `Teacher.ask`."""
        found = self._by_call.get(request.call_id) or next(
            (pattern for pattern in self._patterns if _fits(pattern, request)), None
        )
        if found is None:
            raise TeacherError(
                place=f"{self._path}",
                found=f"no answer to call {request.call_id} ({request.stage} of "
                f"{request.episode_id})",
                wanted="a line for it",
            )
        usage = Usage(found.input_tokens, found.output_tokens)
        if found.refused:
            raise RefusedAnswerError(
                place=f"{self._path}", found="a recorded refusal", wanted="an answer", usage=usage
            )
        return Answer(found.text, usage)

    async def close(self) -> None:
        """See `Teacher.close`."""


def record(root: Path, out: Path) -> int:
    """Write the good answers and the refusals of a dataset's ledger as JSON lines.

    Args:
        root: Root of the dataset.
        out: The file; whole or not there.

    Returns:
        The number of lines.

    Raises:
        OutputError: The ledger cannot be read, or the file not written.
    """
    count = 0
    with CallLedger(root) as calls, atomic_path(out) as partial, partial.open("wb") as file:
        for call in calls.records():
            if call.state not in ("ok", "refused"):
                continue
            line = RecordedAnswer(
                call_id=call.call_id,
                stage=call.stage,
                episode_id=call.episode_id,
                text=call.answer or "",
                refused=call.state == "refused",
                input_tokens=call.input_tokens,
                output_tokens=call.output_tokens,
            )
            file.write(msgspec.json.encode(line) + b"\n")
            count += 1
    return count


def _fits(pattern: RecordedAnswer, request: Request) -> bool:
    return fnmatchcase(request.stage, pattern.stage) and fnmatchcase(
        request.episode_id, pattern.episode_id
    )
