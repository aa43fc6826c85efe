"""FGSM adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from cosweep.attacks import Norm, single_step
from cosweep.methods.base import Batch, Method
from cosweep.specs import radius


@dataclass(frozen=True, kw_only=True)
class FGSM(Method):
    """One step of ``alpha`` (default epsilon) from the image, clipped to ball and box; in l2, FGM."""

    name: ClassVar[str] = "fgsm"
    source: ClassVar[str] = "Goodfellow et al., ICLR 2015"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")

    alpha: float = radius(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve_alpha(1.0)

    @property
    def bound(self) -> float:
        return min(self.alpha, self.epsilon)

    @property
    def cost(self) -> tuple[float, float]:
        return 2, 2

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        return single_step(
            model, batch.x, batch.y, alpha=self.alpha, box=batch.box, epsilon=self.epsilon, norm=self.norm
        )
