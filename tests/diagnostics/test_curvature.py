"""Curvature: dense Hessians, a closed form, and numpy's eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import input_gradient
from cosweep.diagnostics.curvature import Curvature, largest_eigenvalues
from tests.diagnostics.views import view
from tests.models.small import built
from tests.tiny import batch, convolutional_model, linear_model, smooth_model

Matrices = NDArray[np.float64]


def curvature(model: nn.Module, x: Tensor, y: Tensor, iterations: int = 10) -> float:
    value = Curvature(iterations=iterations).measure(view(model, x, y))["curvature"]
    assert isinstance(value, float)
    return value


def tanh_model() -> nn.Sequential:
    linear = linear_model(classes=30)
    return nn.Sequential(linear, nn.Tanh(), linear_model((1, 1, 30), 10))


MODELS: dict[str, Callable[[], nn.Sequential]] = {
    "sine": smooth_model,
    "tanh": tanh_model,
    "relu": lambda: convolutional_model().eval(),
    "linear": linear_model,
    "two_classes": lambda: smooth_model(classes=2),
}


WITH_RELUS: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(built, name) for name in ("preact_resnet", "wide_resnet", "small_cnn")},
    "in_place": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 10)),
}


def of_dense_hessians(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Mean of the largest eigenvalues, of the whole Hessian of each example."""
    largest = []
    for image, label in zip(x, y):

        def loss(u: Tensor, label: Tensor = label) -> Tensor:
            return functional.cross_entropy(model(u[None]), label[None])

        hessian: Tensor = torch.autograd.functional.hessian(loss, image)  # type: ignore[no-untyped-call]
        dense = hessian.double().view(image.numel(), image.numel()).numpy()
        largest.append(np.linalg.eigvalsh(dense)[-1])
    return float(np.mean(largest))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_curvature_equals_that_of_dense_hessians(name: str, dtype: torch.dtype) -> None:
    model = MODELS[name]().to(dtype)
    x, y = batch(6, classes=2 if name == "two_classes" else 10)
    expected = of_dense_hessians(model, x.to(dtype), y)
    assert expected > 1e-3
    assert curvature(model, x.to(dtype), y, iterations=40) == pytest.approx(expected, rel=1e-4)
    assert curvature(model, x.to(dtype), y, iterations=18) == pytest.approx(expected, rel=5e-3)
    # How much ten iterations leave is up to the start: 4.2 % at most for 25 starts by two generators, on four models.
    assert 0.95 < curvature(model, x.to(dtype), y) / expected < 1 + 1e-4


def test_curvature_comes_from_below_with_more_iterations() -> None:
    model, (x, y) = smooth_model(), batch(6)
    found = [curvature(model, x, y, iterations) for iterations in (1, 2, 4, 8, 16, 64)]
    assert found == sorted(found)
    assert found[0] < 0.5 * found[-1]


@pytest.mark.parametrize("name", ["relu", "linear"])
def test_as_many_iterations_as_classes_are_exact_where_the_logits_are_piecewise_linear(name: str) -> None:
    """Its Hessian is J^T (diag p - p p^T) J, of rank K - 1 at most."""
    model, (x, y) = MODELS[name](), batch(6)
    exact = curvature(model, x, y, iterations=64)
    assert curvature(model, x, y, iterations=10) == pytest.approx(exact, rel=1e-6)
    assert curvature(model, x, y, iterations=3) < 0.99 * exact


# --- ReLUs -----------------------------------------------------------------------------------------------------------


def finite_differences(model: nn.Module, x: Tensor, y: Tensor, width: float) -> float:
    """Curvature by 64 Lanczos iterations with (g(x + width v) - g(x - width v)) / (2 width), v of length one."""

    def product(vectors: Tensor) -> Tensor:
        length = vectors.flatten(1).norm(dim=1).clamp_min(1e-300).view(-1, 1, 1, 1)
        ahead, behind = (input_gradient(model, x + sign * width * vectors / length, y) for sign in (1, -1))
        difference: Tensor = (ahead - behind) / (2 * width) * length
        return difference

    start = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    return largest_eigenvalues(product, start, 64).mean().item()


