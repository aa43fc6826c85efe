"""Detectors of catastrophic overfitting; plain floats in, no torch."""

from cosweep.detection.base import Detector
from cosweep.detection.collapse import Collapse
from cosweep.detection.verdict import Verdict

DETECTORS: dict[str, type[Detector]] = {"collapse": Collapse}

__all__ = ["DETECTORS", "Detector", "Verdict"]
