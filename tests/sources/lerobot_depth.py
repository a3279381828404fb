"""A camera of depth as LeRobot 0.6 writes it, beside the camera of a dataset of ours.

The codes are made from distances by LeRobot's own way forward, `quantize_depth`; what is tested is
the way back.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import av
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sources import generic_lerobot
from sources.generic_lerobot import CAMERA

__all__ = ["DEPTH", "SPACING", "codes_of", "distances_m", "tiff", "write", "write_rows"]

DEPTH = "observation.images.front_depth"
SPACING: dict[str, Any] = {
    "video.depth_min": 0.01,
    "video.depth_max": 10.0,
    "video.shift": 3.5,
    "video.use_log": True,
}
_HEIGHT, _WIDTH = 64, 96


def distances_m(number: int) -> np.ndarray:
    """(64, 96) float64: what the sensor saw in a frame; 0, nothing, in one corner."""
    rows, columns = np.mgrid[:_HEIGHT, :_WIDTH]
    found = 0.3 + 0.01 * number + 0.02 * columns + 0.005 * rows
    found[:4, :4] = 0.0
    return found


def codes_of(distance_m: np.ndarray, spacing: dict[str, Any] | None = None) -> np.ndarray:
    """LeRobot's codes, uint16 from 0 to 4095."""
    told = SPACING | (spacing or {})
    near, far, shift = (told[f"video.{name}"] for name in ("depth_min", "depth_max", "shift"))
    if told["video.use_log"]:
        low, high = math.log(near + shift), math.log(far + shift)
        share = (np.log(distance_m + shift) - low) / (high - low)
    else:
        share = (distance_m - near) / (far - near)
    return np.rint(share * 4095).clip(0, 4095).astype(np.uint16)


def write(
    folder: Path, *, name: str = DEPTH, spacing: dict[str, Any] | None = None, **info: Any
) -> None:
    """Write three episodes with a camera of colours and a video of depth.

    Args:
        folder: Becomes the dataset.
        name: Of the camera of depth.
        spacing: Of its codes, where it is not LeRobot's default; info.json says so.
        info: More of info.json's entry; `None` leaves one out.
    """
    generic_lerobot.write(folder)
    path = folder / "meta/info.json"
    told = json.loads(path.read_text())
    for video in sorted((folder / "videos" / CAMERA).rglob("*.mp4")):
        with av.open(str(video)) as container:
            frames = sum(1 for _ in container.decode(video=0))
        target = folder / "videos" / name / video.relative_to(folder / "videos" / CAMERA)
        target.parent.mkdir(parents=True, exist_ok=True)
        _encode(target, [codes_of(distances_m(k), spacing) for k in range(frames)], told["fps"])
    entry = {
        "video.height": _HEIGHT, "video.width": _WIDTH, "video.codec": "hevc",
        "video.pix_fmt": "gray12le", "video.fps": told["fps"], "video.channels": 1,
        "has_audio": False, "is_depth_map": True, "depth_unit": "mm", **SPACING, **(spacing or {}),
    } | info  # fmt: skip
    told["features"][name] = {
        "dtype": "video",
        "shape": [_HEIGHT, _WIDTH, 1],
        "names": ["height", "width", "channels"],
        "info": {key: value for key, value in entry.items() if value is not None},
    }
    path.write_text(json.dumps(told))
    for file in (folder / "meta/episodes").rglob("*.parquet"):
        rows = pl.read_parquet(file)
        mine = {
            column.replace(CAMERA, name): rows[column]
            for column in rows.columns
            if column.startswith(f"videos/{CAMERA}")
        }
        rows.with_columns(**mine).write_parquet(file)


def write_rows(folder: Path, *, unit: str, told: str | None = "") -> None:
    """Write three episodes with depth as TIFFs in rows: floats of metres, or millimetres.

    Args:
        folder: Becomes the dataset.
        unit: `m` (float32) or `mm` (uint16): what is written.
        told: What info.json says of it; the truth by default, and nothing for `None`.
    """
    generic_lerobot.write(folder, pictures=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for file in (folder / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        rows = [
            {"bytes": tiff(distances_m(k), unit=unit), "path": f"frame-{k:06d}.tiff"}
            for k in table.column("frame_index").to_pylist()
        ]
        pq.write_table(table.append_column(DEPTH, pa.array(rows, kind)), file)
    path = folder / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"][DEPTH] = {
        "dtype": "image",
        "shape": [_HEIGHT, _WIDTH, 1],
        "names": ["height", "width", "channels"],
        "info": {"is_depth_map": True, **({} if told is None else {"depth_unit": told or unit})},
    }
    path.write_text(json.dumps(info))


def tiff(distance_m: np.ndarray, *, unit: str) -> bytes:
    """A picture of depth as LeRobot's image writer saves it."""
    numbers = distance_m.astype(np.float32)
    if unit == "mm":
        numbers = np.rint(distance_m * 1000).astype(np.uint16)
    data = io.BytesIO()
    Image.fromarray(numbers).save(data, "TIFF", compression="raw")
    return data.getvalue()


def _encode(path: Path, frames: list[np.ndarray], fps: int) -> None:
    options = {"x265-params": "lossless=1:log-level=none"}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("hevc", rate=fps, options=options)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "gray12le"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray12le")))
        container.mux(stream.encode())
