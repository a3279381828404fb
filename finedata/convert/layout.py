"""What a part stores: embodiment, rate, cameras and every column with its shape.

An episode as its form sees it comes in, a `PartLayout` goes out. Episodes with equal layouts
share a LeRobot dataset, others never do.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

import msgspec

from finedata.errors import FeatureError, MissingFeatureError, UsageError
from finedata.motion import ENCODING_WIDTH
from finedata.readers.episode import CameraKind  # noqa: TC001  (msgspec resolves it)
from finedata.store.lerobot.layout import Feature, picture_column, standard_features
from finedata.store.pictures import read_header
from finedata.store.pixels import guess_raw_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from finedata.convert.context import ConvertOptions
    from finedata.convert.forms import EpisodeView
    from finedata.readers.episode import RawEpisode
    from finedata.schema.converter import ArmSpec, CameraSpec, Pick, Variant

__all__ = [
    "CameraLayout",
    "PartLayout",
    "arm_names",
    "kept_features",
    "part_layout",
    "resolved_cameras",
    "sorted_arms",
]

_EE_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
_UNSAFE = re.compile(r"[^a-z0-9_]+")
# LeRobot's own columns: made anew, whatever the source has in them.
_STANDARD = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})


class CameraLayout(msgspec.Struct, frozen=True, kw_only=True):
    """One camera of a part.

    Attributes:
        name: Its name in the output, ending in `_bgr` where red and blue are exchanged.
        feature: Its feature in the source.
        kind: Whether the source has pictures or a video.
        shape: (height, width, channels) of the output.
        source_shape: The same of the source.
        channel_order: What a decoder of the source's pictures gives.
        raw_order: The order of uncompressed frames.
    """

    name: str
    feature: str
    kind: CameraKind
    shape: tuple[int, int, int]
    source_shape: tuple[int, int, int]
    channel_order: str = "rgb"
    raw_order: str = "rgb"


class PartLayout(msgspec.Struct, frozen=True, kw_only=True):
    """What all episodes of a part have in common.

    Attributes:
        source: Number of the source in the run.
        variant: Number of the variant in its converter.
        embodiment: The robot.
        fps: Frames a second.
        cameras: The cameras, in the converter's order.
        features: Every stored column, in order.
    """

    source: int
    variant: int
    embodiment: str
    fps: float
    cameras: tuple[CameraLayout, ...]
    features: dict[str, Feature]

    @property
    def key(self) -> bytes:
        """Equal for episodes that may share a LeRobot dataset."""
        # One column is read from one feature: another that gives it the same name is another part.
        cameras = [(one.feature, one.channel_order, one.raw_order) for one in self.cameras]
        return msgspec.msgpack.encode(
            (self.source, self.variant, self.embodiment, self.fps, self.features, cameras)
        )


def sorted_arms(variant: Variant) -> list[ArmSpec]:
    """The arms in the order of the packed vectors: right, then left."""
    return sorted(variant.arms, key=lambda arm: arm.name != "right")


def resolved_cameras(
    raw: RawEpisode | EpisodeView, variant: Variant, options: ConvertOptions
) -> tuple[CameraSpec, ...]:
    """The cameras of an episode: patterns become the cameras they match; only those asked for.

    A camera that the episode lacks is in the result only where the source declares its size for all
    episodes (RLDS does): its pictures will be black. Any other belongs to another part.
    """
    found: list[CameraSpec] = []
    for camera in variant.cameras:
        taken = {known.feature for known in found}
        if camera.name != "*":
            if camera.feature not in taken and _has_camera(raw, camera.feature):
                found.append(camera)
            continue
        head, _, tail = camera.feature.partition("*")
        for feature in raw.feature_names():
            if feature in taken or not fnmatchcase(feature, camera.feature):
                continue
            if raw.camera_kind(feature) is None:
                continue
            middle = feature[len(head) : len(feature) - len(tail)]
            name = _UNSAFE.sub("_", middle.lower()).strip("_") or "camera"
            if name not in [known.name for known in found]:
                found.append(msgspec.structs.replace(camera, name=name, feature=feature))
    if options.cameras:
        found = [camera for camera in found if camera.name in options.cameras]
    return tuple(found)


def _has_camera(raw: RawEpisode | EpisodeView, feature: str) -> bool:
    """Whether an episode holds a camera, or its source declares the camera for all of them."""
    if raw.has(feature):
        return True
    return raw.camera_kind(feature) is not None and raw.picture_shape(feature) is not None


def check_camera_names(variants: Sequence[Variant], options: ConvertOptions) -> None:
    """Refuse a `--cameras` that names what no variant has.

    Raises:
        UsageError: It does.
    """
    names = [camera.name for variant in variants for camera in variant.cameras]
    if "*" in names:
        return  # only the episodes can tell
    for name in options.cameras:
        if name not in names:
            known = ",".join(dict.fromkeys(names))
            raise UsageError(
                place="--cameras",
                found=f"{name!r}",
                wanted=f"some of {known.replace(',', ', ')}",
                next_command=f"--cameras {known}",
            )


def part_layout(
    view: EpisodeView,
    variant: Variant,
    cameras: Sequence[CameraSpec],
    options: ConvertOptions,
    *,
    source: int,
    variant_number: int,
    fps: float,
) -> PartLayout:
    """The layout of the part that an episode belongs to.

    Raises:
        FeatureError: A feature is not as the converter says.
    """
    laid_out = tuple(_camera_layout(view, camera, options) for camera in cameras)
    features: dict[str, Feature] = {}
    for camera in laid_out:
        video = camera.kind == "video" or options.transcode is not None
        features[picture_column(camera.name)] = Feature(
            "video" if video else "image", camera.shape, ("height", "width", "channels")
        )
    if variant.space == "undeclared":
        features |= kept_features(view, variant)
    else:
        features |= _arm_features(view, variant)
        features |= _vector_features(view, variant)
    if variant.time.timestamps is not None and view.has(variant.time.timestamps):
        features["source_time_s"] = Feature("float64", (1,))
    if variant.intervention is not None and view.has(variant.intervention.feature):
        features["is_intervention"] = Feature("bool", (1,))
    features["action_valid"] = Feature("bool", (1,))
    return PartLayout(
        source=source,
        variant=variant_number,
        embodiment=_embodiment(view, variant),
        fps=fps,
        cameras=laid_out,
        features=features | standard_features(),
    )


def _embodiment(view: EpisodeView, variant: Variant) -> str:
    feature = variant.embodiment_feature
    if feature is not None and view.has(feature):
        named = _UNSAFE.sub("_", "".join(view.texts(feature)[:1]).lower()).strip("_")
        if named:
            return named
    return variant.embodiment


def _camera_layout(view: EpisodeView, camera: CameraSpec, options: ConvertOptions) -> CameraLayout:
    kind = view.camera_kind(camera.feature)
    if kind is None:
        raise FeatureError(
            place=f"feature {camera.feature}",
            found="neither pictures nor a video",
            wanted=f"what camera {camera.name} sees",
        )
    shape = (
        view.video(camera.feature).shape
        if kind == "video"
        else view.picture_shape(camera.feature) or _first_shape(view, camera)
    )
    source_shape = shape
    if options.transcode is not None:
        # Video codecs want even sizes; the encoder pads.
        shape = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, shape[2])
    if options.resize is not None:
        shape = (*options.resize, shape[2])
    swapped = camera.channel_order == "bgr" and not options.fix_colour and not options.transcode
    return CameraLayout(
        name=f"{camera.name}_bgr" if swapped else camera.name,
        feature=camera.feature,
        kind=kind,
        shape=shape,
        source_shape=source_shape,
        channel_order=camera.channel_order,
        raw_order=camera.raw_order,
    )


def _first_shape(view: EpisodeView, camera: CameraSpec) -> tuple[int, int, int]:
    """The size of the first whole picture, where the source declares none."""
    pictures = view.pictures(camera.feature)
    for index in range(len(pictures)):
        picture = pictures[index]
        header = read_header(picture)
        if header is not None:
            return header.shape
        raw = guess_raw_shape(len(picture))
        if raw is not None:
            return (*raw, 3)
    raise MissingFeatureError(
        place=f"feature {camera.feature}",
        found=f"{len(pictures)} pictures, none of them whole",
        wanted="at least one JPEG or PNG",
    )


def arm_names(arm: ArmSpec, *, space: str, joints: int, hand: int) -> tuple[str, ...]:
    """The names of an arm's share of the packed vectors."""
    body = _EE_NAMES if space == "ee" else tuple(f"joint_{i}" for i in range(joints))
    if hand:
        body += tuple(f"hand_{i}" for i in range(hand))
    elif arm.state.gripper is not None:
        body += ("gripper",)
    return tuple(f"{arm.name}_{name}" for name in body)


