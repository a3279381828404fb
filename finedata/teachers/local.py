"""A Hugging Face vision-language model in this process, by name or folder.

Pictures are decoded for it, and tokens counted exactly. Generation runs in a thread, one request at
a time: the model has the machine to itself, and more requests at once would only share it. For
throughput, serve the model with vLLM and use the teacher `openai`.
"""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.errors import MissingExtraError, UsageError
from finedata.teachers.protocol import Answer, TeacherError, UnusableAnswerError, Usage

if TYPE_CHECKING:
    from finedata.teachers.protocol import Picture, Request

_DEFAULT_OUTPUT_TOKENS = 1024


class LocalTeacher:
    """One model, loaded when it is opened.

    Args:
        model: Name on the Hub or folder; `AutoProcessor` and `AutoModelForImageTextToText` must
            know it. Code that comes with a model is never run.
        device: E.g. `cuda:0` or `cpu`; None for the first GPU where there is one.

    Raises:
        UsageError: There is no such model, or it is not of that kind.
        MissingExtraError: torch or transformers is not installed.
    """

    name = "local"

    def __init__(self, model: str, *, device: str | None = None) -> None:
        try:
            import torch  # pyright: ignore[reportMissingImports]  (not in every environment)
            import transformers  # pyright: ignore[reportMissingImports]  (the same)
        except ImportError as error:
            raise MissingExtraError(
                place="teacher local",
                found=f"no {error.name}",
                wanted="torch, and transformers 5",
                next_command="pip install torch 'transformers>=5,<6'",
            ) from error
        self._torch: Any = torch
        self._transformers: Any = transformers
        self.device = device or ("cuda:0" if self._torch.cuda.is_available() else "cpu")
        try:
            self._processor: Any = self._transformers.AutoProcessor.from_pretrained(model)
            loaded = self._transformers.AutoModelForImageTextToText.from_pretrained(
                model, dtype="auto"
            )
            self._model: Any = loaded.to(self.device).eval()
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                parameter="model",
                place=f"model {model}",
                found=f"{error}",
                wanted="an image-text-to-text model with its processor",
            ) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="finedata-local")

    async def ask(self, request: Request) -> Answer:
        """See `Teacher.ask`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._generate, request)

    async def close(self) -> None:
        """See `Teacher.close`."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _generate(self, request: Request) -> Answer:
        torch = self._torch
        settings = dict(request.settings)
        seed = settings.pop("seed", None)
        inputs = self._processor.apply_chat_template(
            _messages(request),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.device, dtype=self._model.dtype)  # only floats change their type
        asked = int(inputs["input_ids"].shape[1])
        longest = int(settings.pop("max_output_tokens", _DEFAULT_OUTPUT_TOKENS))
        devices = [self.device] if self.device.startswith("cuda") else []
        # the seed is this request's own: the generators of the process are left as they were
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            if seed is not None:
                torch.manual_seed(int(seed))
            ids = self._model.generate(**inputs, max_new_tokens=longest, **_sampling(settings))
        said = ids[0, asked:]
        usage = Usage(asked, int(said.shape[0]))
        if usage.output_tokens == longest and int(said[-1]) not in self._ends():
            raise UnusableAnswerError(
                place="teacher local",
                found=f"a cut answer ({longest} tokens)",
                wanted="a whole one",
                next_command="raise max_output_tokens",
                usage=usage,
            )
        text = self._processor.batch_decode([said], skip_special_tokens=True)[0]
        if not text.strip():
            raise UnusableAnswerError(
                place="teacher local", found="an empty answer", wanted="a text", usage=usage
            )
        return Answer(text, usage)

    def _ends(self) -> set[int]:
        ends: Any = self._model.generation_config.eos_token_id
        return {ends} if isinstance(ends, int) else set(ends or ())


def _messages(request: Request) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for picture in request.pictures:
        if picture.label:
            content.append({"type": "text", "text": picture.label})
        content.append({"type": "image", "image": _decoded(picture)})
    prompt = request.prompt
    if request.schema is not None:
        schema = msgspec.json.encode(request.schema).decode()
        prompt += f"\n\nAnswer with JSON alone, of this JSON schema:\n{schema}"
    content.append({"type": "text", "text": prompt})
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if request.system:
        system = [{"type": "text", "text": request.system}]
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _decoded(picture: Picture) -> Any:
    from PIL import Image

    if picture.media_type.startswith("video/"):
        raise TeacherError(
            place="teacher local", found="a video", wanted="pictures: ask for frames instead"
        )
    try:
        return Image.open(io.BytesIO(picture.data)).convert("RGB")
    except OSError as error:
        raise TeacherError(
            place="teacher local", found=f"a picture that does not decode: {error}", wanted="one"
        ) from error


def _sampling(settings: dict[str, Any]) -> dict[str, Any]:
    """Temperature 0 means the likeliest token, always, as with servers."""
    temperature = settings.pop("temperature", None)
    if temperature is None:
        return settings
    if temperature == 0:
        return {**settings, "do_sample": False}
    return {**settings, "do_sample": True, "temperature": float(temperature)}
