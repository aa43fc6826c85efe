"""cosweep's own detector: FGSM accuracy shows robustness that PGD accuracy denies."""

from __future__ import annotations

from typing import ClassVar

from cosweep.detection.base import Detector
from cosweep.metrics import ProbeMetrics


class Collapse(Detector):
    """Robustness lost, or claimed and absent: PGD accuracy far below its best or below FGSM accuracy.

    A probe looks collapsed if FGSM accuracy is above what guessing and the best constant answer reach, and either

    - robustness was lost: PGD accuracy is below ``LOST`` of the best that was robust and below ``LOST`` of FGSM
      accuracy (a decline of both is forgetting or divergence, not CO); or
    - robustness is claimed: FGSM accuracy is above ``SHOW`` of clean accuracy, and PGD accuracy is below
      ``GAP`` of FGSM accuracy, whether or not there was any robustness to lose.

    All limits are ratios, so that they mean the same on 2, 10 and 200 classes. Clean accuracy is not asked
    to stay high: it often dips at the onset.
    """

    name = "collapse"
    source = "cosweep; limits calibrated in docs/detectors.md"

    LOST: ClassVar[float] = 0.5
    GAP: ClassVar[float] = 0.2
    SHOW: ClassVar[float] = 0.6

    def collapsed(self, probe: ProbeMetrics) -> bool:
        shown = max(self.chance.guess_limit, self.chance.robust_floor)
        return probe.fgsm_acc > shown and (self._lost(probe) or self._claimed(probe))

    def _lost(self, probe: ProbeMetrics) -> bool:
        return probe.pgd_acc < self.LOST * min(self.best_pgd, probe.fgsm_acc)

    def _claimed(self, probe: ProbeMetrics) -> bool:
        shows = probe.fgsm_acc > self.SHOW * probe.clean_acc
        return shows and probe.pgd_acc < self.GAP * probe.fgsm_acc

    def reason(self, onset: ProbeMetrics) -> str:
        pgd, fgsm = f"PGD accuracy {onset.pgd_acc:.2f}", f"FGSM accuracy {onset.fgsm_acc:.2f}"
        if self._lost(onset):
            return f"{pgd} is below {self.LOST:g} x its best {self.best_pgd:.2f} and below {self.LOST:g} x {fgsm}"
        return f"{pgd} is below {self.GAP:g} x {fgsm}, which is above {self.SHOW:g} x clean {onset.clean_acc:.2f}"