@pytest.mark.parametrize("sharpness", [1.0, 10.0])
def test_with_softplus_second_derivatives_and_finite_differences_agree(sharpness: float) -> None:
    model, (x, y) = convolutional_model().double().eval(), batch(6)
    x = x.double()
    smooth = nn.Sequential(*(nn.Softplus(sharpness) if isinstance(m, nn.ReLU) else m for m in model))
    value = Curvature(iterations=64, softplus=sharpness).measure(view(model, x, y))["curvature"]
    assert value == pytest.approx(of_dense_hessians(smooth, x, y), rel=1e-6)
    for width in (1e-3, 1e-4):
        assert value == pytest.approx(finite_differences(smooth, x, y, width), rel=1e-3)


def test_without_it_a_relu_network_has_no_value_that_both_share() -> None:
    """A finite difference counts the kinks within its width, divided by it; a second derivative counts none."""
    model, (x, y) = convolutional_model().double().eval(), batch(6)
    x = x.double()
    wide, narrow = (finite_differences(model, x, y, width) for width in (1e-1, 1e-2))
    assert max(wide, narrow) > 1.5 * curvature(model, x, y, iterations=64)
    assert abs(wide - narrow) > 0.2 * min(wide, narrow)


@pytest.mark.parametrize("name", WITH_RELUS)
def test_softplus_reaches_every_relu_and_leaves_the_network_as_it_was(name: str) -> None:
    model, (x, y) = WITH_RELUS[name]().eval(), batch(3)
    plain, again, dull, sharp = (
        Curvature(examples=3, softplus=s).measure(view(model, x, y))["curvature"] for s in (None, None, 1.0, 1e4)
    )
    assert plain == again != dull
    assert dull != sharp


@pytest.mark.parametrize("scale", [1.0, 5.0, 1e-4])
def test_curvature_of_a_linear_model_has_a_closed_form(scale: float) -> None:
    """W^T (diag p - p p^T) W. The released code divides a difference of gradients wrongly and is off by the square
    of the step, which only absolute numbers show."""
    model, (x, y) = linear_model().double(), batch(8)
    weight = dict(model.named_parameters())["1.weight"]
    with torch.no_grad():
        weight.mul_(scale)
        p = model(x.double()).softmax(dim=1)
    w = weight.detach().numpy()
    largest = [np.linalg.eigvalsh(w.T @ (np.diag(q) - np.outer(q, q)) @ w)[-1] for q in p.numpy()]
    assert curvature(model, x.double(), y) == pytest.approx(np.mean(largest), rel=1e-5)


