"""Noisy FGSM adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cosweep.attacks import clip_box, single_step, uniform_like
from cosweep.attacks.gradients import Classifier
from cosweep.methods.base import Method
from cosweep.specs import number, pixel_quantity
from cosweep.units import Box


@dataclass(frozen=True, kw_only=True)
class NFGSM(Method):
    """Noise of ``noise_scale * epsilon``, then a step of ``alpha`` (default epsilon), no ball.

    The noise is part of the perturbation and is not clipped to the ball. As in the authors' code, the noise is
    clipped to the box before the gradient is taken, and the sum after.
    """

    name: ClassVar[str] = "n_fgsm"
    source: ClassVar[str] = "de Jorge et al., NeurIPS 2022"

    alpha: float = pixel_quantity(None)
    noise_scale: float = number(2.0, low=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve("alpha", self.epsilon)

    @property
    def bound(self) -> float:
        return self.noise_scale * self.epsilon + self.alpha

    @property
    def cost(self) -> tuple[int, int]:
        return 2, 2

    def perturb(self, model: Classifier, x: Tensor, y: Tensor, box: Box, rng: torch.Generator) -> Tensor:
        noise = clip_box(uniform_like(x, self.noise_scale * self.epsilon, rng), x, box)
        return single_step(model, x, y, alpha=self.alpha, box=box, start=noise)
