"""Guided adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import clip_box, step, uniform_like
from cosweep.methods.base import Batch, Memory, Method
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class GAT(Method):
    """Cross-entropy at the image plus ``lambda_`` * the squared distance of the probabilities there and at x + delta.

    delta is one step of epsilon from a start with entries of -epsilon/2 or epsilon/2, clipped to the ball; in every
    second step it follows the gradient of the cross-entropy plus the same distance. The logits of the
    loss are those at x + delta. Departures from the authors' code: the attack's probabilities at the image are
    taken in ``attack_mode``, and ``lambda_`` stays as it is where they multiply it by 4 for the last 15 epochs.
    """

    name: ClassVar[str] = "gat"
    source: ClassVar[str] = "Sriramanan et al., NeurIPS 2020"

    attack_mode: Literal["train", "eval"] = "eval"
    lambda_: float = number(10.0, low=0.0)

    @property
    def cost(self) -> tuple[float, float]:
        return 3.5, 3

    def fresh_memory(self, examples: int, shape: tuple[int, int, int], batch_size: int, device: torch.device) -> Memory:
        return {"steps": torch.zeros((), dtype=torch.int64)}

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        x, guided, strength = batch.x, batch.memory["steps"] % 2 == 1, self.strength(batch)
        batch.memory["steps"] = batch.memory["steps"] + 1
        start = clip_box(self.epsilon / 2 * uniform_like(x, 1.0, batch.rng).sign(), x, batch.box)
        leaf = (x + start).requires_grad_()
        logits = model(leaf)
        batch.show_start(logits)
        loss = functional.cross_entropy(logits, batch.y, reduction="sum")
        if guided:
            with torch.no_grad():
                clean = model(x)
            loss = loss + strength * self.distance(clean, logits, batch)
        (gradient,) = torch.autograd.grad(loss, leaf)
        return step(gradient, x, self.threat(batch.box), alpha=self.epsilon, start=start)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        strength = self.strength(batch)
        logits = model(batch.x + self.attack(model, batch))
        clean = model(batch.x)
        distance = self.distance(clean, logits, batch) / batch.total
        return batch.cross_entropy(clean) + strength * distance, logits

    def distance(self, clean: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """How far two outputs (N, K) are apart, summed over the batch; this worker's share of it."""
        return (clean.softmax(dim=1) - logits.softmax(dim=1)).square().sum()

    def strength(self, batch: Batch) -> float:
        """Weight of the distance in this step."""
        return self.lambda_
