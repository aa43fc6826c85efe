"""Where a sweep breaks: P(CO) and the breaking point by the axes of its space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from cosweep.analysis.believed_line import believed_line
from cosweep.analysis.breaking_line import BreakingLine, breaking_line
from cosweep.analysis.columns import SweptColumn
from cosweep.analysis.proportions import Interval, wilson
from cosweep.analysis.values import (
    Row,
    Value,
    all_numbers,
    by_place,
    is_conclusive,
    is_number,
    place_text,
    sorted_values,
)
from cosweep.metrics import TrialStatus

MOST_SLICES = 24


@dataclass(frozen=True)
class Cell:
    """Trials that share a place in the phase diagram.

    Attributes:
        trials: How many say whether training breaks: CO was found, or training was healthy to its end.
        broken: How many showed catastrophic overfitting.
        unclear: How many diverged or were never robust, and so had nothing to lose.
        co_step: Median breaking point of those, steps; None without any.
        robust_acc: Median final robust accuracy, fraction; None without trials.
        trial_ids: Of all of them.
        shares: Of those that broke, the shares of the training after which they did; None is not known.
    """

    trials: int
    broken: int
    unclear: int
    co_step: float | None
    robust_acc: float | None
    trial_ids: tuple[str, ...] = ()
    shares: tuple[float | None, ...] = ()

    @property
    def probability(self) -> float:
        """P(CO) over the trials that broke or stayed healthy; NaN if there are none."""
        return self.broken / self.trials if self.trials else math.nan

    @property
    def is_conclusive(self) -> bool:
        """Whether more of the trials broke or stayed healthy than did neither. Only such a place is coloured."""
        return self.trials > self.unclear

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of P(CO)."""
        return wilson(self.broken, self.trials)


@dataclass(frozen=True)
class PhaseDiagram:
    """P(CO) over two axes; a sweep with one axis has a single row.

    Attributes:
        row_axis, column_axis: Names of columns of ``trials``; row_axis is empty with one axis.
        rows, columns: Sorted values.
        cells: By (row value, column value); places without a finished trial are absent.
        where: What the other axes are, as people read it; empty if there are none.
        pooled: Other axes whose values are thrown together; never the seed.
        with_line: Whether a breaking line is to be sought; each takes some tenths of a second.
        believed: Whether the line is the one that a boundary search believes in.
    """

    row_axis: str
    column_axis: str
    rows: tuple[Value, ...]
    columns: tuple[Value, ...]
    cells: dict[tuple[Value, Value], Cell]
    where: str = ""
    pooled: tuple[str, ...] = ()
    with_line: bool = True
    believed: bool = False

    @cached_property
    def lines(self) -> list[tuple[Value, BreakingLine]]:
        """Where P(CO) = 1/2: one line over two numeric axes, or one for each row of a categorical one.

        Each with the value of its row, None for a line over all. Empty if the columns are no numbers.
        """
        if not self.with_line or self.column_axis == "seed" or not all_numbers(self.columns):
            return []
        rows = [row for row in self.rows if any(self.cells[place].trials for place in self.cells if place[0] == row)]
        if all_numbers(rows) and len(rows) > 1:
            found: list[tuple[Value, BreakingLine | None]] = [(None, self._line(rows, across_rows=True))]
        else:
            found = [(row, self._line((row,), across_rows=False)) for row in rows]
        return [(row, line) for row, line in found if line is not None]

    def points(self) -> list[tuple[Value, Value, Cell]]:
        """Row, column and cell of the places that can be drawn as points: trials say something there, none is None."""
        ends = (self.row_axis, self.column_axis)
        return [
            (row, column, cell)
            for (row, column), cell in self.cells.items()
            if cell.trials and None not in [value for name, value in zip(ends, (row, column), strict=True) if name]
        ]

    def _line(self, rows: Sequence[Value], *, across_rows: bool) -> BreakingLine | None:
        x: list[float] = []
        y: list[float] = []
        broken: list[bool] = []
        shares: list[float | None] = []
        for (row, column), cell in self.cells.items():
            if row in rows and is_number(column) and (is_number(row) or not across_rows):
                x += [float(column or 0)] * cell.trials
                y += [float(row or 0) if across_rows else 0.0] * cell.trials
                broken += [True] * cell.broken + [False] * (cell.trials - cell.broken)
                shares += [*cell.shares, *[None] * (cell.trials - len(cell.shares))]
        if self.believed:
            return believed_line(x, y if across_rows else None, broken, shares)
        return breaking_line(x, y if across_rows else None, broken)

    def crossing_rows(self) -> list[dict[str, Value]]:
        """Where P(CO) crosses 1/2 along the columns, as rows of a table with intervals."""
        return [
            {
                "where": self.where,
                **({self.row_axis: crossing.row if row is None else row} if self.row_axis else {}),
                "axis": self.column_axis,
                "breaks": "above" if crossing.direction == "up" else "below",
                "value": crossing.value,
                "low": crossing.low,
                "high": crossing.high,
                "share_of_resamples": crossing.share,
            }
            for row, line in self.lines
            for crossing in line.crossings
            if row is not None or self._shows_both(crossing.row)
        ]

    def _shows_both(self, row: Value) -> bool:
        """Whether some trials of a row broke and some did not; elsewhere the line is drawn from other rows alone."""
        cells = [cell for (up, _), cell in self.cells.items() if up == row]
        return not cells or 0 < sum(cell.broken for cell in cells) < sum(cell.trials for cell in cells)