def test_curvature_of_a_loss_along_one_direction_is_its_second_derivative() -> None:
    """Two classes, logits (s, 0): the second derivative of log(1 + exp(-s)) times the square of the slope's length."""
    model = linear_model(classes=2).double()
    linear = model[1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight[0], linear.weight[1], linear.bias[:] = 0.25, 0.0, 0.0
    x = torch.full((3, 1, 8, 8), 0.05, dtype=torch.float64)
    s = 64 * 0.25 * 0.05
    expected = math.exp(-s) / (1 + math.exp(-s)) ** 2 * 64 * 0.25**2
    assert curvature(model, x, torch.tensor([0, 1, 0]), iterations=1) < expected
    assert curvature(model, x, torch.tensor([0, 1, 0]), iterations=2) == pytest.approx(expected, rel=1e-6)


class Steps(nn.Module):
    """Logits that do not depend on the image where they are flat: no curvature at all."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2].round()


def test_a_model_without_slope_has_no_curvature() -> None:
    x, y = batch(4, classes=2)
    assert curvature(Steps(), x, y) == 0.0


# --- Lanczos ---------------------------------------------------------------------------------------------------------


def with_eigenvalues(values: list[float], seed: int) -> Matrices:
    """A symmetric matrix with these eigenvalues, in random directions."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    matrix: Matrices = directions @ np.diag(values) @ directions.T
    return (matrix + matrix.T) / 2


SPECTRA: dict[str, Callable[[int], list[float]]] = {
    "mixed": lambda n: [float(v) for v in np.linspace(-3, 2, n)],
    "rank_one": lambda n: [2.0] + [0.0] * (n - 1),
    "rank_three": lambda n: ([2.0, -5.0, 0.5] + [0.0] * n)[:n],
    "negative": lambda n: [-1.0 - k / n for k in range(n)],
    "negative_of_low_rank": lambda n: [-2.0] + [0.0] * (n - 1),
    "zero": lambda n: [0.0] * n,
    "identity": lambda n: [3.0] * n,
    "minus_identity": lambda n: [-3.0] * n,
    "projector": lambda n: [1.0] * (n // 2) + [0.0] * (n - n // 2),
    "two_repeated": lambda n: [4.0] * (n // 3) + [-1.0] * (n - n // 3),
    "far_apart": lambda n: [10.0 ** (-k) for k in range(n)],
}


def lanczos(matrices: Matrices, iterations: int, dtype: torch.dtype = torch.float64) -> NDArray[np.float64]:
    """Largest eigenvalues by products in that precision."""
    dense = torch.tensor(matrices).to(dtype)
    start = torch.randn(dense.shape[:2], generator=torch.Generator().manual_seed(0)).to(dtype)
    found = largest_eigenvalues(lambda v: torch.einsum("nij,nj->ni", dense, v), start, iterations)
    assert found.dtype == torch.float64
    result: NDArray[np.float64] = found.numpy()
    return result


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenvalues_equal_numpys_with_as_many_iterations_as_the_size_or_more(
    spectrum: str, size: int, dtype: torch.dtype
) -> None:
    matrices = np.stack([with_eigenvalues(SPECTRA[spectrum](size), seed) for seed in range(4)])
    expected = np.linalg.eigvalsh(matrices)[:, -1]
    for iterations in (size, size + 1, 3 * size + 10):
        found = lanczos(matrices, iterations, dtype)
        np.testing.assert_allclose(found, expected, atol=2e-5 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("spectrum", ["rank_one", "rank_three", "identity", "minus_identity", "projector", "zero"])
def test_one_iteration_more_than_there_are_different_eigenvalues_but_zero_is_exact(spectrum: str) -> None:
    values = SPECTRA[spectrum](40)
    matrices = np.stack([with_eigenvalues(values, seed) for seed in range(4)])
    np.testing.assert_allclose(lanczos(matrices, len({*values} - {0.0}) + 1), [max(values)] * 4, atol=1e-12)


def test_one_iteration_is_the_rayleigh_quotient_of_the_start() -> None:
    matrices = np.stack([with_eigenvalues(SPECTRA["mixed"](9), seed) for seed in range(3)])
    start = torch.randn(3, 9, generator=torch.Generator().manual_seed(0)).double().numpy()
    quotients = np.einsum("ni,nij,nj->n", start, matrices, start) / (start**2).sum(axis=1)
    np.testing.assert_allclose(lanczos(matrices, 1), quotients, rtol=1e-12)


@pytest.mark.parametrize("iterations", [1, 2, 5, 12, 50])
def test_examples_of_one_batch_do_not_touch_each_other(iterations: int) -> None:
    """Some have used up their space long before the others."""
    matrices = np.stack([with_eigenvalues(values(12), 0) for values in SPECTRA.values()])
    together = lanczos(matrices, iterations)
    start = torch.randn(len(matrices), 12, generator=torch.Generator().manual_seed(0)).double()
    for index, matrix in enumerate(matrices):
        dense = torch.tensor(matrix)

        def product(v: Tensor, dense: Tensor = dense) -> Tensor:
            return v @ dense

        alone = largest_eigenvalues(product, start[index : index + 1], iterations)
        assert alone.item() == pytest.approx(together[index], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e-6, 1e6, 1e30])
def test_eigenvalues_grow_with_the_matrix_however_small_it_is(scale: float) -> None:
    """Those of confident models are tiny; below 1e-12 they once came out too small."""
    matrices = np.stack([with_eigenvalues(SPECTRA["mixed"](9), seed) for seed in range(3)])
    np.testing.assert_allclose(lanczos(matrices * scale, 9), np.linalg.eigvalsh(matrices)[:, -1] * scale, rtol=1e-9)


def test_products_that_are_not_finite_give_nan_for_their_example_alone() -> None:
    matrices = np.stack([with_eigenvalues(SPECTRA["mixed"](5), seed) for seed in range(4)])
    matrices[1, 2, 2], matrices[3, 0, 1] = math.nan, math.inf
    found = lanczos(matrices, 5)
    assert np.isnan(found).tolist() == [False, True, False, True]
    np.testing.assert_allclose(found[[0, 2]], 2.0, rtol=1e-9)
