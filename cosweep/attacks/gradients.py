"""Gradient of the loss with respect to the input, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Classifier(Protocol):
    """A differentiable map from (N, C, H, W) pixels to (N, K) logits; what an attack needs."""

    def __call__(self, x: Tensor, /) -> Tensor: ...


InputGradient = Callable[[Classifier, Tensor, Tensor], Tensor]
"""Maps a model, images (N, C, H, W) and labels (N,) to the gradient (N, C, H, W) that an attack climbs."""


def input_gradient(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of the summed cross-entropy at each image, (N, C, H, W)."""
    return gradient_and_logits(model, x, y)[0]


def gradient_and_logits(model: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the summed cross-entropy at each image, (N, C, H, W), and the logits (N, K) there.

    The sum makes an example's gradient independent of the batch size. Asking for this gradient alone
    leaves weight gradients uncomputed and ``.grad`` of the weights as it was.
    """
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(leaf)
        loss = functional.cross_entropy(logits, y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient, logits.detach()


def vanished(gradient: Tensor) -> Tensor:
    """Which examples (N,) of a gradient (N, C, H, W) have no entry but zeros."""
    return (gradient == 0).flatten(1).all(dim=1)


def measuring_gradient(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """:func:`input_gradient`, but that of the margin for the examples whose own is exactly zero."""
    gradient = input_gradient(model, x, y)
    return margin_where(vanished(gradient), gradient, model, x, y)


def margin_where(chosen: Tensor, gradient: Tensor, model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """A gradient (N, C, H, W), with that of the margin for the chosen (N,) examples; others keep theirs, bit for bit.

    The margin is the best wrong logit minus the right one, the loss of Carlini and Wagner (S&P 2017). The cross-entropy
    of a confident model is so close to 0 that its gradient rounds to 0, and an attack stays where it is, as if the
    model were robust. The gradient of the margin does not shrink as the logits grow.

    The model is to be in eval mode, since the chosen examples go through it without their neighbours.
    """
    if not chosen.any():
        return gradient
    leaf, labels = x[chosen].detach().requires_grad_(), y[chosen][:, None]
    with torch.enable_grad():
        logits = model(leaf)
        wrong, right = logits.scatter(1, labels, -torch.inf).amax(dim=1), logits.gather(1, labels).squeeze(1)
        (of_margin,) = torch.autograd.grad((wrong - right).sum(), leaf)
    return gradient.index_put((chosen,), of_margin)
