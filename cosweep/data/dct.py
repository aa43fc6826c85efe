"""Orthonormal two-dimensional discrete cosine transform (type II), as ``scipy.fft.dctn(norm="ortho")``."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor


@cache
def _basis(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return dct_matrix(size, dtype=dtype).to(device)


def dct_matrix(size: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """(size, size) orthonormal DCT-II matrix; row k is the k-th cosine."""
    k = torch.arange(size, dtype=torch.float64)[:, None]
    n = torch.arange(size, dtype=torch.float64)[None, :]
    matrix = math.sqrt(2 / size) * torch.cos(math.pi * (2 * n + 1) * k / (2 * size))
    matrix[0] /= math.sqrt(2)
    return matrix.to(dtype)


def dct2(x: Tensor) -> Tensor:
    """DCT of the last two axes of (..., H, W); the input is left as it is."""
    rows, columns = (_basis(size, x.dtype, x.device) for size in x.shape[-2:])
    return rows @ x @ columns.T


def idct2(coefficients: Tensor) -> Tensor:
    """Inverse of :func:`dct2`."""
    rows, columns = (_basis(size, coefficients.dtype, coefficients.device) for size in coefficients.shape[-2:])
    return rows.T @ coefficients @ columns
