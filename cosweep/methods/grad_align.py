"""FGSM adversarial training with gradient alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from cosweep.attacks import lengths, steepest, step, uniform_like
from cosweep.methods.base import Batch, Method, batch_norm_in
from cosweep.parallel import ALONE, Workers
from cosweep.specs import in_epsilons, number
from cosweep.units import GREY_LEVELS

_VANISHED = 1e-20


@dataclass(frozen=True, kw_only=True)
class GradAlign(Method):
    """FGSM plus ``lambda_`` * (1 - cosine of the input gradients at x and x + eta), eta uniform in the ball.

    As in the authors' code, the gradient at x is the one FGSM steps along and is not differentiated, x + eta is not
    clipped to the box, and the mean leaves out examples whose gradient vanishes. The default of ``lambda_`` is their
    fit for CIFAR-10, 0.02 * 10^(epsilon / 8) with epsilon in grey levels. It was fitted up to 16 levels, where it is
    2, and grows to millions soon after, so a larger epsilon takes 2 as well.

    Attributes:
        alpha: Step of FGSM; epsilon if unset.
        as_released: As in the code of Ortiz-Jimenez et al. (TMLR 2023), take the first gradient at the FGSM point; an
            unset ``lambda_`` is 0.2.
    """

    name: ClassVar[str] = "grad_align"
    source: ClassVar[str] = "Andriushchenko & Flammarion, NeurIPS 2020"
    second_order: ClassVar[bool] = True

    alpha: float = in_epsilons(1.0)
    lambda_: float = number(None, low=0.0)
    as_released: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = min(16.0, self.epsilon * GREY_LEVELS)
        self.resolve("lambda_", 0.2 if self.as_released else math.exp(levels * math.log(10) / 8 + math.log(0.02)))

    @property
    def bound(self) -> float:
        return min(self.alpha, self.epsilon)

    @property
    def cost(self) -> tuple[float, float]:
        # Differentiating the gradient at x + eta goes back through its forward pass a second time.
        return (3, 5) if self.as_released else (3, 4)

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._step(self._gradient_at_image(model, batch), batch)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        with batch_norm_in(self.attack_mode, model):
            gradient = self._gradient_at_image(model, batch)
        x_adv = (batch.x + self._step(gradient, batch)).requires_grad_(self.as_released)
        logits = model(x_adv)
        loss = batch.cross_entropy(logits)
        if self.as_released:
            (gradient,) = torch.autograd.grad(loss, x_adv, retain_graph=True)
        nearby = (batch.x + uniform_like(batch.x, self.epsilon, batch.rng)).requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):  # other kernels of attention have no second derivative
            nearby_loss = functional.cross_entropy(model(nearby), batch.y, reduction="sum")
        (other,) = torch.autograd.grad(nearby_loss, nearby, create_graph=True)
        return loss + self.lambda_ * (1 - mean_cosine(gradient, other, batch.workers)) / batch.workers.count, logits

    def _gradient_at_image(self, model: nn.Module, batch: Batch) -> Tensor:
        return batch.gradient_at(model, batch.x.new_zeros(()))[0]

    def _step(self, gradient: Tensor, batch: Batch) -> Tensor:
        return step(gradient, batch.x, self.threat(batch.box), alpha=self.alpha)


def mean_cosine(gradient: Tensor, other: Tensor, workers: Workers = ALONE) -> Tensor:
    """Mean over all workers' examples (N, ...) whose two gradients do not vanish of their cosine; 1 if there are none.

    Differentiable in ``other``. Each gradient is scaled by its largest entry first: those of confident models are
    so tiny that their squares vanish.
    """
    scale = other.detach().flatten(1).abs().amax(dim=1)
    kept = (scale > _VANISHED) & (gradient.flatten(1).abs().amax(dim=1) > _VANISHED)
    scaled = other / scale.where(kept, torch.ones_like(scale)).view(lengths(other).shape)
    along = (steepest(gradient, "l2") * scaled).flatten(1).sum(dim=1)
    length = lengths(scaled).flatten().where(kept, torch.ones_like(scale))
    cosine = (along / length).where(kept, torch.ones_like(scale))
    return workers.sum((cosine - 1).sum()) / workers.sum(kept.sum()).clamp_min(1) + 1
