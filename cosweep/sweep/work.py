"""What the trials of a sweep are run with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cosweep.data import Dataset
from cosweep.definition.sweep import Sweep
from cosweep.results.store import Store
from cosweep.sweep.stops import Stops
from cosweep.training import TrialRun


@dataclass(frozen=True)
class Work:
    """What the trials of a sweep are run with.

    Attributes:
        sweep, store: Which, and where its results go.
        datasets, hashes: Images by load key, and their fingerprints.
        make_run: What runs a trial.
        at_once: How many trials the cluster can run at once now.
        stops: Say when the sweep is to end.
    """

    sweep: Sweep
    store: Store
    datasets: Mapping[str, Dataset]
    hashes: Mapping[str, str]
    make_run: type[TrialRun]
    at_once: int
    stops: Stops
