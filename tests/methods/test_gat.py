"""GAT and NuAT: the distance, its weight, and which steps it guides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from cosweep.methods.gat import GAT
from cosweep.methods.nu_at import NuAT
from tests.methods.batches import WIDE_BOX, following, rng, whole
from tests.tiny import batch, convolutional_model

EPSILON = 0.1
CLEAN = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
AFTER = torch.tensor([[1.0, 0.0], [2.0, 3.0], [0.0, 1.0]])
THREE = whole(GAT(), *batch(3))


def test_gat_s_distance_is_the_sum_of_squares_of_probabilities() -> None:
    p, q = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (CLEAN.numpy(), AFTER.numpy()))
    assert GAT().distance(CLEAN, AFTER, THREE).item() == pytest.approx(((p - q) ** 2).sum())


def test_nuat_s_distance_is_the_sum_of_singular_values() -> None:
    """The change of logits has the rows (1, 0), (0, 3) and (0, 0)."""
    assert NuAT().distance(CLEAN, AFTER, THREE).item() == pytest.approx(4.0)


def test_a_diverged_output_gives_a_loss_that_is_no_number() -> None:
    assert NuAT().distance(CLEAN, AFTER * float("nan"), THREE).isnan()


@pytest.mark.parametrize("method", [GAT(epsilon=EPSILON, lambda_=300.0), NuAT(epsilon=EPSILON, lambda_=3.0)])
def test_the_loss_is_the_clean_one_plus_the_mean_distance(method: GAT) -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    first = replace(whole(method, x, y), done=0.95)
    memory = {name: value.clone() for name, value in first.memory.items()}
    loss, logits = method.loss(model, first)
    again = replace(whole(method, x, y), done=0.95)
    again.memory.update(memory)
    clean, after = model(x), model(x + method.perturb(model, again))
    torch.testing.assert_close(logits, after)
    expected = functional.cross_entropy(clean, y) + method.lambda_ * method.distance(clean, after, first) / 16
    torch.testing.assert_close(loss, expected)
    assert loss > functional.cross_entropy(clean, y) + 1e-2


def test_the_attack_steps_from_half_epsilon_and_is_guided_every_second_time() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = GAT(epsilon=EPSILON, lambda_=30.0)
    first = whole(method, x, y, WIDE_BOX)
    for number in range(4):
        found = method.perturb(model, following(first, number))
        start = EPSILON / 2 * rng(number).symmetric(x.shape, x).sign()
        leaf = (x + start).requires_grad_()
        after = model(leaf)
        goal = functional.cross_entropy(after, y)
        if number % 2:
            p, q = model(x).detach().softmax(dim=1), after.softmax(dim=1)
            goal = goal + 30.0 * (p - q).square().sum(dim=1).mean()
        (gradient,) = torch.autograd.grad(goal, leaf)
        torch.testing.assert_close(found, (start + EPSILON * gradient.sign()).clamp(-EPSILON, EPSILON))


def test_nuat_s_weight_grows_with_the_training() -> None:
    method = NuAT(lambda_=4.5, ramp_share=0.9)
    step = whole(method, *batch(4))
    weights = [method.strength(replace(step, done=done)) for done in (0.0, 0.3, 0.9, 1.0)]
    assert weights == pytest.approx([0.0, 1.5, 4.5, 4.5])
