"""cosweep's own detector: PGD accuracy is a small part of what FGSM accuracy shows."""

from __future__ import annotations

from typing import ClassVar

from cosweep.detection.base import Detector
from cosweep.metrics import ProbeMetrics


class Collapse(Detector):
    """PGD accuracy far below FGSM accuracy, after it was robust or while FGSM looks robust.

    A probe looks collapsed if FGSM accuracy is above twice chance, PGD accuracy is below ``GAP`` of it,
    and either PGD accuracy is below ``DROP`` of its own best (robustness was lost) or FGSM accuracy is
    above ``SHOW`` of clean accuracy (robustness is claimed, whether or not there was any to lose). All
    limits are ratios, so that they mean the same on 10 and on 200 classes. Clean accuracy is not asked to
    stay high: it often dips at the onset.
    """

    name = "collapse"
    source = "cosweep; limits calibrated in docs/detectors.md"

    GAP: ClassVar[float] = 0.2
    DROP: ClassVar[float] = 0.5
    SHOW: ClassVar[float] = 0.6

    def collapsed(self, probe: ProbeMetrics) -> bool:
        masked = probe.fgsm_acc > 2 * self.chance and probe.pgd_acc < self.GAP * probe.fgsm_acc
        return masked and (self._lost(probe) or self._claimed(probe))

    def _lost(self, probe: ProbeMetrics) -> bool:
        return self.best_pgd >= self.robust_floor and probe.pgd_acc < self.DROP * self.best_pgd

    def _claimed(self, probe: ProbeMetrics) -> bool:
        return probe.fgsm_acc > self.SHOW * probe.clean_acc

    def reason(self, onset: ProbeMetrics) -> str:
        gap = f"PGD accuracy {onset.pgd_acc:.2f} is below {self.GAP:g} x FGSM accuracy {onset.fgsm_acc:.2f}"
        if self._lost(onset):
            return f"{gap} and below {self.DROP:g} x its best {self.best_pgd:.2f}"
        return f"{gap}, which is above {self.SHOW:g} x clean accuracy {onset.clean_acc:.2f}"
