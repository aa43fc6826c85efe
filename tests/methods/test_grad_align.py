"""GradAlign: the term, its default strength, and which gradients it compares."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import input_gradient, uniform_like
from cosweep.errors import SpecError
from cosweep.methods.fgsm import FGSM
from cosweep.methods.grad_align import GradAlign, mean_cosine
from tests.methods.batches import WIDE_BOX, rng, whole
from tests.tiny import batch, convolutional_model, linear_model

EPSILON = 0.1


class Quadratic(nn.Module):
    """Two classes with logits (0, x' A x / 2): the gradient for label 0 points along A x."""

    def __init__(self) -> None:
        super().__init__()
        factor = torch.randn(64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.a = nn.Parameter(factor @ factor.T / 64)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        form = 0.5 * (flat @ self.a * flat).sum(dim=1)
        return torch.stack([torch.zeros_like(form), form], dim=1)


def term(method: GradAlign, model: nn.Module, x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    """What the method adds to the cross-entropy."""
    loss, logits = method.loss(model, whole(method, x, y, WIDE_BOX, seed))
    return loss - functional.cross_entropy(logits, y)


def test_a_two_class_linear_model_has_no_term() -> None:
    x, y = batch(16, classes=2)
    method = GradAlign(epsilon=EPSILON, lambda_=1000.0)
    assert abs(term(method, linear_model(classes=2), x, y).item()) < 1e-2
    assert term(method, convolutional_model(classes=2).eval(), x, y).item() > 1


@pytest.mark.parametrize("as_released", [False, True])
def test_the_term_is_the_one_computed_by_hand(as_released: bool) -> None:
    model, (x, _) = Quadratic(), batch(5)
    x = x.double() + 0.1
    y = torch.zeros(5, dtype=torch.int64)
    method = GradAlign(epsilon=EPSILON, lambda_=3.0, as_released=as_released)
    eta = uniform_like(x, EPSILON, rng(7))
    first = x + EPSILON * (x.flatten(1) @ model.a).sign().view_as(x) if as_released else x
    one, other = (point.flatten(1) @ model.a for point in (first, x + eta))
    expected = 3.0 * (1 - functional.cosine_similarity(one, other, dim=1).mean())
    torch.testing.assert_close(term(method, model, x, y, seed=7), expected)
    assert expected > 1e-3


def test_only_the_gradient_at_the_random_point_is_differentiated() -> None:
    """With A = diag(a): the derivative of cos(u, A v) in a, where u is held fixed though it depends on a."""
    model, (x, _) = Quadratic(), batch(5)
    x, y = x.double() + 0.1, torch.zeros(5, dtype=torch.int64)
    method = GradAlign(epsilon=EPSILON, lambda_=3.0)
    (found,) = torch.autograd.grad(term(method, model, x, y, seed=7), model.a)
    fixed = (x.flatten(1) @ model.a).detach()
    other = (x + uniform_like(x, EPSILON, rng(7))).flatten(1)
    # The gradient of the form is (A + A') x / 2.
    cosine = functional.cosine_similarity(fixed, other @ (model.a + model.a.T) / 2, dim=1).mean()
    (expected,) = torch.autograd.grad(-3.0 * cosine, model.a)
    torch.testing.assert_close(found, expected)


def test_without_the_term_it_is_fgsm() -> None:
    x, y = batch(16)
    model = convolutional_model().eval()
    method, plain = GradAlign(epsilon=EPSILON, lambda_=0.0), FGSM(epsilon=EPSILON)
    assert torch.equal(method.loss(model, whole(method, x, y))[0], plain.loss(model, whole(plain, x, y))[0])
    assert torch.equal(method.perturb(model, whole(method, x, y)), plain.perturb(model, whole(plain, x, y)))


def test_examples_whose_gradient_vanishes_do_not_count() -> None:
    x, y = batch(2)
    gradient = input_gradient(linear_model(), x, y)
    other = gradient.clone()
    other[0] = 0
    other[1, 0, 0] *= -1
    expected = functional.cosine_similarity(gradient[1].flatten(), other[1].flatten(), dim=0)
    torch.testing.assert_close(mean_cosine(gradient, other), expected)
    assert mean_cosine(gradient, torch.zeros_like(other)) == 1


def test_tiny_gradients_have_the_cosine_of_large_ones() -> None:
    one, other = (torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    torch.testing.assert_close(mean_cosine(one * 1e-19, other * 1e-19), mean_cosine(one, other))


def test_a_vanishing_gradient_leaves_the_weights_finite_gradients() -> None:
    other = torch.zeros(2, 1, 8, 8).requires_grad_()
    mean_cosine(torch.ones(2, 1, 8, 8), other * 1.0).backward()  # type: ignore[no-untyped-call]
    assert other.grad is not None
    assert torch.equal(other.grad, torch.zeros_like(other))


@pytest.mark.parametrize(("levels", "expected"), [(2, 0.036), (4, 0.063), (8, 0.2), (12, 0.632), (16, 2.0), (64, 2.0)])
def test_default_strength_is_the_authors_fit_and_stays_where_it_ends(levels: int, expected: float) -> None:
    assert GradAlign(epsilon=levels / 255).lambda_ == pytest.approx(expected, rel=0.02)
    assert GradAlign(epsilon=levels / 255, as_released=True).lambda_ == 0.2


def test_the_strength_stays_during_warm_up() -> None:
    method = GradAlign(epsilon=8 / 255)
    assert method.scaled(0.5).lambda_ == method.lambda_
    assert method.scaled(0.5).epsilon == pytest.approx(4 / 255)


def test_a_negative_strength_is_a_fault() -> None:
    with pytest.raises(SpecError, match="lambda_: must be at least 0"):
        GradAlign(lambda_=-1.0)
