"""What of finedata works on this machine: versions, extras, and what the machine itself brings."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

import msgspec

import finedata
from finedata.engine.local import available_cores
from finedata.errors import install_command
from finedata.store.summary import Summary

__all__ = ["Doctor", "Extra", "doctor"]

_REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)(\[[^]]*\])?\s*([^;]*)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY", "HF_TOKEN")


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """The libraries of an extra; `core` are those that are always wanted.

    Attributes:
        name: As in `install_command(name)`.
        works: Whether all are installed.
        found: Those that are, with their versions.
        missing: Those that are not, with the versions wanted.
    """

    name: str
    works: bool
    found: list[str]
    missing: list[str]


class Doctor(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What works here.

    Attributes:
        finedata: Its version.
        python: Version and where it is made for.
        cores: Cores that this process may use.
        gpu: Whether DTW runs on a GPU, or why not.
        video: Whether videos can be encoded anew, and as what.
        keys: Which keys of teachers and of the Hub the environment has; never their values.
        extras: What is installed.
        next: What to type for what is missing; "" where nothing is.
    """

    finedata: str
    python: str
    cores: int
    gpu: str
    video: str
    keys: list[str]
    extras: list[Extra]
    next: str


def doctor() -> Doctor:
    """Look at this machine; no network is asked."""
    extras = _extras()
    lacking = [one.name for one in extras if not one.works]
    return Doctor(
        finedata=finedata.__version__,
        python=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        cores=available_cores(),
        gpu=_gpu(),
        video=_video(),
        keys=[name for name in _KEYS if os.environ.get(name)],
        extras=extras,
        next=f"{install_command(*lacking)}  # or those you want" if lacking else "",
    )


def _extras() -> list[Extra]:
    wanted: dict[str, list[tuple[str, str]]] = {"core": []}
    for text in requires("finedata") or []:
        match, extra = _REQUIREMENT.match(text), _EXTRA.search(text)
        name = extra[1] if extra else "core"
        # `dev` is for who works on finedata; an extra that names another is that other and more
        if match is None or name == "dev" or match[1].lower() == "finedata":
            continue
        wanted.setdefault(name, []).append((match[1], match[3].strip()))
    return [_extra(name, libraries) for name, libraries in wanted.items()]


def _extra(name: str, libraries: list[tuple[str, str]]) -> Extra:
    found: list[str] = []
    missing: list[str] = []
    for library, bounds in libraries:
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            missing.append(f"{library} {bounds}".strip())
    return Extra(name=name, works=not missing, found=found, missing=missing)


def _gpu() -> str:
    if find_spec("numba") is None:
        return "no: the extra `curate` is not installed"
    from finedata.motion.dtw.cuda import cuda_available

    return "yes" if cuda_available() else "no: numba finds no CUDA device, or no driver"


def _video() -> str:
    if find_spec("av") is None:
        return "no: the extra `video` is not installed"
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    works: list[str] = []
    for name, encoder in (("av1", "libsvtav1"), ("h264", "libx264")):
        try:
            Codec(encoder, "w")
        except UnknownCodecError:
            continue
        works.append(name)
    return f"yes: {', '.join(works)}" if works else "no: this FFmpeg encodes neither av1 nor h264"
