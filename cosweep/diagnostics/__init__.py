"""Diagnostics: what a probe may measure besides accuracies; none changes the training."""

from cosweep.diagnostics.abnormal import Abnormal
from cosweep.diagnostics.base import Diagnostic, View
from cosweep.diagnostics.curvature import Curvature
from cosweep.diagnostics.delta import DeltaCosine, DeltaSpectrum
from cosweep.diagnostics.ray import Ray

DIAGNOSTICS: dict[str, type[Diagnostic]] = {
    "curvature": Curvature,
    "delta_cos": DeltaCosine,
    "delta_spectrum": DeltaSpectrum,
    "abnormal": Abnormal,
    "ray": Ray,
}

__all__ = ["DIAGNOSTICS", "Diagnostic", "View"]
