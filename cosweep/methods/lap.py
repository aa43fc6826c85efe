"""Adversarial training with layer-aware adversarial weight perturbation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from cosweep.methods.base import Batch, batch_norm_in
from cosweep.methods.on_single_step import OnSingleStep
from cosweep.specs import number
from cosweep.units import GREY_LEVELS

_LEVELS = (8, 12, 16, 32)
_RADII = {
    "fgsm": (0.03, 0.058, 0.07, 0.48),
    "rs_fgsm": (0.002, 0.03, 0.05, 0.3),
    "n_fgsm": (0.001, 0.002, 0.005, 0.75),
}


@dataclass(frozen=True, kw_only=True)
class LAP(OnSingleStep):
    """A single step, trained on at weights moved to raise the loss, early layers furthest.

    One backward pass at the start gives the image's step and the weights' move. Layer l of L (weights of two or more
    axes, in the order of the network) moves along its gradient by a share of its own length:
    ``weight_radius`` * (1 - (ln l / ln L)^``layer_decay``), beta and gamma in the paper; the last does not move.
    The loss is differentiated at the moved weights and its gradient applied to the weights themselves, which never
    move. Unset, ``weight_radius`` is the authors' for CIFAR-10 at epsilon 8, 12, 16 and 32/255, linear in between and
    constant beyond.

    Departures from the authors' code, which moves the weights by the optimizer's own step, so down the loss at the
    start, and leaves them moved: here the move is adversarial and undone, as in the paper's description and in the
    method it builds on (Wu et al., NeurIPS 2020).

    Attributes:
        base: The single step.
    """

    name: ClassVar[str] = "lap"
    source: ClassVar[str] = "Lin et al., ICML 2024"

    base: Literal["fgsm", "rs_fgsm", "n_fgsm"] = "rs_fgsm"
    weight_radius: float = number(None, low=0.0)
    layer_decay: float = number(0.3, above=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve("weight_radius", float(np.interp(self.epsilon * GREY_LEVELS, _LEVELS, _RADII[self.base])))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        layers = {name: weight for name, weight in model.named_parameters() if weight.dim() > 1}
        single_step = self.single_step
        start = single_step.start(batch)
        with batch_norm_in(self.attack_mode, model):
            leaf = (batch.x + start).requires_grad_()
            before = model(leaf)
            first = functional.cross_entropy(before, batch.y, reduction="sum")
            gradient, *slopes = torch.autograd.grad(first, [leaf, *layers.values()])
        batch.show_start(before)
        slopes = [batch.workers.sum(slope) for slope in slopes]
        delta = single_step.take(gradient, start, batch)
        moved = {
            name: weight + self.share(number, len(layers)) * scaled_to(slope, weight)
            for number, ((name, weight), slope) in enumerate(zip(layers.items(), slopes, strict=True), start=1)
        }
        logits: Tensor = functional_call(model, moved, (batch.x + delta,))
        return batch.cross_entropy(logits), logits

    def share(self, layer: int, layers: int) -> float:
        """How far a layer, counted from 1, moves, as a share of its length; the only layer moves whole."""
        depth = math.log(layer) / math.log(layers) if layers > 1 else 0.0
        share: float = self.weight_radius * (1 - depth**self.layer_decay)
        return share


def scaled_to(slope: Tensor, weight: Tensor) -> Tensor:
    """The slope at the length of the weight, as a constant; zero if the slope is."""
    ratio: Tensor = weight.detach().norm() / slope.norm().clamp_min(1e-20)
    return slope * ratio
