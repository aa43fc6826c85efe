"""The columns that the space of a sweep varies, and which of them to draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cosweep.analysis.values import (
    Row,
    Value,
    all_numbers,
    sorted_values,
)
from cosweep.metrics import TrialStatus


@dataclass(frozen=True)
class SweptColumn:
    """A column that the space varies.

    Attributes:
        name: Of the column.
        values: Those of the finished trials, sorted; None comes first.
        numeric: Whether they are numbers, apart from None.
    """

    name: str
    values: tuple[Value, ...]
    numeric: bool


def swept_columns(trials: Iterable[Row], columns: Sequence[str]) -> tuple[SweptColumn, ...]:
    """The columns of a space that differ between finished trials, in order; the seed only if nothing else does."""
    done = [t for t in trials if t["status"] != TrialStatus.FAILED]
    present = [c for c in columns if any(c in t for t in done)]
    axes = [
        SweptColumn(c, values, all_numbers(values))
        for c in present
        if (values := sorted_values({t.get(c) for t in done}))
    ]
    varied = [axis for axis in axes if axis.name != "seed" and len(axis.values) > 1]
    single = [axis for axis in axes if axis.name != "seed"][:1]
    # Seeds are names, not amounts: nothing lies between two of them.
    return tuple(varied or single or [SweptColumn("seed", sorted_values({t["seed"] for t in done}), False)])


def default_axes(axes: Sequence[SweptColumn]) -> tuple[str, str]:
    """Names of the axes to draw up and across: two numeric ones, else what there is; up may be empty.

    Those that all trials have come first, epsilon and beta before others; then the order of the space holds.
    """
    ranked = sorted((a for a in axes if a.numeric), key=lambda a: (None in a.values, a.name not in ("epsilon", "beta")))
    numeric = [axis.name for axis in axes if axis in ranked[:2]]
    others = [axis.name for axis in axes if not axis.numeric]
    if len(numeric) > 1:
        return numeric[0], numeric[1]
    across = (numeric or others)[0]
    return next((name for name in others if name != across), ""), across
