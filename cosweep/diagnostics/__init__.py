"""Diagnostics: what a probe may measure besides accuracies; none changes the training."""

from cosweep.diagnostics.abnormal import Abnormal
from cosweep.diagnostics.base import Diagnostic, View
from cosweep.diagnostics.curvature import Curvature
from cosweep.diagnostics.delta import DeltaCosine, DeltaSpectrum
from cosweep.diagnostics.ray import Ray
from cosweep.specs import registry

DIAGNOSTICS: dict[str, type[Diagnostic]] = registry(
    Curvature,
    DeltaCosine,
    DeltaSpectrum,
    Abnormal,
    Ray,
)

__all__ = ["DIAGNOSTICS", "Diagnostic", "View"]
