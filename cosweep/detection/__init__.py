"""Detectors of catastrophic overfitting; plain floats in, no torch."""

from cosweep.detection.base import Detector, Past
from cosweep.detection.chance import Chance
from cosweep.detection.collapse import Collapse
from cosweep.detection.curve_reader import CurveReader
from cosweep.detection.published import FGSMPGDGap, GradientCosine, WongDrop
from cosweep.detection.verdict import Verdict
from cosweep.specs import registry

DETECTORS: dict[str, type[Detector]] = registry(Collapse, WongDrop, FGSMPGDGap, GradientCosine)

__all__ = ["DETECTORS", "Chance", "CurveReader", "Detector", "Past", "Verdict"]
