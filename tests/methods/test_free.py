"""Free adversarial training: what it remembers between batches and when it moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import input_gradient
from cosweep.methods.base import Batch
from cosweep.methods.free import Free
from tests.methods.batches import WIDE_BOX, following, rng, whole
from tests.tiny import batch, convolutional_model, linear_model, tiny_spec, tiny_trainer

EPSILON = 0.1


def test_delta_adds_up_the_signs_of_the_gradients_it_was_trained_at() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = Free(epsilon=EPSILON, alpha=0.04)
    first = whole(method, x, y, WIDE_BOX)
    expected = torch.zeros_like(x)
    for _ in range(4):
        method.backward(model, following(first))
        expected = (expected + 0.04 * input_gradient(model, x + expected, y).sign()).clamp(-EPSILON, EPSILON)
        torch.testing.assert_close(first.memory["delta"], expected)
    assert expected.abs().max() == EPSILON


def released_deltas(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Iterator[Tensor]:
    """Deltas of the authors' loop: differentiated through the clipping of the image, and never clipped to the box.

    A pixel that reaches the edge and does not cross it has a gradient, as it had in the authors' torch and TensorFlow;
    today's ``clamp`` has none there.
    """
    delta, black, white = torch.zeros_like(x), torch.zeros(()), torch.ones(())
    for _ in range(steps):
        leaf = delta.clone().requires_grad_()
        clipped = torch.minimum(torch.maximum(x + leaf, black), white)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(model(clipped), y), leaf)
        delta = (delta + 0.04 * gradient.sign()).clamp(-EPSILON, EPSILON)
        yield delta


def test_as_released_delta_is_that_of_the_authors_loop_at_the_edge_of_the_box_too() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    released, plain = Free(epsilon=EPSILON, alpha=0.04, as_released=True), Free(epsilon=EPSILON, alpha=0.04)
    first, other = (whole(method, x, y) for method in (released, plain))
    for number, expected in enumerate(released_deltas(model, x, y, 4)):
        released.backward(model, following(first))
        plain.backward(model, following(other))
        torch.testing.assert_close(first.memory["delta"], expected)
        same = torch.equal(other.memory["delta"], expected)
        assert same is (number == 0)  # at first nothing is clipped


def test_an_entry_that_leads_out_of_the_box_moves_by_the_algorithm_and_stays_as_released() -> None:
    """One black pixel whose loss grows with it: delta is -0.1, the image clipped at 0, and the gradient there is 1."""
    linear = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        linear.weight[:] = torch.tensor([[-1.0], [1.0]])
    model = nn.Sequential(nn.Flatten(), linear)
    x, y = torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64)
    for as_released, expected in ((False, -0.06), (True, -0.1)):
        method = Free(epsilon=EPSILON, alpha=0.04, as_released=as_released)
        step = whole(method, x, y)
        step.memory["delta"].fill_(-0.1)
        method.backward(model, step)
        assert step.memory["delta"].item() == pytest.approx(expected)


def test_the_weights_get_the_gradient_at_the_delta_before_it_moves() -> None:
    model, (x, y) = convolutional_model().eval(), batch(16)
    method = Free(epsilon=EPSILON)
    first = whole(method, x, y, WIDE_BOX)
    loss, _ = method.backward(model, first)
    assert loss == functional.cross_entropy(model(x), y)
    model.zero_grad()
    before = first.memory["delta"].clone()
    loss, logits = method.backward(model, first)
    expected = functional.cross_entropy(model(x + before), y)
    torch.testing.assert_close(loss, expected.detach())
    assert not loss.requires_grad
    assert not logits.requires_grad
    for parameter, gradient in zip(model.parameters(), torch.autograd.grad(expected, list(model.parameters()))):
        torch.testing.assert_close(parameter.grad, gradient)


def test_another_batch_starts_from_the_delta_of_the_last() -> None:
    model, (x, y), (other, labels) = linear_model(), batch(16), batch(5, seed=1)
    method = Free(epsilon=EPSILON)
    first = whole(method, x, y)
    method.backward(model, first)
    kept = first.memory["delta"].clone()
    short = Batch(other, labels, first.box, rng(), torch.arange(5), first.memory)
    torch.testing.assert_close(other + method.perturb(model, short), torch.clamp(other + kept[:5], 0, 1))
    method.backward(model, short)
    assert torch.equal(first.memory["delta"][5:], kept[5:])
    assert not torch.equal(first.memory["delta"][:5], kept[:5])


def test_an_l2_delta_moves_along_the_gradient() -> None:
    model, (x, y) = linear_model(), batch(16)
    method = Free(epsilon=1.0, alpha=0.5, norm="l2")
    first = whole(method, x, y, WIDE_BOX)
    method.backward(model, first)
    torch.testing.assert_close(first.memory["delta"].flatten(1).norm(dim=1), torch.full((16,), 0.5))


@pytest.mark.parametrize("replays", [1, 3])
def test_a_batch_is_trained_on_as_often_as_said(replays: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = tiny_trainer(tiny_spec(method={"name": "free", "replays": replays, "epsilon": "16/255"}))
    drawn: list[list[int]] = []
    read = trainer.data.train_batch

    def recorded(index: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn.append(index.tolist())
        return read(index, step)

    monkeypatch.setattr(trainer.data, "train_batch", recorded)
    for _ in range(6):
        trainer.advance()
    assert all(drawn[step] == drawn[step - step % replays] for step in range(6))
    assert len({tuple(index) for index in drawn}) == 6 // replays
