"""Small scenes of RH20T."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sources.rh20t import write
from sources.truth import SourceTruth

from finedata.readers.episode import Found
from finedata.readers.rh20t.episode import Rh20tEpisode
from finedata.readers.rh20t.source import Rh20tSource, open_rh20t


def only(source: Rh20tSource, shard: int = 0) -> tuple[Found, Rh20tEpisode | None]:
    [(found, episode)] = list(source.scan(shard))
    if episode is None:
        return found, None
    opened = source.open_shard(shard)
    again = opened.episode(found)  # the scan's own is closed by now
    opened.close()
    return found, again


def one_scene(folder: Path, **knobs: Any) -> tuple[Rh20tEpisode, SourceTruth]:
    [truth] = write(folder, **{"episodes": 1, "cfgs": (3,)} | knobs)
    found, episode = only(open_rh20t(folder))
    assert found.reason is None
    assert episode is not None
    return episode, truth


def resave(file: Path, change: Any) -> None:
    tree = np.load(file, allow_pickle=True).item()
    np.save(file, change(tree) or tree, allow_pickle=True)


def episode_of(scene: Path) -> Rh20tEpisode:
    found, episode = only(open_rh20t(scene.parents[1]))
    assert episode is not None, found.message
    return episode
