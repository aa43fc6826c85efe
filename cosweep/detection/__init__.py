"""Detectors of catastrophic overfitting; plain floats in, no torch."""

from pathlib import Path

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

RECORDED_CURVES = Path(__file__).with_name("recorded_curves.parquet")
"""Probes of real trainings, by which the detectors were calibrated and compared; benchmarks/detectors.py makes it."""

__all__ = ["DETECTORS", "RECORDED_CURVES", "Chance", "Detector", "Verdict"]
