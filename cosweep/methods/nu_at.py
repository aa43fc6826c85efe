"""Nuclear norm adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cosweep.methods.base import Memory
from cosweep.methods.gat import GAT
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class NuAT(GAT):
    """GAT with the nuclear norm of the batch's change of logits (N, K), over N, for a distance.

    Its weight grows from 0, by the same amount after every epoch, to ``lambda_`` after ``ramp_epochs``; the authors
    take all epochs but the last ten. They divide a short batch's norm by the full batch size; here it is by its own.
    """

    name: ClassVar[str] = "nu_at"
    source: ClassVar[str] = "Sriramanan et al., NeurIPS 2021"

    lambda_: float = number(4.5, low=0.0)
    ramp_epochs: int = number(90, low=1)

    def fresh_memory(self, examples: int, shape: tuple[int, int, int], batch_size: int, device: torch.device) -> Memory:
        memory = super().fresh_memory(examples, shape, batch_size, device)
        return memory | {"steps_per_epoch": torch.tensor(-(-examples // batch_size))}

    def distance(self, clean: Tensor, logits: Tensor) -> Tensor:
        """Nuclear norm of the difference of two outputs (N, K)."""
        difference = clean - logits
        if not difference.isfinite().all():  # a singular value decomposition would raise
            return difference.sum()
        norm: Tensor = torch.linalg.matrix_norm(difference, ord="nuc")
        return norm

    def strength(self, memory: Memory) -> float:
        """Weight of the distance in this step."""
        epochs_done = int(memory["steps"] // memory["steps_per_epoch"])
        return self.lambda_ * min(1.0, epochs_done / self.ramp_epochs)
