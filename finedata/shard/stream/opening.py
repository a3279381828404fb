"""Opening a stream: what a user asks for becomes a sequence, and all that a worker must know.

Everything that can be refused is refused here, before the first byte of a tar is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finedata.errors import UsageError
from finedata.shard.shards import Shards
from finedata.shard.stream.action_statistics import action_statistics
from finedata.shard.stream.fill import picture_size
from finedata.shard.stream.mix import split_pairs
from finedata.shard.stream.parts import read_roles
from finedata.shard.stream.places import prepare_places
from finedata.shard.stream.released import open_sequence
from finedata.shard.stream.settings import Numbers, Pictures, Wanted, Words, whole
from finedata.shard.stream.stream import Stream
from finedata.shard.stream.words import needs_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.schema.codecs_file import Action, Normalisation, Rotation
    from finedata.schema.shards_file import Side
    from finedata.shard.order.schedule import Weight
    from finedata.shard.stream.mix import Mix
    from finedata.shard.stream.settings import Encoding, Form, Policy, Traces
    from finedata.shard.stream.stream import OnBad

__all__ = ["stream"]


def stream(
    shards: str | Path | Shards,
    *,
    mix: Mix,
    batch: int = 32,
    seed: int = 0,
    horizon: int = 16,
    stride: int = 1,
    history: int = 0,
    action: Action = "absolute",
    rotation: Rotation = "quaternion",
    normalise: Normalisation = "none",
    words: Mapping[str, Form] | str | None = None,
    drop_facts: float = 0.0,
    paraphrase: float = 0.0,
    traces: Traces = "none",
    picture_history: int = 0,
    picture_stride: int | None = None,
    size: tuple[int, int] | None = None,
    roles: str | Path | None = None,
    sources: Mapping[str, Mapping[str, Weight]] | None = None,
    policy: Policy = "not_contradicted",
    text: str | None = None,
    side: Side = "train",
    group: int = 8,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    on_bad: OnBad = "raise",
    bad_quota: int = 100,
    stop: int | None = None,
    other_content: bool = False,
    encoding: Encoding | None = None,
    depth: bool = False,
) -> Stream:
    """Stream batches of an exact mixture of views of shards.

    Args:
        shards: The folder, or an address (`hf://datasets/org/name`, ...), or the shards opened
            (`Shards.open` takes the folder and the bound of an address's cache).
        mix: View to weight, as `{"fg": 1, "raw": 2}` or `"fg=1,raw=2"`; exact at every prefix.
            `"released"` and `"released:fg=2,raw=1"` sample as the papers' released code does.
        batch: Samples of a global batch, of all ranks together.
        seed: Of order, ties and choices of words.
        horizon: See `Numbers`; so are `stride`, `history`, `action`, `rotation`, `normalise`.
        stride: Frames from one step to the next.
        history: Steps of the state before the sample's frame.
        action: `absolute`, `relative` or `delta`.
        rotation: `quaternion`, `6d` or `euler`.
        normalise: `none`, `quantile`, `min-max` or `mean-std`.
        words: View to form of words, or `fg=numbered,raw=goal`; see `Words`, as for `drop_facts`,
            `paraphrase`, `traces`.
        drop_facts: Probability that a fact is left out.
        paraphrase: Probability that an alternative stands for the goal.
        traces: `none`, `exact` or `hold`.
        picture_history: So many earlier pictures of each camera come with a sample.
        picture_stride: Frames from one to the next; `stride` where None.
        size: (height, width) of pictures; as they are where None.
        roles: A file of roles; `roles.toml` of the shards where None.
        sources: View to (source to weight); by number of samples otherwise.
        policy: Which fine-grained texts count.
        text: The text revision; the last where None.
        side: `train` or `heldout`.
        group: How many shards are mixed at a time.
        rank: Of this process.
        world: How many ranks there are.
        workers: Processes that read; 0 reads in this one.
        on_bad: `raise` at a sample that cannot be read, or take the `next` of its source.
        bad_quota: How many samples may be replaced.
        stop: End after so many samples of the global sequence; None never ends.
        other_content: Let a state of other words or numbers be loaded.
        encoding: What workers make of words and pictures besides.
        depth: Let pictures come with their depth and the matrix of their camera; see `Batch`.

    Raises:
        UsageError: An argument is none, a view is empty, or the sets do not fit together.
        ConformError: The shards are damaged.

    Example:
        >>> for batch in stream("shards", mix={"fg": 1, "raw": 1}):  # doctest: +SKIP
        ...     train(batch.pictures["main"], batch.vectors["action"], batch.text)
    """
    opened = shards if isinstance(shards, Shards) else Shards.open(Path(shards).absolute())
    seed, group = whole("seed", seed), whole("group", group)
    sequence = open_sequence(
        opened,
        mix=mix,
        sources=sources,
        seed=seed,
        group=group,
        policy=policy,
        revision=text,
        side=side,
    )
    forms: Any = words or {}
    if isinstance(forms, str):
        forms = split_pairs(forms, parameter="words")
    asked_words = Words(
        forms=dict(forms), drop_facts=drop_facts, paraphrase=paraphrase, traces=traces
    )
    revision = sequence.revision
    if revision is None and any(needs_text(asked_words, view) for view in sequence.views):
        revision = opened.text_revision(text)
    found_roles = read_roles(opened, sequence.sets, None if roles is None else Path(roles))
    numbers = Numbers(
        horizon=whole("horizon", horizon),
        stride=whole("stride", stride),
        history=whole("history", history),
        action=action,
        rotation=rotation,
        normalise=normalise,
    )
    pictures = Pictures(
        history=whole("picture_history", picture_history),
        stride=whole("picture_stride", stride if picture_stride is None else picture_stride),
    )
    if depth and picture_history:
        raise UsageError(
            parameter="depth",
            found=f"{picture_history} earlier pictures",
            wanted="picture_history=0: depth is that of a sample's own frame",
        )
    if picture_history:
        prepare_places(opened, sequence.sets, pictures)
    own = normalise != "none" and action != "absolute"
    statistics = action_statistics(opened, found_roles, numbers) if own else ()
    wanted = Wanted(
        shards=opened.address,
        sets=sequence.sets,
        views=sequence.views,
        sources=sequence.sources,
        roles=found_roles,
        words=asked_words,
        numbers=numbers,
        pictures=pictures,
        size=picture_size(opened, sequence.sets, found_roles, size),
        revision=None if revision is None else revision.revision,
        policy=policy,
        seed=seed,
        encoding=encoding,
        statistics=statistics,
        depth=depth,
    )
    return Stream(
        sequence,
        wanted,
        batch=whole("batch", batch),
        rank=whole("rank", rank),
        world=whole("world", world),
        workers=whole("workers", workers),
        on_bad=on_bad,
        bad_quota=whole("bad_quota", bad_quota),
        stop=None if stop is None else whole("stop", stop),
        other_content=other_content,
    )
