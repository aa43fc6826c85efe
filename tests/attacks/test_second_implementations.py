"""FGSM and PGD against the Adversarial Robustness Toolbox, on a smooth model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosweep.attacks import Norm, ThreatModel, fgsm, lengths, single_step
from cosweep.units import Box
from tests.tiny import UNIT_BOX, batch, smooth_model

ART_NORM = {"linf": np.inf, "l2": 2}


def inner_batch(n: int) -> tuple[Tensor, Tensor]:
    """Images so far from black and white that no perturbation below reaches the box.

    In l2 the toolbox clips to the box before the ball, and cosweep after it; both keep both, and differ where
    both bind.
    """
    x, y = batch(n)
    return 0.4 + 0.2 * x, y


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return smooth_model()


@pytest.fixture(scope="module")
def classifier(model: nn.Sequential) -> Any:
    from art.estimators.classification import PyTorchClassifier

    loss = nn.CrossEntropyLoss()
    return PyTorchClassifier(model, loss, (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu")


def compare(delta: Tensor, x: Tensor, x_adv: Any, epsilon: float, norm: Norm) -> None:
    torch.testing.assert_close(x + delta, torch.tensor(x_adv), atol=1e-5, rtol=0)
    size = delta.abs().amax() if norm == "linf" else lengths(delta).amax()
    assert 0.7 * epsilon < size < epsilon + 1e-6


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.01), ("linf", 0.3), ("l2", 0.05), ("l2", 1.5)])
def test_a_single_step_equals_the_toolboxs(model: nn.Sequential, classifier: Any, norm: Norm, epsilon: float) -> None:
    from art.attacks.evasion import FastGradientMethod

    x, y = batch(20)
    attack = FastGradientMethod(classifier, norm=ART_NORM[norm], eps=epsilon)
    compare(
        fgsm(model, x, y, ThreatModel(epsilon, UNIT_BOX, norm)), x, attack.generate(x.numpy(), y.numpy()), epsilon, norm
    )


@pytest.mark.parametrize(
    ("norm", "epsilon", "alpha", "inner"),
    [
        ("linf", 0.1, 0.025, False),
        ("linf", 0.1, 0.04, True),
        ("linf", 0.03, 0.1, False),
        ("l2", 0.3, 0.075, True),
        ("l2", 0.2, 0.5, True),
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_several_steps_from_the_image_equal_the_toolboxs(
    model: nn.Sequential, classifier: Any, norm: Norm, epsilon: float, alpha: float, inner: bool, steps: int
) -> None:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch

    x, y = inner_batch(20) if inner else batch(20)
    attack = ProjectedGradientDescentPyTorch(
        classifier,
        norm=ART_NORM[norm],
        eps=epsilon,
        eps_step=alpha,
        max_iter=steps,
        num_random_init=0,
        summary_writer=False,
        verbose=False,
    )
    delta = torch.zeros_like(x)
    for _ in range(steps):
        delta = single_step(model, x, y, ThreatModel(epsilon, UNIT_BOX, norm), alpha=alpha, start=delta)
    compare(delta, x, attack.generate(x.numpy(), y.numpy()), min(epsilon, steps * alpha), norm)


def test_the_comparison_above_sees_a_box_that_binds() -> None:
    x, y = batch(20)
    wide, narrow = (fgsm(smooth_model(), x, y, ThreatModel(0.1, box)) for box in (Box(-9.0, 9.0), UNIT_BOX))
    assert not torch.allclose(wide, narrow)
