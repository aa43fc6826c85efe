"""Projected gradient descent (Madry et al., ICLR 2018) in the l-inf or l2 ball."""

from __future__ import annotations

import torch
from torch import Tensor

from cosweep.attacks.gradients import (
    Classifier,
    InputGradient,
    gradient_and_logits,
    input_gradient,
    margin_where,
    vanished,
)
from cosweep.attacks.projection import clip_box, uniform_in_ball
from cosweep.attacks.single_step import single_step, step
from cosweep.attacks.threat_model import ThreatModel
from cosweep.seeding import RandomStream

_ROWS = 512
"""Images a batch from which on more take proportionally longer, on a CPU; a GPU takes more."""


def random_start(x: Tensor, threat: ThreatModel, rng: RandomStream) -> Tensor:
    """Uniform perturbation in the ball, clipped to the box."""
    return clip_box(uniform_in_ball(x, threat.epsilon, rng, threat.norm), x, threat.box)


def pgd_alpha(epsilon: float, steps: int) -> float:
    """Step of the PGD that measures: epsilon / 4, or epsilon / steps where so few steps would not get to the border.

    Madry et al. (ICLR 2018, section 5) let the steps add up to 2.5 epsilon, so that every start can reach the border of
    the ball and move along it. With epsilon / 4 ten steps do, and fewer than four do not even add up to epsilon.
    """
    return max(epsilon / 4, epsilon / steps)


def pgd(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    alpha: float,
    steps: int,
    rng: RandomStream,
    start: Tensor | None = None,
    gradient_of: InputGradient = input_gradient,
) -> Tensor:
    """Perturbation (N, C, H, W) after ``steps`` steepest steps of ``alpha`` from ``start``; None is a random start."""
    delta = random_start(x, threat, rng) if start is None else start
    for _ in range(steps):
        delta = single_step(model, x, y, threat, alpha=alpha, start=delta, gradient_of=gradient_of)
    return delta


def withstands_pgd(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    alpha: float,
    steps: int,
    restarts: int,
    rng: RandomStream,
) -> Tensor:
    """Which examples (N,) no iterate of any restart turns wrong, clean image included.

    An example that is broken is not attacked again, so the cost falls with the robust accuracy. After the first restart
    as many run together as make a batch of the first one's size, or of ``_ROWS``. From the first iterate at which an
    example's gradient is exactly zero, it is attacked by that of the margin (:func:`margin_where`): the cross-entropy's
    gradients nearby are of little use, having lost the right class's part to rounding.
    """
    standing = correct(model, x, y)
    flat = torch.zeros_like(standing)
    done = 0
    while done < restarts:
        row = standing.nonzero().flatten()
        if len(row) == 0:
            break
        together = min(restarts - done, max(_ROWS, len(x)) // len(row)) if done else 1
        delta = torch.cat([random_start(x, threat, rng)[row] for _ in range(together)])
        row = row.repeat(together)
        done += together
        for _ in range(steps):
            gradient, logits = gradient_and_logits(model, x[row] + delta, y[row])
            standing[row[~labels_right(logits, y[row])]] = False
            kept = standing[row]
            row, delta, gradient = row[kept], delta[kept], gradient[kept]
            if len(row) == 0:
                return standing
            flat[row[vanished(gradient)]] = True
            gradient = margin_where(flat[row], gradient, model, x[row] + delta, y[row])
            delta = step(gradient, x[row], threat, alpha=alpha, start=delta)
        standing[row[~correct(model, x[row] + delta, y[row])]] = False
    return standing


@torch.no_grad()
def correct(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Which examples (N,) the model labels right."""
    return labels_right(model(x), y)


def labels_right(logits: Tensor, y: Tensor) -> Tensor:
    """Which examples (N,) have their largest logit at their label; never those with a logit that is not finite."""
    return (logits.argmax(dim=1) == y) & logits.isfinite().all(dim=1)
