"""Noisy FGSM adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cosweep.attacks import clip_box, uniform_like
from cosweep.methods.base import Batch
from cosweep.methods.single_step import SingleStep
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class NFGSM(SingleStep):
    """Noise of ``noise_scale * epsilon``, then a step of ``alpha`` (default epsilon), no ball.

    The noise is part of the perturbation and is not clipped to the ball. As in the authors' code, the noise is
    clipped to the box before the gradient is taken, and the sum after.
    """

    name: ClassVar[str] = "n_fgsm"
    source: ClassVar[str] = "de Jorge et al., NeurIPS 2022"
    ball: ClassVar[bool] = False

    noise_scale: float = number(2.0, low=0.0)

    @property
    def bound(self) -> float:
        return self.noise_scale * self.epsilon + self.alpha

    def start(self, batch: Batch) -> Tensor:
        """Noise (N, C, H, W), clipped to the box."""
        return clip_box(uniform_like(batch.x, self.noise_scale * self.epsilon, batch.rng), batch.x, batch.box)
