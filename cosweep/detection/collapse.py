"""cosweep's own detector: FGSM accuracy shows robustness that PGD accuracy denies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cosweep.detection.base import Detector, Past
from cosweep.metrics import ProbeMetrics
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class Collapse(Detector):
    """Robustness lost, or claimed and absent: PGD accuracy far below its best or below FGSM accuracy.

    A probe looks collapsed if FGSM accuracy is above what guessing and the best constant answer reach, and either

    - robustness was lost: PGD accuracy is below ``lost`` of the best that was robust and below ``lost`` of FGSM
      accuracy (a decline of both is forgetting or divergence, not CO); or
    - robustness is claimed: FGSM accuracy is above ``show`` of clean accuracy, and PGD accuracy is below
      ``gap`` of FGSM accuracy, whether or not there was any robustness to lose.

    All limits are ratios, so that they mean the same on 2, 10 and 200 classes. Clean accuracy is not asked
    to stay high: it often dips at the onset.

    Attributes:
        lost: Part of its best and of FGSM accuracy below which PGD accuracy is lost.
        gap: Part of FGSM accuracy below which PGD accuracy denies it.
        show: Part of clean accuracy above which FGSM accuracy claims robustness.
    """

    name: ClassVar[str] = "collapse"
    source: ClassVar[str] = "cosweep; limits calibrated in docs/detectors.md"

    lost: float = number(0.5, above=0.0, high=1.0)
    gap: float = number(0.2, above=0.0, high=1.0)
    show: float = number(0.6, low=0.0, high=1.0)

    def collapsed(self, probe: ProbeMetrics, past: Past) -> bool:
        shown = max(past.chance.guess_limit, past.chance.robust_floor)
        return probe.fgsm_acc > shown and (self._lost(probe, past) or self._claimed(probe))

    def _lost(self, probe: ProbeMetrics, past: Past) -> bool:
        return probe.pgd_acc < self.lost * min(past.best_pgd, probe.fgsm_acc)

    def _claimed(self, probe: ProbeMetrics) -> bool:
        shows = probe.fgsm_acc > self.show * probe.clean_acc
        return shows and probe.pgd_acc < self.gap * probe.fgsm_acc

    def reason(self, onset: ProbeMetrics, past: Past) -> str:
        pgd, fgsm = f"PGD accuracy {onset.pgd_acc:.2f}", f"FGSM accuracy {onset.fgsm_acc:.2f}"
        if self._lost(onset, past):
            return f"{pgd} is below {self.lost:g} x its best {past.best_pgd:.2f} and below {self.lost:g} x {fgsm}"
        return f"{pgd} is below {self.gap:g} x {fgsm}, which is above {self.show:g} x clean {onset.clean_acc:.2f}"
