"""The figure and tables that a sweep leaves beside its results."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosweep.metrics import TrialStatus
from cosweep.results.breaking_points import PhaseDiagram, phase_diagram, phase_rows
from cosweep.results.query import to_csv
from cosweep.results.store import Store


@dataclass(frozen=True)
class Report:
    """A sweep's outcome.

    Attributes:
        sweep: Its name.
        trials: Its rows of ``trials``.
        curves: Their rows of ``curves``.
        axes: Columns that the space varies.
        diagram: P(CO) over them.
        asked: How many trials its definition has.
    """

    sweep: str
    trials: pa.Table
    curves: pa.Table
    axes: tuple[str, ...]
    diagram: PhaseDiagram
    asked: int

    def summary(self) -> dict[str, float]:
        """Counts and medians over the trials, for MLflow's parent run."""
        rows = self.trials.to_pylist()
        steps = [r["co_step"] for r in rows if r["co"]]
        failed = sum(r["status"] == TrialStatus.FAILED for r in rows)
        numbers: dict[str, float] = {"trials": len(rows), "failed": failed, "co": len(steps)}
        cells = self.diagram.cells.values()
        if said := sum(cell.trials for cell in cells):
            numbers["p_co"] = sum(cell.broken for cell in cells) / said
        if steps:
            numbers["median_co_step"] = median(steps)
        return numbers

    def files(self) -> dict[str, bytes]:
        """File name to content: figures as PNG; the phase diagram and the breaking points as CSV."""
        from cosweep.results.curve_figures import ablations_figure, curves_figure
        from cosweep.results.figures import phase_figure

        names = ["trial_id", "epsilon", "beta", "intervention", "method", "seed", "state", "co", "co_step"]
        points = self.trials.select([*names, "co_step_low", "co_step_high", "co_epoch", "co_reason"])
        done = self.trials.num_rows
        partial = "" if done >= self.asked else f" ({done} of {self.asked} trials so far)"
        trials, curves = self.trials.to_pylist(), self.curves.to_pylist()
        files = {
            "phase.png": phase_figure(
                self.diagram, f"{self.sweep}: trials with CO, and median breaking point{partial}"
            ),
            "curves.png": curves_figure(trials, curves, self.axes, f"{self.sweep}: median over trials{partial}"),
            "ablations.png": ablations_figure(trials, self.axes, f"{self.sweep}: mean over trials{partial}"),
            "phase.csv": to_csv(pa.Table.from_pylist(phase_rows(self.diagram))),
            "breaking_points.csv": to_csv(points),
        }
        return {name: content for name, content in files.items() if content is not None}


def make_report(store: Store, sweep: str, record: dict[str, Any] | None = None) -> Report:
    """Report of the trials that a sweep's definition asks for and that have finished so far.

    Args:
        store: Where they are.
        sweep: Its name.
        record: The definition, as kept by ``Store.write_sweep``; None takes the latest of this name.

    Raises:
        CosweepError: If there is no such sweep.
    """
    record = record or store.sweep_record(sweep)
    trials = asked_trials(store, sweep, record).sort_by(
        [("epsilon", "ascending"), ("beta", "ascending"), ("seed", "ascending")]
    )
    curves = store.curves(sweep)
    curves = curves.filter(pc.is_in(curves["trial_id"], trials["trial_id"]))
    axes = tuple(record["axes"])
    return Report(sweep, trials, curves, axes, phase_diagram(trials, axes), len(record["trial_ids"]))


def asked_trials(store: Store, sweep: str, record: dict[str, Any]) -> pa.Table:
    """Rows of the trials in a sweep's record; those of earlier definitions of the same name are left out."""
    trials = store.trials(sweep)
    return trials.filter(pc.is_in(trials["trial_id"], pa.array(record["trial_ids"], pa.string())))


def write_report(store: Store, report: Report) -> dict[str, bytes]:
    """Write the report's files below ``reports/NAME`` and return them."""
    files = report.files()
    for name, content in files.items():
        store.write_bytes(f"reports/{report.sweep}/{name}", content)
    return files
