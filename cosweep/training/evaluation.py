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
    ThreatModel,
    correct,
    gradient_and_logits,
    input_gradient,
    labels_right,
    margin_where,
    pgd_alpha,
    step,
    uniform_in_ball,
    vanished,
    withstands_pgd,
)
from cosweep.attacks.autoattack import withstands_autoattack
from cosweep.diagnostics import Diagnostic, View
from cosweep.parallel import ALONE, Workers
from cosweep.seeding import RandomStream
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
    zero_grad_share: float


@dataclass(frozen=True)
class Prober:
    """Measures a model on a fixed held-out set with fixed noise, so that probes differ by the model alone.

    Attributes:
        x, y: (N, C, H, W) images inside ``box``, (N,) labels.
        threat: What attacks may do.
        pgd_steps: Steps of PGD, one restart.
        seed: Of the noise; the same for all probes of a trial.
        with_grad_cos: Whether to measure the gradient cosine.
        workers: Those that share the work, with the same result on each.
    """

    x: Tensor
    y: Tensor
    threat: ThreatModel
    pgd_steps: int
    seed: int
    with_grad_cos: bool = True
    workers: Workers = ALONE

    def measure(self, model: nn.Module) -> Accuracies:
        """All accuracies and the gradient cosine of a model, which is left in the mode it was in.

        Attacks climb the margin from where the gradient of the cross-entropy is exactly zero.
        """
        rows = self.workers.rows(len(self.x))
        x, y = self.x[rows], self.y[rows]
        with evaluating(model):
            gradient, logits = gradient_and_logits(model, x, y)
            flat = vanished(gradient)
            ascent = margin_where(flat, gradient, model, x, y)
            perturbed = x + step(ascent, x, self.threat, alpha=self.threat.epsilon, ball=False)
            return Accuracies(
                clean_acc=self._share(labels_right(logits, y)),
                fgsm_acc=self._share(correct(model, perturbed, y)),
                pgd_acc=robust_accuracy(
                    model,
                    self.x,
                    self.y,
                    self.threat,
                    steps=self.pgd_steps,
                    restarts=1,
                    seed=self.seed,
                    workers=self.workers,
                ),
                grad_cos=self._grad_cos(model, x, y, gradient) if self.with_grad_cos else math.nan,
                zero_grad_share=self._share(flat),
            )

    def diagnose(self, model: nn.Module, diagnostics: Sequence[Diagnostic]) -> dict[str, float | list[float]]:
        """Columns of all diagnostics, each measured whole by every worker."""
        measured: dict[str, float | list[float]] = {}
        views: dict[int, View] = {}  # those of as many examples share their perturbations
        with evaluating(model):
            for diagnostic in diagnostics:
                n = diagnostic.examples
                view = View(model, self.x[:n], self.y[:n], self.threat, self.pgd_steps, self.seed)
                measured |= diagnostic.measure(views.setdefault(n, view))
        return measured

    def _share(self, hits: Tensor) -> float:
        return int(self.workers.sum(hits.sum())) / len(self.x)

    def _grad_cos(self, model: nn.Module, x: Tensor, y: Tensor, gradient: Tensor) -> float:
        """Mean cosine of the input gradients at x and at x + noise, uniform in the ball
        (Andriushchenko and Flammarion, NeurIPS 2020, equation 3)."""
        rng = RandomStream(
            self.seed, "grad_cos", first_row=self.workers.rows(len(self.x)).start, total_rows=len(self.x)
        )
        nearby = input_gradient(model, x + uniform_in_ball(x, self.threat.epsilon, rng, self.threat.norm), y)
        # Gradients of confident models are tiny; torch's default would take those below 1e-8 for shorter.
        one, other = gradient.flatten(1).double(), nearby.flatten(1).double()
        cosines = functional.cosine_similarity(one, other, eps=1e-100)
        return self.workers.sum(cosines.sum()).item() / len(self.x)


def robust_accuracy(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int,
    restarts: int,
    seed: int,
    alpha: float | None = None,
    workers: Workers = ALONE,
) -> float:
    """Fraction of examples that stay right under every iterate of PGD; without ``alpha``, with :func:`pgd_alpha`.

    An example counts as broken by any iterate, its clean image included, so more steps or restarts never
    raise the number. Several workers share the examples of each chunk.
    """
    with evaluating(model):
        standing = [
            withstands_pgd(
                model,
                chunk_x[workers.rows(len(chunk_x))],
                chunk_y[workers.rows(len(chunk_y))],
                threat,
                alpha=pgd_alpha(threat.epsilon, steps) if alpha is None else alpha,
                steps=steps,
                restarts=restarts,
                # Noise of its own, whatever the chunks before it drew and however early they ended.
                rng=RandomStream(
                    seed + index, "pgd", first_row=workers.rows(len(chunk_x)).start, total_rows=len(chunk_x)
                ),
            )
            for index, (chunk_x, chunk_y) in enumerate(_chunks(x, y))
        ]
    return int(workers.sum(torch.cat(standing).sum())) / len(x)


@dataclass(frozen=True)
class FinalAccuracies:
    """Fractions of the held-out examples of one ablation, counted.

    Attributes:
        clean_acc: Right without perturbation.
        robust_acc: Right under attack.
        zero_grad_share: With an input gradient of exactly zero; NaN if that was not measured.
    """

    clean_acc: float
    robust_acc: float
    zero_grad_share: float = math.nan


def final_accuracies(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    final: FinalSpec,
    num_classes: int,
    seed: int,
    workers: Workers = ALONE,
) -> FinalAccuracies:
    """Accuracy without perturbation and under the final attack. Workers share PGD; AutoAttack runs whole on each."""
    with evaluating(model):
        clean = _share(torch.cat([correct(model, *chunk) for chunk in _chunks(x, y)]))
        flat = _share(torch.cat([vanished(input_gradient(model, *chunk)) for chunk in _chunks(x, y)]))
        if final.attack == "autoattack":
            box = threat.box
            images = Box(min(box.low, x.min().item()), max(box.high, x.max().item()))
            reach = box if box.pulls else images
            standing = [
                withstands_autoattack(
                    model,
                    *chunk,
                    threat,
                    num_classes=num_classes,
                    reach=reach,
                    seed=seed + index,
                )
                for index, chunk in enumerate(_chunks(x, y))
            ]
            return FinalAccuracies(clean, _share(torch.cat(standing)), flat)
    robust = robust_accuracy(
        model, x, y, threat,
        alpha=final.alpha, steps=final.steps, restarts=final.restarts, seed=seed, workers=workers,
    )  # fmt: skip
    return FinalAccuracies(clean, robust, flat)


def _chunks(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(x, _CHUNK), torch.split(y, _CHUNK), strict=True)


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / len(hits)
