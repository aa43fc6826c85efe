"""RS-FGSM adversarial training without the small entries of the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cosweep.methods.base import Batch
from cosweep.methods.single_step import SingleStep
from cosweep.specs import in_epsilons, number


@dataclass(frozen=True, kw_only=True)
class ZeroGrad(SingleStep):
    """Uniform start, one step of ``alpha`` (default 2 epsilon) along the sign of the gradient's larger entries.

    Entries whose magnitude is below the image's quantile at ``quantile`` keep their start. The default is the
    authors' for CIFAR-10 at epsilon 8/255; they raise it with epsilon.
    """

    name: ClassVar[str] = "zero_grad"
    source: ClassVar[str] = "Golgooni et al., 2021"

    alpha: float = in_epsilons(2.0)
    quantile: float = number(0.35, low=0.0, high=1.0)

    def take(self, gradient: Tensor, start: Tensor, batch: Batch) -> Tensor:
        """Perturbation (N, C, H, W) to train on, by the larger entries of the gradient at the start."""
        return super().take(without_small(gradient, self.quantile), start, batch)


def without_small(gradient: Tensor, quantile: float) -> Tensor:
    """Gradient (N, ...) with zeros where its magnitude is below the quantile of its example's magnitudes."""
    size = gradient.abs().flatten(1)
    # Same outcome as comparing with torch.quantile, which takes no more than 16 million entries.
    rank = math.ceil(quantile * (size.shape[1] - 1))
    least = size.sort(dim=1).values[:, rank, None]
    return gradient.where((size >= least).view_as(gradient), gradient.new_zeros(()))
