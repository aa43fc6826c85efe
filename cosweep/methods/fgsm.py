"""FGSM adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cosweep.attacks import single_step
from cosweep.attacks.gradients import Classifier
from cosweep.methods.base import Method
from cosweep.specs import pixel_quantity
from cosweep.units import Box


@dataclass(frozen=True, kw_only=True)
class FGSM(Method):
    """One step of ``alpha`` (default epsilon) from the image, clipped to the ball and the box."""

    name: ClassVar[str] = "fgsm"
    source: ClassVar[str] = "Goodfellow et al., ICLR 2015"

    alpha: float = pixel_quantity(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve("alpha", self.epsilon)

    @property
    def bound(self) -> float:
        return min(self.alpha, self.epsilon)

    @property
    def cost(self) -> tuple[int, int]:
        return 2, 2

    def perturb(self, model: Classifier, x: Tensor, y: Tensor, box: Box, rng: torch.Generator) -> Tensor:
        return single_step(model, x, y, alpha=self.alpha, box=box, epsilon=self.epsilon)
