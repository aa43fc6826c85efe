"""RS-FGSM adversarial training that switches to PGD while robustness is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cosweep.attacks import Norm, correct, pgd, pgd_alpha
from cosweep.methods.base import Batch, Memory, Method, batch_norm_in
from cosweep.methods.rs_fgsm import RSFGSM
from cosweep.specs import in_epsilons, number

_NEW_SHARE = 0.3
"""Of a check in the running mean."""


@dataclass(frozen=True, kw_only=True)
class FastAdvPlus(Method):
    """RS-FGSM, or PGD from a check whose PGD accuracy fell by more than the share ``drop`` until it is back.

    Every ``check_every`` steps PGD attacks the batch about to be trained on, with batch-norm layers in eval mode. If
    its accuracy is below 1 - ``drop`` of the running mean of the checks that were not, training goes on with PGD,
    else with RS-FGSM. After the paper's description, without its code. A departure from it: the paper checks on
    held-out images, which a method is not given; the accuracy of one batch is noisy, hence the mean and the
    size of the drop. These and the steps of PGD are choices made here.

    Attributes:
        alpha: Step of RS-FGSM; 1.25 epsilon if unset. PGD's is epsilon / 4,
            epsilon / steps for fewer than four.
        steps: Steps of PGD, in training and in checks.
        drop: Relative, so that it means the same where robust accuracy is low.
    """

    name: ClassVar[str] = "fast_adv_plus"
    source: ClassVar[str] = "Li et al., 2020"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")

    alpha: float = in_epsilons(1.25)
    steps: int = number(7, low=1)
    check_every: int = number(20, low=1)
    drop: float = number(0.5, low=0.0, high=1.0)

    @property
    def cost(self) -> tuple[float, float]:
        """As long as training stays with RS-FGSM."""
        return 2 + (self.steps + 1) / self.check_every, 2 + self.steps / self.check_every

    def fresh_memory(self, examples: int, shape: tuple[int, int, int], batch_size: int, device: torch.device) -> Memory:
        return {
            "steps": torch.zeros((), dtype=torch.int64),
            "robust_acc": torch.zeros(()),
            "lost": torch.zeros((), dtype=torch.bool),
        }

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        memory = batch.memory
        if memory["steps"] % self.check_every == 0:
            self._check(model, batch)
        memory["steps"] = memory["steps"] + 1
        if memory["lost"]:
            return self._pgd(model, batch)
        return RSFGSM(epsilon=self.epsilon, alpha=self.alpha, norm=self.norm).perturb(model, batch)

    def _check(self, model: nn.Module, batch: Batch) -> None:
        with batch_norm_in("eval", model):
            right = correct(model, batch.x + self._pgd(model, batch), batch.y)
        accuracy = batch.mean(right.to(batch.memory["robust_acc"].dtype)).cpu()
        memory = batch.memory
        memory["lost"] = accuracy < (1 - self.drop) * memory["robust_acc"]
        if not memory["lost"]:
            memory["robust_acc"] = memory["robust_acc"].lerp(accuracy, 1.0 if memory["steps"] == 0 else _NEW_SHARE)

    def _pgd(self, model: nn.Module, batch: Batch) -> Tensor:
        alpha = pgd_alpha(self.epsilon, self.steps)
        threat = self.threat(batch.box)
        return pgd(model, batch.x, batch.y, threat, alpha=alpha, steps=self.steps, rng=batch.rng)
