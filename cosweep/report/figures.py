"""Figures of where a sweep breaks, and when, drawn with matplotlib."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import NullFormatter, ScalarFormatter
from scipy.ndimage import gaussian_filter

from cosweep.analysis.breaking_line import MOST_POSITIONS, BreakingLine, Crossing, Scale
from cosweep.analysis.breaking_points import Cell, PhaseDiagram
from cosweep.analysis.survival import Survival
from cosweep.analysis.values import Value, format_value
from cosweep.report.positions import drawn_at, place_of

# Dark means broken, and the scale reads the same in greyscale and to colour-blind readers.
_COLOURS = "cividis_r"
MOST_PANELS = 12
_PANELS_A_ROW = 3
_BAND = (0.025, 0.975)
DASHES = ("solid", "dashed", "dashdot", "dotted")
MOST_LINES = 8


def image_files(name: str, figure: Figure | None) -> dict[str, bytes]:
    """The figure as a PNG and as an SVG file; nothing without a figure."""
    if figure is None:
        return {}
    files = {}
    # Text stays text and no date is written, so that the same results make the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}):
        for kind in ("png", "svg"):
            content = io.BytesIO()
            figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else None)
            files[f"{name}.{kind}"] = content.getvalue()
    return files


def smooth_share(line: BreakingLine) -> Any:
    """Share of resamples that break, smoothed for drawing: a few hundred leave ragged contours near 0 and 1."""
    if not line.resampled:
        return np.array(line.share)
    return gaussian_filter(np.array(line.share), sigma=(0 if line.y_scale is None else 2, 2), mode="nearest")


def colour(number: int, count: int) -> Any:
    """Colours that keep apart in greyscale and for colour-blind readers."""
    return matplotlib.colormaps["cividis"](0.75 * number / max(count - 1, 1))


def phase_figure(diagrams: Sequence[PhaseDiagram], title: str) -> Figure:
    """P(CO) over the axes, a panel for each place of the others.

    Two axes make a map with counts and breaking points, or points if there are many values; one numeric axis
    makes a curve, a categorical one bars. The breaking line comes with its bootstrap band.
    """
    if not any(diagram.cells for diagram in diagrams):
        figure = Figure(figsize=(5, 2), dpi=150)
        figure.text(0.5, 0.5, f"{title}\n\nno trial has finished yet", ha="center", va="center")
        return figure
    shown = diagrams[:MOST_PANELS]
    if len(diagrams) > len(shown):
        title += f" (the first {len(shown)} of {len(diagrams)} places)"
    across = min(len(shown), _PANELS_A_ROW)
    down = -(-len(shown) // across)
    width, height = _panel_size(shown)
    figure = Figure(figsize=(1.2 + width * across, 0.7 + height * down), layout="constrained", dpi=150)
    panels = figure.subplots(down, across, squeeze=False).flatten().tolist()
    mapped = [_draw(panel, diagram) for panel, diagram in zip(panels, shown, strict=False)]
    for panel in panels[len(shown) :]:
        panel.remove()
    scale = next((m for m in mapped if m is not None), None)
    if scale is not None:
        figure.colorbar(scale, ax=panels[: len(shown)], label="P(CO)")
    figure.suptitle(title, fontsize=10)
    return figure


def _panel_size(diagrams: Sequence[PhaseDiagram]) -> tuple[float, float]:
    columns = max(len(d.columns) for d in diagrams)
    rows = max(len(d.rows) for d in diagrams)
    if max(columns, rows) > MOST_POSITIONS:
        return 6.0, 4.6
    if not diagrams[0].row_axis:
        return min(max(3.5, 1.0 + 0.9 * columns), 8.0), 3.2
    return 1.0 + 1.05 * columns, 1.1 + 0.75 * rows


def _draw(panel: Axes, diagram: PhaseDiagram) -> AxesImage | PathCollection | None:
    """Draw one diagram; returns what carries the colours, if it has any."""
    panel.set_title(diagram.where, fontsize=9)
    panel.set_xlabel(diagram.column_axis)
    if not diagram.row_axis:
        _draw_shares(panel, diagram)
        return None
    panel.set_ylabel(diagram.row_axis)
    if max(len(diagram.rows), len(diagram.columns)) > MOST_POSITIONS:
        return _draw_points(panel, diagram)
    return _draw_map(panel, diagram)


def _draw_map(panel: Axes, diagram: PhaseDiagram) -> AxesImage:
    grid = [[_probability(diagram, row, column) for column in diagram.columns] for row in diagram.rows]
    image = panel.imshow(grid, cmap=_COLOURS, vmin=0, vmax=1, origin="lower", aspect="auto")
    for (r, row), (c, column) in itertools.product(enumerate(diagram.rows), enumerate(diagram.columns)):
        cell = diagram.cells.get((row, column))
        text = "no trial" if cell is None else _cell_text(cell)
        ground = (
            "white" if math.isnan(grid[r][c]) else image.cmap(grid[r][c])
        )  # behind the text, so that it can be read where a line crosses it
        style: dict[str, Any] = {"bbox": {"facecolor": ground, "edgecolor": "none", "alpha": 0.75, "pad": 1}}
        style["color"] = "white" if grid[r][c] > 0.55 else "black"
        panel.text(c, r, text, ha="center", va="center", fontsize=8, zorder=5, **style)
    panel.set_xticks(range(len(diagram.columns)), [format_value(diagram.column_axis, v) for v in diagram.columns])
    panel.set_yticks(range(len(diagram.rows)), [format_value(diagram.row_axis, v) for v in diagram.rows])
    _draw_lines(panel, diagram)
    panel.set_xlim(-0.5, len(diagram.columns) - 0.5)
    panel.set_ylim(-0.5, len(diagram.rows) - 0.5)
    return image


def _draw_lines(panel: Axes, diagram: PhaseDiagram) -> None:
    """The breaking line and its band, in a place of its own for each row if the rows are no numbers."""
    for row, line in diagram.lines:
        if line.y_scale is None:
            _draw_crossings(panel, line, diagram.columns, diagram.rows.index(row))
            continue
        x = [drawn_at(v, diagram.columns, line.x_scale) for v in line.x]
        y = [drawn_at(v, diagram.rows, line.y_scale) for v in line.y]
        share = smooth_share(line)
        panel.contour(x, y, share, levels=_BAND, colors="white", linewidths=2.4)
        panel.contour(x, y, share, levels=_BAND, colors="black", linewidths=1, linestyles="dashed")
        panel.contour(x, y, line.probability, levels=[0.5], colors="white", linewidths=5)
        panel.contour(x, y, line.probability, levels=[0.5], colors="black", linewidths=2.2)


def _draw_crossings(panel: Axes, line: BreakingLine, columns: Sequence[Value], row: int) -> None:
    cased: dict[str, Any] = {"path_effects": [Stroke(linewidth=5, foreground="white"), Normal()], "color": "black"}
    for crossing in line.crossings:
        low, here, high = ends_of(crossing, columns, line.x_scale)
        panel.plot([here, here], [row - 0.45, row + 0.45], linewidth=2.2, **cased)
        panel.plot([low, high], [row - 0.38, row - 0.38], linewidth=1.2, **cased)


def _draw_points(panel: Axes, diagram: PhaseDiagram) -> PathCollection:
    """Axes with many values, as a random search has them: a point a place."""
    found = [(row, column, cell.probability) for row, column, cell in diagram.points()]
    across = [_number(diagram.columns, column) for _, column, _ in found]
    up = [_number(diagram.rows, row) for row, _, _ in found]
    colours = [probability for _, _, probability in found]
    style: dict[str, Any] = {"cmap": _COLOURS, "vmin": 0, "vmax": 1, "edgecolors": "black", "linewidths": 0.5}
    points = panel.scatter(across, up, c=colours, **style)
    for _, line in diagram.lines:
        if line.y_scale is not None:
            x = [line.x_scale.to_value(v) for v in line.x]
            y = [line.y_scale.to_value(v) for v in line.y]
            panel.contour(x, y, smooth_share(line), levels=_BAND, colors="black", linewidths=0.8, linestyles="dashed")
            panel.contour(x, y, line.probability, levels=[0.5], colors="black", linewidths=2.2)
            for set_scale, scale in ((panel.set_xscale, line.x_scale), (panel.set_yscale, line.y_scale)):
                if scale.kind == "log":
                    set_scale("log")
            for axis in (panel.xaxis, panel.yaxis):  # powers of ten are mathematics, and labels here are plain text
                axis.set_major_formatter(ScalarFormatter())
                axis.set_minor_formatter(NullFormatter())
    return points


def _draw_shares(panel: Axes, diagram: PhaseDiagram) -> None:
    """One axis: P(CO) with Wilson's intervals, as points with the fitted curve, or as bars."""
    cells = [(column, diagram.cells[None, column]) for column in diagram.columns if (None, column) in diagram.cells]
    cells = [(column, cell) for column, cell in cells if cell.trials]
    scale = diagram.lines[0][1].x_scale if diagram.lines else None
    places = [place_of(column, diagram.columns, scale) for column, _ in cells]
    heights = [cell.probability for _, cell in cells]
    low = [max(cell.probability - cell.interval.low, 0) for _, cell in cells]
    high = [max(cell.interval.high - cell.probability, 0) for _, cell in cells]
    lines = diagram.lines
    if lines:
        _, line = lines[0]
        x = [drawn_at(v, diagram.columns, line.x_scale) for v in line.x]
        panel.plot(x, line.probability[0], color="black", linestyle="dashed", linewidth=1)
        for crossing in line.crossings:
            start, here, end = ends_of(crossing, diagram.columns, line.x_scale)
            panel.axvspan(start, end, color="0.85", zorder=0)
            panel.axvline(here, color="black", linewidth=2.2)
    else:
        panel.bar(places, heights, width=0.6, color=colour(0, 2), alpha=0.6)
    if len(diagram.columns) <= MOST_POSITIONS:
        panel.errorbar(places, heights, [low, high], fmt="o", color=colour(0, 2), capsize=4)
        labels = [format_value(diagram.column_axis, column) for column in diagram.columns]
        texts = [
            f"{label}\n{_count_text(diagram, column)}" for label, column in zip(labels, diagram.columns, strict=True)
        ]
        panel.set_xticks(range(len(diagram.columns)), texts, fontsize=8)
    else:
        panel.plot(places, heights, "o", color=colour(0, 2), alpha=0.5)
    panel.set_ylim(-0.03, 1.03)
    panel.set_ylabel("P(CO)")
    panel.grid(alpha=0.3)


