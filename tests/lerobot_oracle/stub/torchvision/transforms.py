"""`ToTensor` for pictures: PIL in, float32 (C, H, W) in [0, 1] out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ToTensor"]


class ToTensor:
    """As torchvision's: 8-bit pictures are divided by 255, other depths keep values and type."""

    def __call__(self, picture: Image) -> torch.Tensor:
        pixels = np.array(picture)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        return tensor.to(torch.float32) / 255 if tensor.dtype == torch.uint8 else tensor
