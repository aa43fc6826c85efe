"""ATAS: the step of each example, and what is kept of it."""

from __future__ import annotations

import math

import pytest
import torch

from cosweep.attacks import input_gradient, uniform_like
from cosweep.methods.atas import ATAS
from cosweep.methods.base import Batch
from tests.methods.batches import WIDE_BOX, following, rng, whole
from tests.tiny import batch, linear_model

EPSILON = 8 / 255


def test_steps_are_those_computed_by_hand() -> None:
    """16/255 / (1 + sqrt(v) / c) between 4/255 and 14/255, v = v / 2 + |g|^2 / 2 (c of 0.01 for a batch of 128)."""
    method = ATAS(epsilon=EPSILON)
    lengths = torch.tensor([1.0, 0.01, 100.0, 3.0])
    gradient = torch.zeros(4, 1, 2, 2)
    gradient[:, 0, 0, 1] = -lengths
    moment, alpha = method.steps(gradient, torch.full((4,), 2.0), torch.full((4,), 6))
    expected = 2.0 / 2 + lengths**2 / 2
    torch.testing.assert_close(moment, expected)
    free = [16 / (1 + math.sqrt(v) / 1.28) for v in expected.tolist()]
    assert [value * 255 for value in alpha.tolist()] == pytest.approx([min(14, max(4, value)) for value in free])
    assert 4 < free[0] < 14
    assert free[2] < 4


def test_short_gradients_get_the_longest_step() -> None:
    _, alpha = ATAS(epsilon=EPSILON).steps(torch.zeros(1, 1, 2, 2), torch.zeros(1), torch.tensor([6]))
    assert alpha.item() == pytest.approx(14 / 255)


def test_the_first_epochs_take_a_step_of_epsilon_and_remember_no_gradient() -> None:
    method = ATAS(epsilon=EPSILON, constant_epochs=2)
    epochs = torch.tensor([1, 2, 3])
    moment, alpha = method.steps(torch.ones(3, 1, 2, 2), torch.zeros(3), epochs)
    assert alpha[:2].tolist() == pytest.approx([EPSILON, EPSILON])
    assert alpha[2] < EPSILON
    assert moment.tolist() == [0, 0, 2]


def test_an_example_goes_on_from_where_it_was_left() -> None:
    model, (x, y) = linear_model(), batch(8)
    method = ATAS(epsilon=EPSILON, constant_epochs=0)
    first = whole(method, x, y, WIDE_BOX)
    delta = uniform_like(x, EPSILON, rng())
    moment = torch.zeros(8)
    for step in range(4):
        gradient = input_gradient(model, x + delta, y)
        moment = 0.5 * moment + 0.5 * gradient.flatten(1).norm(dim=1) ** 2
        share = (2 / (1 + moment.sqrt() / 1.28)).clamp(0.5, 1.75).view(-1, 1, 1, 1)
        delta = (delta + share * EPSILON * gradient.sign()).clamp(-EPSILON, EPSILON)
        found = method.perturb(model, first if step == 0 else following(first, step))
        torch.testing.assert_close(found, delta)
        torch.testing.assert_close(first.memory["delta"], delta)
        torch.testing.assert_close(first.memory["moment"], moment)


def test_examples_outside_the_batch_are_left_alone() -> None:
    model, (x, y) = linear_model(), batch(8)
    method = ATAS(epsilon=EPSILON, constant_epochs=0)
    memory = method.fresh_memory(20, (1, 8, 8), 8, torch.device("cpu"))
    example = torch.tensor([19, 3, 5, 0, 2, 11, 7, 13])
    delta = method.perturb(model, Batch(x, y, WIDE_BOX, rng(), example, memory))
    assert torch.equal(memory["delta"][example], delta)
    others = [number for number in range(20) if number not in example]
    assert memory["delta"][others].abs().max() == 0
    assert memory["draws"].tolist() == [int(number in example) for number in range(20)]


def test_the_start_is_drawn_anew_every_so_many_epochs() -> None:
    model, (x, y) = linear_model(), batch(8)
    method = ATAS(epsilon=EPSILON, reset_epochs=3, constant_epochs=9)
    first = whole(method, x, y, WIDE_BOX)
    drawn = []
    for epoch in range(1, 8):
        kept = first.memory["delta"].clone()
        found = method.perturb(model, following(first, epoch))
        noise = uniform_like(x, EPSILON, rng(epoch))
        ends = {
            name: (start + EPSILON * input_gradient(model, x + start, y).sign()).clamp(-EPSILON, EPSILON)
            for name, start in (("kept", kept), ("noise", noise))
        }
        drawn.append([name for name, end in ends.items() if torch.equal(found, end)])
    assert drawn == [["noise"], ["kept"], ["noise"], ["kept"], ["kept"], ["noise"], ["kept"]]
