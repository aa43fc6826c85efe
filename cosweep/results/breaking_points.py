"""Where a sweep breaks: P(CO) and the breaking point by the axes of its space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pyarrow as pa

from cosweep.metrics import TrialState
from cosweep.units import format_pixels

Value = float | str | int | bool | None

PIXEL_COLUMNS = frozenset({"epsilon", "alpha", "beta"})


@dataclass(frozen=True)
class Cell:
    """Trials that share a place in the phase diagram.

    Attributes:
        trials: How many say whether training breaks: CO was found, or training was healthy to its end.
        broken: How many showed catastrophic overfitting.
        unclear: How many diverged or were never robust, and so had nothing to lose.
        co_step: Median breaking point of those, steps; None without any.
        robust_acc: Median final robust accuracy, fraction; None without trials.
    """

    trials: int
    broken: int
    unclear: int
    co_step: float | None
    robust_acc: float | None

    @property
    def probability(self) -> float:
        """P(CO) over the trials that say; NaN if none does."""
        return self.broken / self.trials if self.trials else math.nan


@dataclass(frozen=True)
class PhaseDiagram:
    """P(CO) over two axes; a sweep with one axis has a single row.

    Attributes:
        row_axis, column_axis: Names of columns of ``trials``; row_axis is empty with one axis.
        rows, columns: Sorted values.
        cells: By (row value, column value); places without a finished trial are absent.
    """

    row_axis: str
    column_axis: str
    rows: tuple[Value, ...]
    columns: tuple[Value, ...]
    cells: dict[tuple[Value, Value], Cell]


def phase_diagram(trials: pa.Table, axes: Sequence[str]) -> PhaseDiagram:
    """Phase diagram of finished trials over the first two axes; others, and the seed, are pooled.

    Args:
        trials: Table ``trials`` of one sweep.
        axes: Columns that the space varies, in its order.
    """
    names = [a for a in axes if a != "seed" and a in trials.column_names] or ["seed"]
    row_axis, column_axis = (names[0], names[1]) if len(names) > 1 else ("", names[0])
    groups: dict[tuple[Value, Value], list[dict[str, Any]]] = {}
    for trial in trials.to_pylist():
        if trial["status"] != "failed":
            place = (trial.get(row_axis) if row_axis else None, trial.get(column_axis))
            groups.setdefault(place, []).append(trial)
    return PhaseDiagram(
        row_axis,
        column_axis,
        _sorted({row for row, _ in groups}),
        _sorted({column for _, column in groups}),
        {place: _cell(members) for place, members in groups.items()},
    )


def _cell(trials: list[dict[str, Any]]) -> Cell:
    steps = [t["co_step"] for t in trials if t["co"]]
    unclear = [t for t in trials if not t["co"] and t["state"] != TrialState.HEALTHY]
    robust = [t["robust_acc"] for t in trials if t["robust_acc"] is not None]
    return Cell(
        trials=len(trials) - len(unclear),
        broken=len(steps),
        unclear=len(unclear),
        co_step=median(steps) if steps else None,
        robust_acc=median(robust) if robust else None,
    )


def _sorted(values: set[Value]) -> tuple[Value, ...]:
    return tuple(sorted(values, key=lambda v: (isinstance(v, str), v if v is not None else -1)))


def format_value(axis: str, value: Value) -> str:
    """A value of an axis as people read it: pixel quantities in n/255."""
    if axis in PIXEL_COLUMNS and isinstance(value, float):
        return format_pixels(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def phase_rows(diagram: PhaseDiagram) -> list[dict[str, Value]]:
    """The diagram as rows of a table, in order of its axes."""
    rows: list[dict[str, Value]] = []
    for row in diagram.rows:
        for column in diagram.columns:
            cell = diagram.cells.get((row, column))
            if cell is not None:
                place = {diagram.row_axis: row} if diagram.row_axis else {}
                rows.append(
                    place
                    | {
                        diagram.column_axis: column,
                        "trials": cell.trials,
                        "broken": cell.broken,
                        "unclear": cell.unclear,
                        "p_co": cell.probability if cell.trials else None,
                        "median_co_step": cell.co_step,
                        "median_robust_acc": cell.robust_acc,
                    }
                )
    return rows
