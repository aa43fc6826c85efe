"""Orthonormal two-dimensional discrete cosine transform (type II), as ``scipy.fft.dctn(norm="ortho")``."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct_matrix(size: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """(size, size) orthonormal DCT-II matrix; row k is the k-th cosine."""
    k = torch.arange(size, dtype=torch.float64)[:, None]
    n = torch.arange(size, dtype=torch.float64)[None, :]
    matrix = math.sqrt(2 / size) * torch.cos(math.pi * (2 * n + 1) * k / (2 * size))
    matrix[0] /= math.sqrt(2)
    return matrix.to(dtype)


def dct2(x: Tensor) -> Tensor:
    """DCT of the last two axes of (..., H, W); the input is left as it is."""
    rows = dct_matrix(x.shape[-2], dtype=x.dtype).to(x.device)
    columns = dct_matrix(x.shape[-1], dtype=x.dtype).to(x.device)
    return rows @ x @ columns.T


def idct2(coefficients: Tensor) -> Tensor:
    """Inverse of :func:`dct2`."""
    rows = dct_matrix(coefficients.shape[-2], dtype=coefficients.dtype).to(coefficients.device)
    columns = dct_matrix(coefficients.shape[-1], dtype=coefficients.dtype).to(coefficients.device)
    return rows.T @ coefficients @ columns
