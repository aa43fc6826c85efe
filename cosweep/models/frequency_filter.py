"""A fixed frequency filter as part of the model, so that attacks cannot use what it removes."""

from __future__ import annotations

from torch import Tensor, nn

from cosweep.data.filters import apply_mask


class FrequencyFilter(nn.Module):
    """(N, C, H, W) pixels with their DCT coefficients multiplied by a mask (H, W), which is a buffer."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.clone())

    def forward(self, x: Tensor) -> Tensor:
        return apply_mask(x, self.mask)
