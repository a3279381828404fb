"""How a drafted converter file reads: every guess with a comment on what told it.

What nothing can tell is listed in `doubts`, for the person who checks the file.
"""

from __future__ import annotations

import glob
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from finedata.convert.cameras import safe_name
from finedata.convert.draft.arm import arm_lines
from finedata.convert.draft.roles import LEFT_OUT, words_of
from finedata.convert.draft.toml import comment, toml_text, toml_texts
from finedata.motion import measured_fps, strictly_increasing

if TYPE_CHECKING:
    from finedata.convert.draft.guess import Guess
    from finedata.convert.draft.look import Look
    from finedata.convert.draft.roles import Piece

_LANGUAGE = frozenset({"instruction", "instructions", "language", "task", "prompt"})
_CLOCK = frozenset({"timestamp", "timestamps", "time", "stamp"})
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_USUAL_HZ = (0.9, 250.0)
_FALLBACK_HZ = 10.0
_DEMONSTRATION = "demonstration/name"
_PATTERN = "observation.images.*"


def draft_text(look: Look, guess: Guess, *, name: str, widths: bool = False) -> str:
    """Write a converter file.

    Args:
        look: What the first episodes hold.
        guess: What they seem to mean.
        name: The converter's name.
        widths: Read only episodes whose features are as wide as in the sample.
    """
    doubts: list[str] = []
    body = [
        *_variant(look, guess, widths=widths),
        *_time(look, doubts),
        *_language(look),
        *_cameras(look, doubts),
    ]
    for arm in guess.arms:
        body += arm_lines(arm, guess, doubts)
    body += _candidates(look, guess)
    if guess.arms and look.mixed and look.reader == "lerobot":
        body += ["", comment("Episodes of another form are kept as they are, in a part of theirs.")]
        other = replace(guess, arms=())
        body += [*_variant(look, other, name="others"), *_time(look, []), *_language(look)]
        body += _cameras(look, [])
    doubts += [f"not the same everywhere: {text}" for text in look.odd]
    doubts += ["every line of this file was guessed by `finedata sources draft`: check it"]
    return "\n".join([*_head(look, guess, name, doubts), *body]) + "\n"


def _head(look: Look, guess: Guess, name: str, doubts: list[str]) -> list[str]:
    if guess.reference == "delta":
        doubts.insert(0, "what a step of the action is composed with, and in which frame")
    story = f"Drafted from files that the reader `{look.reader}` reads; write here what they are."
    lines = [
        "#:schema ../schemas/converter.schema.json",
        comment("A draft: proposed from names and numbers. Read every comment, then delete it."),
        comment(f"Looked at {look.sample}."),
        f"name = {toml_text(name)}",
        f"title = {toml_text(name)}",
        f"story = {toml_text(story)}",
        'home = ""',
        'licence = "LicenseRef-unknown"',
        'citation = ""',
        f"revision = {toml_text(look.source.version)}",
        "doubts = [",
        *[f"  {toml_text(doubt)}," for doubt in dict.fromkeys(doubts)],
        "]",
        "",
    ]
    if guess.arms:
        return lines
    return [*lines, comment(f"Conventions stay undeclared: {guess.why}.")]


def _variant(look: Look, guess: Guess, *, name: str = "drafted", widths: bool = False) -> list[str]:
    robot = safe_name(look.robot, instead="unknown")
    lines = ["[[variants]]", f"name = {toml_text(name)}", f"reader = {toml_text(look.reader)}"]
    lines.append(f"embodiment = {toml_text(robot)}")
    if look.robot:
        lines.append('embodiment_feature = "dataset/robot_type"')
    if not guess.arms:
        lines += ['space = "undeclared"', 'keep = ["*"]']
        return [*lines, *_quirks(look), *_episode(look)]
    lines += [comment(f"{guess.why}."), f"space = {toml_text(guess.space)}"]
    lines.append(_when(guess, whole=widths))
    lines += _quirks(look)
    lines += _not_converted(look, guess)
    return [*lines, *_episode(look)]


