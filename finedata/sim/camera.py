"""Two cameras, without a window: EGL, and OSMesa where that is not to be had.

Shadows and smoothing are off: on a machine without a GPU a default shadow costs thirty times the
picture. Which of the two draws is found out in a process of its own, because PyOpenGL takes the
first that is imported and cannot change; both are Mesa's on such a machine and give equal pixels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import FinedataError
from finedata.sim.world import block_rgba

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.sim.world import World

__all__ = ["CAMERAS", "Cameras", "find_renderer"]

CAMERAS = ("front", "top")
_RENDERERS = ("egl", "osmesa")
_QUALITY = 92
_TRY = (
    "import sys, mujoco, importlib; "
    "c = importlib.import_module('mujoco.' + sys.argv[1]).GLContext(16, 16); c.make_current(); "
    "m = mujoco.MjModel.from_xml_string('<mujoco/>'); mujoco.MjrContext(m, 150); print('ok')"
)


@cache
def find_renderer() -> str:
    """`egl` or `osmesa`: the first that draws here; the one that MUJOCO_GL names, where it does.

    Raises:
        FinedataError: None draws.
    """
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    names = (asked,) if asked in _RENDERERS else _RENDERERS
    why: list[str] = []
    for name in names:
        environment = {**os.environ, "MUJOCO_GL": name, "PYOPENGL_PLATFORM": name}
        tried = subprocess.run(
            [sys.executable, "-c", _TRY, name],
            env=environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if tried.returncode == 0 and tried.stdout.strip().endswith("ok"):
            return name
        last = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        why.append(f"{name}: {last}")
    raise FinedataError(
        place="pictures of the simulator",
        found=f"no renderer ({'; '.join(why)})",
        wanted="EGL or OSMesa (Debian: libegl1 or libosmesa6), or no pictures",
        next_command="finedata sim record --pictures 0 --out DIR  # states and actions only",
    )


class Cameras:
    """Draws a world from both cameras.

    Args:
        world: Any one: all have the same model.
        size: Width and height in pixels.
        renderer: As `find_renderer` found it.
    """

    def __init__(self, world: World, *, size: int, renderer: str) -> None:
        # Not `mujoco.Renderer`: which context it takes is settled when mujoco is first imported.
        if "OpenGL" not in sys.modules:
            os.environ["PYOPENGL_PLATFORM"] = renderer
        gl: Any = import_module("mujoco")
        self._context: Any = import_module(f"mujoco.{renderer}").GLContext(size, size)
        self._context.make_current()
        self._mujoco, self._size = gl, size
        self._drawing: Any = gl.MjrContext(world.model, gl.mjtFontScale.mjFONTSCALE_150.value)
        gl.mjr_setBuffer(gl.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawing)
        self._rectangle: Any = gl.MjrRect(0, 0, size, size)
        self._scene: Any = gl.MjvScene(world.model, maxgeom=100)
        self._options: Any = gl.MjvOption()

    def pixels(self, world: World) -> dict[str, NDArray[np.uint8]]:
        """Camera -> (size, size, 3) RGB of now."""
        gl = self._mujoco
        for k, colour in enumerate(world.scene.colours):
            world.model.geom(f"block_{k}").rgba = block_rgba(colour)
        self._context.make_current()
        found: dict[str, NDArray[np.uint8]] = {}
        for name in CAMERAS:
            camera = gl.MjvCamera()
            camera.type = gl.mjtCamera.mjCAMERA_FIXED.value
            camera.fixedcamid = world.model.camera(name).id
            gl.mjv_updateScene(
                world.model, world.data, self._options, None, camera,
                gl.mjtCatBit.mjCAT_ALL.value, self._scene,
            )  # fmt: skip
            gl.mjr_render(self._rectangle, self._scene, self._drawing)
            pixels = np.empty((self._size, self._size, 3), np.uint8)
            gl.mjr_readPixels(pixels, None, self._rectangle, self._drawing)
            found[name] = pixels[::-1]
        return found

    def pictures(self, world: World) -> dict[str, bytes]:
        """Camera -> JPEG of now."""
        jpeg: Any = import_module("simplejpeg")
        return {
            name: jpeg.encode_jpeg(
                np.ascontiguousarray(pixels), quality=_QUALITY, colorsubsampling="444"
            )
            for name, pixels in self.pixels(world).items()
        }
