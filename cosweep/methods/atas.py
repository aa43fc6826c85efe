"""Adversarial training with an adaptive step for each example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from cosweep.attacks import clip_box, uniform_like
from cosweep.errors import Fault
from cosweep.methods.base import Batch, Memory, Method
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class ATAS(Method):
    """One step from the example's last perturbation, the shorter the longer its gradients have been.

    The step is 2 epsilon / (1 + sqrt(v) / halving_norm), between ``step_low`` and ``step_high`` epsilons, where v is
    the running mean of the squared length of the example's input gradient. Lengths are those of the example's own
    loss; the authors' code divides by its batch of 128, so its c of 0.01 is 1.28 here. It keeps the step's limits at
    4 and 14/255 and its numerator at 16/255 whatever epsilon is; here they are their shares of an epsilon of 8/255.

    Epochs are counted for each example by how often it was drawn. Stored perturbations are of the image as it was
    drawn; unlike in the authors' code they do not follow its crops and flips. They take the memory of
    one image per training example on the device, and as much for each snapshot: four times in all while a breaking
    point is sought.

    Attributes:
        halving_norm: Length of the gradient at which the step is half its largest.
        moment_decay: Weight of the past in v.
        constant_epochs: First epochs of an example, with a step of epsilon; v is not updated in them.
        reset_epochs: Every so many epochs the example starts from a new uniform perturbation. The authors leave
            this out in the last epoch of a training.
    """

    name: ClassVar[str] = "atas"
    source: ClassVar[str] = "Huang et al., TIP 2023"

    attack_mode: Literal["train", "eval"] = "eval"
    halving_norm: float = number(1.28, above=0.0)
    moment_decay: float = number(0.5, low=0.0, high=1.0)
    step_low: float = number(0.5, low=0.0)
    step_high: float = number(1.75, low=0.0)
    constant_epochs: int = number(5, low=0)
    reset_epochs: int = number(10, low=1)

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        if self.step_low > self.step_high:
            yield Fault("step_low", f"must be at most step_high, {self.step_high:g}; got {self.step_low:g}")

    def fresh_memory(self, examples: int, shape: tuple[int, int, int], batch_size: int, device: torch.device) -> Memory:
        return {
            "delta": torch.zeros(examples, *shape, device=device),
            "moment": torch.zeros(examples, device=device),
            "draws": torch.zeros(examples, dtype=torch.int64, device=device),
        }

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        x, memory, example = batch.x, batch.memory, batch.example
        epoch = memory["draws"][example] + 1
        anew = (epoch == 1) | (epoch % self.reset_epochs == 0)
        noise = uniform_like(x, self.epsilon, batch.rng)
        start = clip_box(torch.where(anew.view(-1, 1, 1, 1), noise, memory["delta"][example]), x, batch.box)
        gradient, _ = batch.gradient_at(model, start)
        moment, alpha = self.steps(gradient, memory["moment"][example], epoch)
        delta = self.threat(batch.box).clip(start + alpha.view(-1, 1, 1, 1) * gradient.sign(), x)
        numbers = batch.gather(example)  # every worker remembers all: an example may be another's next time
        for name, value in (("delta", delta), ("moment", moment), ("draws", epoch)):
            memory[name][numbers] = batch.gather(value)
        return delta

    def steps(self, gradient: Tensor, moment: Tensor, epoch: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) running means of the squared length, and steps, for gradients (N, ...) in their examples' epochs."""
        squared = gradient.flatten(1).square().sum(dim=1)
        adapted = self.moment_decay * moment + (1 - self.moment_decay) * squared
        shares = (2 / (1 + adapted.sqrt() / self.halving_norm)).clamp(self.step_low, self.step_high)
        constant = epoch <= self.constant_epochs
        return torch.where(constant, moment, adapted), self.epsilon * torch.where(constant, 1.0, shares)
