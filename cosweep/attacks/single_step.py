"""One gradient step, from the image or from a random point near it."""

from __future__ import annotations

from torch import Tensor

from cosweep.attacks.gradients import Classifier, InputGradient, input_gradient
from cosweep.attacks.projection import Norm, clip_ball, clip_box, steepest
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
    norm: Norm = "linf",
    gradient_of: InputGradient = input_gradient,
) -> Tensor:
    """Perturbation start + alpha * steepest direction at x + start, then ball, then box.

    Args:
        model: Maps pixels to logits.
        x: (N, C, H, W).
        y: (N,) labels.
        alpha: Length of the step in the norm, on the pixel scale.
        box: Range of valid pixels.
        start: (N, C, H, W) starting perturbation; None starts at the image.
        epsilon: Radius of the ball; None leaves the ball out.
        norm: Of step and ball; the steepest direction is the gradient's sign in l-inf.
        gradient_of: What to climb: the cross-entropy, as methods do in training, or for measurements
            :func:`measuring_gradient`.

    Returns:
        delta (N, C, H, W), detached, with x + delta in the box.
    """
    start = x.new_zeros(()) if start is None else start
    gradient = gradient_of(model, x + start, y)
    return step(gradient, x, alpha=alpha, box=box, start=start, epsilon=epsilon, norm=norm)


def step(
    gradient: Tensor,
    x: Tensor,
    *,
    alpha: float,
    box: Box,
    start: Tensor | None = None,
    epsilon: float | None = None,
    norm: Norm = "linf",
) -> Tensor:
    """:func:`single_step` for a gradient (N, C, H, W) that is known already."""
    delta = alpha * steepest(gradient, norm)
    if start is not None:
        delta = start + delta
    if epsilon is not None:
        delta = clip_ball(delta, epsilon, norm)
    return clip_box(delta, x, box)


def fgsm(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    box: Box,
    norm: Norm = "linf",
    gradient_of: InputGradient = input_gradient,
) -> Tensor:
    """Fast gradient sign method (Goodfellow et al., ICLR 2015): one step of epsilon from the image.

    In l2 it is the fast gradient method (FGM; Miyato et al., ICLR 2017).
    """
    return single_step(model, x, y, alpha=epsilon, box=box, norm=norm, gradient_of=gradient_of)
