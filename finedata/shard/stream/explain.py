"""Where a sample of a stream comes from: the way back from a number to bytes, verdicts and people.

Everything is in the shards: receipts, verdicts, clusters and ranks were copied beside the episodes
when they were sharded, and the words of a text revision keep who or what made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finedata.shard.stream.stream import Stream

__all__ = ["explain"]

_EPISODE = (
    "source_file",
    "source_record",
    "byte_offset",
    "byte_length",
    "source_sha256",
    "source_revision",
    "licence",
    "success",
    "verdict",
    "gate_score",
    "cluster_id",
    "rank",
)
_MADE_BY = ("origin", "annotator", "run_id", "prompt_sha256", "call_id", "review_status")


def explain(stream: Stream, start: int, stop: int) -> list[dict[str, Any]]:
    """The lineage of samples start..stop-1, one object each.

    `members` is where the pictures are in the tar, `words` what the sample says, `fine_grained` who
    made the episode's fine-grained text and its facts, where the stream has a text revision.

    Raises:
        ConformError: The shards are damaged, or words are missing.
    """
    sequence, shards = stream.sequence, stream.sequence.shards
    samples = sequence.samples(start, stop)
    found: list[dict[str, Any]] = []
    rows: list[list[int]] = samples.columns().T.tolist()
    texts, traces = stream.words(samples)
    for at, (n, view, source, ordinal, epoch, shard_set, tar, place, episode, frame) in enumerate(
        rows
    ):
        one = shards.sets[sequence.sets[shard_set]]
        index, episodes = shards.index(one.name, tar), shards.episodes(one.name)
        offset, size = (index.value(f"member_{name}", place) for name in ("offset", "size"))
        found.append(
            {
                "n": n,
                "address": shards.pinned,
                "view": sequence.views[view],
                "source": sequence.sources[view][source],
                "epoch": epoch,
                "ordinal": ordinal,
                "set": one.name,
                "part": one.part,
                "tier": one.tier,
                "tar": shards.tar_path(one.name, tar).relative_to(shards.root).as_posix(),
                "place": place,
                "members": {
                    member: {"offset": offset[k], "bytes": size[k]}
                    for k, member in enumerate(one.members)
                },
                "episode_id": sequence.episode_id(shard_set, episode),
                "frame_index": frame,
                **{name: episodes.value(name, episode) for name in _EPISODE},
                "words": texts[at],
                "trace_id": None if traces[at] is None else (traces[at] or {}).get("trace_id"),
                "fine_grained": _fine_grained(stream, one.name, episode),
            }
        )
    return found


def _fine_grained(stream: Stream, set_name: str, episode: int) -> dict[str, Any] | None:
    revision = stream.wanted.revision
    if revision is None:
        return None
    shards = stream.sequence.shards
    episodes = shards.text(set_name, "episodes", revision=revision)
    row = episodes.value("fine_grained", episode)
    if row is None:
        return None
    text = shards.text(set_name, "instructions", revision=revision)
    names = ("instruction_id", "policy", "reviewer", "fact_ids", *_MADE_BY)
    first = int(episodes.value("first_fact", episode))
    facts = shards.text(set_name, "facts", revision=revision).rows(
        first,
        first + int(episodes.value("facts", episode)),
        columns=["fact_id", "kinematic_verdict", "policy", "reviewer", *_MADE_BY],
    )
    return {
        "text_revision": revision,
        **{name: text.value(name, row) for name in names},
        "facts": facts.to_pylist(),
    }
