"""What a sweep is: its trials, the axes of its space, and how and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from cosweep.errors import Fault
from cosweep.redaction import holds_secret
from cosweep.search import STRATEGIES, Axis, Point, SearchSpec, Strategy
from cosweep.specs import Spec, number
from cosweep.training.trial_spec import TrialSpec, column_of

GIGABYTE = 1e9
"""Bytes."""
MOST_SECONDS = 1e8
"""Three years; timers do not take much more."""
OFF = "off"
"""For no MLflow, in place of its address."""


@dataclass(frozen=True, kw_only=True)
class ResourcesSpec(Spec):
    """What one trial takes of the cluster; fractions let trials share.

    Attributes:
        workers: Processes that train a trial together, each with its rows of every batch. What follows is then for
            each of them.
        cpu, gpu: Cores and devices. A trial with a part of a device may use that part of its memory.
        memory: Gigabytes of the machine's memory that are kept for it, and that it may not exceed; null is no limit.
        time_limit: Seconds after which its worker is ended and the trial tried again; null is no limit.
    """

    workers: int = number(1, low=1, high=1024)
    cpu: float = number(1.0, low=0.001)
    gpu: float = number(0.0, low=0.0)
    memory: float | None = number(None, above=0.0)
    time_limit: float | None = number(None, above=0.0, high=MOST_SECONDS)

    def faults(self) -> Iterator[Fault]:
        """What several workers cannot have."""
        if self.workers > 1 and self.gpu not in (0, 1):
            yield Fault("gpu", f"each of several workers trains on one whole device: write 0 or 1, got {self.gpu:g}")


@dataclass(frozen=True, kw_only=True)
class TrackingSpec(Spec):
    """Where MLflow keeps the runs; null is SQLite below the results folder, ``off`` is no MLflow."""

    uri: str | Literal["off"] | None = None

    def faults(self) -> Iterator[Fault]:
        """Why the address cannot stand in a definition."""
        if self.uri is not None and holds_secret(self.uri):
            yield Fault("uri", secret_fault("MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"))


@dataclass(frozen=True, kw_only=True)
class ResultsSpec(Spec):
    """Where the tables go.

    Attributes:
        root: A folder, or an s3:// or gs:// location.
        checkpoint_seconds: How often a trial keeps its training there, to be carried on after its machine was lost;
            null is never.
    """

    root: str = "results"
    checkpoint_seconds: float | None = number(300.0, low=0.0, high=MOST_SECONDS)

    def faults(self) -> Iterator[Fault]:
        """Why the address cannot stand in a definition."""
        if holds_secret(self.root):
            yield Fault("root", secret_fault("the store's own variables, such as AWS_SECRET_ACCESS_KEY"))


def secret_fault(variables: str) -> str:
    """What to say of an address with a secret: the definition's text is kept with the results, and in the report."""
    return f"a password would be kept with the results; leave it out of the address and set {variables}"


@dataclass(frozen=True)
class Sweep:
    """A checked definition.

    Attributes:
        name: Of the sweep, part of paths below the results root.
        trials: Its distinct specs, in order of the space; if the search adapts, those at the ends and the values of
            the axes, which stand for the others where a definition is checked.
        axes: What the space varies.
        points: How many points the space has, or the search drew; some may be the same spec.
        notes: What a reader of the definition may overlook.
        spec_at: The spec at a point that the sweep's strategy asks for; raises SpecError where there is none.
        point_of: The point of the space that a spec is at; None if it is at none.
        source: Text of the definition's file; empty if it came from none.
        overrides: What ``--set`` changed in it, as ``path=value``.
        command: What runs the sweep again.
    """

    name: str
    trials: tuple[TrialSpec, ...]
    axes: tuple[Axis, ...]
    search: SearchSpec = field(default_factory=SearchSpec)
    resources: ResourcesSpec = field(default_factory=ResourcesSpec)
    tracking: TrackingSpec = field(default_factory=TrackingSpec)
    results: ResultsSpec = field(default_factory=ResultsSpec)
    source: str = ""
    overrides: tuple[str, ...] = ()
    command: str = ""
    points: int = 0
    notes: tuple[str, ...] = ()
    spec_at: Callable[[Point], TrialSpec] = field(default=lambda point: TrialSpec(), repr=False, compare=False)
    point_of: Callable[[TrialSpec], Point | None] = field(default=lambda spec: {}, repr=False, compare=False)

    @property
    def adapts(self) -> bool:
        """Whether answers decide which trials the sweep has."""
        return STRATEGIES[self.search.kind].adapts

    @property
    def most_trials(self) -> int:
        """How many trials it has; at most, if the search adapts."""
        return (self.search.trials or 0) if self.adapts else len(self.trials)

    def strategy(self) -> Strategy:
        """The strategy that searches the space, from its start."""
        return STRATEGIES[self.search.kind](self.search, self.axes)

    def record(self) -> dict[str, Any]:
        """What was asked, as plain data for the results folder; without trials that only answers decide on."""
        return {
            "name": self.name,
            "trial_ids": [] if self.adapts else [spec.trial_id for spec in self.trials],
            "axes": self.varied_columns(),
            "space": {axis.path: {axis.kind: list(axis.values)} for axis in self.axes},
            "search": self.search.to_dict(),
            "tracking": self.tracking.to_dict(),
            "source": self.source,
            "overrides": list(self.overrides),
            "command": self.command,
        }

    def varied_columns(self) -> list[str]:
        """Columns of ``trials`` that the space varies and that differ between trials, in order of the space.

        An axis of whole mappings varies several: ``method: {grid: [{name: fgsm, epsilon: ...}, ...]}``.
        """
        rows = [spec.flat() for spec in self.trials]
        names = [name for name in dict.fromkeys(n for row in rows for n in row) if self._axis_of(name) < len(self.axes)]
        varied = [name for name in names if len({row.get(name) for row in rows}) > 1]
        return sorted(varied, key=self._axis_of)

    def _axis_of(self, column: str) -> int:
        """Number of the axis that a column belongs to; their count if it belongs to none."""
        exact = [i for i, axis in enumerate(self.axes) if column_of(tuple(axis.path.split("."))) == column]
        if exact:
            return exact[0]
        within = [
            i
            for i, axis in enumerate(self.axes)
            for value in axis.values
            if isinstance(value, dict) and column in {column_of((*axis.path.split("."), option)) for option in value}
        ]
        return within[0] if within else len(self.axes)
