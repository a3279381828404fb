# pyright: basic, reportMissingImports=false
"""Lessons of episodes in an endless order, with what the loop wants of a stream.

Of a dataset sides are those that `finedata shard --held-out` would make with the same share: an
episode and its copies are on one side; of shards their own. Each epoch goes through all lessons
once, in an order that follows from the seed and the epoch; so a place in the sequence is a number,
and a run that goes on draws what an unbroken one would. Threads read and encode ahead.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.annotate.asking.frames import FrameSettings
from finedata.annotate.lessons import Lesson, Lessons, OfDataset
from finedata.annotate.settings import AnnotateSettings
from finedata.errors import ConformError, UsageError
from finedata.schema.codecs_file import CodecsFile
from finedata.shard.making.sets import sort_episodes
from finedata.shard.making.settings import ShardSettings
from finedata.shard.order.permute import derive_key, permute
from finedata.shard.shards import Shards
from finedata.store.dataset import open_dataset
from finedata.store.remote.stores import is_remote
from finedata.train.annotator.lesson_encode import LessonEncoder, stacked
from finedata.train.annotator.lesson_shards import OfShards

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from finedata.schema.recipe_file import Recipe
    from finedata.schema.shards_file import Side
    from finedata.store.dataset import Dataset
    from finedata.train.backbone import Backbone

_AHEAD = 2
SIDES: tuple[Side, ...] = ("train", "heldout")


@dataclass(frozen=True, kw_only=True)
class LessonData:
    """What a dataset gives to an annotator, with the names that the loop knows of `Data`.

    Attributes:
        lessons: Makes the questions.
        train: Lessons that are learnt.
        heldout: Lessons that are not.
        pictures: Most pictures of a question.
        lengths: Lengths to which questions with their answers are padded; see `cut`.
        notes: What a reader should know.
    """

    lessons: Lessons
    train: list[Lesson]
    heldout: list[Lesson]
    pictures: int
    notes: list[str]
    cameras: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    state_dim: int = 0
    action_dim: int = 0
    codecs: CodecsFile = field(
        default_factory=lambda: CodecsFile(horizon=1, stride=1, history=0, codecs=())
    )

    def side(self, side: Side) -> list[Lesson]:
        """The lessons of a side."""
        return self.train if side == "train" else self.heldout

    @property
    def sides(self) -> dict[str, list[str]]:
        """Side to its episodes."""
        return {
            name: list(dict.fromkeys(one.episode_id for one in self.side(name)))
            for name in ("train", "heldout")
        }


def frame_settings(recipe: Recipe) -> AnnotateSettings:
    """How a teacher is to be asked, for its questions to be those of a recipe."""

    def frames(rate: float) -> FrameSettings:
        return FrameSettings(
            fps=rate, width=recipe.width, max_frames=recipe.max_frames, views=recipe.cameras
        )

    return AnnotateSettings(
        teacher="local",
        model="",
        analysis=frames(recipe.fps),
        refinement=frames(recipe.refinement_fps),
    )


def look_at_lessons(place: str | Path, recipe: Recipe) -> LessonData:
    """Hold a recipe of an annotator against a dataset, or shards of episodes.

    Args:
        place: The dataset, or shards whose samples are episodes.
        recipe: The recipe.

    Raises:
        UsageError: It is neither, the dataset is not gated and clustered, or it has no lesson.
    """
    root = Path(place)
    notes: list[str] = []
    source: OfShards | OfDataset
    if is_remote(root) or (root / "shards.json").is_file():
        source = OfShards(Shards.open(place))
        ids: dict[Side, list[str]] = {side: source.ids(side) for side in SIDES}
        notes.append("held out is what the shards hold out; the recipe's held_out is not read")
    else:
        dataset = open_dataset(root)
        source, ids = OfDataset(dataset), _sides_of(dataset, recipe)
    lessons = Lessons(
        source, frame_settings(recipe), form=recipe.answers, max_facts=recipe.max_facts
    )
    sides = {side: lessons.of(ids[side]) for side in SIDES}
    if not sides["train"]:
        told = "; ".join(f"{n} x {why}" for why, n in lessons.skipped.most_common(3))
        raise UsageError(
            place=str(root),
            found=f"no lesson of {sum(map(len, ids.values()))} episodes "
            f"({told or 'none has rows'})",
            wanted="episodes with steps and facts that pass the text policy",
            next_command=f"finedata annotate kinematic {root} --all",
        )
    first = {one.stage: one for one in sides["train"]}
    pictures = max(len(lessons.request(one).pictures) for one in first.values())
    notes += [f"{n} x no lesson: {why}" for why, n in sorted(lessons.skipped.items())]
    return LessonData(
        lessons=lessons,
        train=sides["train"],
        heldout=sides["heldout"],
        pictures=pictures,
        lengths=recipe.prompt_lengths,
        notes=notes,
    )


def _sides_of(dataset: Dataset, recipe: Recipe) -> dict[Side, list[str]]:
    """Side to its episodes, in the dataset's order."""
    share = str(Fraction(recipe.held_out).limit_denominator(10_000))
    rows = sort_episodes([dataset], ShardSettings(held_out=share), allow_mixed_licences=True).rows
    side_of = dict(rows.select("episode_id", "side").rows())
    order = dataset.episodes.select("episode_id").collect()["episode_id"].to_list()
    return {side: [name for name in order if side_of.get(name) == side] for side in SIDES}