def phase_diagrams(
    trials: Iterable[Row], axes: Sequence[SweptColumn], row_axis: str, column_axis: str, *, believed: bool = False
) -> list[PhaseDiagram]:
    """A diagram for each place of the other axes; those that would make too many are pooled instead.

    Args:
        trials: Rows of ``trials`` of one sweep; failed ones are passed over.
        axes: Of its space.
        row_axis, column_axis: The two to draw; row_axis may be empty.
        believed: Whether lines are those that a boundary search believes in.
    """
    done = [t for t in trials if t["status"] != TrialStatus.FAILED]
    others = [axis for axis in axes if axis.name not in (row_axis, column_axis)]
    kept = [axis.name for axis in others]
    if len(by_place(done, kept)) > MOST_SLICES:
        kept = [axis.name for axis in others if not axis.numeric]
    if len(by_place(done, kept)) > MOST_SLICES:
        kept = []
    pooled = tuple(axis.name for axis in others if axis.name not in kept)
    return [
        _diagram(members, row_axis, column_axis, place_text(kept, place), pooled, believed=believed)
        for place, members in by_place(done, kept).items()
    ]


def _diagram(
    trials: list[Row], row_axis: str, column_axis: str, where: str, pooled: tuple[str, ...], *, believed: bool
) -> PhaseDiagram:
    groups: dict[tuple[Value, Value], list[Row]] = {}
    for trial in trials:
        place = (trial.get(row_axis) if row_axis else None, trial.get(column_axis))
        groups.setdefault(place, []).append(trial)
    rows, columns = sorted_values({row for row, _ in groups}), sorted_values({column for _, column in groups})
    cells = {place: _cell(members) for place, members in groups.items()}
    return PhaseDiagram(row_axis, column_axis, rows, columns, cells, where, pooled, believed=believed)


def _cell(trials: list[Row]) -> Cell:
    said = [t for t in trials if is_conclusive(t)]
    steps = [t["co_step"] for t in said if t["co"]]
    robust = [t["robust_acc"] for t in trials if t["robust_acc"] is not None]
    return Cell(
        trials=len(said),
        broken=len(steps),
        unclear=len(trials) - len(said),
        co_step=median(steps) if steps else None,
        robust_acc=median(robust) if robust else None,
        trial_ids=tuple(t["trial_id"] for t in trials),
        shares=tuple(_share(t) for t in said if t["co"]),
    )


def _share(trial: Row) -> float | None:
    """Share of the training after which a trial broke."""
    step, total = trial["co_step"], trial.get("total_steps")
    return step / total if step and total else None


def phase_rows(diagram: PhaseDiagram) -> list[dict[str, Value]]:
    """The diagram as rows of a table, in order of its axes."""
    rows: list[dict[str, Value]] = []
    for row, column in itertools.product(diagram.rows, diagram.columns):
        cell = diagram.cells.get((row, column))
        if cell is not None:
            low, high = cell.interval
            rows.append(
                ({"where": diagram.where} if diagram.where else {})
                | ({diagram.row_axis: row} if diagram.row_axis else {})
                | {
                    diagram.column_axis: column,
                    "trials": cell.trials,
                    "broken": cell.broken,
                    "unclear": cell.unclear,
                    "p_co": cell.probability if cell.trials else None,
                    "p_co_low": low if cell.trials else None,
                    "p_co_high": high if cell.trials else None,
                    "median_co_step": cell.co_step,
                    "median_robust_acc": cell.robust_acc,
                }
            )
    return rows
