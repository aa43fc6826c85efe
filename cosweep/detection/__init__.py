"""Detectors of catastrophic overfitting; plain floats in, no torch."""

from cosweep.detection.base import Detector
from cosweep.detection.chance import Chance
from cosweep.detection.collapse import Collapse
from cosweep.detection.published import FGSMPGDGap, GradientCosine, WongDrop
from cosweep.detection.verdict import Verdict

DETECTORS: dict[str, type[Detector]] = {
    "collapse": Collapse,
    "wong_drop": WongDrop,
    "gap": FGSMPGDGap,
    "grad_cos": GradientCosine,
}

__all__ = ["DETECTORS", "Chance", "Detector", "Verdict"]
