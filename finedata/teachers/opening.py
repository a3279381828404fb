"""Which teacher a name opens, and which options belong to it.

Client libraries are imported when a teacher is opened and not before; keys come from the
environment and from nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.teachers.protocol import Teacher

__all__ = ["TEACHERS", "open_teacher"]

TEACHERS = {
    "gemini": "Google's Gemini; key in GEMINI_API_KEY or GOOGLE_API_KEY",
    "openai": "any OpenAI-compatible server, with --base-url; key in OPENAI_API_KEY",
    "local": "a Hugging Face vision-language model in this process",
    "replay": "recorded answers from a JSONL file, given as --recorded",
}
"""Name -> meaning."""


def open_teacher(
    name: str,
    *,
    base_url: str | None = None,
    recorded: Path | None = None,
    model: str | None = None,
    device: str | None = None,
) -> Teacher:
    """Open a teacher.

    Args:
        name: One of `TEACHERS`.
        base_url: Address of the server: for `openai` with its `/v1`, for `gemini` without a
            version; None for the vendor's own.
        recorded: File of answers, for `replay`.
        model: Name or folder of the model, for `local`; others take it from each request.
        device: Where `local` runs, e.g. `cuda:0`; None for a GPU where there is one.

    Raises:
        UsageError: An unknown name, a missing key or file, an option that is not for it.
        MissingExtraError: Its library is not installed.
    """
    given = {"base_url": base_url, "recorded": recorded, "model": model, "device": device}
    allowed = {
        "gemini": {"base_url", "model"},
        "openai": {"base_url", "model"},
        "local": {"model", "device"},
        "replay": {"recorded", "model"},
    }
    if name not in TEACHERS:
        raise UsageError(parameter="teacher", found=name, wanted=f"one of {', '.join(TEACHERS)}")
    for option, value in given.items():
        if value is not None and option not in allowed[name]:
            raise UsageError(
                parameter=option,
                found=f"{value} with teacher {name}",
                wanted="nothing: this teacher does not take it",
            )
    if name == "gemini":
        from finedata.teachers.gemini import GeminiTeacher

        return GeminiTeacher(base_url=base_url)
    if name == "openai":
        from finedata.teachers.openai import OpenAITeacher

        return OpenAITeacher(base_url=base_url)
    if name == "local":
        from finedata.teachers.local import LocalTeacher

        if model is None:
            raise UsageError(
                parameter="model", found="none", wanted="name or folder of a model, for `local`"
            )
        return LocalTeacher(model, device=device)
    from finedata.teachers.replay import ReplayTeacher

    if recorded is None:
        raise UsageError(parameter="recorded", found="none", wanted="a JSONL file, for `replay`")
    return ReplayTeacher(recorded)
