"""Noisy FGSM adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from cosweep.attacks import clip_box, single_step, uniform_like
from cosweep.methods.base import Batch, Method
from cosweep.specs import number, radius


@dataclass(frozen=True, kw_only=True)
class NFGSM(Method):
    """Noise of ``noise_scale * epsilon``, then a step of ``alpha`` (default epsilon), no ball.

    The noise is part of the perturbation and is not clipped to the ball. As in the authors' code, the noise is
    clipped to the box before the gradient is taken, and the sum after.
    """

    name: ClassVar[str] = "n_fgsm"
    source: ClassVar[str] = "de Jorge et al., NeurIPS 2022"

    alpha: float = radius(None)
    noise_scale: float = number(2.0, low=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve_alpha(1.0)

    @property
    def bound(self) -> float:
        return self.noise_scale * self.epsilon + self.alpha

    @property
    def cost(self) -> tuple[float, float]:
        return 2, 2

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        x, y, box = batch.x, batch.y, batch.box
        noise = clip_box(uniform_like(x, self.noise_scale * self.epsilon, batch.rng), x, box)
        return single_step(model, x, y, alpha=self.alpha, box=box, start=noise)
