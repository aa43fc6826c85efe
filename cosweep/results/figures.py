"""Figures of a sweep, drawn with matplotlib."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosweep.results.breaking_points import Cell, PhaseDiagram, Value, format_value

# Dark means broken, and the scale reads the same in greyscale and to colour-blind readers.
_COLOURS = "cividis_r"
_MOST_GRID_VALUES = 16


def phase_figure(diagram: PhaseDiagram, title: str) -> bytes:
    """PNG of the phase diagram: P(CO) as colour, counts and breaking point in the cells, breaking line."""
    if not diagram.cells:
        return _empty_figure(title)
    if max(len(diagram.rows), len(diagram.columns)) > _MOST_GRID_VALUES:
        return _scatter_figure(diagram, title)
    rows, columns = diagram.rows, diagram.columns
    figure = Figure(figsize=(2.2 + 1.15 * len(columns), 2.0 + 0.8 * len(rows)), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    grid = [[_probability(diagram, row, column) for column in columns] for row in rows]
    image = axes.imshow(grid, cmap=_COLOURS, vmin=0, vmax=1, origin="lower", aspect="auto")
    for r, row in enumerate(rows):
        for c, column in enumerate(columns):
            cell = diagram.cells.get((row, column))
            text = "no trial" if cell is None else _cell_text(cell)
            dark = cell is not None and cell.probability > 0.55
            axes.text(c, r, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    _draw_breaking_line(axes, grid)
    axes.set_xticks(range(len(columns)), [format_value(diagram.column_axis, v) for v in columns])
    axes.set_yticks(range(len(rows)), [format_value(diagram.row_axis, v) for v in rows] if diagram.row_axis else [""])
    axes.set_xlabel(diagram.column_axis)
    axes.set_ylabel(diagram.row_axis)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, label="P(CO)")
    return png(figure)


def _scatter_figure(diagram: PhaseDiagram, title: str) -> bytes:
    """Axes with many values, as a random search has them: a point a place, no line between them."""
    figure = Figure(figsize=(8, 5.5), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    places = [(row, column, cell.probability) for (row, column), cell in diagram.cells.items() if cell.trials]
    across = [_position(diagram.columns, column) for _, column, _ in places]
    up = [_position(diagram.rows, row) for row, _, _ in places]
    colours = [probability for _, _, probability in places]
    points = axes.scatter(across, up, c=colours, cmap=_COLOURS, vmin=0, vmax=1, edgecolors="black", linewidths=0.5)
    axes.set_xlabel(diagram.column_axis)
    axes.set_ylabel(diagram.row_axis)
    axes.set_title(title, fontsize=10)
    figure.colorbar(points, label="P(CO)")
    return png(figure)


def _position(values: tuple[Value, ...], value: Value) -> float:
    """A number as it is, anything else by its place among the sorted values."""
    return float(value) if isinstance(value, (int, float)) else float(values.index(value))


def _empty_figure(title: str) -> bytes:
    figure = Figure(figsize=(5, 2), dpi=150)
    figure.text(0.5, 0.5, f"{title}\n\nno trial has finished yet", ha="center", va="center")
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _probability(diagram: PhaseDiagram, row: Value, column: Value) -> float:
    cell = diagram.cells.get((row, column))
    return float("nan") if cell is None else cell.probability


def _cell_text(cell: Cell) -> str:
    where = "" if cell.co_step is None else f"\nstep {cell.co_step:.0f}"
    unclear = f"\n{cell.unclear} unclear" if cell.unclear else ""
    return f"{cell.broken} of {cell.trials}{where}{unclear}"


def _draw_breaking_line(axes: Axes, grid: list[list[float]]) -> None:
    """Edges between neighbouring cells on either side of P(CO) = 1/2."""
    style: dict[str, Any] = {"color": "#d62728", "linewidth": 2.5, "solid_capstyle": "round"}
    for r, row in enumerate(grid):
        for c, here in enumerate(row):
            if c + 1 < len(row) and _crosses(here, row[c + 1]):
                axes.plot([c + 0.5, c + 0.5], [r - 0.5, r + 0.5], **style)
            if r + 1 < len(grid) and _crosses(here, grid[r + 1][c]):
                axes.plot([c - 0.5, c + 0.5], [r + 0.5, r + 0.5], **style)


def _crosses(one: float, other: float) -> bool:
    """Whether one probability is at least 1/2 and the other below; never for a cell without trials."""
    return (one >= 0.5 > other) or (other >= 0.5 > one)
