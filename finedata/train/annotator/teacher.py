# pyright: basic, reportMissingImports=false
"""A trained annotator as a teacher: the same questions, the same checks, its own name in every row.

Its name is its recipe's with a digest of its weights, so that rows say which run spoke, wherever
its folder lies. It speaks greedily, so an answer that is no use would come again: it is not made
twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch

from finedata.errors import UsageError
from finedata.teachers.protocol import Answer, UnusableAnswerError, Usage
from finedata.train.annotator.lesson_encode import LessonEncoder, stacked
from finedata.train.export import load_any

if TYPE_CHECKING:
    from finedata.teachers.protocol import Request

__all__ = ["RunTeacher", "run_name"]


def run_name(place: str | Path) -> str:
    """The name of a run in the rows that it writes: its recipe's, and twelve digits of its weights.

    Raises:
        UsageError: It is no run.
    """
    folder = _model_folder(Path(place))
    if folder is None:
        raise UsageError(parameter="model", found=str(place), wanted="a run, or an export of one")
    config = msgspec.json.decode((folder / "train_config.json").read_bytes())
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{config['name']}@{digest.hexdigest()[:12]}"


class RunTeacher:
    """One trained annotator, loaded when it is opened.

    Args:
        place: A run, a checkpoint of one, or an export.
        device: E.g. `cuda:0` or `cpu`; None for the first GPU where there is one.

    Raises:
        UsageError: It was not trained to annotate.
    """

    name = "local"

    def __init__(self, place: str | Path, *, device: str | None = None) -> None:
        self._policy, recipe = load_any(Path(place))
        if recipe.head != "annotator":
            raise UsageError(
                parameter="model",
                place=f"model {place}",
                found=f"a policy with the head {recipe.head}",
                wanted="a run with the head annotator",
                next_command="finedata train tiny_annotator --shards DATASET --out RUN",
            )
        self.device = torch.device(device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
        self._policy.to(self.device)
        self._encoder = LessonEncoder(self._policy.backbone, recipe)
        self._longest = recipe.max_answer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="finedata-annotator")
        self._last: tuple[str, tuple[list[int], bool, int]] | None = None

    async def ask(self, request: Request) -> Answer:
        """See `Teacher.ask`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._say, request)

    async def close(self) -> None:
        """See `Teacher.close`."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _say(self, request: Request) -> Answer:
        if self._last is None or self._last[0] != request.call_id:
            self._last = request.call_id, self._generated(request)
        said, ended, asked = self._last[1]
        usage = Usage(asked, len(said))
        if not ended:
            raise UnusableAnswerError(
                place="teacher local",
                found=f"a cut answer ({len(said)} tokens)",
                wanted="a whole one",
                next_command="train longer, or a recipe with a longer max_answer",
                usage=usage,
            )
        text = self._encoder.decode(said)
        if not text.strip():
            raise UnusableAnswerError(
                place="teacher local", found="an empty answer", wanted="a text", usage=usage
            )
        return Answer(text, usage)

    @torch.no_grad()
    def _generated(self, request: Request) -> tuple[list[int], bool, int]:
        arrays = stacked([self._encoder.encode(request)], pad=0)
        batch = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        most = min(self._longest, int(request.settings.get("max_output_tokens", self._longest)))
        policy = self._policy
        with torch.autocast(self.device.type, torch.bfloat16, enabled=policy.bf16):
            said, ended = policy.head.say(policy.backbone, batch, longest=most)
        return said, ended, int(batch["length"][0])


def _model_folder(place: Path) -> Path | None:
    """Where the weights and their `train_config.json` lie."""
    for folder in (
        place,
        place / "pretrained_model",
        place / "checkpoints" / "last" / "pretrained_model",
    ):
        if (folder / "train_config.json").is_file():
            return folder.resolve()
    return None
