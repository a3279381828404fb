# pyright: basic, reportMissingImports=false
"""A question with its pictures as a backbone takes it, and an answer as what is said behind it.

The one place where a request becomes ids, for training and for answering: what a run was taught is
what it is asked. Labels of pictures stand before them, as teachers are sent them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.shard.stream.pictures import PictureDecoder
from finedata.store.pictures import read_header
from finedata.teachers.protocol import UnusableAnswerError
from finedata.train.answer import IGNORED
from finedata.train.encode import Words, patches, planes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.schema.recipe_file import Recipe
    from finedata.teachers.protocol import Request
    from finedata.train.backbone import Backbone

# What a question shows of earlier answers.
_GIVEN = ("sequence", "main_object", "raw_steps", "steps")


class LessonEncoder:
    """Encodes questions and answers.

    Args:
        backbone: Whose tokens and pictures.
        recipe: For the prompt and sizes.

    Raises:
        UsageError: Pictures are not of a size that the model takes.
    """

    def __init__(self, backbone: Backbone, recipe: Recipe) -> None:
        self._recipe = recipe
        self._settings = backbone.encoder_settings(recipe, cameras=("picture",), queries=0)
        self._family = backbone.family
        self._tokenizer = backbone.tokenizer.backend_tokenizer
        self._words = Words(self._settings.tokenizer)
        self._image = backbone.token(self._family.image_token, parameter="backbone")
        self.end = backbone.token(self._family.end, parameter="backbone")

    def encode(self, request: Request, answer: str | None = None) -> dict[str, np.ndarray]:
        """One question, and its answer where it is known.

        Returns:
            `ids`, `seen`, `labels`, `answer` (length,), `positions` (axes, length), `length` (),
            `pixels` (pictures, ...) uint8 and `pictured` (pictures,) bool.

        Raises:
            UsageError: Question or answer are longer than the recipe allows.
            UnusableAnswerError: A picture does not decode.
        """
        ids, asked, spans = self._written(request, answer)
        length = len(ids)
        place = np.arange(length)
        spoken = place >= asked
        whole = np.array(ids, np.int32)
        return {
            "ids": whole,
            "seen": np.ones(length, bool),
            "answer": spoken,
            "labels": np.where(spoken, whole, IGNORED).astype(np.int32),
            "positions": self._positions(length, spans),
            "length": np.array(length, np.int32),
            "pixels": self._pixels(request),
            "pictured": np.ones(len(request.pictures), bool),
        }

    def length(self, request: Request, answer: str) -> int:
        """Tokens of a question and its answer; no picture is decoded.

        Raises:
            UsageError: They are longer than the recipe allows.
        """
        return len(self._written(request, answer)[0])

    def _written(
        self, request: Request, answer: str | None
    ) -> tuple[list[int], int, list[tuple[int, int, int]]]:
        """Ids, how many of them are the question's, and where pictures stand."""
        family = self._family
        _, rows, columns = self._settings.pictures[0]
        ids = self._ids(family.begin)
        spans: list[tuple[int, int, int]] = []
        for picture in request.pictures:
            ids += self._words.ids(picture.label) + self._ids(family.before_picture)
            spans.append((len(ids), rows, columns))
            ids += [self._image] * rows * columns + self._ids(family.after_picture)
        ids += self._ids(family.before_text)
        asked_for = asked_text(request, self._recipe.prompt)
        ids += self._words.ids(asked_for, behind=family.after_text)
        asked = len(ids)
        if answer is not None:
            said = [*self._words.ids(answer), self.end]
            self._check(request, "max_answer", len(said), self._recipe.max_answer)
            ids += said
        self._check(request, "max_tokens", len(ids), self._recipe.max_tokens)
        return ids, asked, spans

    def decode(self, ids: Sequence[int]) -> str:
        """The text of what was said."""
        return self._tokenizer.decode(list(ids))

    def _ids(self, text: str) -> list[int]:
        """Of the prompt's own pieces."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids if text else []

    def _check(self, request: Request, key: str, length: int, most: int) -> None:
        if length > most:
            raise UsageError(
                parameter=key,
                place=f"{key}: {request.stage} of {request.episode_id}",
                found=f"{length} tokens, with {len(request.pictures)} pictures",
                wanted=f"at most {most}; nothing is cut",
                next_command=f"--set {key}={-(-length // 64) * 64}, or fewer frames (fps) or facts",
            )

    def _positions(self, length: int, spans: list[tuple[int, int, int]]) -> np.ndarray:
        """(axes, length); see `Encoder._count_positions`."""
        one = self._settings
        found = np.empty((one.axes, length), np.int32)
        if one.axes == 1:
            found[0] = one.first_position + np.arange(length)
            return found
        now, at = one.first_position, 0
        for first, rows, columns in (*spans, (length, 0, 0)):
            found[:, at:first] = now + np.arange(first - at)
            now += first - at
            at = first + rows * columns
            here = found[:, first:at]
            here[0] = now
            here[1] = now + np.repeat(np.arange(rows), columns)
            here[2] = now + np.tile(np.arange(columns), rows)
            now += max(rows, columns)
        return found

    def _pixels(self, request: Request) -> np.ndarray:
        """(pictures, ...) uint8, in the order in which the model takes them."""
        one = self._settings
        shown = np.empty((len(request.pictures), one.height, one.width, 3), np.uint8)
        decoder = PictureDecoder()  # its own, as threads encode at once
        for into, picture in zip(shown, request.pictures, strict=True):
            header = read_header(picture.data)
            try:
                decoder.into(into, picture.data, codec="" if header is None else header.codec)
            except ValueError as error:
                raise UnusableAnswerError(
                    place=f"a picture of {request.episode_id}", found=str(error), wanted="a picture"
                ) from error
        cells = (one.height // one.patch) * (one.width // one.patch)
        form = (cells, 3 * one.patch**2) if one.layout == "patches" else (3, one.height, one.width)
        found = np.empty((len(shown), *form), np.uint8)
        if one.layout == "patches":
            patches(shown, found, patch=one.patch, merge=one.merge)
        else:
            planes(shown, found)
        return found


def asked_text(request: Request, prompt: str) -> str:
    """What a question says, by a recipe's prompt."""
    whole = request.prompt
    if request.schema is not None:
        schema = msgspec.json.encode(request.schema).decode()
        whole += f"\n\nAnswer with JSON alone, of this JSON schema:\n{schema}"
    given = "\n".join(request.values[name] for name in _GIVEN if name in request.values)
    said = {f"{{{name}}}": text for name, text in request.values.items()} | {
        "{request}": whole,
        "{stage}": request.stage.removeprefix("facts/"),
        "{instruction}": request.values.get("instruction", ""),
        "{given}": given,
    }
    # All at once: what a value says is no place of the template.
    return re.sub("|".join(map(re.escape, said)), lambda place: said[place[0]], prompt)


