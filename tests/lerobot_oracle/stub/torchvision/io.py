"""`VideoReader` over PyAV, with the behaviour of torchvision's own `pyav` backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["VideoReader"]


class VideoReader:
    """Iterates over {"data": uint8 (C, H, W), RGB; "pts": seconds} from the last seek on."""

    def __init__(self, src: str, stream: str = "video") -> None:
        if stream != "video":
            message = f"this stub of torchvision reads video streams only, asked for {stream!r}"
            raise ValueError(message)
        self.container = av.open(src)
        self._stream = self.container.streams.video[0]
        self._frames = self.container.decode(self._stream)

    def seek(self, time_s: float, keyframes_only: bool = False) -> VideoReader:
        """Go to the key frame at or before `time_s`; PyAV cannot do better, whatever the flag."""
        offset = round(time_s / self._stream.time_base)
        self.container.seek(offset, stream=self._stream, backward=True, any_frame=False)
        self._frames = self.container.decode(self._stream)
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        frame = next(self._frames)
        data = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
        return {"data": data, "pts": float(frame.pts * frame.time_base)}
