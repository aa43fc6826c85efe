"""cosweep's own detector: PGD accuracy collapsed, and FGSM accuracy does not show it."""

from __future__ import annotations

from typing import ClassVar

from cosweep.detection.base import Detector
from cosweep.metrics import ProbeMetrics


class Collapse(Detector):
    """PGD accuracy below ``DROP`` of its best and below ``GAP`` of FGSM accuracy, three probes running.

    Both limits are ratios, so that they mean the same on 10 and on 200 classes.
    """

    name = "collapse"
    source = "cosweep; thresholds calibrated in docs/detectors.md"

    DROP: ClassVar[float] = 0.5
    GAP: ClassVar[float] = 0.5

    def collapsed(self, probe: ProbeMetrics) -> bool:
        return (
            self.best_pgd >= self.robust_floor
            and probe.pgd_acc < self.DROP * self.best_pgd
            and probe.pgd_acc < self.GAP * probe.fgsm_acc
        )

    def reason(self, onset: ProbeMetrics) -> str:
        return (
            f"PGD accuracy {onset.pgd_acc:.2f} is below {self.DROP:g} x its best {self.best_pgd:.2f} "
            f"and below {self.GAP:g} x FGSM accuracy {onset.fgsm_acc:.2f}"
        )