def stacked(
    samples: Sequence[dict[str, np.ndarray]], *, pad: int, lengths: Sequence[int] = ()
) -> dict[str, np.ndarray]:
    """Samples of different lengths and numbers of pictures as one batch.

    Args:
        samples: See `LessonEncoder.encode`.
        pad: Id of padding.
        lengths: Pad to the first of these that is long enough, where one is.
    """
    longest = max(int(one["length"]) for one in samples)
    length = next((n for n in lengths if n >= longest), longest)
    pictures = max(len(one["pictured"]) for one in samples)
    fill: dict[str, Any] = {"ids": pad, "labels": IGNORED}
    found: dict[str, np.ndarray] = {}
    for name, first in samples[0].items():
        if name == "length":
            found[name] = np.stack([one[name] for one in samples])
            continue
        most = pictures if name in ("pixels", "pictured") else length
        axis = 0 if name in ("pixels", "pictured") else first.ndim - 1
        shape = list(first.shape)
        shape[axis] = most
        out = np.full((len(samples), *shape), fill.get(name, 0), first.dtype)
        for k, one in enumerate(samples):
            index = [slice(None)] * first.ndim
            index[axis] = slice(one[name].shape[axis])
            out[k][tuple(index)] = one[name]
        found[name] = out
    return found
