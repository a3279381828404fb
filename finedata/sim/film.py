"""Films: one scene, a policy, and what it does under several instructions.

The instruction alone differs between the films of a folder, so what is seen to differ is what the
words did. A film begins before the first action and ends behind the last: its last picture is the
state that was judged. `film.json` says what was asked and done; `K.mp4` is the film of the K-th
instruction at ten frames a second, `K_FRAME.jpg` a few of its frames.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import numpy as np

from finedata.errors import ConformError, UsageError, need
from finedata.sim.acting import act_out
from finedata.sim.evaluate import FIRST_SCENE, Run
from finedata.sim.factors import FINE_COLOURS, MANNERS, Wish, usual
from finedata.sim.outcome import Outcome, scored
from finedata.sim.scene import Scene, scene_of
from finedata.sim.wording import goal, say
from finedata.sim.world import FPS, MUJOCO, World, check_mujoco
from finedata.store.atomic import atomic_folder, check_new_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from finedata.sim.acting import Mind
    from finedata.sim.camera import Cameras

__all__ = [
    "CameraName",
    "Film",
    "FilmSettings",
    "Instruction",
    "Shown",
    "instructions_of",
    "make_film",
    "read_film",
    "wish_of",
]

CameraName = Literal["front", "top"]
_DOCUMENT = "film.json"
_QUALITY = 82


class FilmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is filmed.

    Attributes:
        scene: Number of the scene.
        camera: Which one.
        pictures: Its width and height in pixels.
        strip: Pictures of a film that are kept as JPEG, evenly in time.
        video: Write mp4 files, too.
        execute: Steps of an answer that are taken before the policy is asked again.
    """

    scene: int = FIRST_SCENE
    camera: CameraName = "front"
    pictures: int = 256
    strip: int = 8
    video: bool = True
    execute: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be filmed.

        Raises:
            UsageError: A number out of its range, or no such camera.
        """
        for name, low, high in (
            ("scene", 0, 2**53), ("pictures", 16, 480), ("strip", 2, 60), ("execute", 1, 2**20),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(parameter=name, found=f"{value}", wanted=f"{low} to {high}")
        if self.camera not in get_args(CameraName):
            raise UsageError(
                parameter="camera",
                found=repr(self.camera),
                wanted=" or ".join(get_args(CameraName)),
            )


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy is told.

    Attributes:
        prompt: The words.
        wish: What they mean, where that is known: then what was done is scored.
    """

    prompt: str
    wish: Wish | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A film.

    Attributes:
        prompt: What was said.
        wish: What was wished; None where the words are anybody's.
        outcome: What the physics says.
        scored: `goal`, each factor, `all`; empty without a wish.
        frames: How many actions were executed.
        fault: `not_finite` where the policy's answer was no number; else empty.
        video: Name of the mp4 file; empty where none was written.
        pictures: Names of the JPEG files.
        times_s: When each of them was.
    """

    prompt: str
    wish: dict[str, str | None] | None
    outcome: Outcome
    scored: dict[str, bool]
    frames: int
    fault: str
    video: str
    pictures: list[str]
    times_s: list[float]


class Film(msgspec.Struct, frozen=True, kw_only=True):
    """`film.json`.

    Attributes:
        policy: Its name.
        settings: What was filmed.
        mujoco: Its version.
        run: What was trained; None of a scripted policy.
        films: One an instruction.
    """

    policy: str
    settings: FilmSettings
    mujoco: str
    run: Run | None
    films: list[Shown]


def wish_of(written: str, scene: Scene) -> Wish:
    """A wish as a user writes it: colour, arm, approach, rotation and half of the tray.

    Args:
        written: For example `red,left,above,clockwise,right`; `mat` as the last for the mat.
        scene: Whose blocks there are.

    Raises:
        UsageError: It is none, or no block of that colour is there.
    """
    parts = [part.strip() for part in written.split(",")]
    names = ("colour", *MANNERS)
    wanted = f"{', '.join(scene.colours)}; " + "; ".join(" or ".join(v) for v in MANNERS.values())
    fields: dict[str, Any] = dict(zip(names, parts, strict=False))
    if fields.get("side") == "mat":
        fields |= {"side": None, "place": "mat"}
    try:
        if len(parts) != len(names):
            raise ValueError
        wish = msgspec.convert(fields, Wish)
        scene.colours.index(wish.colour)
    except (ValueError, msgspec.ValidationError):
        raise UsageError(
            parameter="wish", found=repr(written), wanted=f"one of each, by commas: {wanted}"
        ) from None
    return wish


def instructions_of(scene: Scene, wishes: Sequence[Wish] = ()) -> list[Instruction]:
    """Held-out phrasings of wishes; goals alone where no fine-grained text speaks of one.

    Args:
        scene: Where.
        wishes: What is wished; by default three: a block in the usual manner, the same block with
            everything turned round, and another block.
    """
    chosen = list(wishes)
    if not chosen:
        first, second = [colour for colour in scene.colours if colour in FINE_COLOURS][:2]
        chosen = [usual(scene, first), _turned(usual(scene, first)), usual(scene, second)]
    return [
        Instruction(
            prompt=say(wish, wording="fine", seed=scene.number, held_out=True)
            if wish.in_fine_texts
            else goal(wish),
            wish=wish,
        )
        for wish in chosen
    ]


def make_film(
    mind: Mind,
    out: str | Path,
    *,
    policy: str,
    asked: Sequence[Instruction],
    draw: Callable[[World, int], Cameras],
    settings: FilmSettings | None = None,
    run: Run | None = None,
    eyes: Callable[[World], Any] | None = None,
) -> Film:
    """Film a policy in a scene under each instruction.

    Args:
        mind: What acts.
        out: A new folder.
        policy: Its name.
        asked: What it is told, one a film.
        draw: Makes what draws a world at a size.
        settings: What is filmed.
        run: What was trained.
        eyes: Makes what draws what the policy is shown, where it wants pictures.

    Raises:
        MissingExtraError: Without the extra `sim`, or `video` where mp4 files are wanted.
        FinedataError: Another MuJoCo, no renderer, or the policy's server is gone.
        UsageError: `out` is not new.
        OutputError: It cannot be written.
    """
    check_mujoco()
    wanted, root = settings or FilmSettings(), Path(out)
    if wanted.video:
        need("av", extra="video", place="films", next_command="finedata sim film ... --no-video")
    check_new_folder(root)
    scene = scene_of(wanted.scene)
    world = World(scene)
    camera, seen = draw(world, wanted.pictures), None if eyes is None else eyes(world)
    films: list[Shown] = []
    with atomic_folder(root) as folder:
        for number, one in enumerate(asked, start=1):
            taken: list[np.ndarray] = []
            acted = act_out(
                mind, scene, one.wish, one.prompt, execute=wanted.execute, world=world, eyes=seen,
                watch=lambda now, taken=taken: taken.append(camera.pixels(now)[wanted.camera]),
            )  # fmt: skip
            kept = sorted({int(k) for k in np.linspace(0, len(taken) - 1, wanted.strip).round()})
            films.append(
                Shown(
                    prompt=one.prompt,
                    wish=None if one.wish is None else msgspec.to_builtins(one.wish),
                    outcome=acted.outcome,
                    scored={} if one.wish is None else scored(acted.outcome, one.wish),
                    frames=acted.frames,
                    fault=acted.fault,
                    video=_write_video(taken, folder / f"{number}.mp4") if wanted.video else "",
                    pictures=[
                        _write_jpeg(taken[k], folder / f"{number}_{k:02d}.jpg") for k in kept
                    ],
                    times_s=[k / FPS for k in kept],
                )
            )
        made = Film(policy=policy, settings=wanted, mujoco=MUJOCO, run=run, films=films)
        content = msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"
        (folder / _DOCUMENT).write_bytes(content)
    return made


def read_film(folder: str | Path) -> Film:
    """What a folder of films says.

    Raises:
        ConformError: It is none.
    """
    path = Path(folder) / _DOCUMENT
    try:
        return msgspec.json.decode(path.read_bytes(), type=Film)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConformError(
            place=str(path),
            found=str(error),
            wanted="a folder of finedata sim film",
            next_command="finedata sim film POLICY --out DIR",
        ) from error


def _turned(wish: Wish) -> Wish:
    """The same block with every manner turned round."""
    other: dict[str, Any] = {
        name: next(value for value in values if value != getattr(wish, name))
        for name, values in MANNERS.items()
    }
    return msgspec.structs.replace(wish, **other)


def _write_video(pictures: list[np.ndarray], path: Path) -> str:
    from finedata.store.videos.transcode import encode_pictures

    encode_pictures(pictures, path, fps=FPS, codec="h264")
    return path.name


def _write_jpeg(pixels: np.ndarray, path: Path) -> str:
    jpeg: Any = import_module("simplejpeg")
    path.write_bytes(
        jpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_QUALITY, colorsubsampling="420")
    )
    return path.name
