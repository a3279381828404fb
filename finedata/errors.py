"""The exception tree: every refusal of finedata says place, found, wanted and the next command.

    FinedataError
    ├── UsageError            the command or call itself is wrong (exit code 2)
    │   ├── SpecError         a converter file that does not decode, or an unknown source name
    │   └── StaleRowError     a changed row that was made from an older revision than the newest
    ├── SourceError           bytes of a source that cannot be used
    │   ├── CorruptRecordError  truncated, checksum mismatch, not parsable
    │   └── FeatureError      a feature missing, of the wrong type, or of the wrong length
    ├── ConformError          a table that does not conform to its published schema
    ├── OutputError           an output that cannot be written, or is being written by another run
    └── MissingExtraError     an optional dependency is not installed

Nothing here imports anything but the standard library.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = [
    "ConformError",
    "CorruptRecordError",
    "FeatureError",
    "FinedataError",
    "LengthError",
    "MissingExtraError",
    "MissingFeatureError",
    "OutputError",
    "SourceError",
    "SpecError",
    "StaleRowError",
    "UsageError",
    "install_command",
    "need",
]


class FinedataError(Exception):
    """Root of every error that finedata raises on purpose.

    Args:
        place: Where it happened: a file, a record, a column; the parameter where none is given.
        found: What was there.
        wanted: What would have been accepted.
        next_command: What to type or do next; empty where there is nothing to do.
        parameter: Which argument of the call is wrong, as Python spells it; `place` begins with
            it. The command line shows its own spelling, `--min-frames` for `min_frames`.
    """

    exit_code = 1

    def __init__(
        self,
        *,
        found: str,
        wanted: str,
        place: str = "",
        next_command: str = "",
        parameter: str = "",
    ) -> None:
        self.place = place or parameter
        self.parameter = parameter
        self.found = found
        self.wanted = wanted
        self.next_command = next_command
        super().__init__(self.place, found, wanted, next_command, parameter)

    def __str__(self) -> str:
        lines = [f"{self.place}: found {self.found}, wanted {self.wanted}"]
        if self.next_command:
            lines.append(f"next: {self.next_command}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary whole (keyword-only arguments defeat the default)."""
        return _rebuild, (type(self), *self.args)


def _rebuild(
    kind: type[FinedataError],
    place: str,
    found: str,
    wanted: str,
    next_command: str,
    parameter: str,
) -> FinedataError:
    return kind(
        place=place,
        found=found,
        wanted=wanted,
        next_command=next_command,
        parameter=parameter,
    )


class UsageError(FinedataError):
    """The command, option or argument is wrong; nothing was read or written."""

    exit_code = 2


class SpecError(UsageError):
    """A converter file is unknown, or does not decode against its schema."""


class StaleRowError(UsageError):
    """A row was changed by another in the meantime; read it again."""


class SourceError(FinedataError):
    """The source cannot be used as it is."""


class CorruptRecordError(SourceError):
    """Bytes that cannot be an episode: truncated, checksum mismatch, not parsable."""


class FeatureError(SourceError):
    """A feature has the wrong type."""


class MissingFeatureError(FeatureError):
    """The record or the source's declaration lacks a feature."""


class UnmatchedCameraError(FeatureError):
    """A camera's frames cannot be matched to the rows of the episode."""


class LengthError(FeatureError):
    """A feature's length disagrees with its shape or with the other features."""


class ConformError(FinedataError):
    """A table does not conform to its published schema."""


class OutputError(FinedataError):
    """The output cannot be written, or another run is writing it."""


class MissingExtraError(FinedataError):
    """An optional dependency is not installed."""


def need(*modules: str, extra: str, place: str, next_command: str = "") -> None:
    """Refuse to begin without the libraries of an extra; none of them is imported.

    Args:
        modules: Top-level names of the modules that will be imported.
        extra: The extra of finedata that installs them.
        place: What needs them, in the words of the user.
        next_command: What to do instead of installing that extra.

    Raises:
        MissingExtraError: One is not installed.

    Example:
        >>> need("no_such_module", extra="curate", place="finedata gate")
        Traceback (most recent call last):
        ...
        finedata.errors.MissingExtraError: finedata gate: found no no_such_module, wanted ...
    """
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        raise MissingExtraError(
            place=place,
            found=f"no {' and no '.join(missing)}",
            wanted=f"the extra `{extra}`",
            next_command=next_command or install_command(extra),
        )


def install_command(*extras: str) -> str:
    """What installs extras of the finedata that runs: of the checkout, where it is one.

    Example:
        >>> install_command("video", "remote").endswith("[video,remote]'")
        True
    """
    names, checkout = ",".join(extras), Path(__file__).resolve().parents[1]
    if not (checkout / "pyproject.toml").is_file():
        return f"pip install 'finedata[{names}]'"
    # A `.` is the folder in which a checkout's user mostly stands; from elsewhere it is named.
    folder = "." if checkout.samefile(".") else checkout
    return f"pip install -e '{folder}[{names}]'"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor the package above it
        return False
    except ValueError:  # imported by hand, without a specification
        return True
