"""A stand-in for torchvision: only what LeRobotDataset of lerobot 0.4.4 asks for.

LeRobotDataset imports torchvision for two things, `transforms.ToTensor` and `io.VideoReader`. The
torchvision that pip installs is a CUDA build: beside a CPU torch its import raises (`operator
torchvision::nms does not exist`), and its newest versions have no `VideoReader`. So the oracle puts
this folder on PYTHONPATH. It is never installed: transformers and peft would take it for the real
one.
"""

from __future__ import annotations

from torchvision import io, transforms

__all__ = ["__version__", "io", "set_video_backend", "transforms"]

__version__ = "0.0.0+stub"


def set_video_backend(backend: str) -> None:
    """Refuse everything but PyAV, the only decoder here."""
    if backend != "pyav":
        message = f"this stub of torchvision decodes with pyav only, asked for {backend!r}"
        raise ValueError(message)
