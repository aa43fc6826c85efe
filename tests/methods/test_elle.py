"""ELLE: the error of linear interpolation, and ELLE-A's strength over the steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import uniform_like
from cosweep.methods.elle import ELLE, ELLEA
from cosweep.methods.fgsm import FGSM
from tests.methods.batches import rng, whole
from tests.tiny import batch, convolutional_model

EPSILON = 0.1


class LinearLoss(nn.Module):
    """Two classes with the logit of label 1 so large that the loss of label 0 is linear in the image."""

    def forward(self, x: Tensor) -> Tensor:
        wrong = 100 + x.flatten(1).sum(dim=1)
        return torch.stack([torch.zeros_like(wrong), wrong], dim=1)


class SquareLoss(LinearLoss):
    """The same, with a loss that is the square of the image's sum."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return torch.stack([logits[:, 0], 100 + (logits[:, 1] - 100) ** 2], dim=1)


def test_a_loss_that_is_linear_has_no_error() -> None:
    x, y = batch(16)[0].double(), torch.zeros(16, dtype=torch.int64)
    method = ELLE(epsilon=EPSILON)
    assert method.linear_error(LinearLoss(), whole(method, x, y)).item() < 1e-20


def test_the_error_of_a_square_is_the_one_computed_by_hand() -> None:
    """For s^2 between s_a and s_b at share t, the chord is t (1 - t) (s_a - s_b)^2 above."""
    x, y = batch(16)[0].double(), torch.zeros(16, dtype=torch.int64)
    method = ELLE(epsilon=EPSILON)
    draws = rng(3)
    a, b = (uniform_like(x, EPSILON, draws).flatten(1).sum(dim=1) for _ in range(2))
    t = draws.uniform((16,), x)
    expected = (t * (1 - t) * (a - b) ** 2).square().mean()
    torch.testing.assert_close(method.linear_error(SquareLoss(), whole(method, x, y, seed=3)), expected)


def test_the_error_is_added_to_the_loss_of_its_base() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    plain = FGSM(epsilon=EPSILON).loss(model, whole(FGSM(), x, y))[0]
    one, ten = (ELLE(epsilon=EPSILON, lambda_=strength) for strength in (1e3, 1e4))
    error = one.loss(model, whole(one, x, y))[0] - plain
    torch.testing.assert_close(ten.loss(model, whole(ten, x, y))[0] - plain, 10 * error, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(error, 1e3 * one.linear_error(model, whole(one, x, y)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("levels", "expected"), [(2, 1e3), (8, 1e3), (10, 5e3), (20, 5e3), (22, 1e4), (64, 1e4)])
def test_default_strength_is_the_authors(levels: int, expected: float) -> None:
    assert ELLE(epsilon=levels / 255).lambda_ == expected
    assert ELLEA(epsilon=levels / 255).lambda_ == 4000


def test_the_adaptive_strength_follows_the_history() -> None:
    method = ELLEA(epsilon=EPSILON, lambda_=100.0, decay_rate=0.5, sensitivity=2.0)
    memory = method.fresh_memory(10, (1, 8, 8), 10, torch.device("cpu"))
    errors = [1.0, 1.2, 9.0, 1.1, 1.0, 30.0, 1.0, 1.0, 99.0]
    strengths = [float(method.strength(memory, torch.tensor(error))) for error in errors]
    # 9 is the third; 30 and 99 stand out from all before them, those included.
    assert strengths == [0, 0, 0, 0, 0, 0, 100, 50, 25]
    assert memory["strength"] == 100


def test_the_deviation_is_that_of_the_errors_themselves() -> None:
    """0, 0 and 3 have the mean 1 and the deviation sqrt(2); as a sample's, it would be sqrt(3)."""
    method = ELLEA(epsilon=EPSILON, lambda_=100.0)
    for error, strength in ((1 + 2 * 2**0.5 - 1e-3, 0.0), (1 + 2 * 2**0.5 + 1e-3, 100.0)):
        memory = method.fresh_memory(10, (1, 8, 8), 10, torch.device("cpu"))
        for seen in (0.0, 0.0, 3.0, error):
            method.strength(memory, torch.tensor(seen))
        assert memory["strength"] == strength


def test_mean_and_spread_of_the_history_are_those_of_all_errors() -> None:
    method = ELLEA(epsilon=EPSILON)
    memory = method.fresh_memory(10, (1, 8, 8), 10, torch.device("cpu"))
    errors = [1e6 + 1e-3 * value for value in (1.0, 4.0, 2.0, 8.0, 5.0)]
    for error in errors:
        method.strength(memory, torch.tensor(error, dtype=torch.float64))
    assert memory["mean"].item() == pytest.approx(np.mean(errors), rel=1e-15)
    assert (memory["squares"] / memory["errors"]).sqrt().item() == pytest.approx(np.std(errors), rel=1e-6)


def test_the_adaptive_method_starts_as_its_base() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method, plain = ELLEA(epsilon=EPSILON), FGSM(epsilon=EPSILON)
    first = whole(method, x, y)
    assert torch.equal(method.loss(model, first)[0], plain.loss(model, whole(plain, x, y))[0])
    error = method.linear_error(model, whole(method, x, y)).item()
    assert first.memory["mean"].item() > 0
    assert first.memory["errors"] == 1
    assert error > 0


def test_a_triggered_strength_weighs_the_error_of_the_next_step() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = ELLEA(epsilon=EPSILON)
    first = whole(method, x, y)
    first.memory["strength"].fill_(7.0)
    loss, logits = method.loss(model, first)
    error = first.memory["mean"].float()
    torch.testing.assert_close(loss, functional.cross_entropy(logits, y) + 7 * error)
    assert loss.dtype == torch.float32
