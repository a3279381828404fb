# pyright: basic, reportMissingImports=false
"""SpatialVLA's Ego3D position encoding: what is added to the visual features of a patch.

Points are centred on two metres ahead and halved, written as themselves and sines and cosines of
eight octaves, and read by a small MLP. Names of parameters are SpatialVLA's, so its weights fit.

Source: `Ego3DPositionEmbeddingMLP` of SpatialVLA's `model/modeling_spatialvla.py` (e480753).
"""

from __future__ import annotations

import torch
from torch import nn

_OCTAVES = 8
_CENTRE_M = (0.0, 0.0, 2.0)
_SCALE_M = 2.0
_GAIN = 0.01


class Ego3D(nn.Module):
    """Positions of patches as vectors of the width of their features.

    Args:
        points: Points on a side of a patch.
        width: Of the features.
    """

    octaves: torch.Tensor
    centre: torch.Tensor

    def __init__(self, *, points: int, width: int) -> None:
        super().__init__()
        numbers = 3 * points**2
        self.register_buffer("octaves", 2.0 ** torch.arange(_OCTAVES), persistent=False)
        self.register_buffer("centre", torch.tensor(_CENTRE_M).repeat(points**2), persistent=False)
        self.position_embedding_head = nn.Sequential(
            nn.Linear(numbers * (2 * _OCTAVES + 1), width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
        )
        for p in self.parameters():
            if p.ndim > 1:  # small, so that a trained encoder sees what it saw
                nn.init.xavier_uniform_(p, gain=_GAIN)

    def forward(self, points: torch.Tensor, pointed: torch.Tensor) -> torch.Tensor:
        """What is added to features.

        Args:
            points: (n, patches, 3 * points) float32 metres; see `finedata.train.ego3d`.
            pointed: (n, patches) bool: the patch has points.

        Returns:
            (n, patches, width); zeros where a patch has none.
        """
        found = self.position_embedding_head(self.encoded(points))
        return found * pointed[..., None]

    def encoded(self, points: torch.Tensor) -> torch.Tensor:
        """(n, patches, 3 * points * 17): of each number itself, its sines, its cosines."""
        scaled = ((points.float() - self.centre) / _SCALE_M)[..., None]
        turned = scaled * self.octaves
        return torch.cat([scaled, turned.sin(), turned.cos()], -1).flatten(-2)
