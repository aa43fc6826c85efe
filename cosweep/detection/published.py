"""Rules of the literature, to compare with and to choose by name. They decide at once, as published."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from cosweep.detection.base import Detector, Past
from cosweep.metrics import ProbeMetrics
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class WongDrop(Detector):
    """PGD accuracy more than ``threshold`` below that of an epoch before.

    Published on PGD-5 accuracy of one training batch an epoch; here on the probe's, against the latest probe
    at least one epoch older, or the one before where epochs are not known.
    """

    name: ClassVar[str] = "wong_drop"
    source: ClassVar[str] = "Wong et al., ICLR 2020, early stopping"
    confirm: ClassVar[int] = 1

    threshold: float = number(0.2, low=0.0, high=1.0)

    def collapsed(self, probe: ProbeMetrics, past: Past) -> bool:
        return probe.pgd_acc - _epoch_before(probe, past) < -self.threshold

    def reason(self, onset: ProbeMetrics, past: Past) -> str:
        before = _epoch_before(onset, past)
        return f"PGD accuracy {onset.pgd_acc:.2f} is more than {self.threshold:g} below {before:.2f} an epoch before"


def _epoch_before(probe: ProbeMetrics, past: Past) -> float:
    """PGD accuracy of the probe to compare with; NaN, which is below nothing, without one."""
    if math.isnan(probe.epoch):
        return past.healthy[-1].pgd_acc if past.healthy else math.nan
    older = (p.pgd_acc for p in reversed(past.healthy) if probe.epoch - p.epoch >= 1 - 1e-9)
    return next(older, math.nan)


@dataclass(frozen=True, kw_only=True)
class FGSMPGDGap(Detector):
    """FGSM accuracy more than ``threshold`` above PGD accuracy."""

    name: ClassVar[str] = "gap"
    source: ClassVar[str] = "ATSS demo code (gap > 0.9); docs/detectors.md has a fitted limit"
    confirm: ClassVar[int] = 1

    threshold: float = number(0.9, low=0.0, high=1.0)

    def collapsed(self, probe: ProbeMetrics, past: Past) -> bool:
        return probe.fgsm_acc - probe.pgd_acc > self.threshold

    def reason(self, onset: ProbeMetrics, past: Past) -> str:
        return f"FGSM accuracy {onset.fgsm_acc:.2f} is more than {self.threshold:g} above PGD {onset.pgd_acc:.2f}"


@dataclass(frozen=True, kw_only=True)
class GradientCosine(Detector):
    """Cosine of the input gradients at x and x + noise below ``threshold`` (the source names no limit)."""

    name: ClassVar[str] = "grad_cos"
    source: ClassVar[str] = "Andriushchenko and Flammarion, NeurIPS 2020, figure 4"
    confirm: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("grad_cos",)

    threshold: float = number(0.2, low=-1.0, high=1.0)

    def collapsed(self, probe: ProbeMetrics, past: Past) -> bool:
        return probe.grad_cos < self.threshold

    def reason(self, onset: ProbeMetrics, past: Past) -> str:
        return f"gradient cosine {onset.grad_cos:.2f} is below {self.threshold:g}"
