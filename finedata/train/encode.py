"""Words and pictures of a batch as a backbone takes them, made in the workers of a stream.

Nothing here imports torch: a worker has a tokenizer and NumPy. Pictures stay uint8, only their
bytes change places (into patches, in the order in which Qwen-VL merges them, or into planes); they
become numbers on the device. Rows are as long as the longest prompt that is allowed; the trainer
cuts them to what a batch needs.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from finedata.errors import UsageError
from finedata.schema.strict import Strict
from finedata.train.ego3d import patch_points, published_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping


HASHED = "hashed words"
"""In the place of a tokenizer: words are numbers by a hash, and no vocabulary has to be known."""
_HASHES = 2**20


class EncoderSettings(Strict, frozen=True, kw_only=True):
    """All that encoding needs to know, as plain values.

    Attributes:
        tokenizer: The text of `tokenizer.json`, or `HASHED`.
        cameras: Picture roles in the order of the prompt.
        height: Of pictures, in pixels.
        width: Of pictures, in pixels.
        prefix: Ids of the prompt up to the words, visual tokens included.
        pictures: Of each picture: the place of its first visual token, rows and columns of tokens.
        prompt: Template of the words.
        suffix: Text behind the words.
        query: Id of an action query.
        queries: How many there are.
        pad: Id of padding.
        max_tokens: Longest prompt.
        positions: See `Family`.
        first_position: See `Family`.
        layout: How pictures are given.
        patch: Side of a patch in pixels; of the layout `patches`.
        merge: Patches that become one visual token, on a side.
        points: Points in space of each patch, on a side; 0 for none.
    """

    tokenizer: str
    cameras: tuple[str, ...]
    height: int
    width: int
    prefix: tuple[int, ...]
    pictures: tuple[tuple[int, int, int], ...]
    prompt: str
    suffix: str
    query: int
    queries: int
    pad: int
    max_tokens: int
    positions: Literal["mrope", "plain"]
    first_position: int
    layout: Literal["patches", "planes"]
    patch: int
    merge: int
    points: int = 0

    @property
    def axes(self) -> int:
        """Numbers of a position."""
        return 3 if self.positions == "mrope" else 1


@dataclass(frozen=True, kw_only=True)
class _Hashed:
    """What a tokenizer of `tokenizers` gives: ids, and where in the text each one is."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class _HashedWords:
    """A tokenizer without a vocabulary: a word in small letters, or a mark, is its CRC-32.

    Ids are 1 to 2^20 - 1; 0 is padding. Of a thousand words two meet with a chance of 0.4.
    """

    def encode(self, text: str, *, add_special_tokens: bool = False) -> _Hashed:
        """Ids and offsets of a text."""
        del add_special_tokens
        found = list(re.finditer(r"\w+|[^\w\s]", text.lower()))
        return _Hashed(
            ids=[1 + zlib.crc32(one[0].encode()) % (_HASHES - 1) for one in found],
            offsets=[one.span() for one in found],
        )


def _tokenizer(text: str) -> Any:
    """A tokenizer that neither cuts nor pads."""
    if text == HASHED:
        return _HashedWords()
    # By name: its types are known only where the extra `train` is installed.
    tokenizers: Any = import_module("tokenizers")
    made = tokenizers.Tokenizer.from_str(text)
    made.no_padding()
    made.no_truncation()
    return made


class Words:
    """Ids of words that somebody else wrote: a model's own tokens in them are text and no tokens.

    An instruction that says `<|image_pad|>` would else be a picture that is not there, and one that
    says `<|im_end|>` would end the question.

    Args:
        tokenizer: The text of `tokenizer.json`.
    """

    def __init__(self, tokenizer: str) -> None:
        self._plain = _tokenizer(tokenizer)
        hashed = tokenizer == HASHED
        added = () if hashed else self._plain.get_added_tokens_decoder().values()
        own = sorted((token.content for token in added if token.special), key=len, reverse=True)
        self._own = re.compile("|".join(map(re.escape, own))) if own else None
        self._literal = _tokenizer(tokenizer)
        if not hashed:
            self._literal.encode_special_tokens = True

    def ids(self, text: str, *, behind: str = "") -> list[int]:
        """Ids of a text.

        Args:
            text: Words.
            behind: What the prompt goes on with; its tokens are tokens.
        """
        if self._own is None or not self._own.search(text):
            return self._plain.encode(text + behind, add_special_tokens=False).ids
        found = self._literal.encode(text, add_special_tokens=False).ids
        return [*found, *self._plain.encode(behind, add_special_tokens=False).ids]


