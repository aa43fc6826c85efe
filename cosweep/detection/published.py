"""Rules of the literature, to compare with and to choose by name. They decide at once, as published."""

from __future__ import annotations

import math

from cosweep.detection.base import Detector
from cosweep.metrics import ProbeMetrics


class WongDrop(Detector):
    """PGD accuracy more than 0.2 below that of an epoch before.

    Published on PGD-5 accuracy of one training batch an epoch; here on the probe's, against the latest probe
    at least one epoch older, or the one before where epochs are not known.
    """

    name = "wong_drop"
    source = "Wong et al., ICLR 2020, early stopping"
    confirm = 1

    def __init__(self, num_classes: int = 10, threshold: float = 0.2) -> None:
        super().__init__(num_classes)
        self.threshold = threshold
        self._healthy: list[ProbeMetrics] = []

    def collapsed(self, probe: ProbeMetrics) -> bool:
        before = self._epoch_before(probe)
        return before is not None and probe.pgd_acc - before.pgd_acc < -self.threshold

    def observe(self, probe: ProbeMetrics) -> None:
        super().observe(probe)
        self._healthy.append(probe)

    def reason(self, onset: ProbeMetrics) -> str:
        before = self._epoch_before(onset)
        was = math.nan if before is None else before.pgd_acc
        return f"PGD accuracy {onset.pgd_acc:.2f}, {was:.2f} an epoch before: a drop of more than {self.threshold:g}"

    def _epoch_before(self, probe: ProbeMetrics) -> ProbeMetrics | None:
        if math.isnan(probe.epoch):
            return self._healthy[-1] if self._healthy else None
        older = (p for p in reversed(self._healthy) if probe.epoch - p.epoch >= 1 - 1e-9)
        return next(older, None)


class FGSMPGDGap(Detector):
    """FGSM accuracy more than 0.9 above PGD accuracy."""

    name = "gap"
    source = "ATSS demo code (gap > 0.9); see docs/detectors.md for a fitted limit"
    confirm = 1

    def __init__(self, num_classes: int = 10, threshold: float = 0.9) -> None:
        super().__init__(num_classes)
        self.threshold = threshold

    def collapsed(self, probe: ProbeMetrics) -> bool:
        return probe.fgsm_acc - probe.pgd_acc > self.threshold

    def reason(self, onset: ProbeMetrics) -> str:
        return (
            f"FGSM accuracy {onset.fgsm_acc:.2f} is more than {self.threshold:g} above PGD accuracy {onset.pgd_acc:.2f}"
        )


class GradientCosine(Detector):
    """Cosine of the input gradients at x and x + noise below 0.2; the source names no limit."""

    name = "grad_cos"
    source = "Andriushchenko and Flammarion, NeurIPS 2020, figure 4"
    confirm = 1

    def __init__(self, num_classes: int = 10, threshold: float = 0.2) -> None:
        super().__init__(num_classes)
        self.threshold = threshold

    def collapsed(self, probe: ProbeMetrics) -> bool:
        return probe.grad_cos < self.threshold

    def reason(self, onset: ProbeMetrics) -> str:
        return f"gradient cosine {onset.grad_cos:.2f} is below {self.threshold:g}"
