"""What the perturbation looks like: cosines, and the spectrum by scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from torch import Tensor, nn

from cosweep.diagnostics.delta import spectrum
from tests.diagnostics.views import measured, view
from tests.tiny import batch, linear_model, smooth_model

# --- cosine ----------------------------------------------------------------------------------------------------------


def test_fgsm_and_pgd_agree_on_a_linear_two_class_model() -> None:
    model, (x, y) = linear_model(classes=2), batch(20, classes=2)
    assert measured("delta_cos", model, x, y, pgd_steps=10)["delta_cos"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_delta_cos_is_the_mean_over_the_examples_of_the_cosines_of_both_perturbations(norm: str) -> None:
    model, (x, y) = smooth_model(), batch(20)
    seen = view(model, x, y, norm=norm)
    one, other = (delta.flatten(1).double().numpy() for delta in (seen.fgsm_delta, seen.pgd_delta))
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert measured("delta_cos", model, x, y, norm=norm)["delta_cos"] == pytest.approx(cosines.mean(), rel=1e-9)
    assert 0 < cosines.mean() < 0.95


def test_delta_cos_falls_with_the_curvature_that_a_larger_ball_meets() -> None:
    model, (x, y) = smooth_model(), batch(20)
    found = [
        measured("delta_cos", model, x, y, epsilon=epsilon, pgd_steps=10)["delta_cos"]
        for epsilon in (0.001, 0.01, 0.05, 0.2)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.98


# --- spectrum --------------------------------------------------------------------------------------------------------


def shares_by_scipy(delta: Tensor) -> list[list[float]]:
    """Each coefficient's energy put one by one where the larger of its two frequencies is."""
    found = []
    for image in delta.double().numpy():
        shares = [0.0] * max(image.shape[1:])
        for channel in image:
            for (row, column), value in np.ndenumerate(dctn(channel, norm="ortho")):
                shares[max(row, column)] += value**2
        found.append([share / sum(shares) for share in shares])
    return found


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 7), (2, 6, 9), (1, 5, 3), (1, 1, 1)])
def test_spectrum_equals_scipys(shape: tuple[int, int, int]) -> None:
    delta = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    found = spectrum(delta)
    np.testing.assert_allclose(found.numpy(), shares_by_scipy(delta), atol=1e-12)
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 1.0, rtol=1e-12)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (3, 2), (2, 3), (7, 0), (0, 7), (7, 7), (4, 4)])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e15])
def test_a_pure_wave_lies_in_its_own_bin(row: int, column: int, size: float) -> None:
    coefficients = np.zeros((8, 8))
    coefficients[row, column] = size
    wave = torch.tensor(idctn(coefficients, norm="ortho"))
    expected = np.eye(8)[max(row, column)]
    np.testing.assert_allclose(spectrum(wave.view(1, 1, 8, 8)).numpy()[0], expected, atol=1e-12)


def test_an_image_of_zeros_has_no_spectrum_and_takes_none_from_the_others() -> None:
    delta = torch.zeros(2, 1, 8, 8)
    delta[1] = 1.0
    np.testing.assert_allclose(spectrum(delta).numpy(), [[0.0] * 8, [1.0] + [0.0] * 7], atol=1e-12)


@pytest.mark.parametrize("side", [8, 32])
def test_white_noise_has_three_quarters_of_its_energy_in_the_upper_half(side: int) -> None:
    noise = torch.randn(200, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert spectrum(noise).mean(dim=0)[side // 2 :].sum().item() == pytest.approx(0.75, abs=0.01)


def patterned(shape: tuple[int, int, int], pattern: Tensor) -> nn.Sequential:
    """Two-class model along whose pattern the loss grows or falls: FGSM's perturbation is its sign, or minus that."""
    model = linear_model(shape, classes=2)
    linear = model[1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight[0], linear.weight[1] = pattern.flatten(), 0.0
    return model


@pytest.mark.parametrize(("height", "width", "high_bins"), [(8, 8, 4), (7, 7, 3), (6, 9, 4), (1, 1, 0)])
def test_measured_spectrum_is_that_of_fgsms_perturbation(height: int, width: int, high_bins: int) -> None:
    """The upper half of an odd number of frequencies is the smaller part."""
    pattern = torch.randn(1, height, width, generator=torch.Generator().manual_seed(0))
    x, y = torch.full((6, 1, height, width), 0.5), torch.tensor([0, 1, 1, 0, 0, 1])
    found = measured("delta_spectrum", patterned((1, height, width), pattern), x, y)
    (expected,) = shares_by_scipy(pattern.sign()[None])
    np.testing.assert_allclose(found["delta_spectrum"], expected, atol=1e-7)
    assert found["delta_high_share"] == pytest.approx(sum(expected[len(expected) - high_bins :]), abs=1e-7)


@pytest.mark.parametrize(("period", "high_share"), [(8, 0.0), (1, 1.0)])
def test_stripes_are_low_or_high(period: int, high_share: float) -> None:
    """Stripes of one pixel are nearly the highest frequency there is; an image of one sign is the lowest."""
    columns = torch.arange(8) // period % 2 * 2.0 - 1
    x, y = torch.full((4, 1, 8, 8), 0.5), torch.tensor([0, 1, 1, 0])
    found = measured("delta_spectrum", patterned((1, 8, 8), columns.expand(1, 8, 8)), x, y)
    assert found["delta_high_share"] == pytest.approx(high_share, abs=0.15)
    assert sum(found["delta_spectrum"]) == pytest.approx(1.0, abs=1e-9)


def test_spectrum_is_the_mean_over_the_examples() -> None:
    model, (x, y) = smooth_model(), batch(20)
    expected = np.mean(shares_by_scipy(view(model, x, y).fgsm_delta), axis=0)
    np.testing.assert_allclose(measured("delta_spectrum", model, x, y)["delta_spectrum"], expected, atol=1e-12)
