"""One gradient step, from the image or from a random point near it."""

from __future__ import annotations

from torch import Tensor

from cosweep.attacks.gradients import Classifier, InputGradient, input_gradient
from cosweep.attacks.projection import clip_box, steepest
from cosweep.attacks.threat_model import ThreatModel


def single_step(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    alpha: float,
    start: Tensor | None = None,
    ball: bool = True,
    gradient_of: InputGradient = input_gradient,
) -> Tensor:
    """Perturbation start + alpha * steepest direction at x + start, then ball, then box.

    Args:
        model: Maps pixels to logits.
        x: (N, C, H, W).
        y: (N,) labels.
        threat: Ball and box; its norm is that of the step too, whose direction is the gradient's sign in l-inf.
        alpha: Length of the step in the norm, on the pixel scale.
        start: (N, C, H, W) starting perturbation; None starts at the image.
        ball: Whether the sum is clipped to the ball.
        gradient_of: What to climb: the cross-entropy, as methods do in training, or for measurements
            :func:`measuring_gradient`.

    Returns:
        delta (N, C, H, W), detached, with x + delta in the box.
    """
    start = x.new_zeros(()) if start is None else start
    return step(gradient_of(model, x + start, y), x, threat, alpha=alpha, start=start, ball=ball)


def step(
    gradient: Tensor, x: Tensor, threat: ThreatModel, *, alpha: float, start: Tensor | None = None, ball: bool = True
) -> Tensor:
    """:func:`single_step` for a gradient (N, C, H, W) that is known already."""
    delta = alpha * steepest(gradient, threat.norm)
    if start is not None:
        delta = start + delta
    return threat.clip(delta, x) if ball else clip_box(delta, x, threat.box)


def fgsm(
    model: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, gradient_of: InputGradient = input_gradient
) -> Tensor:
    """Fast gradient sign method (Goodfellow et al., ICLR 2015): one step of epsilon from the image.

    In l2 it is the fast gradient method (FGM; Miyato et al., ICLR 2017).
    """
    return single_step(model, x, y, threat, alpha=threat.epsilon, ball=False, gradient_of=gradient_of)
