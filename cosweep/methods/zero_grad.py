"""RS-FGSM adversarial training without the small entries of the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from cosweep.attacks import input_gradient, random_start, step
from cosweep.methods.base import Batch, Method
from cosweep.specs import number, radius


@dataclass(frozen=True, kw_only=True)
class ZeroGrad(Method):
    """Uniform start, one step of ``alpha`` (default 2 epsilon) along the sign of the gradient's larger entries.

    Entries whose magnitude is below the image's quantile at ``quantile`` keep their start. The default is the
    authors' for CIFAR-10 at epsilon 8/255; they raise it with epsilon.
    """

    name: ClassVar[str] = "zero_grad"
    source: ClassVar[str] = "Golgooni et al., 2021"

    alpha: float = radius(None)
    quantile: float = number(0.35, low=0.0, high=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve_alpha(2.0)

    @property
    def bound(self) -> float:
        return self.epsilon

    @property
    def cost(self) -> tuple[float, float]:
        return 2, 2

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        start = random_start(batch.x, self.epsilon, batch.box, batch.rng)
        gradient = without_small(input_gradient(model, batch.x + start, batch.y), self.quantile)
        return step(gradient, batch.x, alpha=self.alpha, box=batch.box, start=start, epsilon=self.epsilon)


def without_small(gradient: Tensor, quantile: float) -> Tensor:
    """Gradient (N, ...) with zeros where its magnitude is below the quantile of its example's magnitudes."""
    size = gradient.abs().flatten(1)
    # Same outcome as comparing with torch.quantile, which takes no more than 16 million entries.
    rank = math.ceil(quantile * (size.shape[1] - 1))
    least = size.sort(dim=1).values[:, rank, None]
    return gradient.where((size >= least).view_as(gradient), gradient.new_zeros(()))
