"""Masks over the coefficients of the two-dimensional DCT, and their application to images."""

from __future__ import annotations

import torch
from torch import Tensor

from cosweep.data.dct import dct2, idct2


def low_pass_mask(bandwidth: int, height: int, width: int, *, as_released: bool = False) -> Tensor:
    """(H, W) mask, 1 on the ``bandwidth`` lowest rows and columns of coefficients, 0 elsewhere.

    ``as_released``: 1 on all columns of these rows, as the code of Ortiz-Jimenez et al. masks a batch.
    """
    mask = torch.zeros(height, width)
    mask[:bandwidth, : width if as_released else bandwidth] = 1
    return mask


def high_pass_mask(bandwidth: int, height: int, width: int) -> Tensor:
    """(H, W) mask, 1 on the ``bandwidth`` highest rows and columns: what a low pass of the rest removes."""
    mask = torch.ones(height, width)
    mask[: height - bandwidth, : width - bandwidth] = 0
    return mask


def band_stop_mask(low: int, high: int, height: int, width: int) -> Tensor:
    """(H, W) mask, 0 where a low pass of ``high`` keeps and one of ``low`` does not, 1 elsewhere."""
    return 1 - low_pass_mask(high, height, width) + low_pass_mask(low, height, width)


def apply_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Images (N, C, H, W) with their DCT coefficients multiplied by a mask (H, W); differentiable."""
    return idct2(dct2(x) * mask)
