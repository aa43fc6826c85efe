"""Measuring a model: probes during training, and the robust evaluation at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import (
    Norm,
    correct,
    gradient_and_logits,
    input_gradient,
    labels_right,
    step,
    uniform_in_ball,
    withstands_pgd,
)
from cosweep.attacks.autoattack import withstands_autoattack
from cosweep.diagnostics import Diagnostic, View
from cosweep.seeding import generator
from cosweep.training.trial_spec import FinalSpec
from cosweep.units import Box

_CHUNK = 512


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context in which the model is in eval mode; each module's own mode comes back after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@dataclass(frozen=True)
class Accuracies:
    """Fractions of the held-out examples, counted; and the mean gradient cosine."""

    clean_acc: float
    fgsm_acc: float
    pgd_acc: float
    grad_cos: float


@dataclass(frozen=True)
class Prober:
    """Measures a model on a fixed held-out set with fixed noise, so that probes differ by the model alone.

    Attributes:
        x, y: (N, C, H, W) images inside ``box``, (N,) labels.
        epsilon, norm: Radius of the attacks, and of what ball.
        pgd_steps: Steps of PGD, alpha epsilon / 4, one restart.
        seed: Of the noise; the same for all probes of a trial.
        with_grad_cos: Whether to measure the gradient cosine.
    """

    x: Tensor
    y: Tensor
    epsilon: float
    pgd_steps: int
    box: Box
    seed: int
    norm: Norm = "linf"
    with_grad_cos: bool = True

    def measure(self, model: nn.Module) -> Accuracies:
        """All accuracies and the gradient cosine of a model, which is left in the mode it was in."""
        with evaluating(model):
            gradient, logits = gradient_and_logits(model, self.x, self.y)
            perturbed = self.x + step(gradient, self.x, alpha=self.epsilon, box=self.box, norm=self.norm)
            return Accuracies(
                clean_acc=_share(labels_right(logits, self.y)),
                fgsm_acc=_share(correct(model, perturbed, self.y)),
                pgd_acc=robust_accuracy(
                    model,
                    self.x,
                    self.y,
                    epsilon=self.epsilon,
                    steps=self.pgd_steps,
                    restarts=1,
                    box=self.box,
                    seed=self.seed,
                    norm=self.norm,
                ),
                grad_cos=self._grad_cos(model, gradient) if self.with_grad_cos else math.nan,
            )

    def diagnose(self, model: nn.Module, diagnostics: Sequence[Diagnostic]) -> dict[str, float | list[float]]:
        """Columns of all diagnostics."""
        measured: dict[str, float | list[float]] = {}
        views: dict[int, View] = {}  # those of as many examples share their perturbations
        with evaluating(model):
            for diagnostic in diagnostics:
                n = diagnostic.examples
                view = View(model, self.x[:n], self.y[:n], self.epsilon, self.norm, self.box, self.pgd_steps, self.seed)
                measured |= diagnostic.measure(views.setdefault(n, view))
        return measured

    def _grad_cos(self, model: nn.Module, gradient: Tensor) -> float:
        """Mean cosine of the input gradients at x and at x + noise, uniform in the ball
        (Andriushchenko and Flammarion, NeurIPS 2020, equation 3)."""
        noise = uniform_in_ball(self.x, self.epsilon, generator(self.seed, "grad_cos"), self.norm)
        nearby = input_gradient(model, self.x + noise, self.y)
        # Gradients of confident models are tiny; torch's default would take those below 1e-8 for shorter.
        one, other = gradient.flatten(1).double(), nearby.flatten(1).double()
        return functional.cosine_similarity(one, other, eps=1e-100).mean().item()


def robust_accuracy(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    steps: int,
    restarts: int,
    box: Box,
    seed: int,
    norm: Norm = "linf",
) -> float:
    """Fraction of examples that stay right under every iterate of PGD with alpha epsilon / 4.

    An example counts as broken by any iterate, its clean image included, so more steps or restarts never
    raise the number.
    """
    with evaluating(model):
        standing = [
            withstands_pgd(
                model,
                chunk_x,
                chunk_y,
                epsilon=epsilon,
                alpha=epsilon / 4,
                steps=steps,
                restarts=restarts,
                box=box,
                # Noise of its own, whatever the chunks before it drew and however early they ended.
                rng=generator(seed + index, "pgd"),
                norm=norm,
            )
            for index, (chunk_x, chunk_y) in enumerate(_chunks(x, y))
        ]
    return _share(torch.cat(standing))


@dataclass(frozen=True)
class FinalAccuracies:
    """Fractions of the held-out examples of one ablation, counted."""

    clean_acc: float
    robust_acc: float


def final_accuracies(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    final: FinalSpec,
    num_classes: int,
    epsilon: float,
    norm: Norm,
    box: Box,
    seed: int,
) -> FinalAccuracies:
    """Accuracy without perturbation and under the final evaluation's attack."""
    with evaluating(model):
        clean = _share(torch.cat([correct(model, *chunk) for chunk in _chunks(x, y)]))
        if final.attack == "autoattack":
            images = Box(min(box.low, x.min().item()), max(box.high, x.max().item()))
            reach = box if box.pulls else images
            standing = [
                withstands_autoattack(
                    model,
                    *chunk,
                    num_classes=num_classes,
                    epsilon=epsilon,
                    norm=norm,
                    box=box,
                    reach=reach,
                    seed=seed + index,
                )
                for index, chunk in enumerate(_chunks(x, y))
            ]
            return FinalAccuracies(clean, _share(torch.cat(standing)))
    robust = robust_accuracy(
        model, x, y, epsilon=epsilon, steps=final.steps, restarts=final.restarts, box=box, seed=seed, norm=norm
    )
    return FinalAccuracies(clean, robust)


def _chunks(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(x, _CHUNK), torch.split(y, _CHUNK), strict=True)


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / len(hits)
