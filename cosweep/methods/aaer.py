"""Adversarial training with abnormal adversarial examples regularised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from cosweep.methods.base import Batch, batch_norm_in
from cosweep.methods.on_single_step import OnSingleStep
from cosweep.parallel import ALONE, Workers
from cosweep.specs import number
from cosweep.units import GREY_LEVELS

_LEVELS = (8, 12, 16, 32)
_LAMBDAS = {
    "rs_fgsm": {"lambda_2": (2.5, 5.0, 7.0, 5.75), "lambda_3": (1.5, 2.75, 3.25, 1.5)},
    "n_fgsm": {"lambda_2": (1.5, 5.0, 8.5, 2.75), "lambda_3": (0.15, 0.55, 1.5, 0.75)},
}


@dataclass(frozen=True, kw_only=True)
class AAER(OnSingleStep):
    """RS-FGSM or N-FGSM plus a term on the examples whose loss the step lowers, the abnormal ones.

    The term is lambda_1 * (share of abnormal examples) * (lambda_2 * (their mean fall in cross-entropy)
    + lambda_3 * max(0, their mean squared change of logits - that of the others)), with the outputs at the start and
    the others' change held fixed; it is zero in a batch without abnormal or without other examples. Unset weights
    are the authors' for CIFAR-10 at epsilon 8, 12, 16 and 32/255, linear in between and constant beyond. Both passes
    are compared, so ``attack_mode: eval`` calls abnormal what only the batch statistics changed.

    Attributes:
        base: The single step.
        fall_gradient: Whether the fall in cross-entropy is differentiated. The authors' code, with which the weights
            were chosen, holds it fixed: it adds to the loss and nothing to its gradient.
    """

    name: ClassVar[str] = "aaer"
    source: ClassVar[str] = "Lin et al., NeurIPS 2023"

    base: Literal["rs_fgsm", "n_fgsm"] = "rs_fgsm"
    lambda_1: float = number(1.0, low=0.0)
    lambda_2: float = number(None, low=0.0)
    lambda_3: float = number(None, low=0.0)
    fall_gradient: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values in _LAMBDAS[self.base].items():
            self.resolve(name, float(np.interp(self.epsilon * GREY_LEVELS, _LEVELS, values)))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        with batch_norm_in(self.attack_mode, model):
            delta, before = self._attack(model, batch)
        after = model(batch.x + delta)
        penalty = self.penalty(before, after, batch.y, batch.workers) / batch.workers.count
        return batch.cross_entropy(after) + penalty, after

    def penalty(self, before: Tensor, after: Tensor, y: Tensor, workers: Workers = ALONE) -> Tensor:
        """The term for logits (N, K) at the start and at the perturbed image, over the examples of all workers."""
        fall = functional.cross_entropy(before, y, reduction="none") - functional.cross_entropy(
            after if self.fall_gradient else after.detach(), y, reduction="none"
        )
        change = (after - before).square().sum(dim=1)
        abnormal = fall > 0
        excess = _mean_where(abnormal, change, workers) - _mean_where(~abnormal, change.detach(), workers)
        term = self.lambda_2 * _mean_where(abnormal, fall, workers) + self.lambda_3 * excess.clamp_min(0)
        found, others = (workers.sum(chosen.sum()).to(term.dtype) for chosen in (abnormal, ~abnormal))
        return self.lambda_1 * (found / (found + others)) * term * (others > 0)

    def _attack(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Perturbation, and the logits at its start."""
        single_step = self.single_step
        start = single_step.start(batch)
        gradient, logits = batch.gradient_at(model, start)
        return single_step.take(gradient, start, batch), logits


def _mean_where(chosen: Tensor, values: Tensor, workers: Workers) -> Tensor:
    """Mean of all workers' chosen values (N,); 0 if there are none."""
    total = workers.sum(values.where(chosen, values.new_zeros(())).sum())
    return total / workers.sum(chosen.sum()).clamp_min(1)
