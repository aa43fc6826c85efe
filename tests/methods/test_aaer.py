"""AAER: the term on abnormal examples, and its default weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import ThreatModel, random_start
from cosweep.methods.aaer import AAER
from cosweep.methods.n_fgsm import NFGSM
from cosweep.methods.rs_fgsm import RSFGSM
from tests.methods.batches import rng, whole
from tests.tiny import UNIT_BOX, batch, linear_model

METHOD = AAER(epsilon=0.1, lambda_1=0.5, lambda_2=2.0, lambda_3=3.0, fall_gradient=True)
Y = torch.zeros(4, dtype=torch.int64)


def logits(*margins: float) -> Tensor:
    """Two logits for each example: those of label 0 by so much the larger."""
    return torch.tensor([[margin, 0.0] for margin in margins], requires_grad=True)


def loss(margin: float) -> float:
    return functional.softplus(torch.tensor(-margin)).item()


def test_the_term_is_the_one_computed_by_hand() -> None:
    """The step raises the loss of the first three and lowers the last one's; logits move by 1, 1, 1 and 2."""
    before, after = logits(3.0, 1.0, 0.0, 1.0), logits(2.0, 0.0, -1.0, 3.0)
    expected = 0.5 * (1 / 4) * (2.0 * (loss(1.0) - loss(3.0)) + 3.0 * (2.0**2 - 1.0**2))
    assert METHOD.penalty(before, after, Y).item() == pytest.approx(expected)


def test_abnormal_examples_that_move_less_than_the_others_add_their_fall_only() -> None:
    before, after = logits(3.0, 3.0, 0.0, 1.0), logits(0.0, 0.0, 0.5, 1.5)
    expected = 0.5 * (2 / 4) * 2.0 * (loss(0.0) - loss(0.5) + loss(1.0) - loss(1.5)) / 2
    assert METHOD.penalty(before, after, Y).item() == pytest.approx(expected)


@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_a_batch_of_one_kind_has_no_term(shift: float) -> None:
    before, after = logits(3.0, 1.0, 0.0, 1.0), logits(3.0 + shift, 1.0 + shift, shift, 1.0 + shift)
    assert METHOD.penalty(before, after, Y).item() == 0


def test_the_term_pushes_abnormal_examples_alone() -> None:
    before, after = logits(3.0, 1.0, 0.0, 1.0), logits(2.0, 0.0, -1.0, 3.0)
    METHOD.penalty(before, after, Y).backward()  # type: ignore[no-untyped-call]
    assert after.grad is not None
    assert torch.equal(after.grad[:3], torch.zeros(3, 2))
    # d/dm of 0.5 / 4 * (2 * (loss before - softplus(-m)) + 3 * (m - 1)^2) at m = 3
    expected = 0.125 * (2 * torch.sigmoid(torch.tensor(-3.0)) + 3 * 2 * 2.0)
    torch.testing.assert_close(after.grad[3, 0], expected)


def test_as_in_the_authors_code_the_fall_counts_but_does_not_push() -> None:
    released = AAER(epsilon=0.1, lambda_1=0.5, lambda_2=2.0, lambda_3=0.0)
    before, after = logits(3.0, 1.0, 0.0, 1.0), logits(2.0, 0.0, -1.0, 3.0)
    term = released.penalty(before, after, Y)
    assert term.item() == pytest.approx(0.5 / 4 * 2.0 * (loss(1.0) - loss(3.0)))
    assert torch.equal(torch.autograd.grad(term, after)[0], torch.zeros(4, 2))


@pytest.mark.parametrize("base", ["rs_fgsm", "n_fgsm"])
def test_without_abnormal_examples_it_is_its_base(base: str) -> None:
    """The loss of a linear model in two classes never falls along its gradient's sign from any start."""
    model, (x, y) = linear_model(classes=2), batch(16, classes=2)
    method = AAER(epsilon=0.1, base=base)  # type: ignore[arg-type]
    plain = {"rs_fgsm": RSFGSM, "n_fgsm": NFGSM}[base](epsilon=0.1)
    found, expected = (m.loss(model, whole(m, x, y, seed=3))[0] for m in (method, plain))
    assert torch.equal(found, expected)


class Wavy(nn.Module):
    """Logits that rise and fall within the ball."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear_model()

    def forward(self, x: Tensor) -> Tensor:
        waves: Tensor = (8 * self.inner(x)).sin()
        return waves


def test_the_loss_at_the_start_is_compared_with_that_at_the_perturbed_image() -> None:
    model, (x, y) = Wavy(), batch(64)
    method = AAER(epsilon=0.3)
    delta = method.perturb(model, whole(method, x, y, seed=3))
    start = random_start(x, ThreatModel(0.3, UNIT_BOX), rng(3))
    before, after = (functional.cross_entropy(model(x + d), y, reduction="none") for d in (start, delta))
    assert 0 < (before > after).sum() < 64
    found, at = method.loss(model, whole(method, x, y, seed=3))
    torch.testing.assert_close(found, after.mean() + method.penalty(model(x + start), model(x + delta), y))
    assert found > functional.cross_entropy(at, y)


@pytest.mark.parametrize(
    ("base", "levels", "lambda_2", "lambda_3"),
    [
        ("rs_fgsm", 8, 2.5, 1.5),
        ("rs_fgsm", 12, 5.0, 2.75),
        ("rs_fgsm", 16, 7.0, 3.25),
        ("rs_fgsm", 32, 5.75, 1.5),
        ("n_fgsm", 8, 1.5, 0.15),
        ("n_fgsm", 12, 5.0, 0.55),
        ("n_fgsm", 16, 8.5, 1.5),
        ("n_fgsm", 32, 2.75, 0.75),
        ("rs_fgsm", 4, 2.5, 1.5),
        ("rs_fgsm", 10, 3.75, 2.125),
        ("n_fgsm", 24, 5.625, 1.125),
        ("n_fgsm", 64, 2.75, 0.75),
    ],
)
def test_default_weights_are_the_authors_and_linear_in_between(
    base: str, levels: int, lambda_2: float, lambda_3: float
) -> None:
    method = AAER(epsilon=levels / 255, base=base)  # type: ignore[arg-type]
    assert (method.lambda_1, method.lambda_2, method.lambda_3) == pytest.approx((1.0, lambda_2, lambda_3))