def _when(guess: Guess, *, whole: bool) -> str:
    """The signature: the features that are read, and the width of those read by column.

    Args:
        guess: The arms.
        whole: Give the width of features that are read whole too.
    """
    pieces = _used(guess)
    features = list(dict.fromkeys(piece.vector.feature for piece in pieces))
    widths = {
        piece.vector.feature: piece.vector.values.shape[1]
        for piece in pieces
        if whole or len(piece.columns) < piece.vector.values.shape[1]
    }
    text = f"when = {{ features = {toml_texts(features)}"
    if widths:
        inside = ", ".join(f"{toml_text(name)} = {width}" for name, width in widths.items())
        text += f", width = {{ {inside} }}"
    return text + " }"


def _used(guess: Guess) -> list[Piece]:
    return [p for arm in guess.arms for side in (arm.state, arm.action) for p in side.values()]


def _quirks(look: Look) -> list[str]:
    lengths = {camera.frames for camera in look.cameras} | {look.frames}
    if len(lengths) < 2 or look.reader == "lerobot" or _strided(look):
        return []
    return [
        comment(f"Streams of {', '.join(map(str, sorted(lengths)))} samples: cut to the shortest."),
        'quirks = ["truncate_to_shortest"]',
    ]


def _strided(look: Look) -> bool:
    shortest = min((camera.frames for camera in look.cameras if camera.frames), default=0)
    return look.reader == "hdf5" and bool(shortest) and look.frames >= 2 * shortest


def _not_converted(look: Look, guess: Guess) -> list[str]:
    used = {piece.vector.feature for piece in _used(guess)}
    left: dict[str, list[str]] = {}
    for camera in look.cameras:
        if _is_depth(camera.feature):
            left.setdefault("depth", []).append(camera.feature)
    for vector in look.vectors:
        words = set(words_of(vector.feature))
        for kind in ("velocity", "force", "tactile"):
            if vector.feature not in used and vector.is_float and words & LEFT_OUT[kind]:
                left.setdefault(kind, []).append(vector.feature)
                break
    if not left:
        return []
    lines = ["", "[variants.not_converted]"]
    return lines + [
        f"{kind} = {toml_texts(map(glob.escape, names))}" for kind, names in left.items()
    ]


def _is_depth(feature: str) -> bool:
    return "depth" in feature.lower()


def _episode(look: Look) -> list[str]:
    locators = {
        "lerobot": (
            "{dataset/rows_sha256}#{dataset/episode}",
            "the episode's own rows and number: a folder may be renamed",
        ),
        "rlds": ("{file/split}/{file/number}#{file/record}", "no feature is known to be an id"),
        "hdf5": ("{file/path}", "the file's name below the folder: keep the folder's layout"),
    }
    locator, why = locators[look.reader]
    if _DEMONSTRATION in look.features:
        locator, why = f"{locator}#{{{_DEMONSTRATION}}}", f"{why}; and the demonstration's own"
    return ["", "[variants.episode]", comment(why), f"locator = {toml_text(locator)}", ""]


def _time(look: Look, doubts: list[str]) -> list[str]:
    lines = ["[variants.time]"]
    clock = _clock(look)
    if look.fps is not None:
        place = "info.json" if look.reader == "lerobot" else look.fps_feature
        lines += [comment(f"{place} says {look.fps:g}.")]
        lines += [f"fps_feature = {toml_text(look.fps_feature)}"]
        if "timestamp" in look.features:
            lines.append('timestamps = "timestamp"')
    elif clock is not None:
        feature, unit, fps = clock
        lines += [
            comment(f"The median step of {feature}, read as {unit}, gives {fps:.4g} Hz."),
            f"fps = {float(max(1, round(fps)))}",
            "measured = true",
            f"timestamps = {toml_text(feature)}",
            f"timestamp_unit = {toml_text(unit)}",
        ]
    else:
        doubts.append(f"the rate: nothing in the files says it; {_FALLBACK_HZ:g} was put in")
        lines += [comment("Nothing says the rate: put in the true one."), f"fps = {_FALLBACK_HZ}"]
    if _strided(look):
        lines += [
            comment(f"The numbers have {look.frames} samples, several for each camera frame."),
            'align = "stride_to_cameras"',
        ]
    for key, feature in (("first_step", "steps/is_first"), ("last_step", "steps/is_last")):
        if feature in look.features:
            lines.append(f"{key} = {toml_text(feature)}")
    return [*lines, ""]


