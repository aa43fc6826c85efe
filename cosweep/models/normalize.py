"""Normalisation as part of the model, so that attacks see raw pixels."""

from __future__ import annotations

from torch import Tensor, nn


class Normalize(nn.Module):
    """(N, C, H, W) pixels to zero mean and unit deviation per channel; statistics are buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(1, -1, 1, 1).clone())
        self.register_buffer("std", std.view(1, -1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
