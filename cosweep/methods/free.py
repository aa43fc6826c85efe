"""Free adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cosweep.attacks import Norm, clip_ball, steepest
from cosweep.methods.base import Batch, Memory, Method
from cosweep.specs import in_epsilons, number


@dataclass(frozen=True, kw_only=True)
class Free(Method):
    """Every training pass also steps the perturbation, which is kept from batch to batch (algorithm 1).

    Each batch is trained on ``replays`` times in a row. The backward pass that updates the weights gives the input
    gradient as well: delta moves by ``alpha`` (default epsilon) along its sign, in l2 along itself, and is clipped to
    the ball. As in the authors' code, delta starts at zero, is carried over to the next batch, and is clipped to the
    box only where an image is perturbed; a short batch uses and updates its first rows.

    The algorithm moves every entry of delta along the gradient at the perturbed image and knows no box. The authors'
    code differentiates through the clipping to the box, so that an entry of delta which leads out of the box does not
    move, and is handed on as it is to the next batch. Elsewhere both are the same.

    An epoch has as many steps as for the other methods, so ``replays`` times fewer different batches.

    Attributes:
        as_released: Leave the entries of delta that lead out of the box where they are, as the authors' code does.
    """

    name: ClassVar[str] = "free"
    source: ClassVar[str] = "Shafahi et al., NeurIPS 2019"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    shows_start: ClassVar[bool] = False

    alpha: float = in_epsilons(1.0)
    replays: int = number(8, low=1)
    as_released: bool = False

    @property
    def cost(self) -> tuple[float, float]:
        return 1, 1

    def fresh_memory(self, examples: int, shape: tuple[int, int, int], batch_size: int, device: torch.device) -> Memory:
        return {"delta": torch.zeros(min(batch_size, examples), *shape, device=device)}

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.threat(batch.box).clip(self._kept(batch), batch.x)

    def backward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        x_adv = (batch.x + self.attack(model, batch)).requires_grad_()
        logits = model(x_adv)
        loss = batch.cross_entropy(logits)
        loss.backward()  # type: ignore[no-untyped-call]
        assert x_adv.grad is not None
        gradient, kept = x_adv.grad, self._kept(batch)
        if self.as_released:
            reached = batch.x + kept
            inside = (reached >= batch.box.low) & (reached <= batch.box.high)
            gradient = gradient.where(inside, torch.zeros_like(gradient))
        moved = kept + self.alpha * steepest(gradient, self.norm)
        batch.memory["delta"][: batch.total] = batch.gather(clip_ball(moved, self.epsilon, self.norm))
        return loss.detach(), logits.detach()

    def _kept(self, batch: Batch) -> Tensor:
        """The perturbation (N, C, H, W) that is kept for the batch's places."""
        return batch.memory["delta"][: batch.total][batch.workers.rows(batch.total)]
