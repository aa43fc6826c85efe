"""PGD adversarial training, the multi-step control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cosweep.attacks import pgd
from cosweep.attacks.gradients import Classifier
from cosweep.methods.base import Method
from cosweep.specs import number, pixel_quantity
from cosweep.units import Box


@dataclass(frozen=True, kw_only=True)
class PGD(Method):
    """Random start and ``steps`` steps of ``alpha`` (default 2 epsilon / steps), clipped to ball and box."""

    name: ClassVar[str] = "pgd"
    source: ClassVar[str] = "Madry et al., ICLR 2018"

    alpha: float = pixel_quantity(None)
    steps: int = number(10, low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve("alpha", min(1.0, 2 * self.epsilon / self.steps))

    @property
    def bound(self) -> float:
        return self.epsilon

    @property
    def cost(self) -> tuple[int, int]:
        return self.steps + 1, self.steps + 1

    def perturb(self, model: Classifier, x: Tensor, y: Tensor, box: Box, rng: torch.Generator) -> Tensor:
        return pgd(model, x, y, epsilon=self.epsilon, alpha=self.alpha, steps=self.steps, box=box, rng=rng)
