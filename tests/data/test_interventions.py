"""Interventions: laws over all of them, and what each does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cosweep.data import INTERVENTIONS, Intervention
from cosweep.data.carriers import dct_sign
from cosweep.data.interventions import Inject, InjectOrthogonal, inject, project_out, span_basis
from cosweep.specs import build
from cosweep.training.trial_spec import MENUS
from tests.data.reference import BETA, reference
from tests.tiny import CPU, batch

SHAPES = [(1, 8, 8), (3, 32, 32)]
CIFAR = (3, 32, 32)


def act(kind: str, x: Tensor, y: Tensor) -> Tensor:
    intervention: Intervention = build(Intervention, {"kind": kind}, MENUS)  # type: ignore[type-abstract]
    _, channels, height, width = x.shape
    return intervention.bind(10, (channels, height, width), CPU)(x, y)


@pytest.mark.parametrize("kind", INTERVENTIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 7])
def test_shape_is_kept_and_the_input_is_left_as_it_was(kind: str, shape: tuple[int, int, int], n: int) -> None:
    x, y = batch(n, shape)
    x_before, y_before = x.clone(), y.clone()
    out = act(kind, x, y)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)


@pytest.mark.parametrize("kind", INTERVENTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_comes_out_as_it_does_within_the_whole_set(kind: str, shape: tuple[int, int, int]) -> None:
    x, y = batch(13, shape)
    whole = act(kind, x, y)
    parts = torch.cat([act(kind, x[rows], y[rows]) for rows in (slice(0, 5), slice(5, 12), slice(12, 13))])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", INTERVENTIONS)
def test_a_repetition_gives_the_same_images(kind: str) -> None:
    x, y = batch(5)
    assert torch.equal(act(kind, x, y), act(kind, x, y))


def test_injection_equals_the_released_code() -> None:
    apply = Inject(beta=BETA).bind(10, CIFAR, CPU)
    torch.testing.assert_close(apply(reference("x"), reference("y")), reference("inject"), atol=1e-6, rtol=0)


def test_injection_is_not_clipped() -> None:
    x = torch.cat([torch.zeros(1, *CIFAR), torch.ones(1, *CIFAR)])
    out = inject(x, torch.tensor([0, 0]), dct_sign(10, CIFAR), 0.25)
    assert (out.min().item(), out.max().item()) == (-0.25, 1.25)


def test_injection_of_strength_zero_changes_nothing() -> None:
    x, y = batch(5)
    assert torch.equal(Inject(beta=0.0).bind(10, (1, 8, 8), CPU)(x, y), x)


def test_basis_of_ten_carriers_has_rank_five_and_is_orthonormal() -> None:
    """The QR of the released code took ten directions, five of them unrelated."""
    carriers = dct_sign(10, CIFAR)
    basis = span_basis(carriers)
    assert basis.shape == (5, 3 * 32 * 32)
    torch.testing.assert_close(basis @ basis.T, torch.eye(5), atol=1e-5, rtol=0)
    flat = carriers.flatten(1)
    torch.testing.assert_close(flat @ basis.T @ basis, flat, atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_classes", [20, 100])
def test_basis_of_many_carriers_has_their_rank(num_classes: int) -> None:
    assert len(span_basis(dct_sign(num_classes, CIFAR))) == num_classes


def test_projection_is_idempotent_and_leaves_images_outside_the_span() -> None:
    basis = span_basis(dct_sign(10, CIFAR))
    x, _ = batch(4, CIFAR)
    once = project_out(x, basis)
    torch.testing.assert_close(project_out(once, basis), once, atol=1e-5, rtol=0)
    assert (once - x).flatten(1).norm(dim=1).max() < x.flatten(1).norm(dim=1).min()


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_injection_leaves_nothing_in_the_span_but_the_own_carrier(shape: tuple[int, int, int]) -> None:
    beta = 0.1
    x, y = batch(12, shape)
    carriers = dct_sign(10, shape)
    out = InjectOrthogonal(beta=beta).bind(10, shape, CPU)(x, y)
    in_span = out.flatten(1).to(torch.float64) @ carriers.flatten(1).to(torch.float64).T
    own = beta * carriers[y].flatten(1).to(torch.float64) @ carriers.flatten(1).to(torch.float64).T
    torch.testing.assert_close(in_span, own, atol=1e-3, rtol=0)


def test_orthogonal_injection_keeps_what_lies_outside_the_span() -> None:
    x, y = batch(12, CIFAR)
    out = InjectOrthogonal(beta=0.1).bind(10, CIFAR, CPU)(x, y)
    basis = span_basis(dct_sign(10, CIFAR))
    torch.testing.assert_close(project_out(out, basis), project_out(x, basis), atol=1e-5, rtol=0)