class Encoder:
    """Encodes batches; a stream's workers each have one.

    Example:
        >>> encoder = Encoder(settings)  # doctest: +SKIP
        >>> encoder.ids("put the cup on the plate").shape  # doctest: +SKIP
        (171,)
    """

    def __init__(self, settings: EncoderSettings) -> None:
        self.settings = settings
        self._tokenizer = _tokenizer(settings.tokenizer)
        self._words = Words(settings.tokenizer)
        self._prefix = np.array(settings.prefix, np.int32)
        self._positions = self._count_positions()
        # Episodes are long and their words few.
        self.ids = lru_cache(maxsize=65_536)(self._ids)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Encoder:
        """An encoder from plain values, as a worker is sent them."""
        import msgspec

        return cls(msgspec.convert(settings, EncoderSettings))

    def arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name to shape of a sample and dtype: what `encode` fills."""
        one = self.settings
        cells = (one.height // one.patch) * (one.width // one.patch)
        pixels = (
            (cells, 3 * one.patch**2) if one.layout == "patches" else (3, one.height, one.width)
        )
        found = {
            "ids": ((one.max_tokens,), "int32"),
            "positions": ((one.axes, one.max_tokens), "int32"),
            "seen": ((one.max_tokens,), "bool"),
            "length": ((), "int32"),
            "pixels": ((len(one.cameras), *pixels), "uint8"),
        }
        if one.points:
            found["points"] = ((len(one.cameras), cells, 3 * one.points**2), "float32")
            found["pointed"] = ((len(one.cameras), cells), "bool")
        return found

    def encode(
        self,
        text: list[str],
        pictures: Mapping[str, np.ndarray],
        picture_mask: Mapping[str, np.ndarray],
        out: Mapping[str, np.ndarray],
        depth: Mapping[str, np.ndarray] | None = None,
        matrix: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Fill arrays of n samples.

        Args:
            text: Words of each.
            pictures: Picture role to (n, height, width, 3) uint8.
            picture_mask: Picture role to (n,) bool: a picture that is not there is not attended to.
            out: See `arrays`; each with n entries.
            depth: Picture role to (n, height, width) metres, 0 where there is none.
            matrix: Picture role to (n, 3, 3); the published default where it is no number.

        Raises:
            UsageError: A prompt is longer than allowed, or a camera has a history.
        """
        one = self.settings
        out["seen"][:] = False
        for at, words in enumerate(text):
            ids = self.ids(words)
            length = len(ids)
            out["ids"][at, :length] = ids
            out["ids"][at, length:] = one.pad
            out["seen"][at, :length] = True
            out["length"][at] = length
        behind = self._positions.shape[1]
        out["positions"][:, :, :behind] = self._positions
        rest = np.arange(one.max_tokens - behind, dtype=np.int32)
        out["positions"][:, :, behind:] = rest + self._next_position
        for place, camera in enumerate(one.cameras):
            first, rows, columns = one.pictures[place]
            if pictures[camera].ndim != 4:
                raise UsageError(
                    parameter="picture_history",
                    found=f"{pictures[camera].shape[1] - 1} earlier pictures of {camera}",
                    wanted="0: a prompt has one picture of each camera",
                )
            absent = ~picture_mask[camera]
            if absent.any():
                out["seen"][absent, first : first + rows * columns] = False
            if one.layout == "patches":
                patches(pictures[camera], out["pixels"][:, place], patch=one.patch, merge=one.merge)
            else:
                planes(pictures[camera], out["pixels"][:, place])
            if one.points:
                self._place_in_space(camera, picture_mask[camera], out, depth or {}, matrix or {})

    def _place_in_space(
        self,
        camera: str,
        there: np.ndarray,
        out: Mapping[str, np.ndarray],
        depth: Mapping[str, np.ndarray],
        matrix: Mapping[str, np.ndarray],
    ) -> None:
        """Fill `points` and `pointed` of a camera."""
        one, place = self.settings, self.settings.cameras.index(camera)
        known = matrix[camera].copy()
        known[~np.isfinite(known).all((1, 2))] = published_matrix(
            height=one.height, width=one.width
        )
        found, whole = patch_points(
            depth[camera], known, side=one.height // one.patch, points=one.points
        )
        out["points"][:, place] = found
        out["pointed"][:, place] = whole & there[:, None]

    def places(self, words: str, word: str) -> list[int]:
        """Where in a prompt the tokens of a word of it are, or of several words in a row.

        Args:
            words: Of the sample.
            word: The word, in any case; each time that it occurs.

        Raises:
            UsageError: The prompt does not say it.
        """
        asked = self._asked(words)
        offsets = self._tokenizer.encode(
            asked + self.settings.suffix, add_special_tokens=False
        ).offsets
        pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
        spans = [match.span() for match in re.finditer(pattern, asked, re.IGNORECASE)]
        found = [
            len(self._prefix) + k
            for k, (begin, end) in enumerate(offsets)
            if any(begin < last and end > first for first, last in spans)
        ]
        if not found:
            raise UsageError(
                parameter="query",
                found=repr(word),
                wanted=f"a word of the prompt: {asked.strip()}",
            )
        return found

    def _asked(self, words: str) -> str:
        """What is said behind the pictures."""
        return self.settings.prompt.replace("{lower}", words.lower()).replace("{text}", words)

    def _ids(self, words: str) -> np.ndarray:
        """(length,) int32 of one prompt."""
        one = self.settings
        ids = self._words.ids(self._asked(words), behind=one.suffix)
        length = len(self._prefix) + len(ids) + one.queries
        if length > one.max_tokens:
            raise UsageError(
                place="max_tokens",
                found=f"a prompt of {length} tokens: {words[:80]!r}",
                wanted=f"at most {one.max_tokens}; nothing is cut",
                next_command=f"--set max_tokens={-(-length // 64) * 64}",
            )
        found = np.empty(length, np.int32)
        found[: len(self._prefix)] = self._prefix
        found[len(self._prefix) : length - one.queries] = ids
        found[length - one.queries :] = one.query
        return found

    def _count_positions(self) -> np.ndarray:
        """(axes, n) positions of the prefix; text behind it goes on from `_next_position`.

        Source: `get_rope_index` of Qwen3-VL in transformers: text counts on all three axes; the
        tokens of a picture have its first position in time, their row and column added on the
        others; what follows goes on behind the longer side.
        """
        one = self.settings
        length, now, at = len(self._prefix), one.first_position, 0
        found = np.empty((one.axes, length), np.int32)
        if one.axes == 1:
            self._next_position = now + length
            found[0] = now + np.arange(length)
            return found
        for first, rows, columns in (*one.pictures, (length, 0, 0)):
            found[:, at:first] = now + np.arange(first - at)
            now += first - at
            at = first + rows * columns
            here = found[:, first:at]
            here[0] = now
            here[1] = now + np.repeat(np.arange(rows), columns)
            here[2] = now + np.tile(np.arange(columns), rows)
            now += max(rows, columns)
        self._next_position = now
        return found


def patches(pictures: np.ndarray, out: np.ndarray, *, patch: int, merge: int) -> None:
    """Cut pictures into patches, in the order in which Qwen-VL merges them.

    Args:
        pictures: (n, height, width, 3) uint8.
        out: (n, cells, 3 * patch * patch) uint8, overwritten: colour, row, column of a patch.
        patch: Side of a patch in pixels; `patch * merge` divides the picture.
        merge: Patches that become one token, on a side: those of a token follow each other.
    """
    n, height, width, _ = pictures.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    cut = pictures.reshape(n, rows, merge, patch, columns, merge, patch, 3)
    # row of blocks, column of blocks, row and column in a block, colour, row and column in a patch
    view = out.reshape(n, rows, columns, merge, merge, 3, patch, patch)
    view[:] = cut.transpose(0, 1, 4, 2, 5, 7, 3, 6)


def planes(pictures: np.ndarray, out: np.ndarray) -> None:
    """Pictures as planes: (n, height, width, 3) to (n, 3, height, width), uint8."""
    out[:] = pictures.transpose(0, 3, 1, 2)
