"""Nuclear norm adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cosweep.methods.base import Batch
from cosweep.methods.gat import GAT
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class NuAT(GAT):
    """GAT with the nuclear norm of the batch's change of logits (N, K), over N, for a distance.

    Its weight grows from 0, in proportion to the steps, to ``lambda_`` when ``ramp_share`` of the training is done; the
    authors raise it after every epoch, in all but the last ten of a hundred. They divide a short batch's norm by the
    full batch size; here it is by its own.
    """

    name: ClassVar[str] = "nu_at"
    source: ClassVar[str] = "Sriramanan et al., NeurIPS 2021"

    lambda_: float = number(4.5, low=0.0)
    ramp_share: float = number(0.9, above=0.0, high=1.0)

    def distance(self, clean: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Nuclear norm of the difference of two outputs (N, K), equal shares of it for all workers."""
        difference = batch.gather(clean - logits)
        finite = difference.nan_to_num(0.0, 0.0, 0.0)  # of others a singular value decomposition would raise
        norm: Tensor = torch.linalg.matrix_norm(finite, ord="nuc") + (difference - finite).sum()
        return norm / batch.workers.count

    def strength(self, batch: Batch) -> float:
        """Weight of the distance in this step."""
        return self.lambda_ * min(1.0, batch.done / self.ramp_share)
