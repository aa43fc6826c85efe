"""FGSM adversarial training from a random start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from cosweep.attacks import Norm, random_start, single_step
from cosweep.methods.base import Batch, Method
from cosweep.specs import radius


@dataclass(frozen=True, kw_only=True)
class RSFGSM(Method):
    """Uniform start in the ball, a step of ``alpha`` (default 1.25 epsilon), clipped to ball and box; in l2, RS-FGM."""

    name: ClassVar[str] = "rs_fgsm"
    source: ClassVar[str] = "Wong et al., ICLR 2020"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")

    alpha: float = radius(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve_alpha(1.25)

    @property
    def bound(self) -> float:
        return self.epsilon

    @property
    def cost(self) -> tuple[float, float]:
        return 2, 2

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        x, y, box = batch.x, batch.y, batch.box
        start = random_start(x, self.epsilon, box, batch.rng, self.norm)
        return single_step(model, x, y, alpha=self.alpha, box=box, start=start, epsilon=self.epsilon, norm=self.norm)