@dataclass(eq=False)
class LessonBatch:
    """Some lessons, encoded; with the names that the loop knows of a `Batch`."""

    lessons: list[Lesson]
    encoded: dict[str, np.ndarray]

    @property
    def view(self) -> list[str]:
        """Stage of each."""
        return [one.stage for one in self.lessons]

    @property
    def source(self) -> list[str]:
        """Source of each."""
        return [one.source for one in self.lessons]

    @property
    def episode_id(self) -> list[str]:
        """Episode of each."""
        return [one.episode_id for one in self.lessons]

    @property
    def frame_index(self) -> np.ndarray:
        """A lesson is about a whole episode."""
        return np.zeros(len(self.lessons), np.int64)

    def __len__(self) -> int:
        return len(self.lessons)


class LessonStream:
    """An endless sequence of batches.

    Args:
        data: The lessons.
        recipe: For seed, prompt and sizes.
        backbone: Whose tokens and pictures.
        batch: Lessons of all ranks.
        rank: Of this process.
        world: How many there are.
        workers: Threads that read and encode.
        side: Which lessons.
        stage: Those of one stage; "" for all.
        stop: End after so many; the last batch may be smaller.
    """

    def __init__(
        self,
        data: LessonData,
        recipe: Recipe,
        backbone: Backbone,
        *,
        batch: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 1,
        side: Side = "train",
        stage: str = "",
        stop: int | None = None,
    ) -> None:
        self._data, self._recipe, self._side = data, recipe, side
        self.lessons = [one for one in data.side(side) if stage in ("", one.stage)]
        self._encoder = LessonEncoder(backbone, recipe)
        self._pad = backbone.tokenizer.pad_token_id or 0
        self._batch, self._rank, self._world = batch, rank, world
        self._stop = stop
        self._threads = ThreadPoolExecutor(max(1, workers), thread_name_prefix="finedata-lessons")
        self._n = 0
        self._drawn: Counter[tuple[str, str]] = Counter()
        self._chain = hashlib.sha256(self.identity.encode()).hexdigest()
        self.sequence = self

    @cached_property
    def identity(self) -> str:
        """Digest of what is drawn, in which order."""
        told = [self._recipe.seed, self._side, *map(msgspec.to_builtins, self.lessons)]
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()

    @property
    def shares(self) -> dict[str, float]:
        """Stage and source to the share of lessons."""
        counts = Counter(f"{one.stage}/{one.source}" for one in self.lessons)
        return {name: n / len(self.lessons) for name, n in sorted(counts.items())}

    def at(self, n: int) -> Lesson:
        """The lesson at a place of the sequence."""
        epoch, place = divmod(n, len(self.lessons))
        key = derive_key("finedata.lessons", self._recipe.seed, epoch)
        return self.lessons[int(permute(place, size=len(self.lessons), key=key))]

    def __iter__(self) -> Iterator[LessonBatch]:
        waiting: deque[Any] = deque()
        next_n = self._n
        while True:
            while len(waiting) < _AHEAD and (self._stop is None or next_n < self._stop):
                chosen = self._mine(next_n)
                waiting.append((chosen, [self._threads.submit(self._encoded, c) for c in chosen]))
                next_n += self._batch
            if not waiting:
                return
            chosen, futures = waiting.popleft()
            encoded = [future.result() for future in futures]
            self._count()
            if chosen:
                lengths = self._recipe.prompt_lengths
                yield LessonBatch(chosen, stacked(encoded, pad=self._pad, lengths=lengths))

    def _mine(self, n: int) -> list[Lesson]:
        """This rank's lessons of the batch that begins at n."""
        end = n + self._batch if self._stop is None else min(n + self._batch, self._stop)
        each = self._batch // self._world
        begin = n + self._rank * each
        return [self.at(k) for k in range(begin, min(begin + each, end))]

    def _encoded(self, lesson: Lesson) -> dict[str, np.ndarray]:
        return self._encoder.encode(self._data.lessons.request(lesson), lesson.answer)

    def _count(self) -> None:
        end = (
            self._n + self._batch if self._stop is None else min(self._n + self._batch, self._stop)
        )
        for n in range(self._n, end):
            one = self.at(n)
            self._drawn[one.stage, one.source] += 1
            told = f"{self._chain} {n} {one.episode_id} {one.stage}"
            self._chain = hashlib.sha256(told.encode()).hexdigest()
        self._n = end

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence is."""
        return {"identity": self.identity, "n": self._n, "chain": self._chain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ConformError: It is of other lessons.
        """
        if state["identity"] != self.identity:
            raise ConformError(
                place="state of the lessons",
                found="other lessons, or another order",
                wanted="the dataset and its annotations as they were when the run was begun",
            )
        self._n, self._chain = state["n"], state["chain"]

    def receipt(self) -> dict[str, Any]:
        """What was drawn since the run was begun or gone on with."""
        return {
            "sequence": self.identity,
            "drawn": [
                {"view": view, "source": source, "samples": n}
                for (view, source), n in sorted(self._drawn.items())
            ],
            "chain": [{"n": self._n, "sha256": self._chain}],
        }

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