def _arm_features(view: EpisodeView, variant: Variant) -> dict[str, Feature]:
    packed: list[str] = []
    joint_names: list[str] = []
    pose_names: list[str] = []
    action_joints = action_pose = True
    arms = sorted_arms(variant)
    for arm in arms:
        state, action = arm.state, arm.action
        _check_widths(view, arm)
        joints = 0 if state.joints is None else view.pick(state.joints).shape[1]
        hand = 0 if state.hand is None else view.pick(state.hand).shape[1]
        packed += arm_names(arm, space=variant.space, joints=joints, hand=hand)
        joint_names += [f"{arm.name}_joint_{i}" for i in range(joints)]
        if state.position is not None:
            pose_names += [f"{arm.name}_{name}" for name in _EE_NAMES]
        following = action.reference == "next_state"
        action_joints &= bool(joints) and (following or action.joints is not None)
        recorded = following or action.position is not None
        action_pose &= state.position is not None and recorded
    names = tuple(packed)
    features = {
        "observation.state": Feature("float32", (len(names),), names),
        "action": Feature("float32", (len(names),), names),
    }
    other, other_names, commanded = (
        ("joint_position", tuple(joint_names), action_joints)
        if variant.space == "ee"
        else ("ee_pose", tuple(pose_names), action_pose)
    )
    if other_names:
        feature = Feature("float32", (len(other_names),), other_names)
        features[f"observation.{other}"] = feature
        if commanded:
            features[f"action.{other}"] = feature
    return features


