"""What a diagnostic is: a measurement of the model on the first examples of the probe set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor, nn

from cosweep.attacks import ThreatModel, fgsm, measuring_gradient, pgd, pgd_alpha
from cosweep.metrics import Measurement
from cosweep.seeding import RandomStream
from cosweep.specs import Component, number

Measured = Mapping[str, float | list[float]]


@dataclass(frozen=True)
class View:
    """A model in eval mode and the held-out images that it is looked at with.

    Attributes:
        model: Maps pixels to logits.
        x, y: (N, C, H, W) intervened images, (N,) labels.
        threat: What attacks may do.
        pgd_steps: Steps of PGD, with :func:`pgd_alpha`.
        seed: Of all noise; the same at every probe of a trial.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    threat: ThreatModel
    pgd_steps: int
    seed: int

    @cached_property
    def fgsm_delta(self) -> Tensor:
        """(N, C, H, W) perturbation by FGSM."""
        return fgsm(self.model, self.x, self.y, self.threat, measuring_gradient)

    @cached_property
    def pgd_delta(self) -> Tensor:
        """(N, C, H, W) perturbation by PGD."""
        return pgd(
            self.model,
            self.x,
            self.y,
            self.threat,
            alpha=pgd_alpha(self.threat.epsilon, self.pgd_steps),
            steps=self.pgd_steps,
            rng=RandomStream(self.seed, "delta"),
            gradient_of=measuring_gradient,
        )


@dataclass(frozen=True, kw_only=True)
class Diagnostic(Component):
    """Base of the diagnostics.

    Attributes:
        examples: Number of held-out images, the first of the probe's.
    """

    second_order: ClassVar[bool] = False
    """Whether it differentiates an input gradient, which some networks cannot."""

    columns: ClassVar[tuple[Measurement, ...]]
    """What :meth:`measure` returns."""

    examples: int = number(64, low=1)

    @abstractmethod
    def passes(self, pgd_steps: int) -> float:
        """Forward and backward passes per example, counted together; what its cost is judged by."""

    @abstractmethod
    def measure(self, view: View) -> Measured:
        """Name of each of the columns, to its value."""
