"""Reading what exports wrote with nothing of finedata: json, Pillow, PyAV, scipy."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
from PIL import Image


def decoded(picture: bytes) -> np.ndarray:
    """RGB by Pillow; black where it does not decode, as the exports promise."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return np.asarray(image.convert("RGB"))
    except OSError:
        return np.zeros((48, 48, 3), np.uint8)


def video_frames(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times in seconds and RGB frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.time for frame in frames], [f.to_ndarray(format="rgb24") for f in frames]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def far_apart(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(a.astype(int) - b.astype(int)).mean())
