"""MultiGrad: the entries on which its gradients agree."""

from __future__ import annotations

import pytest
import torch

from cosweep.attacks import ThreatModel, input_gradient, random_start
from cosweep.methods.fgsm import FGSM
from cosweep.methods.multi_grad import MultiGrad
from tests.methods.batches import WIDE_BOX, rng, whole
from tests.tiny import batch, convolutional_model, linear_model

EPSILON = 0.1


def test_entries_on_which_signs_disagree_stay_zero() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = MultiGrad(epsilon=EPSILON, samples=3)
    draws = rng(3)
    signs = [
        input_gradient(model, x + random_start(x, ThreatModel(EPSILON, WIDE_BOX), draws), y).sign().long()
        for _ in range(3)
    ]
    agree = (signs[0] == signs[1]) & (signs[1] == signs[2])
    delta = method.perturb(model, whole(method, x, y, WIDE_BOX, 3))
    assert torch.equal(delta, torch.where(agree, EPSILON * signs[0].float(), 0.0))
    assert 0.05 < (delta == 0).float().mean() < 0.8


def test_a_two_class_linear_model_gives_fgsm() -> None:
    """Its gradient has one sign everywhere."""
    model, (x, y) = linear_model(classes=2), batch(16, classes=2)
    method, plain = MultiGrad(epsilon=EPSILON), FGSM(epsilon=EPSILON)
    assert torch.equal(method.perturb(model, whole(method, x, y)), plain.perturb(model, whole(plain, x, y)))


@pytest.mark.parametrize("samples", [1, 4])
def test_cost_and_bound_follow_the_options(samples: int) -> None:
    method = MultiGrad(epsilon=EPSILON, samples=samples, alpha=0.04)
    assert method.cost == pytest.approx((samples + 1, samples + 1))
    assert method.bound == 0.04
