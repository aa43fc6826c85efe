"""Carriers: one pattern of +1 and -1 per class."""

from __future__ import annotations

import pytest
import torch

from cosweep.data.carriers import CARRIERS, dct_sign
from cosweep.data.dct import dct2
from cosweep.errors import CosweepError
from tests.data.reference import reference

CIFAR = (3, 32, 32)


def test_ten_carriers_equal_those_of_the_released_code() -> None:
    assert torch.equal(dct_sign(10, CIFAR), reference("V").to(torch.float32))


def test_first_five_carriers_are_orthogonal_with_squared_norm_chw() -> None:
    flat = dct_sign(10, CIFAR)[:5].flatten(1).to(torch.float64)
    torch.testing.assert_close(flat @ flat.T / (3 * 32 * 32), torch.eye(5, dtype=torch.float64))


def test_last_five_carriers_are_the_negatives_of_the_first_five() -> None:
    carriers = dct_sign(10, CIFAR)
    assert torch.equal(carriers[5:], -carriers[:5])


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize("num_classes", [2, 3, 10, 20])
@pytest.mark.parametrize("shape", [(1, 7, 7), (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 13)])
def test_entries_are_plus_or_minus_one_on_every_size(name: str, num_classes: int, shape: tuple[int, int, int]) -> None:
    carriers = CARRIERS[name](num_classes, shape)
    assert carriers.shape == (num_classes, *shape)
    assert carriers.dtype == torch.float32
    assert torch.equal(carriers.abs(), torch.ones_like(carriers))


@pytest.mark.parametrize("size", [3, 5, 7, 9, 13, 27, 33])
def test_a_cosine_that_is_exactly_zero_counts_as_plus_one(size: int) -> None:
    """In the middle of an odd side, where rounding would else choose the sign."""
    columns, rows = dct_sign(10, (1, size, size))[:2, 0]
    middle = size // 2
    assert torch.equal(columns[:, middle], torch.ones(size))
    assert torch.equal(rows[middle], torch.ones(size))


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize("num_classes", [2, 5, 10, 11, 20, 63])
def test_no_two_classes_share_a_carrier(name: str, num_classes: int) -> None:
    flat = CARRIERS[name](num_classes, (1, 8, 8)).flatten(1)
    assert len(torch.unique(flat, dim=0)) == num_classes


@pytest.mark.parametrize("num_classes", [20, 100, 200])
def test_more_than_ten_carriers_are_distinct_and_of_full_rank(num_classes: int) -> None:
    """The released code filled whole rows of coefficients: 100 classes had 55 patterns of rank 31."""
    flat = dct_sign(num_classes, CIFAR)[:, 0].flatten(1).to(torch.float64)
    assert len(torch.unique(flat, dim=0)) == num_classes
    assert torch.linalg.matrix_rank(flat).item() == num_classes


def test_a_carrier_takes_the_sign_of_one_mode_only() -> None:
    """The mode's own coefficient is the largest by far; the constant of the first is none."""
    for index, mode in enumerate([(0, 1), (1, 0), (1, 1), (2, 1), (1, 2)]):
        energy = dct2(dct_sign(10, CIFAR)[index, 0].to(torch.float64)).square()
        assert energy.argmax().item() == mode[0] * 32 + mode[1]
        assert energy[mode] > 0.6 * energy.sum()


@pytest.mark.parametrize(
    ("num_classes", "shape", "found"), [(10, (1, 2, 2), 6), (100, (1, 8, 8), 63), (2, (3, 1, 1), 0)]
)
def test_too_many_classes_for_the_image_size_are_refused(
    num_classes: int, shape: tuple[int, int, int], found: int
) -> None:
    size = f"{shape[1]}x{shape[2]}"
    with pytest.raises(CosweepError, match=rf"{num_classes} classes .* images of {size} have {found}; use larger"):
        dct_sign(num_classes, shape)
