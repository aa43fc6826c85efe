"""The single steps, and what is put on top of them."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from cosweep.attacks import single_step, uniform_like
from cosweep.methods import METHODS
from cosweep.methods.lap import LAP
from tests.methods.batches import whole
from tests.tiny import batch, convolutional_model

EPSILON = 0.1


@pytest.mark.parametrize("base", ["fgsm", "rs_fgsm", "n_fgsm"])
def test_a_regulariser_trains_on_the_perturbation_of_the_method_it_names(
    base: Literal["fgsm", "rs_fgsm", "n_fgsm"],
) -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method, own = LAP(epsilon=EPSILON, base=base), METHODS[base](epsilon=EPSILON)
    assert torch.equal(method.perturb(model, whole(method, x, y)), own.perturb(model, whole(own, x, y)))
    assert method.bound == own.bound


def test_rs_fgsm_steps_from_uniform_noise_in_the_ball() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = METHODS["rs_fgsm"](epsilon=EPSILON)
    step = whole(method, x, y)
    threat, rng = method.threat(step.box), whole(method, x, y).rng
    noise = uniform_like(x, EPSILON, rng)
    start = (x + noise).clamp(step.box.low, step.box.high) - x
    expected = single_step(model, x, y, threat, alpha=1.25 * EPSILON, start=start)
    torch.testing.assert_close(method.perturb(model, step), expected)