def _check_widths(view: EpisodeView, arm: ArmSpec) -> None:
    """Refuse columns that no pose can be made of, or an action of other joints than the state.

    Raises:
        FeatureError: A feature has more or fewer columns than it must have.
    """
    for side in (arm.state, arm.action):
        widths: list[tuple[Pick | None, int]] = [(side.position, 3)]
        if side.rotation is not None:
            encoding = side.rotation.encoding
            width = 4 if encoding == "quaternion_or_euler" else ENCODING_WIDTH[encoding]
            widths.append((side.rotation, width))
        if side is arm.action and arm.action.reference != "next_state":
            widths += [
                (mine, view.pick(other).shape[1])
                for mine, other in ((side.joints, arm.state.joints), (side.hand, arm.state.hand))
                if other is not None
            ]
        for pick, wanted in widths:
            found = wanted if pick is None else view.pick(pick).shape[1]
            if pick is not None and found != wanted:
                raise FeatureError(
                    place=f"feature {pick.feature} of the {arm.name} arm",
                    found=f"{found} columns",
                    wanted=f"{wanted}",
                )


def _vector_features(view: EpisodeView, variant: Variant) -> dict[str, Feature]:
    features: dict[str, Feature] = {}
    for vector in variant.vectors:
        if not all(view.has(piece.feature) for piece in vector.pieces):
            continue
        width = sum(view.pick(piece).shape[1] for piece in vector.pieces)
        names = vector.names or tuple(f"{vector.name.split('.')[-1]}_{i}" for i in range(width))
        if len(names) != width:
            raise FeatureError(
                place=f"vector {vector.name}",
                found=f"{width} columns",
                wanted=f"{len(names)}, one for each of {', '.join(names)}",
            )
        features[vector.name] = Feature("float32", (width,), names)
    return features


def kept_features(view: EpisodeView, variant: Variant) -> dict[str, Feature]:
    """The features that are stored as they are: numbers with one row a step."""
    features: dict[str, Feature] = {}
    for name in view.feature_names():
        wanted = any(fnmatchcase(name, pattern) for pattern in variant.keep)
        if not wanted or name in _STANDARD or "/" in name or view.camera_kind(name) is not None:
            continue
        try:
            values = view.numbers(name)
        except FeatureError:
            continue  # text: instructions have their own table
        if values.ndim not in (1, 2):
            continue
        width = 1 if values.ndim == 1 else values.shape[1]
        names = view.columns_of(name) or tuple(f"{name.split('.')[-1]}_{i}" for i in range(width))
        features[name] = Feature(_kept_dtype(values.dtype), (width,), names)
    return features


def _kept_dtype(dtype: np.dtype[np.generic]) -> Literal["bool", "int64", "float32", "float64"]:
    if dtype.kind == "b":
        return "bool"
    if dtype.kind in "iu":
        return "int64"
    return "float64" if dtype.itemsize > 4 else "float32"
