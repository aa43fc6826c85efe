"""Figures of what was measured as training went on, drawn with matplotlib."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosweep.analysis.values import Row, by_place, place_text
from cosweep.metrics import ABLATIONS
from cosweep.report.figures import DASHES, colour
from cosweep.results.schema import CURVE_COLUMNS

Groups = Mapping[str, Sequence[Row]]

_MOST_GROUPS = 12
_PANELS_A_ROW = 3
_ALWAYS = ("clean_acc", "fgsm_acc", "pgd_acc", "grad_cos")
_NOT_DRAWN = ("epoch", "lr", "train_loss", "train_acc", "train_gain")
_SCALARS = tuple(c.name for c in CURVE_COLUMNS if c.type == pa.float64() and c.name not in _NOT_DRAWN)
_LISTS = {"delta_spectrum": "frequency max(r, c)", "ray_loss": "point on the ray"}


def curves_figure(trials: Sequence[Row], curves: pa.Table, axes: Sequence[str], title: str) -> Figure | None:
    """A panel for each measured column, a line for each place of the space; None if nothing was measured.

    A line is the median over the trials of a place, each read between its probes as well, and a triangle a breaking
    point. Columns that hold lists are drawn as means over trials: before and after the breaking point, and at the end
    of trials that did not break.

    Args:
        trials: Rows of ``trials``.
        curves: Table ``curves``.
        axes: Columns of ``trials`` that the space varies; trials that differ in the seed alone share a place.
        title: Of the figure.
    """
    scalars = [name for name in _SCALARS if _measured(curves, name)]
    lists = [name for name in _LISTS if _measured(curves, name)]
    groups = _groups([t for t in trials if t["status"] != "failed"], axes)
    if not scalars or not groups:
        return None
    shown = dict(list(groups.items())[:_MOST_GROUPS])
    if len(groups) > len(shown):
        title += f" (the first {len(shown)} of {len(groups)} places)"
    probes = _probes(curves, [t["trial_id"] for members in shown.values() for t in members], scalars)
    count = len(scalars) + len(lists)
    across = 2 if count == 4 else min(count, _PANELS_A_ROW)
    down = -(-count // across)
    figure = Figure(figsize=(4.2 * across, 2.9 * down + 0.9), layout="constrained", dpi=120)
    panels = figure.subplots(down, across, squeeze=False).flatten().tolist()
    for name, panel in zip(scalars, panels, strict=False):
        _draw_lines(panel, name, shown, probes)
    every = [t for members in groups.values() for t in members]
    for name, panel in zip(lists, panels[len(scalars) :], strict=False):
        rows = _probes(curves.filter(pc.is_valid(curves[name])), [t["trial_id"] for t in every], [name])
        _draw_lists(panel, name, every, rows)
    for panel in panels[count:]:
        panel.remove()
    handles, labels = panels[0].get_legend_handles_labels()
    columns = max(1, int(4.2 * across / (0.6 + 0.075 * max(map(len, labels)))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _measured(curves: pa.Table, name: str) -> bool:
    """Whether a column holds anything; a list counts whatever it holds."""
    if name not in curves.column_names:
        return False
    column = curves[name]
    found = pc.is_finite(column) if pa.types.is_floating(column.type) else pc.is_valid(column)
    return bool(pc.any(found).as_py())


def _probes(curves: pa.Table, trial_ids: Sequence[str], columns: Sequence[str]) -> dict[str, list[Row]]:
    """Rows of some trials by trial, in order of their steps."""
    kept = curves.filter(pc.is_in(curves["trial_id"], pa.array(trial_ids, pa.string())))
    found: dict[str, list[Row]] = {}
    for row in kept.select(["trial_id", "step", *columns]).sort_by("step").to_pylist():
        found.setdefault(row["trial_id"], []).append(row)
    return found


def ablations_figure(trials: Sequence[Row], axes: Sequence[str], title: str) -> Figure | None:
    """Accuracies on the images as trained on and on ablations, by place; None without ablations."""
    shown = [name for name in ABLATIONS if any(t.get(f"clean_acc_on_{name}") is not None for t in trials)]
    groups = _groups([t for t in trials if t.get("clean_acc_on_injected") is not None], axes)
    if len(shown) < 2:
        return None
    # A line joins places that differ in the last axis alone.
    heads = itertools.groupby(enumerate(groups), key=lambda place: place[1].rpartition(", ")[0])
    runs = [[number for number, _ in members] for _, members in heads]
    figure = Figure(figsize=(2.5 + 0.55 * len(groups) * 2, 4.2), layout="constrained", dpi=120)
    for panel, (kind, label) in zip(
        figure.subplots(1, 2, sharey=True), (("clean_acc_on", "clean"), ("robust_acc_on", "under attack")), strict=True
    ):
        for number, name in enumerate(shown):
            heights = [fmean(t[f"{kind}_{name}"] for t in members) for members in groups.values()]
            style: dict[str, Any] = {"color": colour(number, len(shown)), "linestyle": DASHES[number % len(DASHES)]}
            for run in runs:
                values = [heights[place] for place in run]
                style["label"] = name if run is runs[0] else None
                panel.plot(run, values, marker="osD^vX"[number % 6], markersize=5, **style)
        panel.set_xticks(range(len(groups)), list(groups), rotation=40, ha="right", fontsize=7)
        panel.set_title(f"accuracy, {label}", fontsize=9)
        panel.set_ylim(-0.03, 1.03)
        panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    return figure


def _groups(trials: Sequence[Row], axes: Sequence[str]) -> dict[str, Sequence[Row]]:
    """Trials by their place in the space, in its order; at most one place without axes."""
    names = [a for a in axes if a != "seed"]
    return {place_text(names, place) or "all trials": members for place, members in by_place(trials, names).items()}


def _draw_lines(panel: Axes, name: str, groups: Groups, probes: Mapping[str, Sequence[Row]]) -> None:
    for number, (label, members) in enumerate(groups.items()):
        tone, dashes = colour(number, len(groups)), DASHES[number % len(DASHES)]
        drawn = [probes.get(trial["trial_id"], ()) for trial in members]
        panel.plot(*_median_curve(drawn, name), color=tone, linestyle=dashes, label=label)
        broken = [t["co_step"] for t in members if t["co"]]
        height = panel.get_xaxis_transform()
        panel.plot(broken, [0.03] * len(broken), "^", color=tone, markersize=6, transform=height)
    if name.endswith("_acc"):
        panel.set_ylim(-0.03, 1.03)
    panel.set_title(name, fontsize=9)
    panel.set_xlabel("step", fontsize=8)
    panel.grid(alpha=0.3)


def _median_curve(trials: Iterable[Sequence[Row]], name: str) -> tuple[list[int], list[float]]:
    """Steps, and the median over trials at each; a trial counts from its first probe to its last, also between them."""
    curves = [{row["step"]: row[name] for row in rows if row.get(name) is not None} for rows in trials]
    curves = [curve for curve in ({s: v for s, v in c.items() if v == v} for c in curves) if curve]
    steps = sorted({step for curve in curves for step in curve})
    values = [np.interp(steps, list(curve), list(curve.values()), left=np.nan, right=np.nan) for curve in curves]
    return steps, [float(value) for value in np.nanmedian(values, axis=0)] if curves else []


def _draw_lists(panel: Axes, name: str, trials: Sequence[Row], probes: Mapping[str, Sequence[Row]]) -> None:
    moments: dict[str, list[list[float]]] = {"before CO": [], "after CO": [], "no CO, end": []}
    for trial in trials:
        rows = [row for row in probes.get(trial["trial_id"], ()) if row.get(name)]
        if trial["co"]:
            before = [row for row in rows if row["step"] <= trial["co_step_low"]]
            moments["before CO"] += [row[name] for row in before[-1:]]
            moments["after CO"] += [row[name] for row in rows[-1:] if row["step"] >= trial["co_step"]]
        else:
            moments["no CO, end"] += [row[name] for row in rows[-1:]]
    for number, (label, found) in enumerate(moments.items()):
        longest = max(map(len, found), default=0)
        found = [values for values in found if len(values) == longest]
        if found:
            means = [fmean(values) for values in zip(*found, strict=True)]
            style = {"color": colour(number, 3), "linestyle": DASHES[number], "marker": "os^"[number]}
            panel.plot(range(longest), means, markersize=4, label=f"{label} ({len(found)})", **style)
    panel.set_title(name, fontsize=9)
    panel.set_xlabel(_LISTS[name], fontsize=8)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
