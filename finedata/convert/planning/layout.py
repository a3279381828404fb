"""Which episodes may share a LeRobot dataset: those whose layouts are equal, and no others.

A `PartLayout` is the embodiment, the rate, the cameras and every column with its shape, because
LeRobot has one feature set and one fps for a dataset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from finedata.convert.accounting import left_out
from finedata.convert.cameras import safe_name
from finedata.convert.planning.layout_columns import arm_features, kept_features, vector_features
from finedata.errors import FeatureError, MissingFeatureError
from finedata.readers.episode import CameraKind  # noqa: TC001  (msgspec resolves it)
from finedata.store.lerobot.layout import Feature, picture_column, standard_features
from finedata.store.pictures import read_header
from finedata.store.pixels import guess_raw_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.convert.context import ConvertOptions
    from finedata.convert.forms import EpisodeView
    from finedata.schema.converter import CameraSpec, Variant


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
        kept_from: Columns that are a feature of the source as it is, and its name there.
        left_out: Features of which nothing was made, and why; episodes may differ in it.
        as_declared: Whether features have the shapes that the source declares.
    """

    source: int
    variant: int
    embodiment: str
    fps: float
    cameras: tuple[CameraLayout, ...]
    features: dict[str, Feature]
    kept_from: dict[str, str] = {}
    left_out: dict[str, str] = {}
    as_declared: bool = True

    @property
    def renamed(self) -> dict[str, str]:
        """Features of the part whose name is not the source's, and what it is there."""
        return {
            picture_column(camera.name): camera.feature
            for camera in self.cameras
            if picture_column(camera.name) != camera.feature
        } | {column: feature for column, feature in self.kept_from.items() if column != feature}

    @property
    def key(self) -> bytes:
        """Equal for episodes that may share a LeRobot dataset."""
        # One column is read from one feature: another that gives it the same name is another part.
        cameras = [(one.feature, one.channel_order, one.raw_order) for one in self.cameras]
        return msgspec.msgpack.encode(
            (
                self.source,
                self.variant,
                self.embodiment,
                self.fps,
                self.features,
                list(self.kept_from.values()),
                cameras,
            )
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
    reasons: dict[str, str] = {}
    kept_from: dict[str, str] = {}
    for camera in laid_out:
        video = camera.kind == "video" or options.transcode is not None
        features[picture_column(camera.name)] = Feature(
            "video" if video else "image",
            camera.shape,
            ("height", "width", "channels"),
            None if options.transcode or options.resize else view.picture_info(camera.feature),
        )
    if variant.space == "undeclared":
        kept = kept_features(view, variant)
        reasons = kept.reasons
        features |= {kept.columns[name]: feature for name, feature in kept.features.items()}
        kept_from = {column: name for name, column in kept.columns.items()}
    else:
        features |= arm_features(view, variant)
        features |= vector_features(view, variant)
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
        kept_from=kept_from,
        left_out=left_out(
            view.raw,
            variant,
            stored=[
                *(features if variant.reader == "lerobot" else ()),
                *kept_from.values(),
                *(camera.feature for camera in cameras),
            ],
            reasons=reasons,
        ),
        as_declared=view.raw.as_declared(),
    )


def _embodiment(view: EpisodeView, variant: Variant) -> str:
    feature = variant.embodiment_feature
    if feature is not None and view.has(feature):
        return safe_name("".join(view.texts(feature)[:1]), instead=variant.embodiment)
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
        if kind == "video" and view.has(camera.feature)
        else view.picture_shape(camera.feature) or _first_shape(view, camera)
    )
    channels = (view.picture_info(camera.feature) or {}).get("video.channels")
    if kind == "video" and channels == 1 and not options.transcode and not options.resize:
        shape = (*shape[:2], 1)  # an index of a video does not tell its channels
    source_shape = shape
    if options.resize is not None:
        shape = (*options.resize, shape[2])
    if options.transcode is not None or (kind == "video" and options.resize is not None):
        # Video codecs want even sizes; the encoder pads.
        shape = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, shape[2])
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
