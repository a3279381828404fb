"""What of a sample is wanted: its words, its numbers, the size of its pictures.

None of it changes which samples are drawn. All of it is in the content digest, as text: a run whose
wording or normalisation differs says so when its checkpoint is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import index
from typing import Any, Literal, TypeAlias, get_args

from finedata.errors import UsageError
from finedata.schema.codecs_file import Action, Normalisation, Rotation
from finedata.schema.roles_file import RolesFile  # noqa: TC001  (msgspec reads it at run time)
from finedata.schema.shards_file import Statistics  # noqa: TC001

__all__ = [
    "Action",
    "Encoding",
    "Form",
    "Normalisation",
    "Numbers",
    "Pictures",
    "Policy",
    "Rotation",
    "Traces",
    "Wanted",
    "Words",
    "as_text",
    "whole",
]

Form: TypeAlias = Literal["none", "goal", "fine", "steps", "numbered", "both", "facts"]
"""What a sample says.

- `none`: nothing.
- `goal`: the instruction as the source wrote it, or one of its alternatives.
- `fine`: the fine-grained instruction.
- `steps`: its steps joined by one space, as FineVLA's loader does (`starVLA/dataloader`).
- `numbered`: its steps as "1. ... 2. ...".
- `both`: the goal, one space, the fine-grained instruction.
- `facts`: the sentences of the facts, some left out with a probability.
"""
Traces: TypeAlias = Literal["none", "exact", "hold"]
Policy: TypeAlias = Literal["reviewed", "not_contradicted"]
_DEFAULT_FORMS: dict[str, Form] = {
    "fg": "fine", "raw": "goal", "unlabelled": "none", "failed": "none",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Words:
    """Which words a sample has.

    Attributes:
        forms: View to form; by default fg has `fine`, raw has `goal`, the other views none.
        drop_facts: Probability that a fact is left out; of the form `facts`.
        paraphrase: Probability that an alternative stands for the goal, where there is one.
        traces: `exact`: the trace of this very frame; `hold`: the last one at or before it.

    Raises:
        UsageError: A value is none of these.
    """

    forms: dict[str, Form] = field(default_factory=dict[str, Form])
    drop_facts: float = 0.0
    paraphrase: float = 0.0
    traces: Traces = "none"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.forms) - set(_DEFAULT_FORMS))
        if unknown:
            raise UsageError(
                parameter="words", found=", ".join(unknown), wanted=", ".join(_DEFAULT_FORMS)
            )
        object.__setattr__(self, "forms", {**_DEFAULT_FORMS, **self.forms})
        for view, form in self.forms.items():
            _one_of("words", form, get_args(Form), place=f"words of {view}")
        _one_of("traces", self.traces, get_args(Traces))
        for name in ("drop_facts", "paraphrase"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(parameter=name, found=str(value), wanted="a probability, 0 to 1")
        if self.drop_facts and "facts" not in self.forms.values():
            raise UsageError(
                parameter="drop_facts",
                found="no view whose words are facts",
                wanted='words={"fg": "facts"}',
            )


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """How states and actions are cut and written.

    Attributes:
        horizon: Steps of an action chunk; the first is that of the sample's frame.
        stride: Frames from one step to the next, of chunk and history.
        history: Steps of the state before the sample's frame.
        action: `absolute`: as stored. `relative`: to the state at the sample's frame. `delta`: each
            step to the state at that step. See `finedata.shard.stream.codec`.
        rotation: How rotations are written: xyzw, the first two columns of the matrix, or
            extrinsic xyz angles in radians.
        normalise: By statistics of the training sides; rotations and masked numbers are left as
            they are.

    Raises:
        UsageError: A value is none of these.
    """

    horizon: int = 16
    stride: int = 1
    history: int = 0
    action: Action = "absolute"
    rotation: Rotation = "quaternion"
    normalise: Normalisation = "none"

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("stride", 1), ("history", 0)):
            value = getattr(self, name)
            if value < least:
                raise UsageError(parameter=name, found=str(value), wanted=f"{least} or more")
        _one_of("action", self.action, get_args(Action))
        _one_of("rotation", self.rotation, get_args(Rotation))
        _one_of("normalise", self.normalise, get_args(Normalisation))


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Which pictures a sample has besides those of its own frame.

    Attributes:
        history: So many earlier ones.
        stride: Frames from one to the next.

    Raises:
        UsageError: A value is none of these.
    """

    history: int = 0
    stride: int = 1

    def __post_init__(self) -> None:
        for name, least in (("history", 0), ("stride", 1)):
            value = getattr(self, name)
            if value < least:
                raise UsageError(
                    parameter=f"picture_{name}", found=str(value), wanted=f"{least} or more"
                )


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What workers make of words and pictures besides, for who trains on them.

    Attributes:
        encoder: `module:class`. Its `of(settings)` gives an object with `arrays()`, name to (shape
            of a sample, dtype), and `encode(text, pictures, picture_mask, out)`, which fills them;
            see `finedata.train.encode`. Where depth is asked for, also `depth` and `matrix`, by
            name, as `Batch` has them. Batches have the arrays as `encoded`.
        settings: Plain values.
    """

    encoder: str
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """All that a worker must know to read the samples that it is sent.

    Attributes:
        shards: The folder.
        sets: The sequence's sets, by number.
        views: The sequence's views, by number.
        sources: The sources of each view, by number.
        roles: The roles.
        words: Which words.
        numbers: Which numbers.
        size: (height, width) of pictures.
        pictures: Which pictures.
        revision: Of the text; None where no words of one are asked for.
        policy: Of the text.
        seed: Of the words.
        encoding: What is made of words and pictures besides.
        statistics: Of actions that are not absolute.
        depth: Whether pictures come with their depth.
    """

    shards: str
    sets: tuple[str, ...]
    views: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]
    roles: RolesFile
    words: Words
    numbers: Numbers
    size: tuple[int, int]
    pictures: Pictures
    revision: str | None
    policy: Policy
    seed: int
    encoding: Encoding | None = None
    statistics: tuple[Statistics, ...] = ()
    depth: bool = False


def as_text(settings: Words | Numbers | Pictures, views: tuple[str, ...] = ()) -> dict[str, str]:
    """Arguments by name, as a receipt writes them; forms only of the views that are drawn."""
    found: dict[str, str] = {}
    for name in settings.__dataclass_fields__:
        value = getattr(settings, name)
        if name == "forms":
            found |= {f"form of {view}": value[view] for view in views}
        else:
            found[name] = repr(value) if isinstance(value, float) else str(value)
    return found


def whole(name: str, value: Any) -> int:
    """A whole number of 64 bits, of whatever type: settings come out of NumPy and YAML too.

    Raises:
        UsageError: It is none.
    """
    try:
        found = index(value)
    except TypeError as error:
        raise UsageError(parameter=name, found=repr(value), wanted="a whole number") from error
    if not -(2**63) <= found < 2**63:
        raise UsageError(parameter=name, found=str(found), wanted="-2^63 to 2^63 - 1")
    return found


def _one_of(name: str, found: str, wanted: tuple[str, ...], *, place: str = "") -> None:
    if found not in wanted:
        raise UsageError(parameter=name, place=place, found=repr(found), wanted=", ".join(wanted))
