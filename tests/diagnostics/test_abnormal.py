"""Abnormal examples, on models whose gradients tell the truth, lie, or do either."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosweep.attacks import ThreatModel, random_start
from cosweep.seeding import RandomStream
from cosweep.units import Box
from tests.diagnostics.views import measured
from tests.tiny import batch, linear_model

WIDE_BOX = Box(-9.0, 9.0)


class Lying(nn.Module):
    """A linear model whose gradient has the wrong sign for images with a bright first pixel."""

    def __init__(self, brighter_than: float) -> None:
        super().__init__()
        self.linear, self.brighter_than = linear_model(), brighter_than

    def forward(self, x: Tensor) -> Tensor:
        lies = x[:, :1, :1, :1] > self.brighter_than
        logits: Tensor = self.linear(torch.where(lies, 2 * x.detach() - x, x))
        return logits


@pytest.mark.parametrize(("liars", "share"), [(0, 0.0), (5, 0.25), (20, 1.0)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_share_is_that_of_examples_whose_gradient_points_downhill(liars: int, share: float, norm: str) -> None:
    x, y = batch(20)
    x[:, :, 0, 0] = torch.where(torch.arange(20) < liars, 0.9, 0.1)[:, None]
    model = Lying(brighter_than=0.5)
    assert measured("abnormal", model, x, y, norm=norm, box=WIDE_BOX) == {"abnormal_share": share}


class Wave(nn.Module):
    """Logits (sin, 0) of the only pixel; for label 0 the loss falls where the sine rises."""

    def forward(self, x: Tensor) -> Tensor:
        s = torch.sin(40 * x.flatten(1))
        return torch.cat([s, torch.zeros_like(s)], dim=1)


def test_the_share_on_a_wave_is_that_found_pixel_by_pixel() -> None:
    """RS-FGSM's step is 1.25 epsilon and ends in the ball; a wave of that length is uphill at first, then down."""
    epsilon, count = 0.1, 400
    x = torch.linspace(0.2, 0.8, count).view(count, 1, 1, 1)
    eta = random_start(x, ThreatModel(epsilon, WIDE_BOX), RandomStream(0, "abnormal")).flatten().double().numpy()
    at = x.flatten().double().numpy()
    uphill = np.where(np.cos(40 * (at + eta)) > 0, -1.0, 1.0)
    delta = np.clip(eta + 1.25 * epsilon * uphill, -epsilon, epsilon)
    lowered = np.sin(40 * (at + delta)) > np.sin(40 * (at + eta))
    found = measured("abnormal", Wave(), x, torch.zeros(count, dtype=torch.int64), epsilon=epsilon, box=WIDE_BOX)
    assert 0.1 < lowered.mean() < 0.9
    assert found["abnormal_share"] == pytest.approx(lowered.mean(), abs=1.5 / count)


def test_a_step_that_changes_nothing_is_not_abnormal() -> None:
    model, (x, y) = linear_model(), batch(20)
    assert measured("abnormal", model, x, y, epsilon=0.0) == {"abnormal_share": 0.0}
