"""The loss along FGSM's perturbation, on images of one pixel whose loss was drawn by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cosweep.diagnostics.ray import Ray
from tests.diagnostics.views import measured, view
from tests.tiny import batch, linear_model

# Margins of label 0 at the image, half way and at its FGSM example. Each falls at first, so that FGSM goes that way.
MARGINS = {
    "falls_and_stands": (3.0, 2.0, 1.0),
    "falls_and_breaks": (3.0, 1.0, -2.0),
    "dips": (3.0, -1.0, 2.0),  # right at both ends and wrong between: distorted
    "wrong_from_the_start": (-1.0, -2.0, 2.0),
    "always_wrong": (-1.0, -2.0, -3.0),
}
FAR = 1 / 16  # of a pixel: exact in binary, as is all below
IMAGES = {name: (3 * index + 1) * FAR for index, name in enumerate(MARGINS)}


class Drawn(nn.Module):
    """Logits (margin, 0) of the only pixel, linear between the points of ``MARGINS``."""

    def __init__(self) -> None:
        super().__init__()
        heights = torch.zeros(18)
        for name, margins in MARGINS.items():
            first = round(IMAGES[name] / FAR)
            heights[first : first + 3] = torch.tensor(margins)
        self.register_buffer("heights", heights)

    def forward(self, x: Tensor) -> Tensor:
        position = x.flatten(1) / FAR
        left = position.detach().floor().long()
        heights = self.get_buffer("heights")
        margin = heights[left] + (heights[left + 1] - heights[left]) * (position - left)
        return torch.cat([margin, torch.zeros_like(margin)], dim=1)


def images(*names: str) -> tuple[Tensor, Tensor]:
    x = torch.tensor([IMAGES[name] for name in names]).view(-1, 1, 1, 1)
    return x, torch.zeros(len(names), dtype=torch.int64)


def loss(margin: float) -> float:
    return math.log1p(math.exp(-margin))


@pytest.mark.parametrize("name", MARGINS)
def test_the_loss_is_that_drawn_and_only_a_dip_is_distorted(name: str) -> None:
    found = measured("ray", Drawn(), *images(name), epsilon=2 * FAR)
    start, half, end = MARGINS[name]
    margins = [start + (half - start) * k / 5 for k in range(5)] + [half + (end - half) * k / 5 for k in range(6)]
    assert found["ray_loss"] == pytest.approx([loss(margin) for margin in margins], rel=1e-5)
    assert found["distorted_share"] == (name == "dips")


def test_losses_and_shares_are_means_over_the_examples() -> None:
    names = [*MARGINS, "dips", "dips", "always_wrong"]
    found = measured("ray", Drawn(), *images(*names), epsilon=2 * FAR)
    ends = [sum(loss(MARGINS[name][k]) for name in names) / len(names) for k in (0, 2)]
    assert (found["ray_loss"][0], found["ray_loss"][-1]) == pytest.approx(ends, rel=1e-5)
    assert found["distorted_share"] == 3 / 8


class NarrowDip(nn.Module):
    """Right at a pixel of 1/4 and up to 3/4, but for a sixteenth of the way, from five sixteenths on."""

    def forward(self, x: Tensor) -> Tensor:
        way = (x.flatten(1) - 0.25) / 0.5
        margin = torch.where((way > 0.3125) & (way <= 0.375), -1.0, 1.0) - 0.01 * way
        return torch.cat([margin, torch.zeros_like(margin)], dim=1)


@pytest.mark.parametrize(("points", "distorted"), [(2, 0.0), (5, 0.0), (8, 1.0), (64, 1.0)])
def test_a_narrow_dip_is_seen_by_points_that_are_close_enough(points: int, distorted: float) -> None:
    seen = view(NarrowDip(), torch.full((1, 1, 1, 1), 0.25), torch.zeros(1, dtype=torch.int64), epsilon=0.5)
    found = Ray(points=points).measure(seen)
    assert found["distorted_share"] == distorted
    losses = found["ray_loss"]
    assert isinstance(losses, list)
    assert len(losses) == points + 1


def test_the_loss_of_a_linear_two_class_model_rises_all_the_way() -> None:
    x, y = batch(20, classes=2)
    found = measured("ray", linear_model(classes=2), x, y)
    assert found["ray_loss"] == sorted(found["ray_loss"])
    assert found["ray_loss"][-1] > found["ray_loss"][0]
    assert found["distorted_share"] == 0.0


def test_no_perturbation_leaves_the_loss_as_it_is() -> None:
    x, y = batch(20)
    found = measured("ray", linear_model(), x, y, epsilon=0.0)
    assert set(found["ray_loss"]) == {found["ray_loss"][0]}
    assert found["distorted_share"] == 0.0
