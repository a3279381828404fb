"""What a LeRobot dataset gives, shard by shard."""

from __future__ import annotations

from pathlib import Path

from sources.lerobot_writer import WrittenEpisode, write_lerobot

from finedata.readers.lerobot.source import open_lerobot


def all_found(source):
    """(shard, found, what `read` makes of the episode) of everything."""
    for number, shard in enumerate(source.shards):
        for found, episode in source.scan(number):
            yield shard, found, episode


def episode_of(folder: Path, shard: int):
    """The first episode of a data file, open as long as the test runs."""
    opened = open_lerobot(folder).open_shard(shard)
    return opened.episode(opened.found[0])


def first_episode(folder: Path):
    return episode_of(folder, 0)


def one(folder: Path, columns: dict, **knobs):
    write_lerobot(folder, [WrittenEpisode(columns, ("do it",))], **knobs)
    return first_episode(folder)