def survival_figure(curves: Sequence[Survival], title: str) -> Figure | None:
    """Share of trials not yet broken over the steps, by group, with 95 % bands; None without a trial."""
    shown = [curve for curve in curves if curve.trials][:MOST_LINES]
    if not shown:
        return None
    figure = Figure(figsize=(7, 4.2), layout="constrained", dpi=150)
    panel = figure.add_subplot()
    for number, curve in enumerate(shown):
        style: dict[str, Any] = {"color": colour(number, len(shown)), "linestyle": DASHES[number % len(DASHES)]}
        label = f"{curve.label} ({curve.broken} of {curve.trials})"
        panel.step(curve.steps, curve.healthy, where="post", label=label, linewidth=1.8, **style)
        panel.fill_between(curve.steps, curve.low, curve.high, step="post", alpha=0.12, color=style["color"])
        if curve.censored:
            heights = [_height(curve, step) for step in curve.censored]
            panel.plot(curve.censored, heights, "|", color=style["color"], markersize=7)
    panel.set_ylim(-0.03, 1.03)
    panel.set_xlabel("step")
    panel.set_ylabel("share of trials not broken")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _height(curve: Survival, step: float) -> float:
    return [h for s, h in zip(curve.steps, curve.healthy, strict=True) if s <= step][-1]


def ends_of(crossing: Crossing, columns: Sequence[Value], scale: Scale) -> tuple[float, float, float]:
    """Where a crossing's lower end, itself and its upper end are drawn."""
    low, here, high = (
        drawn_at(scale.to_position(value), columns, scale) for value in (crossing.low, crossing.value, crossing.high)
    )
    return low, here, high


def _number(values: tuple[Value, ...], value: Value) -> float:
    """A number as it is, anything else by its place among the sorted values."""
    return float(value) if isinstance(value, (int, float)) else float(values.index(value))


def _probability(diagram: PhaseDiagram, row: Value, column: Value) -> float:
    cell = diagram.cells.get((row, column))
    return cell.probability if cell is not None and cell.is_conclusive else math.nan


def _cell_text(cell: Cell) -> str:
    where = "" if cell.co_step is None else f"\nstep {cell.co_step:.0f}"
    unclear = f"\n{cell.unclear} unclear" if cell.unclear else ""
    return f"{cell.broken} of {cell.trials}{where}{unclear}"


def _count_text(diagram: PhaseDiagram, column: Value) -> str:
    cell = diagram.cells.get((None, column))
    return "no trial" if cell is None else _cell_text(cell)
