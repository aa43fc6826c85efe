"""Where, over data interventions and hyperparameters, single-step adversarial training breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cosweep.results.views import Results

__version__ = "0.3.0.dev0"


def open_results(root: str | Path = "results", sweep: str | None = None) -> Results:
    """What sweeps left at a location, for analyses in Python.

        results = cosweep.open_results("results", sweep="quickstart")
        results.trials.filter("co").aggregate("epsilon, count(*), median(co_step)").df()
        results.query("SELECT * FROM trials JOIN curves USING (trial_id)").to_arrow_table()

    Args:
        root: A folder, or an ``s3://`` or ``gs://`` address.
        sweep: Only this one; all without.

    Returns:
        ``trials``, ``curves`` and ``snapshots`` of the definitions that the sweeps were last run with, as DuckDB
        relations; ``all_trials``, ``all_curves`` and ``all_snapshots`` with earlier results of the same names; and
        ``query`` for SQL over them.

    Raises:
        CosweepError: If there is nothing at the location, or no such sweep.
    """
    # Here, since training needs neither tables nor SQL.
    from cosweep.results.views import open_store

    return open_store(root, sweep)
