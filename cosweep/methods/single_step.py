"""What the single-step methods share, and what can be put on top of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from cosweep.attacks import random_start, step
from cosweep.methods.base import Batch, Method
from cosweep.specs import in_epsilons


@dataclass(frozen=True, kw_only=True)
class SingleStep(Method):
    """Base of the methods that train on a start plus one step along the gradient there.

    Attributes:
        alpha: Length of the step.
    """

    ball: ClassVar[bool] = True
    """Whether the sum is clipped to the ball."""

    alpha: float = in_epsilons(1.0)

    def start(self, batch: Batch) -> Tensor:
        """Perturbation (N, C, H, W) at which the gradient is taken: uniform in the ball, clipped to the box."""
        return random_start(batch.x, self.threat(batch.box), batch.rng)

    def take(self, gradient: Tensor, start: Tensor, batch: Batch) -> Tensor:
        """Perturbation (N, C, H, W) to train on, for the gradient at the start."""
        return step(gradient, batch.x, self.threat(batch.box), alpha=self.alpha, start=start, ball=self.ball)

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        start = self.start(batch)
        gradient, _ = batch.gradient_at(model, start)
        return self.take(gradient, start, batch)
