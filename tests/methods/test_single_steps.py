"""The single steps under the regularisers."""

from __future__ import annotations

import pytest
import torch

from cosweep.methods import METHODS
from cosweep.methods.single_steps import SINGLE_STEPS
from tests.methods.batches import whole
from tests.tiny import batch, convolutional_model


@pytest.mark.parametrize("name", SINGLE_STEPS)
def test_a_single_step_is_that_of_the_method_of_its_name(name: str) -> None:
    method, model, (x, y) = METHODS[name](epsilon=0.1), convolutional_model().eval(), batch(16)
    single = SINGLE_STEPS[name]
    assert torch.equal(single.perturb(model, whole(method, x, y), 0.1), method.perturb(model, whole(method, x, y)))
    assert single.bound(0.1) == pytest.approx(method.bound)
