"""One signed gradient step, from the image or from a random point near it."""

from __future__ import annotations

from torch import Tensor

from cosweep.attacks.gradients import Classifier, input_gradient
from cosweep.attacks.projection import clip_ball, clip_box
from cosweep.units import Box


def single_step(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    alpha: float,
    box: Box,
    start: Tensor | None = None,
    epsilon: float | None = None,
) -> Tensor:
    """Perturbation start + alpha * sign(gradient at x + start), then ball, then box.

    Args:
        model: Maps pixels to logits.
        x: (N, C, H, W), inside the box.
        y: (N,) labels.
        alpha: Step, on the pixel scale.
        box: Range of valid pixels.
        start: (N, C, H, W) starting perturbation; None starts at the image.
        epsilon: Radius of the ball; None leaves the ball out.

    Returns:
        delta (N, C, H, W), detached, with x + delta in the box.
    """
    start = x.new_zeros(()) if start is None else start
    gradient = input_gradient(model, x + start, y)
    return signed_step(gradient, x, alpha=alpha, box=box, start=start, epsilon=epsilon)


def signed_step(
    gradient: Tensor, x: Tensor, *, alpha: float, box: Box, start: Tensor | None = None, epsilon: float | None = None
) -> Tensor:
    """:func:`single_step` for a gradient (N, C, H, W) that is known already."""
    delta = alpha * gradient.sign()
    if start is not None:
        delta = start + delta
    if epsilon is not None:
        delta = clip_ball(delta, epsilon)
    return clip_box(delta, x, box)


def fgsm(model: Classifier, x: Tensor, y: Tensor, epsilon: float, box: Box) -> Tensor:
    """Fast gradient sign method (Goodfellow et al., ICLR 2015): one step of epsilon from the image."""
    return single_step(model, x, y, alpha=epsilon, box=box)
