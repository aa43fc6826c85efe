"""Curves held against the rows of their trials, which say how many probes were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Doubt(NamedTuple):
    """What is wrong with a trial's curve, and whether it is left out for it."""

    problem: str
    left_out: bool


def checked_curves(curves: pa.Table, written: Mapping[str, int | None]) -> tuple[pa.Table, dict[str, Doubt]]:
    """The probes of trials, each once, and what is wrong with whose.

    A probe that stands there twice counts once. A trial with two probes of one step that differ loses its curve,
    since nobody can say which of them was measured.

    Args:
        curves: Rows of ``curves``.
        written: Trial id to the number of probes that its row says; None is unknown.
    """
    grouped = curves.group_by("trial_id").aggregate(
        [("step", "count", pc.CountOptions(mode="all")), ("step", "count_distinct", pc.CountOptions(mode="all"))]
    )
    columns = (grouped[name].to_pylist() for name in ("trial_id", "step_count", "step_count_distinct"))
    counts = {trial_id: (rows, steps) for trial_id, rows, steps in zip(*columns, strict=True)}
    doubts = {}
    for trial_id, probes in written.items():
        rows, steps = counts.get(trial_id, (0, 0))
        if probes is not None and steps != probes:
            doubts[trial_id] = Doubt(f"the curve has {steps} probes where {probes} were written", left_out=False)
        elif rows != steps:
            doubts[trial_id] = Doubt(f"the curve has {rows} rows of {steps} probes; each counts once", left_out=False)
    repeated = [trial_id for trial_id, (rows, steps) in counts.items() if rows != steps]
    if not repeated:
        return curves, doubts
    places = np.flatnonzero(pc.is_in(curves["trial_id"], pa.array(repeated, pa.string())).to_numpy())
    by_trial: dict[str, list[int]] = {}
    for place, trial_id in zip(places.tolist(), curves["trial_id"].take(places).to_pylist(), strict=True):
        by_trial.setdefault(trial_id, []).append(place)
    kept = np.ones(len(curves), dtype=bool)
    kept[places] = False
    for trial_id, own in by_trial.items():
        once = probes_once(curves.take(own).to_pylist())
        if once is None:
            doubts[trial_id] = Doubt("the curve has probes of one step that differ; it is left out", left_out=True)
        kept[[own[number] for number in once or ()]] = True
    return curves.filter(pa.array(kept)), doubts


def probes_once(rows: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """Places of the probes, each once; None if two of one step differ."""
    seen: dict[Any, str] = {}
    places = []
    for place, row in enumerate(rows):
        text = repr(dict(row))  # NaN is not equal to itself
        if row["step"] not in seen:
            seen[row["step"]] = text
            places.append(place)
        elif seen[row["step"]] != text:
            return None
    return places
