"""The discrete cosine transform, against scipy and the released code."""

from __future__ import annotations

import pytest
import scipy.fft
import torch

from cosweep.data.dct import dct2, dct_matrix, idct2
from tests.data.reference import reference

SIZES = [(1, 1), (8, 8), (7, 5), (32, 32), (28, 28)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_dct_equals_scipy(height: int, width: int) -> None:
    x = torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.tensor(scipy.fft.dctn(x.numpy(), axes=(-2, -1), norm="ortho"))
    torch.testing.assert_close(dct2(x), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_inverse_equals_scipy(height: int, width: int) -> None:
    c = torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.tensor(scipy.fft.idctn(c.numpy(), axes=(-2, -1), norm="ortho"))
    torch.testing.assert_close(idct2(c), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_inverse_undoes_the_transform_and_leaves_the_input(height: int, width: int) -> None:
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    torch.testing.assert_close(idct2(dct2(x)), x, atol=1e-5, rtol=0)
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_matrix_is_orthonormal(size: int) -> None:
    matrix = dct_matrix(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), atol=1e-12, rtol=0)


def test_dct_equals_the_released_code() -> None:
    torch.testing.assert_close(dct2(reference("x")[:1]), reference("dct2"), atol=1e-4, rtol=0)


def test_keeping_the_lowest_eight_rows_and_columns_equals_the_released_filter() -> None:
    coefficients = dct2(reference("x")[0])
    kept = torch.zeros_like(coefficients)
    kept[..., :8, :8] = coefficients[..., :8, :8]
    torch.testing.assert_close(idct2(kept), reference("lowpass_3d_bw8"), atol=1e-5, rtol=0)
