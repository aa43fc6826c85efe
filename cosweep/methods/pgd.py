"""PGD adversarial training, the multi-step control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cosweep.attacks import Norm, pgd
from cosweep.methods.base import Batch, Method
from cosweep.specs import number, radius


@dataclass(frozen=True, kw_only=True)
class PGD(Method):
    """Random start and ``steps`` steps of ``alpha`` (default 2 epsilon / steps), clipped to ball and box.

    Attributes:
        random_start: Whether to start at a random point of the ball, or at the image as Andriushchenko and
            Flammarion (NeurIPS 2020) do.
    """

    name: ClassVar[str] = "pgd"
    source: ClassVar[str] = "Madry et al., ICLR 2018"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    shows_start: ClassVar[bool] = False

    alpha: float = radius(None)
    steps: int = number(10, low=1)
    random_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve_alpha(2 / self.steps)

    @property
    def cost(self) -> tuple[float, float]:
        return self.steps + 1, self.steps + 1

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        start = None if self.random_start else torch.zeros_like(batch.x)
        threat = self.threat(batch.box)
        return pgd(model, batch.x, batch.y, threat, alpha=self.alpha, steps=self.steps, rng=batch.rng, start=start)
