"""Keeping a perturbation inside its ball and the image inside its box."""

from __future__ import annotations

import torch
from torch import Tensor

from cosweep.units import Box


def clip_ball(delta: Tensor, epsilon: float) -> Tensor:
    """``delta`` with entries in [-epsilon, epsilon]."""
    return delta.clamp(-epsilon, epsilon)


def clip_box(delta: Tensor, x: Tensor, box: Box) -> Tensor:
    """``delta`` such that x + delta lies in the box, or no further out than x where x is outside it.

    This only shortens entries, so a ball constraint met before holds after.
    """
    lowest, highest = (box.low - x).clamp(max=0), (box.high - x).clamp(min=0)
    return torch.minimum(torch.maximum(delta, lowest), highest)


def uniform_like(x: Tensor, radius: float, rng: torch.Generator) -> Tensor:
    """Noise of the shape of ``x``, uniform in [-radius, radius], drawn on the CPU."""
    return (torch.rand(x.shape, generator=rng) * (2 * radius) - radius).to(x.device)
