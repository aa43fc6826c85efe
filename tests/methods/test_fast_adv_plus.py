"""FastAdv+: when it checks, and when it switches to PGD and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cosweep.methods.base import Batch
from cosweep.methods.fast_adv_plus import FastAdvPlus
from cosweep.methods.rs_fgsm import RSFGSM
from tests.methods.batches import following, rng, whole
from tests.tiny import batch, convolutional_model

EPSILON = 0.1


class Scripted(nn.Module):
    """Labels the first ``right`` of 20 images 0 and the others 1, whatever they are; counts its forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.right, self.forwards = 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        margin = torch.where(torch.arange(20) < self.right, 1.0, -1.0) + 1e-3 * x.flatten(1).mean(dim=1)
        return torch.stack([margin, -margin], dim=1)


def test_it_switches_on_a_drop_and_back_when_it_has_recovered() -> None:
    """Single steps cost one pass, PGD's seven, a check eight: at every other step here."""
    model, x, y = Scripted(), batch(20)[0], torch.zeros(20, dtype=torch.int64)
    method = FastAdvPlus(epsilon=EPSILON, check_every=2, drop=0.5)
    step = whole(method, x, y)
    passes = []
    for right in (10, 12, 4, 5, 8, 10, 7, 4):  # the mean is 10, 10.6, stays, 9.8, 9.9, 9
        model.right = right
        for _ in range(2):
            model.forwards = 0
            method.perturb(model, step)
            passes.append(model.forwards)
            step = following(step)
    lost = [False, False, True, True, False, False, False, True]
    assert passes == [count for switched in lost for count in ([8 + 7, 7] if switched else [8 + 1, 1])]


def test_a_slow_decline_is_no_drop() -> None:
    model, x, y = Scripted(), batch(20)[0], torch.zeros(20, dtype=torch.int64)
    method = FastAdvPlus(epsilon=EPSILON, check_every=1, drop=0.5)
    step = whole(method, x, y)
    for model.right in range(20, 8, -2):
        method.perturb(model, step)
        assert not step.memory["lost"]
    assert step.memory["robust_acc"].item() < 0.8


def test_a_batch_that_is_somewhat_harder_is_no_drop() -> None:
    """Of 64 images at robust accuracy one half, batches differ by a tenth and more."""
    model, x, y = Scripted(), batch(20)[0], torch.zeros(20, dtype=torch.int64)
    method = FastAdvPlus(epsilon=EPSILON, check_every=1)
    step = whole(method, x, y)
    for model.right in (10, 14, 7, 12, 8):
        method.perturb(model, step)
        assert not step.memory["lost"]


def test_an_accuracy_that_stays_is_no_drop_of_zero() -> None:
    model, x, y = Scripted(), batch(20)[0], torch.zeros(20, dtype=torch.int64)
    model.right = 8
    method = FastAdvPlus(epsilon=EPSILON, check_every=1, drop=0.0)
    step = whole(method, x, y)
    for _ in range(3):
        method.perturb(model, step)
        assert not step.memory["lost"]


def test_between_checks_it_is_rs_fgsm() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method, plain = FastAdvPlus(epsilon=EPSILON), RSFGSM(epsilon=EPSILON)
    first = whole(method, x, y)
    method.perturb(model, first)
    found = method.perturb(model, following(first, 3))
    assert torch.equal(found, plain.perturb(model, whole(plain, x, y, seed=3)))


def test_a_check_leaves_the_running_statistics_alone() -> None:
    model, (x, y) = convolutional_model(), batch(16)
    method = FastAdvPlus(epsilon=EPSILON)
    method.perturb(model, whole(method, x, y))
    assert model[1].num_batches_tracked == 1
    assert model[1].training


def test_a_switched_state_is_remembered() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = FastAdvPlus(epsilon=EPSILON)
    first = whole(method, x, y)
    method.perturb(model, first)
    lost = {name: value.clone() for name, value in first.memory.items()} | {"lost": torch.tensor(True)}
    kept, switched = (Batch(x, y, first.box, rng(1), first.example, memory)
                      for memory in (first.memory, lost))  # fmt: skip
    assert not torch.equal(method.perturb(model, kept), method.perturb(model, switched))
