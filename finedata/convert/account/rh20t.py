"""The account of RH20T: scene folders, their cameras and their descriptions, by a listing.

The arrays of a scene are pickles, which only the reader's allow-list may open; what they hold is
proved by converting again. Which frames of a video a row shows follows from the cameras' clocks:
here it is only asked that they are frames of that video, each once and in order.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from finedata.convert.account.things import (
    DAMAGE,
    Declared,
    Inventory,
    SourceEpisode,
    VideoWindow,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.readers.files import SourceFolder

_SCENE = re.compile(r"((?:.*/)?task_(\d{4})_user_\d{4}_scene_\d{4}_cfg_\d{4}(?:_human)?)/(.+)")


def rh20t_inventory(folder: SourceFolder) -> Inventory:
    """List the scenes below a folder.

    Raises:
        OSError: The disk or the network failed.
    """
    inventory = Inventory({}, lambda: iter(()))
    scenes: dict[str, dict[str, str]] = {}
    names = [file.name for file in folder.files()]
    for name in names:
        match = _SCENE.fullmatch(name)
        if match is not None:
            scenes.setdefault(match[1], {})[match[3]] = name
    for path, files in list(scenes.items()):
        # Joints and depth are downloads of their own that repeat the scenes' names.
        if set(files) <= {"transformed/joint.npy"} and _others(path, scenes):
            del scenes[path]
    tasks = _descriptions(folder, names, inventory)
    inventory.episodes = lambda: _episodes(scenes, tasks, inventory)
    return inventory


def _others(path: str, scenes: dict[str, dict[str, str]]) -> bool:
    name = path.rsplit("/", 1)[-1]
    return any(other != path and other.rsplit("/", 1)[-1] == name for other in scenes)


def _episodes(
    scenes: dict[str, dict[str, str]], tasks: dict[str, Any], inventory: Inventory
) -> Iterator[SourceEpisode]:
    for path, files in sorted(scenes.items()):
        episode = SourceEpisode(path, 0, path.rsplit("/", 1)[-1])
        for file in sorted(files):
            camera = re.fullmatch(r"(cam_[^/]+)/color\.mp4", file)
            if camera is not None:
                _add(inventory, camera[1], "camera", path)
                episode.cameras[camera[1]] = VideoWindow(files[file], any_frames=True)
            array = re.fullmatch(r"transformed/([^/]+)\.npy", file)
            if camera is None and not file.endswith("/timestamps.npy"):
                name = array[1] if array else file
                declared = Declared(name, "numbers", path, describes=array is None)
                inventory.things.setdefault(name, declared)
                episode.values[name] = list[Any]
        match = re.search(r"task_(\d{4})_", episode.name)
        described = tasks.get(f"task_{match[1]}") if match else None
        said_of: Any = cast("Any", described if isinstance(described, dict) else {})
        text: Any = said_of.get("task_description_english")
        if isinstance(text, str) and text.strip():
            episode.texts[text] = "task_description/english"
        yield episode


def _add(inventory: Inventory, name: str, kind: Any, place: str) -> None:
    inventory.things.setdefault(name, Declared(name, kind, place))


def _descriptions(folder: SourceFolder, names: list[str], inventory: Inventory) -> dict[str, Any]:
    for name in names:
        if name.rsplit("/", 1)[-1] == "task_description.json" and name.count("/") <= 1:
            try:
                found: Any = json.loads(folder.read_all(name).decode("utf-8-sig"))
                return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
            except DAMAGE as error:
                inventory.notes.append(f"{name}: not looked into: {said(error)}")
    return {}
