"""The published single steps that a regulariser can be put on top of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from cosweep.attacks import clip_box, input_gradient, step, uniform_like
from cosweep.methods.base import Batch, Method


@dataclass(frozen=True)
class SingleStep:
    """A uniform start and one signed step, in l-inf.

    Attributes:
        start: Radius of the start, in units of epsilon; 0 starts at the image.
        alpha: Step, in units of epsilon.
        ball: Whether the sum is clipped to the ball of epsilon.
    """

    start: float
    alpha: float
    ball: bool

    def bound(self, epsilon: float) -> float:
        """Largest absolute entry of the perturbation."""
        return epsilon if self.ball else (self.start + self.alpha) * epsilon

    def perturb(self, model: nn.Module, batch: Batch, epsilon: float) -> Tensor:
        """Perturbation (N, C, H, W), as a method's."""
        start = self.draw(batch, epsilon)
        return self.take(input_gradient(model, batch.x + start, batch.y), start, batch, epsilon)

    def draw(self, batch: Batch, epsilon: float) -> Tensor:
        """Start (N, C, H, W), clipped to the box."""
        return clip_box(uniform_like(batch.x, self.start * epsilon, batch.rng), batch.x, batch.box)

    def take(self, gradient: Tensor, start: Tensor, batch: Batch, epsilon: float) -> Tensor:
        """Perturbation (N, C, H, W) for the gradient at the start."""
        ball = epsilon if self.ball else None
        return step(gradient, batch.x, alpha=self.alpha * epsilon, box=batch.box, start=start, epsilon=ball)


SINGLE_STEPS: dict[str, SingleStep] = {
    "fgsm": SingleStep(start=0.0, alpha=1.0, ball=True),
    "rs_fgsm": SingleStep(start=1.0, alpha=1.25, ball=True),
    "n_fgsm": SingleStep(start=2.0, alpha=1.0, ball=False),
}
"""By the name of the method that trains on it, with that method's default sizes."""


@dataclass(frozen=True, kw_only=True)
class OnSingleStep(Method):
    """Base of the methods that put something on top of a single step.

    Attributes:
        base: Name of the single step, out of ``SINGLE_STEPS``.
    """

    base: str

    @property
    def single_step(self) -> SingleStep:
        """The step itself."""
        return SINGLE_STEPS[self.base]

    @property
    def bound(self) -> float:
        return self.single_step.bound(self.epsilon)

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.single_step.perturb(model, batch, self.epsilon)
