"""ZeroGrad: which entries of the gradient it drops."""

from __future__ import annotations

import pytest
import torch

from cosweep.attacks import ThreatModel, input_gradient, random_start
from cosweep.methods.zero_grad import ZeroGrad, without_small
from tests.methods.batches import WIDE_BOX, rng, whole
from tests.tiny import batch, linear_model

EPSILON = 0.1


@pytest.mark.parametrize("quantile", [0.0, 0.1, 0.35, 0.5, 0.99, 1.0])
def test_what_is_dropped_is_below_torch_s_quantile(quantile: float) -> None:
    gradient = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    limit = torch.quantile(gradient.abs().flatten(1), quantile, dim=1).view(-1, 1, 1, 1)
    expected = torch.where(gradient.abs() < limit, 0.0, gradient)
    assert torch.equal(without_small(gradient, quantile), expected)


def test_the_smallest_share_of_each_image_is_dropped_and_the_rest_kept() -> None:
    gradient = torch.tensor([[5.0, -1.0, 2.0, -4.0, 3.0], [0.1, 0.2, 0.3, 0.4, -0.5]])
    kept = torch.tensor([[5.0, 0.0, 0.0, -4.0, 3.0], [0.0, 0.0, 0.3, 0.4, -0.5]])
    assert torch.equal(without_small(gradient, 0.4), kept)


def test_dropped_entries_keep_their_start_and_the_others_make_the_step() -> None:
    model, (x, y) = linear_model(), batch(16)
    method = ZeroGrad(epsilon=EPSILON, alpha=0.03, quantile=0.35)
    start = random_start(x, ThreatModel(EPSILON, WIDE_BOX), rng(3))
    delta = method.perturb(model, whole(method, x, y, WIDE_BOX, 3))
    size = input_gradient(model, x + start, y).abs().flatten(1)
    large = (size >= torch.quantile(size, 0.35, dim=1, keepdim=True)).view_as(x)
    assert torch.equal(delta[~large], start[~large])
    step = (start + 0.03 * input_gradient(model, x + start, y).sign()).clamp(-EPSILON, EPSILON)
    assert torch.equal(delta[large], step[large])
    assert large.sum().item() == 16 * 41  # 64 entries; 23 have a rank below 0.35 * 63


def test_default_step_is_twice_epsilon() -> None:
    assert ZeroGrad(epsilon=EPSILON).alpha == 2 * EPSILON
