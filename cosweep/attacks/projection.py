"""Keeping a perturbation inside its ball and the image inside its box."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cosweep.seeding import RandomStream
from cosweep.units import Box

Norm = Literal["linf", "l2"]


def clip_ball(delta: Tensor, epsilon: float, norm: Norm = "linf") -> Tensor:
    """The point of the ball that is nearest to ``delta``: entries clipped, or each example (N, ...) shortened."""
    if norm == "linf":
        return delta.clamp(-epsilon, epsilon)
    return delta * (epsilon / lengths(delta).clamp_min(1e-12)).clamp(max=1)


def clip_box(delta: Tensor, x: Tensor, box: Box) -> Tensor:
    """``delta`` such that x + delta lies in the box, or no further out than x where x is outside it.

    This only shortens entries, so a ball constraint met before holds after. In a box that pulls, x + delta
    always lies in the box, and the constraint is lost where x does not.
    """
    if box.pulls:
        return (x + delta).clamp(box.low, box.high) - x
    lowest, highest = (box.low - x).clamp(max=0), (box.high - x).clamp(min=0)
    return torch.minimum(torch.maximum(delta, lowest), highest)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Direction of norm one in which a linear function with this gradient (N, ...) grows most; zero if it is."""
    if norm == "linf":
        return gradient.sign()
    # Gradients of confident models are tiny: scaled by their largest entry first, their squares do not vanish.
    largest = gradient.abs().flatten(1).amax(dim=1).view(-1, *[1] * (gradient.dim() - 1))
    scaled = gradient / largest.where(largest > 0, torch.ones_like(largest))
    return scaled / lengths(scaled).clamp_min(1e-12)


def uniform_like(x: Tensor, radius: float, rng: RandomStream) -> Tensor:
    """Noise of the shape of ``x``, uniform in [-radius, radius]; the same bits on every device."""
    return rng.symmetric(x.shape, x, radius)


def uniform_in_ball(x: Tensor, radius: float, rng: RandomStream, norm: Norm = "linf") -> Tensor:
    """Noise of the shape of ``x`` (N, ...), uniform in the ball around zero.

    In l2 it is the same on every device up to rounding: lengths are sums, and devices add up in different orders.
    """
    if norm == "linf":
        return uniform_like(x, radius, rng)
    direction = rng.normal(x.shape, x)
    share = rng.uniform(x.shape[:1], x) ** (1 / x.shape[1:].numel())
    return direction / lengths(direction) * (radius * share).view(-1, *[1] * (x.dim() - 1))


def lengths(delta: Tensor) -> Tensor:
    """Euclidean length of each example (N, ...), with axes of size one for the others."""
    flat: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return flat.view(-1, *[1] * (delta.dim() - 1))
