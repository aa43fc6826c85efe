"""Interactive figures of the report's page, as plain data for plotly.js."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.colors import to_hex

from cosweep.analysis.breaking_line import MOST_POSITIONS, Scale
from cosweep.analysis.breaking_points import Cell, PhaseDiagram
from cosweep.analysis.survival import Survival
from cosweep.analysis.values import Value, format_value
from cosweep.report.figures import MOST_LINES, colour, ends_of, smooth_share
from cosweep.report.positions import drawn_at, place_of
from cosweep.wording import counted

Figure = dict[str, Any]

_FONT = {"family": "system-ui, sans-serif", "size": 13}
_DASHES = ("solid", "dash", "dashdot", "dot")
_QUIET: Figure = {"hoverinfo": "skip", "showlegend": False}
_SHARES = {"colorscale": "Cividis", "reversescale": True}
_PROBABILITY: Figure = {**_SHARES, "colorbar": {"title": {"text": "P(CO)", "side": "right"}, "thickness": 12}}
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
_LINES = (("white", 6, "solid"), ("black", 2.5, "solid"))


def _layout(x: Figure, y: Figure, **more: Any) -> Figure:
    margin = {"l": 60, "r": 20, "t": 20, "b": 55}
    x, y = x | {"automargin": True}, y | {"automargin": True}
    return {"font": _FONT, "margin": margin, "height": 460, "xaxis": x, "yaxis": y, "hovermode": "closest", **more}


_FIT = (
    "Solid line: P(CO) = 1/2 by logistic regression with quadratic terms; {band}: its 95 % band over resampled trials. "
)
_MAP = "Colour: share of trials with catastrophic overfitting (CO), dark is broken"
_CLICK = "Click a mark for its trials."


def phase_caption(diagram: PhaseDiagram) -> str:
    """What the marks of :func:`phase_plot` mean, and what is pooled or not drawn."""
    if not diagram.row_axis:
        text = (
            "P(CO) with Wilson's 95 % intervals; dashed: logistic fit. "
            if diagram.lines
            else "P(CO) with Wilson's 95 % intervals. "
        )
    elif max(len(diagram.rows), len(diagram.columns)) > MOST_POSITIONS:
        text = f"{_MAP}. "
    else:
        text = f"{_MAP}; counts of trials that broke or stayed healthy, and the median step of their breaking points. "
    text += _FIT.format(band="dashed" if diagram.row_axis else "grey") if _line_is_drawn(diagram) else ""
    if any(cell.trials and not cell.is_conclusive for cell in diagram.cells.values()):
        text += "Without colour: most trials diverged or were never robust, and say nothing. "
    missing = sum(bool(cell.trials) for cell in diagram.cells.values()) - len(diagram.points())
    if diagram.row_axis and missing and max(len(diagram.rows), len(diagram.columns)) > MOST_POSITIONS:
        text += f"{counted(missing, 'place')} without a value on an axis not drawn. "
    text += f"All values of {', '.join(diagram.pooled)} are thrown together. " if diagram.pooled else ""
    text += (
        ""
        if diagram.with_line
        else "No breaking line is sought here: those of other axes had their share of the time. "
    )
    return text + _CLICK


def _line_is_drawn(diagram: PhaseDiagram) -> bool:
    """Points have a line over two numeric axes only."""
    points = diagram.row_axis and max(len(diagram.rows), len(diagram.columns)) > MOST_POSITIONS
    return any(line.y_scale is not None or not points for _, line in diagram.lines)


def phase_plot(diagram: PhaseDiagram) -> Figure:
    """P(CO) over one or two axes with its breaking line; each mark carries the ids of its trials."""
    if not diagram.row_axis:
        return _shares_plot(diagram)
    if max(len(diagram.rows), len(diagram.columns)) > MOST_POSITIONS:
        return _points_plot(diagram)
    return _map_plot(diagram)


def _map_plot(diagram: PhaseDiagram) -> Figure:
    cells = [[diagram.cells.get((row, column)) for column in diagram.columns] for row in diagram.rows]
    texts = [[_hover(diagram, r, c) for c in diagram.columns] for r in diagram.rows]
    places = {"x": list(range(len(diagram.columns))), "y": list(range(len(diagram.rows)))}
    shares: Figure = {
        "type": "heatmap",
        **places,
        "z": [[_share(cell) for cell in row] for row in cells],
        "customdata": [
            [[text, *(cell.trial_ids if cell else ())] for text, cell in zip(*pair, strict=True)]
            for pair in zip(texts, cells, strict=True)
        ],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        **_PROBABILITY,
    }
    x = _ticks(diagram.column_axis, diagram.columns)
    y = _ticks(diagram.row_axis, diagram.rows)
    height = min(max(320, 140 + 56 * len(diagram.rows)), 800)
    return {"data": [shares, *_map_lines(diagram), _map_texts(diagram)], "layout": _layout(x, y, height=height)}


def _map_texts(diagram: PhaseDiagram) -> Figure:
    """Counts above the lines; a map without any colour is not drawn by plotly, these are."""
    places = list(itertools.product(range(len(diagram.rows)), range(len(diagram.columns))))
    cells = [diagram.cells.get((diagram.rows[r], diagram.columns[c])) for r, c in places]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [c for _, c in places],
        "y": [r for r, _ in places],
        "text": [_cell_text(cell) for cell in cells],
        "textfont": {"color": ["white" if (_share(cell) or 0) > 0.55 else "black" for cell in cells]},
        "customdata": [
            [_hover(diagram, diagram.rows[r], diagram.columns[c]), *(cell.trial_ids if cell else ())]
            for (r, c), cell in zip(places, cells, strict=True)
        ],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
        "showlegend": False,
    }


def _map_lines(diagram: PhaseDiagram) -> list[Figure]:
    found: list[Figure] = []
    for row, line in diagram.lines:
        if line.y_scale is not None:
            x = [drawn_at(v, diagram.columns, line.x_scale) for v in line.x]
            y = [drawn_at(v, diagram.rows, line.y_scale) for v in line.y]
            found += _contours(x, y, line.probability, smooth_share(line))
            continue
        place = diagram.rows.index(row)
        for crossing in line.crossings:
            low, here, high = ends_of(crossing, diagram.columns, line.x_scale)
            found += [_stroke([here, here], [place - 0.45, place + 0.45], c, w) for c, w, _ in _LINES]
            found += [_stroke([low, high], [place - 0.38] * 2, c, w / 2) for c, w, _ in _LINES]
    return found


def _contours(x: Sequence[float], y: Sequence[float], probability: Any, share: Any) -> list[Figure]:
    """The line where P(CO) = 1/2, cased in white, and the dashed ends of its band."""

    def contour(z: Any, start: float, end: float, line: Figure) -> Figure:
        levels = {"start": start, "end": end, "size": max(end - start, 1), "coloring": "none"}
        return {
            "type": "contour",
            "x": x,
            "y": y,
            "z": z,
            "contours": levels,
            "line": line,
            "showscale": False,
            **_QUIET,
        }

    z, bands = _rounded(probability), _rounded(share)
    styles = ({"color": "white", "width": 3}, {"color": "black", "width": 1.2, "dash": "dash"})
    ends = [contour(bands, level, level, style) for style in styles for level in (0.025, 0.975)]
    return ends + [contour(z, 0.5, 0.5, {"color": c, "width": w, "dash": d}) for c, w, d in _LINES]


def _stroke(x: list[float], y: list[float], colour_name: str, width: float) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "line": {"color": colour_name, "width": width},
        **_QUIET,
    }


def _points_plot(diagram: PhaseDiagram) -> Figure:
    found = diagram.points()
    points: Figure = {
        "type": "scatter",
        "mode": "markers",
        "x": [column for _, column, _ in found],
        "y": [row for row, _, _ in found],
        "customdata": [[_hover(diagram, row, column), *cell.trial_ids] for row, column, cell in found],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
        "showlegend": False,
        "marker": {
            "color": [cell.probability for _, _, cell in found],
            "cmin": 0,
            "cmax": 1,
            "size": 9,
            "line": {"width": 1, "color": "black"},
            **_PROBABILITY,
        },
    }
    x, y = _values(diagram.column_axis, diagram.columns), _values(diagram.row_axis, diagram.rows)
    lines: list[Figure] = []
    for _, line in diagram.lines:
        if line.y_scale is not None:
            across, up = ([s.to_value(v) for v in g] for s, g in ((line.x_scale, line.x), (line.y_scale, line.y)))
            lines += _contours(across, up, line.probability, smooth_share(line))
            x |= _axis_type(line.x_scale)
            y |= _axis_type(line.y_scale)
    return {"data": [points, *lines], "layout": _layout(x, y)}


def _shares_plot(diagram: PhaseDiagram) -> Figure:
    cells = [(column, diagram.cells[None, column]) for column in diagram.columns if (None, column) in diagram.cells]
    cells = [(column, cell) for column, cell in cells if cell.trials]
    lines = diagram.lines
    scale = lines[0][1].x_scale if lines else None
    even = scale is None or scale.kind == "positions"

    marks: Figure = {
        "type": "scatter" if lines else "bar",
        "x": [place_of(column, diagram.columns, scale) for column, _ in cells],
        "y": [cell.probability for _, cell in cells],
        "customdata": [[_hover(diagram, None, column), *cell.trial_ids] for column, cell in cells],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
        "showlegend": False,
        "error_y": {
            "type": "data",
            "array": [max(c.interval.high - c.probability, 0) for _, c in cells],
            "arrayminus": [max(c.probability - c.interval.low, 0) for _, c in cells],
            "visible": len(cells) <= MOST_POSITIONS,
        },
        **(
            {"mode": "markers", "marker": {"size": 10, "color": _hex(0, 2)}}
            if lines
            else {"marker": {"color": _hex(1, 2)}}
        ),
    }
    drawn: list[Figure] = [marks]
    shapes: list[Figure] = []
    for _, line in lines:
        curve = {
            "x": [drawn_at(v, diagram.columns, line.x_scale) for v in line.x],
            "y": _rounded([line.probability[0]])[0],
        }
        dashed = {"color": "black", "dash": "dash", "width": 1}
        drawn.append({"type": "scatter", "mode": "lines", **curve, "line": dashed, **_QUIET})
        for crossing in line.crossings:
            low, here, high = ends_of(crossing, diagram.columns, line.x_scale)
            ends = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
            shapes.append({**ends, "x0": low, "x1": high, "fillcolor": "#ddd", "line": {"width": 0}})
            shapes.append(
                {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": here, "x1": here, "line": {"width": 2.5}}
            )
    if even:
        x = _ticks(diagram.column_axis, diagram.columns)
        counts = [_cell_text(diagram.cells.get((None, column))) for column in diagram.columns]
        if len(counts) <= MOST_POSITIONS:
            x["ticktext"] = [f"{text}<br>{count}" for text, count in zip(x["ticktext"], counts, strict=True)]
    else:
        x = _position_ticks(
            diagram.column_axis, scale, [float(c) for c in diagram.columns if isinstance(c, (int, float))]
        )
    y = {"title": {"text": "P(CO)"}, "range": [-0.03, 1.03]}
    return {"data": drawn, "layout": _layout(x, y, shapes=shapes)}


def survival_plot(curves: Sequence[Survival]) -> Figure:
    """Share of trials not yet broken over the steps, by group, with 95 % bands."""
    shown = [curve for curve in curves if curve.trials][:MOST_LINES]
    drawn: list[Figure] = []
    for number, curve in enumerate(shown):
        tone = _hex(number, len(shown))
        steps = {
            "type": "scatter",
            "x": list(curve.steps),
            "line": {"shape": "hv", "width": 0},
            "mode": "lines",
            **_QUIET,
        }
        drawn.append({**steps, "y": _numbers(curve.low)})
        drawn.append({**steps, "y": _numbers(curve.high), "fill": "tonexty", "fillcolor": f"{tone}1f"})
        line = {"shape": "hv", "color": tone, "dash": _DASHES[number % len(_DASHES)], "width": 2.5}
        text = "%{y:.2f} not broken at step %{x}<extra>" + html.escape(curve.label) + "</extra>"
        name = f"{curve.label} ({curve.broken} of {curve.trials})"
        lasting: Figure = {"type": "scatter", "mode": "lines", "x": list(curve.steps), "y": _numbers(curve.healthy)}
        drawn.append({**lasting, "line": line, "name": html.escape(name), "hovertemplate": text})
    x = {"title": {"text": "step"}, "rangemode": "tozero"}
    y = {"title": {"text": "share of trials not broken"}, "range": [-0.03, 1.03]}
    return {"data": drawn, "layout": _layout(x, y, legend=_LEGEND)}


def _ticks(axis: str, values: Sequence[Value]) -> Figure:
    texts = [html.escape(format_value(axis, value)) for value in values]
    spread = {"tickvals": list(range(len(values))), "ticktext": texts, "range": [-0.5, len(values) - 0.5]}
    return {"title": {"text": html.escape(axis), "standoff": 8}, **spread, "zeroline": False, "showgrid": False}


def _position_ticks(axis: str, scale: Scale | None, values: Sequence[float]) -> Figure:
    """Ticks at a few values of an axis that is drawn at the positions of a fit."""
    some = sorted(values)[:: max(len(values) // 6, 1)]
    at = [scale.to_position(value) if scale else value for value in some]
    return {"title": {"text": html.escape(axis)}, "tickvals": at, "ticktext": [format_value(axis, v) for v in some]}


def _values(axis: str, values: Sequence[Value]) -> Figure:
    numbers = sorted(v for v in values if isinstance(v, (int, float)))
    some = numbers[:: max(len(numbers) // 6, 1)]
    ticks = {"tickvals": some, "ticktext": [format_value(axis, v) for v in some]} if len(numbers) == len(values) else {}
    return {"title": {"text": html.escape(axis)}, **ticks}


def _axis_type(scale: Scale) -> Figure:
    return {"type": "log"} if scale.kind == "log" else {}


def _hover(diagram: PhaseDiagram, row: Value, column: Value) -> str:
    cell = diagram.cells.get((row, column))
    where = [(diagram.row_axis, row), (diagram.column_axis, column)]
    head = ", ".join(f"{name} {format_value(name, value)}" for name, value in where if name)
    if cell is None:
        return f"{html.escape(head)}<br>no trial"
    low, high = cell.interval
    lines = [f"<b>{html.escape(head)}</b>", f"CO in {cell.broken} of {cell.trials}: P(CO) in [{low:.2f}, {high:.2f}]"]
    if cell.co_step is not None:
        lines.append(f"median breaking point: step {cell.co_step:.0f}")
    if cell.unclear:
        lines.append(f"{cell.unclear} diverged or never robust")
    if cell.robust_acc is not None:
        lines.append(f"median robust accuracy {cell.robust_acc:.2f}")
    return "<br>".join([*lines, "click: its trials"])


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return "no trial"
    step = "" if cell.co_step is None else f"<br>step {cell.co_step:.0f}"
    return f"{cell.broken} of {cell.trials}{step}" + (f"<br>{cell.unclear} unclear" if cell.unclear else "")


def _share(cell: Cell | None) -> float | None:
    return cell.probability if cell is not None and cell.is_conclusive else None


def _hex(number: int, count: int) -> str:
    text: str = to_hex(colour(number, count))
    return text


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [round(v, 4) if math.isfinite(v) else None for v in values]


def _rounded(rows: Any) -> list[list[float]]:
    return [[round(float(value), 3) for value in row] for row in rows]
