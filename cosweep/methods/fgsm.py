"""FGSM adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cosweep.attacks import Norm
from cosweep.methods.base import Batch
from cosweep.methods.single_step import SingleStep


@dataclass(frozen=True, kw_only=True)
class FGSM(SingleStep):
    """One step of ``alpha`` (default epsilon) from the image, clipped to ball and box; in l2, FGM."""

    name: ClassVar[str] = "fgsm"
    source: ClassVar[str] = "Goodfellow et al., ICLR 2015"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")

    @property
    def bound(self) -> float:
        return min(self.alpha, self.epsilon)

    def start(self, batch: Batch) -> Tensor:
        """Zero: the image itself."""
        return batch.x.new_zeros(())
