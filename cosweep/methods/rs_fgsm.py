"""FGSM adversarial training from a random start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cosweep.attacks import random_start, single_step
from cosweep.attacks.gradients import Classifier
from cosweep.methods.base import Method
from cosweep.specs import pixel_quantity
from cosweep.units import Box


@dataclass(frozen=True, kw_only=True)
class RSFGSM(Method):
    """Uniform start in the ball, one step of ``alpha`` (default 1.25 epsilon), clipped to ball and box."""

    name: ClassVar[str] = "rs_fgsm"
    source: ClassVar[str] = "Wong et al., ICLR 2020"

    alpha: float = pixel_quantity(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve("alpha", min(1.0, 1.25 * self.epsilon))

    @property
    def bound(self) -> float:
        return self.epsilon

    @property
    def cost(self) -> tuple[int, int]:
        return 2, 2

    def perturb(self, model: Classifier, x: Tensor, y: Tensor, box: Box, rng: torch.Generator) -> Tensor:
        start = random_start(x, self.epsilon, box, rng)
        return single_step(model, x, y, alpha=self.alpha, box=box, start=start, epsilon=self.epsilon)
