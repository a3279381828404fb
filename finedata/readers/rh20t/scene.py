"""RH20T scene folders: which files belong to which scene, and what is known of it elsewhere.

Elsewhere are the cameras in the hand and the goal in words. Of a scene only names are looked at,
so that a source opens at once; read are two small files of the publisher, `configs.json` and
`task_description.json`, where they lie in the folder or one below.

A scene may lie in more than one tree: depth and joints are separate downloads that repeat the
names of the scene folders. Such trees are no scenes of their own; their `joint.npy` joins the
scene of the same name. Layout: rh20t_api (`scene.py`, `configs/configs.json`), MIT.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from finedata.errors import CorruptRecordError, SourceError

if TYPE_CHECKING:
    from finedata.readers.files import SourceFile, SourceFolder

# Name in a scene of a camera's colour video; the group is the serial.
COLOUR_VIDEO: Final = re.compile(r"cam_([^/]+)/color\.mp4")

_SCENE = re.compile(
    r"(?:.*/)?(task_(\d{4})_user_(\d{4})_scene_(\d{4})_cfg_(\d{4})(?:_human)?)/(.+)"
)

# Name in a scene to (name in the source, bytes).
_Files = dict[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Rh20tScene:
    """A scene folder and what belongs to it elsewhere.

    Attributes:
        folder: Name relative to the source folder.
        name: Last part of it, `task_0001_user_0001_scene_0001_cfg_0001`, perhaps `_human`.
        ids: Its four numbers as text: task, user, scene, cfg.
        files: Name in the scene (`cam_x/color.mp4`) to (name in the source, bytes). `joint.npy` may
            come from a tree of its own.
        in_hand: Serials of the cameras in the hand, where `configs.json` tells.
        descriptions: The goal by language, `english` and `chinese`.
    """

    folder: str
    name: str
    ids: tuple[str, str, str, str]
    files: dict[str, tuple[str, int]]
    in_hand: frozenset[str]
    descriptions: dict[str, str]

    @property
    def human(self) -> bool:
        """Whether it is a person's demonstration, without a robot."""
        return self.name.endswith("_human")

    def cameras(self) -> list[str]:
        """Serials that have a colour video, sorted."""
        matches = (COLOUR_VIDEO.fullmatch(name) for name in self.files)
        return sorted(match[1] for match in matches if match)


def is_scene_file(name: str) -> bool:
    """Whether a file's name tells a scene of RH20T: its metadata, or something of a camera.

    Args:
        name: Name relative to the source folder.

    Example:
        >>> is_scene_file("a/task_0001_user_0007_scene_0001_cfg_0003/metadata.json")
        True
        >>> is_scene_file("task_0001/metadata.json")
        False
    """
    match = _SCENE.fullmatch(name)
    return match is not None and (match[6] == "metadata.json" or match[6].startswith("cam_"))


def find_scenes(folder: SourceFolder, *, listed: list[SourceFile]) -> tuple[Rh20tScene, ...]:
    """The scenes among a source's files.

    Args:
        folder: The source.
        listed: Its files.

    Returns:
        The scenes, sorted by folder; a tree of joints without its scene stays, so that it is
        refused by name instead of passed over. Empty where there is no scene folder at all.

    Raises:
        SourceError: `configs.json` or `task_description.json` does not decode.
    """
    held: dict[str, _Files] = defaultdict(dict)
    for file in listed:
        match = _SCENE.fullmatch(file.name)
        if match:
            scene = file.name[: -len(match[6]) - 1]
            held[scene][match[6]] = (file.name, file.size)
    if not held:
        return ()
    in_hand = _in_hand(folder, listed)
    descriptions = _descriptions(folder, listed)
    scenes = [
        _scene(path, files, in_hand, descriptions) for path, files in _with_joints(held).items()
    ]
    return tuple(sorted(scenes, key=lambda scene: scene.folder))


def decode_json(data: bytes, *, place: str) -> Any:
    """The value of a JSON file.

    Args:
        data: The whole file.
        place: Its name, for errors.

    Raises:
        CorruptRecordError: It is no JSON, or nested too deep.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptRecordError(
            place=place, found=f"bytes that do not decode ({error})", wanted="JSON"
        ) from error


def _with_joints(held: dict[str, _Files]) -> dict[str, _Files]:
    """Scenes proper, each with the joints of a tree beside; what has no scene stays to be refused.

    A folder is a scene proper where it holds metadata or a colour video.
    """
    proper = {
        path
        for path, files in held.items()
        if "metadata.json" in files or any(COLOUR_VIDEO.fullmatch(name) for name in files)
    }
    names = {path.rpartition("/")[2] for path in proper}
    joints: dict[str, tuple[str, int]] = {}
    for path in sorted(held):
        joint = held[path].get("transformed/joint.npy")
        if joint:
            joints.setdefault(path.rpartition("/")[2], joint)
    found: dict[str, _Files] = {}
    for path, files in held.items():
        name = path.rpartition("/")[2]
        if path in proper or name not in names:
            beside = {"transformed/joint.npy": joints[name]} if name in joints else {}
            found[path] = beside | files
    return found


def _scene(
    path: str,
    files: _Files,
    in_hand: dict[int, frozenset[str]],
    descriptions: dict[str, dict[str, str]],
) -> Rh20tScene:
    """One scene, with what the publisher's files say of its robot and its task."""
    match = _SCENE.fullmatch(f"{path}/-")
    if match is None:  # the path was cut from such a match
        raise SourceError(place=path, found="no scene folder", wanted="a scene folder")
    name, task, user, scene, cfg = match.groups()[:5]
    described = descriptions.get(f"task_{task}", {})
    hand = in_hand.get(int(cfg), frozenset())
    return Rh20tScene(path, name, (task, user, scene, cfg), files, hand, described)


def _shallow_json(folder: SourceFolder, listed: list[SourceFile], base: str) -> Any:
    """The file of this name in the folder or one below, the nearest first; `None` without."""
    names = [f.name for f in listed if f.name == base or f.name.endswith(f"/{base}")]
    names = [name for name in names if name.count("/") <= 1]
    if not names:
        return None
    name = min(names, key=lambda name: (name.count("/"), name))
    return decode_json(folder.read_all(name), place=name)


def _in_hand(folder: SourceFolder, listed: list[SourceFile]) -> dict[int, frozenset[str]]:
    """Configuration (`conf_num`) to the serials of its cameras in the hand."""
    try:
        configs = msgspec.convert(
            _shallow_json(folder, listed, "configs.json") or [], list[dict[str, Any]]
        )
        return {
            config["conf_num"]: frozenset(msgspec.convert(config.get("in_hand", []), list[str]))
            for config in configs
            if isinstance(config.get("conf_num"), int)
        }
    except msgspec.ValidationError as error:
        raise SourceError(
            place="configs.json", found=f"{error}", wanted="a list of robot configurations"
        ) from error


def _descriptions(folder: SourceFolder, listed: list[SourceFile]) -> dict[str, dict[str, str]]:
    """Task (`task_0001`) to its goal by language."""
    try:
        tasks = msgspec.convert(
            _shallow_json(folder, listed, "task_description.json") or {},
            dict[str, dict[str, str | None]],
        )
    except msgspec.ValidationError as error:
        raise SourceError(
            place="task_description.json", found=f"{error}", wanted="descriptions by task"
        ) from error
    languages = ("english", "chinese")
    return {
        task: {
            language: text
            for language in languages
            if (text := words.get(f"task_description_{language}")) is not None
        }
        for task, words in tasks.items()
    }
