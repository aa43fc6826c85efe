"""Kim et al.: how far along RS-FGSM's perturbation an image is moved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cosweep.attacks import uniform_like
from cosweep.methods.kim import Kim
from cosweep.methods.rs_fgsm import RSFGSM
from tests.methods.batches import WIDE_BOX, rng, whole
from tests.tiny import batch, convolutional_model

EPSILON = 0.3


class Intervals(nn.Module):
    """Images of one pixel, two classes: label 1 inside any of the intervals of |pixel|.

    The loss of label 0 grows with the pixel, so that the way from 0 leads up.
    """

    def __init__(self, *intervals: tuple[float, float]) -> None:
        super().__init__()
        self.intervals = intervals
        self.batch_norm = nn.BatchNorm1d(1)
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.batch_norm.training)
        pixel = x.flatten(1)[:, 0]
        fooled = torch.zeros_like(pixel, dtype=torch.bool)
        for low, high in self.intervals:
            fooled |= (pixel >= low) & (pixel <= high)
        # The slope in the pixel is positive on both sides and too small to change the label.
        margin = torch.where(fooled, 1.0, -1.0) + 1e-3 * pixel
        return torch.stack([-margin, margin], dim=1)


def moved(model: nn.Module, checkpoints: int) -> float:
    """Share of the whole way, which is epsilon, by which a black pixel is moved."""
    x, y = torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64)
    # A random start at which no case is fooled, and from which RS-FGSM's step reaches the edge of the ball.
    seed = next(seed for seed in range(99) if -0.07 < uniform_like(x, EPSILON, rng(seed)).item() < 0.08)
    method = Kim(epsilon=EPSILON, checkpoints=checkpoints)
    return method.perturb(model, whole(method, x, y, WIDE_BOX, seed)).item() / EPSILON


@pytest.mark.parametrize(
    ("intervals", "checkpoints", "expected"),
    [
        ([], 3, 1.0),  # right everywhere: the whole way
        ([(0.09, 0.11)], 3, 1 / 3),  # wrong at the first of 0.1, 0.2, 0.3
        ([(0.19, 0.21)], 3, 2 / 3),
        ([(0.09, 0.11), (0.19, 0.21)], 3, 1 / 3),  # wrong at both: the smaller
        ([(0.29, 0.31)], 3, 1.0),  # wrong at the end only
        ([(0.14, 0.16)], 3, 1.0),  # wrong between checkpoints only
        ([(0.14, 0.16)], 2, 1 / 2),
        ([(0.09, 0.21)], 1, 1.0),  # one checkpoint: RS-FGSM
    ],
)
def test_the_smallest_checkpoint_that_fools_is_taken(
    intervals: list[tuple[float, float]], checkpoints: int, expected: float
) -> None:
    assert moved(Intervals(*intervals), checkpoints) == pytest.approx(expected)


def test_an_image_that_is_wrong_already_is_trained_on_unperturbed() -> None:
    assert moved(Intervals((-9.0, 9.0)), 3) == 0


def test_checkpoints_are_labelled_with_the_running_statistics() -> None:
    model = Intervals()
    model.train()
    x, y = torch.zeros(4, 1, 1, 1), torch.zeros(4, dtype=torch.int64)
    method = Kim(epsilon=EPSILON, checkpoints=3)
    method.perturb(model, whole(method, x, y, WIDE_BOX))
    assert model.modes == [True, False, False]
    assert model.batch_norm.training


@pytest.mark.parametrize(("mode", "train_mode"), [(None, False), ("eval", False), ("train", True)])
def test_the_whole_search_is_in_eval_mode_as_in_the_authors_code(mode: str | None, train_mode: bool) -> None:
    model = Intervals().train()
    x, y = torch.zeros(4, 1, 1, 1), torch.zeros(4, dtype=torch.int64)
    method = Kim(epsilon=EPSILON) if mode is None else Kim(epsilon=EPSILON, attack_mode=mode)  # type: ignore[arg-type]
    method.attack(model, whole(method, x, y, WIDE_BOX))
    assert model.modes == [train_mode, False, False]
    assert model.batch_norm.training


def test_every_image_is_moved_by_a_multiple_of_a_checkpoint() -> None:
    model, (x, _) = convolutional_model().eval(), batch(200)
    y = model(x).argmax(dim=1)
    method, plain = Kim(epsilon=EPSILON), RSFGSM(epsilon=EPSILON)
    delta = method.perturb(model, whole(method, x, y, WIDE_BOX))
    share = (delta / plain.perturb(model, whole(plain, x, y, WIDE_BOX))).flatten(1).mean(dim=1)
    assert {round(3 * value.item(), 3) for value in share} == {0, 1, 2, 3}
