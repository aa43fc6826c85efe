"""Gradient of the loss with respect to the input, and nothing else."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Classifier(Protocol):
    """A differentiable map from (N, C, H, W) pixels to (N, K) logits; what an attack needs."""

    def __call__(self, x: Tensor, /) -> Tensor: ...


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
