"""LAP: how far each layer moves, and where the gradient is taken."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from cosweep.attacks import ThreatModel, random_start
from cosweep.methods.lap import LAP
from cosweep.methods.rs_fgsm import RSFGSM
from tests.methods.batches import rng, whole
from tests.tiny import UNIT_BOX, batch, convolutional_model, weights_of

EPSILON = 0.1


def test_layers_move_less_the_later_they_are() -> None:
    """The authors' PreActResNet18 has 21 layers: beta * (1 - (ln l / ln 21)^gamma)."""
    method = LAP(epsilon=8 / 255, weight_radius=0.03, layer_decay=0.3)
    shares = [method.share(layer, 21) for layer in range(1, 22)]
    assert shares[0] == 0.03
    assert shares[1] == pytest.approx(0.03 * (1 - (math.log(2) / math.log(21)) ** 0.3))
    assert shares[-1] == 0
    assert shares == sorted(shares, reverse=True)
    assert method.share(1, 1) == 0.03


def moved_by_hand(model: nn.Sequential, method: LAP, x: torch.Tensor, y: torch.Tensor) -> nn.Sequential:
    """The model with its first layer of two moved up the loss at the random start, by a share of its length."""
    moved = copy.deepcopy(model)
    weight = moved.get_parameter("0.weight")
    start = random_start(x, ThreatModel(EPSILON, UNIT_BOX), rng(3))
    (slope,) = torch.autograd.grad(functional.cross_entropy(moved(x + start), y), [weight])
    with torch.no_grad():
        weight.add_(method.weight_radius * slope / slope.norm() * weight.norm())
    return moved


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_is_that_at_the_moved_weights(training: bool) -> None:
    model, (x, y) = convolutional_model().train(training), batch(16)
    method = LAP(epsilon=EPSILON, weight_radius=0.3)
    plain = RSFGSM(epsilon=EPSILON)
    delta = plain.perturb(copy.deepcopy(model), whole(plain, x, y, seed=3))
    moved = moved_by_hand(model, method, x, y)
    expected = functional.cross_entropy(moved(x + delta), y)
    loss, _ = method.backward(model, whole(method, x, y, seed=3))
    torch.testing.assert_close(loss, expected.detach())
    unmoved = torch.autograd.grad(functional.cross_entropy(model(x + delta), y), list(model.parameters()))
    for parameter, there, here in zip(
        model.parameters(), torch.autograd.grad(expected, list(moved.parameters())), unmoved
    ):
        torch.testing.assert_close(parameter.grad, there)
        assert parameter.grad is not None
        assert not torch.allclose(parameter.grad, here, rtol=1e-3)


def test_the_weights_are_as_they_were_bit_for_bit() -> None:
    model, (x, y) = convolutional_model(), batch(16)
    before = weights_of(model)
    method = LAP(epsilon=EPSILON, weight_radius=0.3)
    method.backward(model, whole(method, x, y))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is not None
    assert model[1].num_batches_tracked == before["1.num_batches_tracked"] + 2


def test_the_move_raises_the_loss_at_the_start() -> None:
    model, (x, y) = convolutional_model().eval(), batch(64)
    start = random_start(x, ThreatModel(EPSILON, UNIT_BOX), rng(3))
    moved = moved_by_hand(model, LAP(epsilon=EPSILON, weight_radius=0.1), x, y)
    assert functional.cross_entropy(moved(x + start), y) > functional.cross_entropy(model(x + start), y)


def test_without_a_move_it_is_its_base() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method, plain = LAP(epsilon=EPSILON, weight_radius=0.0), RSFGSM(epsilon=EPSILON)
    losses = [m.loss(model, whole(m, x, y, seed=3))[0] for m in (method, plain)]
    torch.testing.assert_close(*losses)


def test_a_loss_without_a_slope_moves_nothing() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    method = LAP(epsilon=EPSILON, weight_radius=0.3)
    loss, _ = method.backward(model, whole(method, x, y))
    assert loss.item() == pytest.approx(math.log(10))


@pytest.mark.parametrize(
    ("base", "levels", "expected"),
    [("fgsm", 8, 0.03), ("fgsm", 10, 0.044), ("rs_fgsm", 16, 0.05), ("n_fgsm", 4, 0.001), ("n_fgsm", 64, 0.75)],
)
def test_default_radius_is_the_authors_and_linear_in_between(base: str, levels: int, expected: float) -> None:
    assert LAP(epsilon=levels / 255, base=base).weight_radius == pytest.approx(expected)  # type: ignore[arg-type]
