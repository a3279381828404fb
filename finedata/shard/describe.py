"""Shards on one page, and whether a list of held-out ids is in their training files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.schema.identity import task_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finedata.shard.shards import Shards

__all__ = ["find_leaks", "shards_text"]

_EPISODES_AT_ONCE = 65_536


def find_leaks(shards: Shards, ids: Iterable[str]) -> list[str]:
    """Training episodes of finished shards that a list names, by id, by task or by instruction.

    Which episodes are copies of which is known to the datasets only: `shard_datasets` looks there.
    """
    named = set(ids)
    tasks = {found for one in named if (found := task_id(one))} | named
    leaked: list[str] = []
    for one in shards.sets.values():
        if one.side != "train":
            continue
        table = shards.episodes(one.name)
        for start in range(0, len(table), _EPISODES_AT_ONCE):
            stop = min(len(table), start + _EPISODES_AT_ONCE)
            rows = table.rows(start, stop, columns=["episode_id", "task_id"]).to_pylist()
            leaked += [
                row["episode_id"]
                for row in rows
                if row["episode_id"] in named or row["task_id"] in tasks
            ]
    return sorted(leaked)


def shards_text(shards: Shards) -> str:
    """What `finedata info SHARDS` prints."""
    document = shards.document
    options = document.options
    what = "time step" if document.sample == "step" else "episode"
    shuffled = "shuffled over the set" if document.order == "step" else "in the order of episodes"
    lines = [
        f"{shards.root}  (finedata {document.finedata_version})",
        f"identity  {document.identity[:16]}",
        f"sample    a {what}, {shuffled}",
    ]
    for one in document.sets:
        size = sum(tar.bytes for tar in one.tars)
        lines.append(
            f"set       {one.name}: {one.episodes} episodes, {one.samples} samples, "
            f"{len(one.tars)} tars, {size / 1e6:.1f} MB, {one.fps:g} Hz, {one.embodiment}"
        )
        for camera in one.cameras:
            lossy = f", {camera.encoded} encoded" if camera.encoded else ""
            lossy += f" at quality {options.quality}" if camera.encoded else ""
            lossy += f" ({camera.psnr_db} dB)" if camera.psnr_db is not None else ""
            lines.append(
                f"          {camera.member:<24} {camera.height}x{camera.width}, "
                f"{camera.untouched} untouched{lossy}"
            )
        pictures = {camera.member for camera in one.cameras}
        lines += [f"          {name}" for name in one.members if name not in pictures]
    held = options.held_out or (options.held_out_ids_sha256 and "a list")
    if held:
        lines.append(f"held out  {held}, by {options.held_out_by}")
    for text in document.texts:
        lines.append(f"text      {text.revision}")
        lines += [
            f"          view {view.view}, {view.side}, {view.policy or 'the source'}: "
            f"{view.episodes} episodes, {view.samples} samples"
            for view in text.views
        ]
    lines += [
        f"left out  {count} episodes ({reason})" for reason, count in document.left_out.items()
    ]
    licences = sorted({licence for one in document.sets for licence in one.licences})
    lines.append(f"licence   {', '.join(licences)}")
    return "\n".join(lines)
