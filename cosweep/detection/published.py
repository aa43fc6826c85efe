"""Rules of the literature, to compare with and to choose by name. They decide at once, as published."""

from __future__ import annotations

import math
from typing import ClassVar

from cosweep.detection.base import Detector
from cosweep.detection.chance import TEN_CLASSES, Chance
from cosweep.metrics import ProbeMetrics


class ThresholdRule(Detector):
    """Base of the rules with one limit.

    Args:
        chance: What guessing reaches.
        threshold: The limit; None takes the published one.
    """

    confirm = 1
    published: ClassVar[float]

    def __init__(self, chance: Chance = TEN_CLASSES, threshold: float | None = None) -> None:
        super().__init__(chance)
        self.threshold = self.published if threshold is None else threshold


class WongDrop(ThresholdRule):
    """PGD accuracy more than 0.2 below that of an epoch before.

    Published on PGD-5 accuracy of one training batch an epoch; here on the probe's, against the latest probe
    at least one epoch older, or the one before where epochs are not known.
    """

    name = "wong_drop"
    source = "Wong et al., ICLR 2020, early stopping"
    published = 0.2

    def __init__(self, chance: Chance = TEN_CLASSES, threshold: float | None = None) -> None:
        super().__init__(chance, threshold)
        self._healthy: list[ProbeMetrics] = []

    def collapsed(self, probe: ProbeMetrics) -> bool:
        return probe.pgd_acc - self._epoch_before(probe) < -self.threshold

    def observe(self, probe: ProbeMetrics) -> None:
        super().observe(probe)
        self._healthy.append(probe)

    def reason(self, onset: ProbeMetrics) -> str:
        before = self._epoch_before(onset)
        return f"PGD accuracy {onset.pgd_acc:.2f} is more than {self.threshold:g} below {before:.2f} an epoch before"

    def _epoch_before(self, probe: ProbeMetrics) -> float:
        """PGD accuracy of the probe to compare with; NaN, which is below nothing, without one."""
        if math.isnan(probe.epoch):
            return self._healthy[-1].pgd_acc if self._healthy else math.nan
        older = (p.pgd_acc for p in reversed(self._healthy) if probe.epoch - p.epoch >= 1 - 1e-9)
        return next(older, math.nan)


class FGSMPGDGap(ThresholdRule):
    """FGSM accuracy more than 0.9 above PGD accuracy."""

    name = "gap"
    source = "ATSS demo code (gap > 0.9); docs/detectors.md has a fitted limit"
    published = 0.9

    def collapsed(self, probe: ProbeMetrics) -> bool:
        return probe.fgsm_acc - probe.pgd_acc > self.threshold

    def reason(self, onset: ProbeMetrics) -> str:
        return f"FGSM accuracy {onset.fgsm_acc:.2f} is more than {self.threshold:g} above PGD {onset.pgd_acc:.2f}"


class GradientCosine(ThresholdRule):
    """Cosine of the input gradients at x and x + noise below 0.2 (the source names no limit)."""

    name = "grad_cos"
    source = "Andriushchenko and Flammarion, NeurIPS 2020, figure 4"
    published = 0.2

    def collapsed(self, probe: ProbeMetrics) -> bool:
        return probe.grad_cos < self.threshold

    def reason(self, onset: ProbeMetrics) -> str:
        return f"gradient cosine {onset.grad_cos:.2f} is below {self.threshold:g}"
