"""The world: two Cartesian arms with grippers over a table, three blocks, a tray, a mat; MuJoCo.

An arm is three slides and two hinges (yaw about the vertical, then pitch), so its joints are the
pose of its tool, and no inverse kinematics stands between a policy and the physics. The two
fingers of a gripper are coupled, because fingers of their own push a block about before they hold
it. Targets are absolute, ten a second; between two of them the actuators are led along a line: a
step would tear a block out of the fingers.

Tool frame: z along the approach, from the wrist to the object; y across the fingers. Quaternions
are xyzw. Arms are in the order right, left, as in every table of a dataset.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.errors import FinedataError, need

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.sim.scene import Scene

__all__ = [
    "ARMS",
    "FPS",
    "HOME",
    "MAT_HALF_M",
    "MUJOCO",
    "TRAY_FLOOR_M",
    "TRAY_HALF_M",
    "NotFiniteError",
    "Pose",
    "View",
    "World",
    "block_rgba",
    "check_mujoco",
    "in_reach",
    "pose_columns",
    "pose_of",
]

MUJOCO = "4.0.0"
"""The MuJoCo that every figure was measured with; another one may push a block elsewhere."""
ARMS = ("right", "left")
FPS = 10
BLOCK_HALF_M = (0.02, 0.02, 0.025)
TRAY_HALF_M = (0.08, 0.16)
TRAY_FLOOR_M = 0.004
"""Height of the tray's floor, and of the mat."""
MAT_HALF_M = (0.06, 0.06)
_FINGER_TRAVEL_M = 0.04
_SUBSTEPS, _PIECES = 40, 4
_MOST_M, _MOST_RAD = 0.06, 0.5
_RGBA = {
    "red": "0.85 0.12 0.10 1",
    "green": "0.10 0.62 0.18 1",
    "blue": "0.12 0.25 0.85 1",
    "yellow": "0.93 0.80 0.10 1",
}
_LOW = np.array([0.05, -0.45, 0.012, -2.6, -1.3])
_HIGH = np.array([0.75, 0.45, 0.40, 2.6, 0.3])
# Of what is told as out of reach: metres, radians, share of the opening.
_SLACK = np.array([0.03, 0.03, 0.03, 0.1, 0.1, 0.2])


class NotFiniteError(ValueError):
    """A target that is no number."""


