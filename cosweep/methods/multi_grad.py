"""FGSM adversarial training along the signs on which several gradients agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cosweep.attacks import random_start, step
from cosweep.methods.base import Batch, Method
from cosweep.specs import in_epsilons, number


@dataclass(frozen=True, kw_only=True)
class MultiGrad(Method):
    """One step of ``alpha`` (default 2 epsilon) from the image, along the sign shared by ``samples`` gradients.

    Each gradient is taken at another uniform start; entries on which their signs disagree stay zero. As in the
    authors' code, the starts serve the gradients only: the step is taken from the image, so that with an alpha
    of epsilon or more every entry is -epsilon, 0 or epsilon.
    """

    name: ClassVar[str] = "multi_grad"
    source: ClassVar[str] = "Golgooni et al., 2021"

    alpha: float = in_epsilons(2.0)
    samples: int = number(3, low=1)

    @property
    def bound(self) -> float:
        return min(self.alpha, self.epsilon)

    @property
    def cost(self) -> tuple[float, float]:
        return self.samples + 1, self.samples + 1

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        x, threat = batch.x, self.threat(batch.box)
        signs = torch.zeros_like(x)
        for _ in range(self.samples):
            start = random_start(x, threat, batch.rng)
            signs += batch.gradient_at(model, start)[0].sign()
        shared = signs.where(signs.abs() == self.samples, signs.new_zeros(()))
        return step(shared, x, threat, alpha=self.alpha)
