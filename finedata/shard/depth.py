# pyright: basic, reportMissingImports=false
"""Depth of a picture in millimetres, by a model that knows metres, for who recorded none.

Of ZoeDepth the way is SpatialVLA's (reflected borders, 384 x 384, bicubic, ends aligned), for
pictures of any size; others are asked as their own image processors say. One picture is estimated
at a time and by one thread, so a depth is a function of picture, weights, versions and kind of
device, whatever else is computed beside it.

Source: `process_zoe` and `get_image_features` of SpatialVLA's `model/modeling_spatialvla.py`.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import FinedataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = [
    "MILLIMETRE_M",
    "DepthModel",
    "check_depth_model",
    "depth_model",
    "depth_name",
    "metres_of",
]

MILLIMETRE_M = 0.001
"""Metres of one number of an estimated depth."""
_PINNED = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
_WEIGHTS = ("*.safetensors", "config.json", "preprocessor_config.json")
_ZOE_SIDE = 384
_FARTHEST_MM = 65535
_FETCH = "fetch the model again, or name another with --depth"


def depth_name(place: str) -> str:
    """What a model is called in shards: `org/name@COMMIT`, or 16 digits of a folder's content.

    Args:
        place: A folder, or `org/name@COMMIT` on the Hub.

    Raises:
        UsageError: It is neither, or the folder has no weights.
    """
    return _folder_name(place) if Path(place).is_dir() else f"{_pinned(place)[0]}"


@lru_cache(maxsize=8)
def _folder_name(place: str) -> str:
    files = sorted({path for pattern in _WEIGHTS for path in Path(place).glob(pattern)})
    if not any(path.suffix == ".safetensors" for path in files):
        raise UsageError(
            parameter="depth",
            found=f"{place}, without weights in safetensors",
            wanted="a folder as `save_pretrained` writes it, or org/name@COMMIT",
        )
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(
                f"{path.name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}".encode()
            )
    return digest.hexdigest()[:16]


def _pinned(place: str) -> re.Match[str]:
    found = _PINNED.fullmatch(place)
    if found is None:
        name = place.partition("@")[0]
        known = re.fullmatch(r"[\w.-]+/[\w.-]+", name)
        raise UsageError(
            parameter="depth",
            found=f"{place!r}, no folder and no name with a commit",
            wanted="a folder, or org/name@COMMIT with 40 hex digits, as Intel/zoedepth-nyu-kitti@…",
            next_command=f"hf models info {name} tells the commit as `sha`" if known else "",
        )
    return found


@lru_cache(maxsize=2)
def depth_model(place: str) -> DepthModel:
    """A model, loaded once a process; see `DepthModel`."""
    return DepthModel(place)


class DepthModel:
    """A monocular model of metric depth.

    Args:
        place: See `depth_name`.
        device: Where it computes; the GPU by default where there is one.

    Raises:
        UsageError: It gives no metres.
        FinedataError: It cannot be loaded, or lacks weights.
    """

    def __init__(self, place: str, *, device: str = "") -> None:
        torch, transformers = _libraries()
        pinned = None if Path(place).is_dir() else _pinned(place)
        name = place if pinned is None else pinned[1]
        where: dict[str, Any] = {
            "revision": None if pinned is None else pinned[2],
            "trust_remote_code": False,
        }
        try:
            config = transformers.AutoConfig.from_pretrained(name, **where)
            _check_metric(config, place)
            model, told = transformers.AutoModelForDepthEstimation.from_pretrained(
                name, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **where
            )
            self._zoe = config.model_type == "zoedepth"
            self._processor = (
                None
                if self._zoe
                else transformers.AutoImageProcessor.from_pretrained(name, use_fast=False, **where)
            )
        except FinedataError:
            raise
        except Exception as error:  # of files, configurations and weights, each with its own kinds
            raise FinedataError(
                place=f"depth {place}",
                found=next(iter(str(error).strip().splitlines()), type(error).__name__),
                wanted="a model that AutoModelForDepthEstimation loads, without code of its own",
                next_command=_FETCH,
            ) from error
        if absent := sorted(told["missing_keys"]):
            # transformers would begin them from random numbers, and a depth be made of those.
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            raise FinedataError(
                place=f"depth {place}",
                found=f"no weights of {', '.join(absent[:3])}{more}",
                wanted="every weight of the model",
                next_command=_FETCH,
            )
        self._torch = torch
        self.device = device or device_kind()
        self._model = model.to(self.device).eval()

    def millimetres(self, picture: np.ndarray) -> np.ndarray:
        """(height, width) uint16 of an RGB picture (height, width, 3) uint8; at least 1.

        Raises:
            FinedataError: The model gives numbers that are none.
        """
        torch = self._torch
        with torch.inference_mode(), _one_thread(torch):
            metres = (self._of_zoe if self._zoe else self._of_any)(picture)
        found = metres.float().cpu().numpy()
        if not np.isfinite(found).all():
            raise FinedataError(
                place="depth", found="a depth that is no number", wanted="metres of every pixel"
            )
        return np.clip(np.rint(found / MILLIMETRE_M), 1, _FARTHEST_MM).astype(np.uint16)

    def _of_zoe(self, picture: np.ndarray) -> Any:
        functional = self._torch.nn.functional
        height, width = picture.shape[:2]
        down, across = (int((side / 2) ** 0.5 * 3) for side in (height, width))
        pixels = self._tensor(picture)
        padded = functional.pad(pixels, (across, across, down, down), mode="reflect")
        size = (_ZOE_SIDE, _ZOE_SIDE)
        asked = functional.interpolate(padded, size=size, mode="bicubic", align_corners=True)
        depth = self._model(pixel_values=(asked - 0.5) / 0.5).predicted_depth[:, None]
        whole = functional.interpolate(
            depth, size=padded.shape[-2:], mode="bicubic", align_corners=True
        )
        return whole[0, 0, down : down + height, across : across + width]

    def _of_any(self, picture: np.ndarray) -> Any:
        given: Any = self._processor
        asked = given(images=picture, return_tensors="pt").to(self.device)
        depth = self._model(**asked).predicted_depth[:, None]
        functional = self._torch.nn.functional
        return functional.interpolate(
            depth, size=picture.shape[:2], mode="bicubic", align_corners=False
        )[0, 0]

    def _tensor(self, picture: np.ndarray) -> Any:
        """(1, 3, height, width), 0 to 1."""
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
        return self._torch.from_numpy(planes).to(self.device).float() / 255


def check_depth_model(place: str) -> None:
    """Load a model and let it go: what is wrong with it is said before anything is written.

    Raises:
        UsageError: See `DepthModel`.
        FinedataError: The same.
    """
    DepthModel(place, device="cpu")


def metres_of(depth: np.ndarray, *, unit_m: float = MILLIMETRE_M) -> np.ndarray:
    """Stored numbers (uint16) as metres, float32; 0 where there is none."""
    return depth.astype(np.float32) * np.float32(unit_m)


def device_kind() -> str:
    """`cuda` or `cpu`: where depth is estimated by default."""
    return "cuda" if _libraries()[0].cuda.is_available() else "cpu"


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UsageError(
            parameter="depth",
            found="no torch and transformers",
            wanted="the extra that has them",
            next_command='pip install "finedata[train]"',
        ) from error
    return torch, transformers


def _one_thread(torch: Any) -> AbstractContextManager[None]:
    """How a sum is split over threads changes its bits."""
    from contextlib import contextmanager

    @contextmanager
    def only() -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    return only()


def _check_metric(config: Any, place: str) -> None:
    """Refuse models whose numbers are near and far, and no metres.

    Raises:
        UsageError: They are.
    """
    metric = config.model_type in ("zoedepth", "glpn") or (
        config.model_type == "depth_anything"
        and getattr(config, "depth_estimation_type", "") == "metric"
    )
    if not metric:
        raise UsageError(
            parameter="depth",
            place=f"depth {place}",
            found=f"a model of type {config.model_type}, whose numbers are not said to be metres",
            wanted="ZoeDepth, GLPN, or a metric Depth Anything",
        )
