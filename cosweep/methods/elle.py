"""Adversarial training with efficient local linearity regularisation, at a fixed and at an adaptive strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import uniform_like
from cosweep.methods.base import Batch, Memory
from cosweep.methods.on_single_step import OnSingleStep
from cosweep.specs import number
from cosweep.units import GREY_LEVELS


@dataclass(frozen=True, kw_only=True)
class ELLE(OnSingleStep):
    """A single step plus ``lambda_`` * the squared error of the loss's linear interpolation between two random points.

    The points are uniform in the ball around each image and not clipped to the box, and the third is uniform between
    them; one forward pass takes all three. The default of ``lambda_`` is that of the authors'
    scripts for CIFAR-10: 1000 up to epsilon 8/255, 5000 up to 20/255, 10000 beyond. Their perturbed image is not
    clipped to the box; here it is.

    Attributes:
        base: The single step; the authors' own is plain FGSM.
    """

    name: ClassVar[str] = "elle"
    source: ClassVar[str] = "Abad Rocamora et al., ICLR 2024"

    base: Literal["fgsm", "rs_fgsm", "n_fgsm"] = "fgsm"
    lambda_: float = number(None, low=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = self.epsilon * GREY_LEVELS
        self.resolve("lambda_", 1e3 if levels <= 8.5 else 5e3 if levels <= 20.5 else 1e4)

    @property
    def cost(self) -> tuple[float, float]:
        return 5, 5

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(model, batch)
        error = self.linear_error(model, batch)
        return loss + self.strength(batch.memory, error.detach()) * error / batch.workers.count, logits

    def strength(self, memory: Memory, error: Tensor) -> float | Tensor:
        """Weight of the error in this step's loss."""
        return self.lambda_

    def linear_error(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean over the global batch of (loss at c - interpolation of the losses at a and b)^2."""
        a, b = (batch.x + uniform_like(batch.x, self.epsilon, batch.rng) for _ in range(2))
        share = batch.rng.uniform(batch.x.shape[:1], batch.x)
        c = torch.lerp(a, b, share.view(-1, 1, 1, 1))
        losses = functional.cross_entropy(model(torch.cat([a, b, c])), batch.y.repeat(3), reduction="none")
        at_a, at_b, at_c = losses.chunk(3)
        return batch.mean((at_c - torch.lerp(at_a, at_b, share)).square())


@dataclass(frozen=True, kw_only=True)
class ELLEA(ELLE):
    """ELLE at ``lambda_`` only after an outlier of the error: a decaying strength otherwise.

    The strength starts at 0, is set to ``lambda_`` (default 4000) for the next step by an error above the mean of
    all errors before by more than ``sensitivity`` standard deviations, and is multiplied by ``decay_rate`` by any
    other. As in the authors' code, the first three errors are no outliers.
    """

    name: ClassVar[str] = "elle_a"

    lambda_: float = number(4000.0, low=0.0)
    sensitivity: float = number(2.0, low=0.0)
    decay_rate: float = number(0.99, low=0.0, high=1.0)

    def fresh_memory(self, examples: int, shape: tuple[int, int, int], batch_size: int, device: torch.device) -> Memory:
        zero = torch.zeros((), dtype=torch.float64, device=device)
        return {name: zero.clone() for name in ("strength", "errors", "mean", "squares")}

    def strength(self, memory: Memory, error: Tensor) -> float | Tensor:
        """Weight of the error in this step's loss; the error then sets the next one and enters the history."""
        strength, count, mean, squares = (memory[name] for name in ("strength", "errors", "mean", "squares"))
        deviation = (squares / count.clamp_min(1)).sqrt()
        outlier = (count > 2) & (error > mean + self.sensitivity * deviation)
        memory["strength"] = torch.where(outlier, self.lambda_, self.decay_rate * strength)
        # Welford's update; a sum of squares would lose the spread of errors that are alike.
        memory["errors"] = count + 1
        memory["mean"] = mean + (error - mean) / memory["errors"]
        memory["squares"] = squares + (error - mean) * (error - memory["mean"])
        return strength.to(error.dtype)
