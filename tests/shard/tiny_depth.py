"""A ZoeDepth of 71,000 random weights, written where a test wants it."""

from __future__ import annotations

from pathlib import Path


def make_zoe(folder: Path, *, seed: int = 0) -> Path:
    import torch
    from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation

    torch.manual_seed(seed)
    backbone = BeitConfig(
        image_size=384, patch_size=16, num_hidden_layers=4, hidden_size=16, intermediate_size=32,
        num_attention_heads=2, use_relative_position_bias=True, reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
        bottleneck_features=8, num_relative_features=8, bin_embedding_dim=8,
        num_attractors=[2, 2, 2, 1],
        bin_configurations=[{"n_bins": 4, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
    )  # fmt: skip
    model = ZoeDepthForDepthEstimation(config)
    with torch.no_grad():
        for p in model.parameters():  # or every depth were the same millimetre
            if p.ndim > 1:
                p.mul_(10)
    model.save_pretrained(folder)
    return folder
