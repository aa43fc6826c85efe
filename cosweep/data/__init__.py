"""Data of a trial: sources, carriers, interventions and batches on a device."""

from cosweep.data.carriers import CARRIERS
from cosweep.data.interventions import INTERVENTIONS, Intervention
from cosweep.data.sources import SOURCES, Dataset, Source

__all__ = ["CARRIERS", "INTERVENTIONS", "SOURCES", "Dataset", "Intervention", "Source"]