def _clock(look: Look) -> tuple[str, str, float] | None:
    """A feature that counts up at a usual rate in some unit: its name, the unit, the rate."""
    for vector in look.vectors:
        if vector.values.shape[1] != 1 or not _CLOCK & set(words_of(vector.feature)):
            continue
        stamps = vector.values[:, 0]
        if len(stamps) < 2 or not np.isfinite(stamps).all() or not strictly_increasing(stamps):
            continue
        for unit, seconds in _UNITS.items():
            fps, _ = measured_fps((stamps - stamps[0]) * seconds)
            if _USUAL_HZ[0] <= fps <= _USUAL_HZ[1]:
                return vector.feature, unit, fps
    return None


def _language(look: Look) -> list[str]:
    if look.reader == "lerobot":
        lines = [] if "task" not in look.texts else ['instructions = ["task"]']
        others = [name for name in look.texts if name.startswith("tasks[")]
        lines += [comment(f"also there: {name}, e.g. {look.texts[name]!r}") for name in others]
        if "task" in look.texts:
            lines += ["", "[[variants.language.steps]]", 'form = "runs"', 'feature = "task"']
    else:
        names = [name for name in look.texts if _LANGUAGE & set(words_of(name.split("/")[-1]))]
        names.sort(key=lambda name: not look.texts[name])
        lines = [] if not names else [f"instructions = {toml_texts(names)}"]
    if not lines:
        return [comment("No text that looks like an instruction was found."), ""]
    return ["[variants.language]", *lines, ""]


def _cameras(look: Look, doubts: list[str]) -> list[str]:
    lines: list[str] = []
    names: list[str] = []
    features = [c.feature for c in look.cameras if c.frames and not _is_depth(c.feature)]
    if look.reader == "lerobot" and any(fnmatchcase(name, _PATTERN) for name in features):
        lines += ["[[variants.cameras]]", comment("Each is named by what the star stands for.")]
        lines += ['name = "*"', f"feature = {toml_text(_PATTERN)}", ""]
        features = [name for name in features if not fnmatchcase(name, _PATTERN)]
    for feature in features:
        name = safe_name(re.split(r"[./]", feature)[-1], instead="camera")
        name = name if name not in names else safe_name(feature, instead="camera")
        while name in names:
            name += "_"
        names.append(name)
        lines += [
            "[[variants.cameras]]",
            f"name = {toml_text(name)}",
            f"feature = {toml_text(feature)}",
            "",
        ]
    if look.reader == "hdf5" and features:
        doubts.append(
            "colours: look at a picture; where red and blue are exchanged, channel_order is `bgr`"
        )
    return lines


def _candidates(look: Look, guess: Guess) -> list[str]:
    """What was seen and not used, for the person who edits."""
    used = {piece.vector.feature for piece in _used(guess)}
    unused = [v for v in look.vectors if v.feature not in used | {"timestamp"} and v.is_float]
    if not unused:
        return []
    lines = [comment("Seen and not used:")]
    lines += [comment(f"  {v.feature}, width {v.values.shape[1]}") for v in unused]
    if not guess.arms:
        lines += [comment(f"  candidate: {candidate}") for candidate in guess.candidates]
    return lines
