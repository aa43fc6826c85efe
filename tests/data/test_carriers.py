"""Carriers: one pattern of +1 and -1 per class."""

from __future__ import annotations

import pytest
import torch

from cosweep.data.carriers import CARRIERS, Carriers, dct_l2, dct_sign, high_frequency
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
def test_entries_are_plus_or_minus_one_or_each_pattern_has_length_one(
    name: str, num_classes: int, shape: tuple[int, int, int]
) -> None:
    carriers = CARRIERS[name](num_classes, shape, 0)
    assert carriers.shape == (num_classes, *shape)
    assert carriers.dtype == torch.float32
    if name == "dct_l2":
        torch.testing.assert_close(carriers.flatten(1).norm(dim=1), torch.ones(num_classes))
    else:
        assert torch.equal(carriers.abs(), torch.ones_like(carriers))


@pytest.mark.parametrize("name", CARRIERS)
def test_carriers_are_the_same_each_time_and_only_random_ones_depend_on_the_seed(name: str) -> None:
    one, same, other = (CARRIERS[name](10, CIFAR, seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert torch.equal(one, other) is (name != "random_sign")


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), CIFAR])
def test_high_frequency_carriers_live_at_the_other_end_of_the_spectrum(shape: tuple[int, int, int]) -> None:
    low, high = (dct2(make(10, shape)[:, 0].to(torch.float64)).square() for make in (dct_sign, high_frequency))
    side = torch.arange(shape[1])
    place = torch.maximum(side[:, None], side[None])
    mean_low, mean_high = ((energy * place).sum() / energy.sum() / (shape[1] - 1) for energy in (low, high))
    assert mean_low < 0.35
    assert mean_high > 0.85


def test_dct_l2_carriers_are_single_coefficients() -> None:
    coefficients = dct2(dct_l2(10, CIFAR)[:, 0].to(torch.float64)).abs() > 1e-6
    assert coefficients.flatten(1).sum(dim=1).tolist() == [1] * 10
    assert [tuple(place.tolist()) for place in coefficients[:5].nonzero()[:, 1:]] == [
        (0, 1), (1, 0), (1, 1), (2, 1), (1, 2),
    ]  # fmt: skip


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
    flat = CARRIERS[name](num_classes, (1, 8, 8), 0).flatten(1)
    assert len(torch.unique(flat, dim=0)) == num_classes


@pytest.mark.parametrize("num_classes", [11, 20, 37, 100, 200])
@pytest.mark.parametrize("shape", [CIFAR, (1, 28, 28), (3, 64, 64), (3, 9, 13), (3, 8, 8)])
@pytest.mark.parametrize("make", [dct_sign, dct_l2, high_frequency])
def test_more_than_ten_carriers_are_distinct_and_of_full_rank(
    make: Carriers, shape: tuple[int, int, int], num_classes: int
) -> None:
    """The released code filled whole rows of coefficients: 100 classes had 55 patterns of rank 31."""
    if num_classes >= shape[0] * shape[1] * shape[2]:
        pytest.skip("fewer pixels than classes")
    flat = make(num_classes, shape, 0).flatten(1).to(torch.float64)
    assert len(torch.unique(flat, dim=0)) == num_classes
    assert torch.linalg.matrix_rank(flat).item() == num_classes


def test_a_carrier_takes_the_sign_of_one_mode_only() -> None:
    """The mode's own coefficient is the largest by far; the constant of the first is none."""
    for index, mode in enumerate([(0, 1), (1, 0), (1, 1), (2, 1), (1, 2)]):
        energy = dct2(dct_sign(10, CIFAR)[index, 0].to(torch.float64)).square()
        assert energy.argmax().item() == mode[0] * 32 + mode[1]
        assert energy[mode] > 0.6 * energy.sum()


@pytest.mark.parametrize(
    ("num_classes", "shape", "found"), [(10, (1, 2, 2), 6), (100, (1, 8, 8), 63), (7, (3, 1, 1), 4)]
)
def test_too_many_classes_for_the_image_size_are_refused(
    num_classes: int, shape: tuple[int, int, int], found: int
) -> None:
    size = f"{shape[1]}x{shape[2]}"
    with pytest.raises(CosweepError, match=rf"{num_classes} classes .* images of {size} have {found}; use larger"):
        dct_sign(num_classes, shape)
