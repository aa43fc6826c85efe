"""Figures of what was measured as training went on, drawn with matplotlib."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

import matplotlib
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosweep.metrics import ABLATIONS
from cosweep.results.breaking_points import format_value
from cosweep.results.figures import png
from cosweep.results.schema import CURVE_COLUMNS

Row = dict[str, Any]
Groups = Mapping[str, Sequence[Row]]

_MOST_GROUPS = 12
_PANELS_A_ROW = 3
_ALWAYS = ("clean_acc", "fgsm_acc", "pgd_acc", "grad_cos")
_NOT_DRAWN = ("epoch", "lr", "train_loss", "train_acc")
_SCALARS = tuple(c.name for c in CURVE_COLUMNS if c.type == pa.float64() and c.name not in _NOT_DRAWN)
_LISTS = {"delta_spectrum": "frequency max(r, c)", "ray_loss": "point on the ray"}
_DASHES = ("solid", "dashed", "dashdot", "dotted")


def curves_figure(trials: Sequence[Row], curves: Sequence[Row], axes: Sequence[str], title: str) -> bytes | None:
    """PNG with a panel for each measured column, a line for each place of the space; None if nothing was measured.

    A line is the median over the trials of a place, and a triangle a breaking point. Columns that hold lists are
    drawn as means over trials: before and after the breaking point, and at the end of trials that did not break.

    Args:
        trials: Rows of ``trials``.
        curves: Rows of ``curves``.
        axes: Columns of ``trials`` that the space varies; trials that differ in the seed alone share a place.
        title: Of the figure.
    """
    measured = {name for row in curves for name, value in row.items() if value is not None and value == value}
    scalars = [name for name in _SCALARS if name in measured]
    lists = [name for name in _LISTS if name in measured]
    groups = _groups([t for t in trials if t["status"] != "failed"], axes)
    if not scalars or not groups:
        return None
    probes: dict[str, list[Row]] = {}
    for row in sorted(curves, key=lambda r: r["step"]):
        probes.setdefault(row["trial_id"], []).append(row)
    shown = dict(list(groups.items())[:_MOST_GROUPS])
    if len(groups) > len(shown):
        title += f" (the first {len(shown)} of {len(groups)} places)"
    count = len(scalars) + len(lists)
    across = 2 if count == 4 else min(count, _PANELS_A_ROW)
    down = -(-count // across)
    figure = Figure(figsize=(4.2 * across, 2.9 * down + 0.9), layout="constrained", dpi=120)
    panels = figure.subplots(down, across, squeeze=False).flatten().tolist()
    for name, panel in zip(scalars, panels, strict=False):
        _draw_lines(panel, name, shown, probes)
    for name, panel in zip(lists, panels[len(scalars) :], strict=False):
        _draw_lists(panel, name, [t for members in groups.values() for t in members], probes)
    for panel in panels[count:]:
        panel.remove()
    handles, labels = panels[0].get_legend_handles_labels()
    columns = max(1, int(4.2 * across / (0.6 + 0.075 * max(map(len, labels)))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return png(figure)


def ablations_figure(trials: Sequence[Row], axes: Sequence[str], title: str) -> bytes | None:
    """PNG of accuracies on the images as trained on and on ablations, by place; None without ablations."""
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
            style: dict[str, Any] = {"color": _colour(number, len(shown)), "linestyle": _DASHES[number % len(_DASHES)]}
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
    return png(figure)


def _groups(trials: Sequence[Row], axes: Sequence[str]) -> dict[str, list[Row]]:
    """Trials by their place in the space, in its order; at most one place without axes."""
    names = [a for a in axes if a != "seed"]
    places: dict[tuple[Any, ...], list[Row]] = {}
    for trial in trials:
        places.setdefault(tuple(trial.get(name) for name in names), []).append(trial)
    ordered = sorted(places, key=lambda place: [(value is None, isinstance(value, str), value) for value in place])
    label = {p: ", ".join(f"{n} {format_value(n, v)}" for n, v in zip(names, p, strict=True)) for p in ordered}
    return {label[place] or "all trials": places[place] for place in ordered}


def _draw_lines(panel: Axes, name: str, groups: Groups, probes: Mapping[str, Sequence[Row]]) -> None:
    for number, (label, members) in enumerate(groups.items()):
        colour, dashes = _colour(number, len(groups)), _DASHES[number % len(_DASHES)]
        by_step: dict[int, list[float]] = {}
        for trial in members:
            for row in probes.get(trial["trial_id"], ()):
                value = row.get(name)
                if value is not None and value == value:
                    by_step.setdefault(row["step"], []).append(value)
        steps = sorted(by_step)
        panel.plot(steps, [median(by_step[s]) for s in steps], color=colour, linestyle=dashes, label=label)
        broken = [t["co_step"] for t in members if t["co"]]
        height = panel.get_xaxis_transform()
        panel.plot(broken, [0.03] * len(broken), "^", color=colour, markersize=6, transform=height)
    if name.endswith("_acc"):
        panel.set_ylim(-0.03, 1.03)
    panel.set_title(name, fontsize=9)
    panel.set_xlabel("step", fontsize=8)
    panel.grid(alpha=0.3)


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
            style = {"color": _colour(number, 3), "linestyle": _DASHES[number], "marker": "os^"[number]}
            panel.plot(range(longest), means, markersize=4, label=f"{label} ({len(found)})", **style)
    panel.set_title(name, fontsize=9)
    panel.set_xlabel(_LISTS[name], fontsize=8)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)


def _colour(number: int, count: int) -> Any:
    """Colours that keep apart in greyscale and for colour-blind readers."""
    return matplotlib.colormaps["cividis"](0.9 * number / max(count - 1, 1))