class Pose(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tool is, or is to be.

    Attributes:
        position_m: (x, y, z) of the point between the fingertips.
        yaw_rad: About the vertical.
        pitch_rad: Tilt; 0 points down, negative leans the wrist back towards the robot.
        open: Of the gripper, 1 open, 0 closed.
    """

    position_m: tuple[float, float, float]
    yaw_rad: float
    pitch_rad: float
    open: float


HOME = {
    "right": Pose(position_m=(0.22, -0.27, 0.2), yaw_rad=0.0, pitch_rad=0.0, open=1.0),
    "left": Pose(position_m=(0.22, 0.27, 0.2), yaw_rad=0.0, pitch_rad=0.0, open=1.0),
}


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What can be observed at one time; everything a state policy or the expert is given.

    Attributes:
        arms: Arm -> pose of its tool.
        blocks_m: (3, 3) positions of the blocks' middles.
        blocks_xyzw: (3, 4) their rotations.
        tray_m: (x, y) of the tray.
        mat_m: (x, y) of the mat.
    """

    arms: dict[str, Pose]
    blocks_m: NDArray[np.float64]
    blocks_xyzw: NDArray[np.float64]
    tray_m: tuple[float, float]
    mat_m: tuple[float, float]

    @property
    def blocks_yaw_rad(self) -> NDArray[np.float64]:
        """(3,) how far each block is turned about the vertical."""
        x, y, z, w = self.blocks_xyzw.T
        return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def pose_columns(pose: Pose) -> list[float]:
    """The eight numbers of a canonical dataset: x, y, z, qx, qy, qz, qw, gripper."""
    # Rz(yaw) Ry(pitch) Rx(pi), the last so that the tool's z points along the approach.
    a, b = pose.yaw_rad / 2, pose.pitch_rad / 2
    turned = [
        np.cos(a) * np.cos(b),
        np.sin(a) * np.cos(b),
        -np.cos(a) * np.sin(b),
        np.sin(a) * np.sin(b),
    ]
    # (cos a + k sin a)(cos b + j sin b) i = as above, worked out: w = sin a sin b, ...
    return [*pose.position_m, *map(float, turned), pose.open]


def pose_of(columns: NDArray[np.float64]) -> Pose:
    """The pose nearest to eight numbers: what is not yaw and pitch is left out.

    Args:
        columns: (8,) x, y, z, qx, qy, qz, qw, gripper; the quaternion of any length but 0.
    """
    x, y, z, w = columns[3:7] / np.linalg.norm(columns[3:7])
    across = np.array([2 * (x * y - w * z), 1 - 2 * (x * x + z * z)])  # the tool's y, from above
    along = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
    yaw = float(np.arctan2(across[0], -across[1]))
    forward = np.cos(yaw) * along[0] + np.sin(yaw) * along[1]
    return Pose(
        position_m=(float(columns[0]), float(columns[1]), float(columns[2])),
        yaw_rad=yaw,
        pitch_rad=float(np.arctan2(-forward, -along[2])),
        open=float(columns[7]),
    )


def in_reach(pose: Pose) -> bool:
    """Whether a target is one that the arms reach, a little slack allowed.

    Others are cut off (`World.step`), and a policy whose targets mostly are answers in other units,
    in another frame, or counts its grippers the other way.
    """
    joints = np.array([*pose.position_m, pose.yaw_rad, pose.pitch_rad, pose.open])
    low, high = np.append(_LOW, 0.0) - _SLACK, np.append(_HIGH, 1.0) + _SLACK
    return bool(((joints >= low) & (joints <= high)).all())


def check_mujoco() -> None:
    """Refuse a machine without MuJoCo, or with another one than the figures are of.

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another version.
    """
    need("mujoco", extra="sim", place="the simulator")
    try:
        found = version("mujoco")
    except PackageNotFoundError:
        found = "none"
    if found != MUJOCO:
        raise FinedataError(
            place="the simulator",
            found=f"MuJoCo {found}",
            wanted=f"MuJoCo {MUJOCO}: another one gives other episodes, and other success",
            next_command=f"pip install mujoco=={MUJOCO}",
        )


@cache
def _mujoco() -> Any:
    """MuJoCo, imported without its choice of what draws.

    It makes that choice once, when it is imported, and fails there where a library is missing that
    MUJOCO_GL names, be there pictures to draw or not. `finedata.sim.camera` chooses by itself.

    Raises:
        MissingExtraError: Without the extra `sim`.
        FinedataError: Another version.
    """
    check_mujoco()
    asked = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        return import_module("mujoco")
    finally:
        if asked is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = asked


@cache
def _model() -> Any:
    return _mujoco().MjModel.from_xml_string(_xml())


class World:
    """A scene in motion. One per process is enough: `reset` begins another scene.

    Args:
        scene: Where to begin.

    Raises:
        FinedataError: MuJoCo is not there, or another one.
    """

    def __init__(self, scene: Scene) -> None:
        self.model: Any = _model()
        self._mujoco = _mujoco()
        self.data: Any = self._mujoco.MjData(self.model)
        self._joints = {
            arm: [
                self.model.joint(f"{arm}_{name}").qposadr[0]
                for name in ("x", "y", "z", "yaw", "pitch", "finger")
            ]
            for arm in ARMS
        }
        self._blocks = [self.model.joint(f"block_{k}").qposadr[0] for k in range(3)]
        self.reset(scene)

    def reset(self, scene: Scene) -> None:
        """Begin a scene: arms at home, blocks, tray and mat in place, everything at rest."""
        self.scene = scene
        self._mujoco.mj_resetData(self.model, self.data)
        for arm in ARMS:
            self.data.qpos[self._joints[arm]] = _joints_of(HOME[arm])
            self.data.qpos[self._joints[arm][-1] + 1] = _FINGER_TRAVEL_M * HOME[arm].open
        for k, address in enumerate(self._blocks):
            half = scene.yaws_rad[k] / 2
            self.data.qpos[address : address + 3] = [*scene.blocks_m[k], BLOCK_HALF_M[2]]
            self.data.qpos[address + 3 : address + 7] = [np.cos(half), 0, 0, np.sin(half)]
        self.data.mocap_pos[:2] = [[*scene.tray_m, 0.0], [*scene.mat_m, 0.0]]
        self._ctrl = np.concatenate([_joints_of(HOME[arm]) for arm in ARMS])
        self.data.ctrl[:] = self._ctrl
        self._mujoco.mj_forward(self.model, self.data)

    def view(self) -> View:
        """What can be observed now."""
        places = np.stack([self.data.qpos[one : one + 3] for one in self._blocks])
        wxyz = np.stack([self.data.qpos[one + 3 : one + 7] for one in self._blocks])
        return View(
            arms={arm: self._pose(arm) for arm in ARMS},
            blocks_m=places,
            blocks_xyzw=wxyz[:, [1, 2, 3, 0]],
            tray_m=self.scene.tray_m,
            mat_m=self.scene.mat_m,
        )

    def step(self, targets: dict[str, Pose]) -> None:
        """A tenth of a second towards the targets, no faster than the arms go.

        Args:
            targets: Arm -> where its tool is to be; all of it finite.

        Raises:
            NotFiniteError: Something is not finite.
        """
        wanted = np.concatenate([_joints_of(targets[arm]) for arm in ARMS])
        if not np.isfinite(wanted).all():
            msg = "a target that is not finite"
            raise NotFiniteError(msg)
        low, high = np.append(_LOW, 0.0), np.append(_HIGH, _FINGER_TRAVEL_M)
        most = np.array([_MOST_M] * 3 + [_MOST_RAD] * 2 + [_FINGER_TRAVEL_M])
        wanted = np.clip(wanted, np.tile(low, 2), np.tile(high, 2))
        wanted = self._ctrl + np.clip(wanted - self._ctrl, -np.tile(most, 2), np.tile(most, 2))
        before = self._ctrl
        for piece in range(1, _PIECES + 1):
            self.data.ctrl[:] = before + (wanted - before) * (piece / _PIECES)
            self._mujoco.mj_step(self.model, self.data, _SUBSTEPS // _PIECES)
        self._ctrl = wanted

    def _pose(self, arm: str) -> Pose:
        x, y, z, yaw, pitch, finger = (float(one) for one in self.data.qpos[self._joints[arm]])
        return Pose(
            position_m=(x, y, z),
            yaw_rad=yaw,
            pitch_rad=pitch,
            open=min(1.0, max(0.0, finger / _FINGER_TRAVEL_M)),
        )


def _joints_of(pose: Pose) -> NDArray[np.float64]:
    finger = min(1.0, max(0.0, pose.open)) if np.isfinite(pose.open) else pose.open
    return np.array([*pose.position_m, pose.yaw_rad, pose.pitch_rad, finger * _FINGER_TRAVEL_M])


def _xml() -> str:
    blocks = "".join(
        f"""
    <body name="block_{k}" pos="0.3 {0.2 * (k - 1)} 0.025">
      <freejoint name="block_{k}"/>
      <geom name="block_{k}" type="box" size="0.02 0.02 0.025" density="600" friction="1 .05 .001"
        condim="4" contype="1" conaffinity="3"/>
    </body>"""
        for k in range(3)
    )
    arms = "".join(_arm_xml(arm) for arm in ARMS)
    actuators = "".join(
        f"""
    <position joint="{arm}_{joint}" kp="{kp}" dampratio="1" {more}/>"""
        for arm in ARMS
        for joint, kp, more in (
            *((axis, 2000, "") for axis in "xyz"),
            ("yaw", 40, ""),
            ("pitch", 40, ""),
            ("finger", 400, 'forcerange="-6 6"'),
        )
    )
    coupled = "".join(
        f"""
    <joint joint1="{arm}_finger" joint2="{arm}_finger_2" polycoef="0 1 0 0 0"/>"""
        for arm in ARMS
    )
    long, wide = TRAY_HALF_M
    rim = 'type="box" contype="1" conaffinity="1" rgba=".35 .25 .18 1"'
    return f"""
<mujoco model="finedata steering">
  <option timestep="0.0025" integrator="implicitfast" cone="elliptic" impratio="20"/>
  <visual>
    <headlight ambient=".45 .45 .45" diffuse=".45 .45 .45" specular="0 0 0"/>
    <global offwidth="640" offheight="480"/>
    <quality shadowsize="0" offsamples="0"/>
  </visual>
  <worldbody>
    <geom name="table" type="box" size=".4 .5 .02" pos=".42 0 -.02" contype="1" conaffinity="1"
      rgba=".72 .70 .66 1"/>
    <camera name="front" pos="1.08 0 .55" xyaxes="0 1 0 -.64 0 .77" fovy="46"/>
    <camera name="top" pos=".42 0 1.0" xyaxes="0 -1 0 1 0 0" fovy="42"/>
    <body name="tray" mocap="true" pos=".56 0 0">
      <geom type="box" size="{long} {wide / 2} .002" pos="0 {wide / 2} .002" contype="1"
        conaffinity="1" rgba=".62 .52 .40 1"/>
      <geom type="box" size="{long} {wide / 2} .002" pos="0 {-wide / 2} .002" contype="1"
        conaffinity="1" rgba=".45 .38 .30 1"/>
      <geom {rim} size="{long} .004 .006" pos="0 {wide + 0.004} .006"/>
      <geom {rim} size="{long} .004 .006" pos="0 {-wide - 0.004} .006"/>
      <geom {rim} size=".004 {wide + 0.008} .006" pos="{long + 0.004} 0 .006"/>
      <geom {rim} size=".004 {wide + 0.008} .006" pos="{-long - 0.004} 0 .006"/>
    </body>
    <body name="mat" mocap="true" pos=".54 .29 0">
      <geom name="mat" type="box" size="{MAT_HALF_M[0]} {MAT_HALF_M[1]} {TRAY_FLOOR_M / 2}"
        pos="0 0 {TRAY_FLOOR_M / 2}" contype="1" conaffinity="1" rgba=".38 .30 .46 1"/>
    </body>{blocks}{arms}
  </worldbody>
  <equality>{coupled}
  </equality>
  <actuator>{actuators}
  </actuator>
</mujoco>
"""


def _arm_xml(arm: str) -> str:
    colour = ".30 .32 .36 1" if arm == "right" else ".86 .87 .90 1"
    finger = (
        f'type="box" size=".010 .008 .030" pos="0 0 .015" rgba="{colour}" mass=".03"'
        ' friction="1 .05 .001" condim="4" contype="2" conaffinity="0"'
    )
    slides = "".join(
        f'<joint name="{arm}_{axis}" type="slide" axis="{way}"/>'
        for axis, way in (("x", "1 0 0"), ("y", "0 1 0"), ("z", "0 0 1"))
    )
    return f"""
    <body name="{arm}" gravcomp="1">
      {slides}
      <joint name="{arm}_yaw" type="hinge" axis="0 0 1" armature=".01"/>
      <joint name="{arm}_pitch" type="hinge" axis="0 1 0" armature=".01"/>
      <geom type="box" size=".018 .06 .012" pos="0 0 .06" mass=".3" rgba="{colour}" contype="2"
        conaffinity="0"/>
      <geom type="capsule" size=".014" fromto="0 0 .08 0 0 .30" mass=".1" rgba="{colour}"
        contype="0" conaffinity="0"/>
      <body name="{arm}_finger" pos="0 .008 0" gravcomp="1">
        <joint name="{arm}_finger" type="slide" axis="0 1 0" range="0 .045" damping="2"
          armature=".02"/>
        <geom {finger}/>
      </body>
      <body name="{arm}_finger_2" pos="0 -.008 0" gravcomp="1">
        <joint name="{arm}_finger_2" type="slide" axis="0 -1 0" range="0 .045" damping="2"
          armature=".02"/>
        <geom {finger}/>
      </body>
    </body>"""


def block_rgba(colour: str) -> list[float]:
    """RGBA of a colour, 0 to 1."""
    return [float(one) for one in _RGBA[colour].split()]
