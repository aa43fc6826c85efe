"""Data of a trial: sources, carriers, interventions and batches on a device."""

from cosweep.data.carriers import CARRIERS
from cosweep.data.dataset import Dataset
from cosweep.data.injections import Grouped, Inject, InjectOrthogonal, Partial, Shared, Shuffled
from cosweep.data.interventions import ImageSet, Intervention
from cosweep.data.pass_filters import BandStop, HighPass, LowPass
from cosweep.data.sources import SOURCES, Source
from cosweep.specs import registry

INTERVENTIONS: dict[str, type[Intervention]] = registry(
    Inject,
    InjectOrthogonal,
    LowPass,
    HighPass,
    BandStop,
    Shuffled,
    Shared,
    Grouped,
    Partial,
)

__all__ = [
    "CARRIERS",
    "INTERVENTIONS",
    "SOURCES",
    "Dataset",
    "ImageSet",
    "Intervention",
    "Source",
]
