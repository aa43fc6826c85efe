"""What a training method is: an objective, with the perturbation it trains on."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cosweep.attacks.gradients import Classifier
from cosweep.specs import Component, pixel_quantity
from cosweep.units import Box


@dataclass(frozen=True, kw_only=True)
class Method(Component):
    """Base of the methods.

    Attributes:
        epsilon: Radius of the l-inf threat model, on the pixel scale.
    """

    epsilon: float = pixel_quantity(8 / 255)

    @property
    @abstractmethod
    def bound(self) -> float:
        """Largest absolute entry that :meth:`perturb` can return."""

    @property
    @abstractmethod
    def cost(self) -> tuple[int, int]:
        """Forward and backward passes per batch, the training pass included."""

    @abstractmethod
    def perturb(self, model: Classifier, x: Tensor, y: Tensor, box: Box, rng: torch.Generator) -> Tensor:
        """Perturbation (N, C, H, W) to train on, detached, with x + delta in the box.

        Args:
            model: Maps pixels to logits; batch-norm layers act, and update, in the mode they are in.
            x: (N, C, H, W) in the box.
            y: (N,) labels.
            box: Range of valid pixels.
            rng: CPU generator of this step.
        """

    def loss(self, model: Classifier, x: Tensor, y: Tensor, box: Box, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean training loss of a batch, and the logits (N, K) it was computed from."""
        logits = model(x + self.perturb(model, x, y, box, rng))
        return functional.cross_entropy(logits, y), logits
