"""One self-contained HTML page of a sweep: opens offline, draws with plotly.js, computes nothing.

All numbers are computed here or in the modules that this one calls; the page's script only draws and sorts.
plotly.js and the data are compressed inside the page and unpacked by the browser.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from cosweep.analysis.breaking_points import PhaseDiagram
from cosweep.analysis.columns import default_axes
from cosweep.analysis.effects import effect_texts
from cosweep.analysis.findings import Findings, asked_question
from cosweep.analysis.survival import logrank, onset_groups, survival
from cosweep.analysis.values import PIXEL_COLUMNS, format_value, is_conclusive
from cosweep.report.examples import examples_figure, examples_title, trials_with_examples
from cosweep.report.figures import image_files
from cosweep.report.page_figures import phase_caption, phase_plot, survival_plot
from cosweep.results.records import parse_json
from cosweep.results.schema import CURVE_COLUMNS

_ASSETS = Path(__file__).parent / "assets"
_MOST_NUMBERS = 600_000
_LEAST_PROBES_A_TRIAL = 12
_MOST_EXAMPLES = 6
_MOST_SPECS = 2_000
_MOST_LINES = 12
_OUTCOMES = ("co_step", "co_epoch", "clean_acc", "fgsm_acc", "pgd_acc", "robust_acc", "wall_seconds")
_CURVE = tuple(c.name for c in CURVE_COLUMNS if c.type == pa.float64() and c.name != "epoch")


def page(report: Findings, figures: Mapping[str, bytes]) -> bytes:
    """The page, UTF-8.

    Args:
        report: What it shows.
        figures: File name to PNG or SVG; the medians over trials and the ablations are shown as they are.
    """
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html").render(
        report=report,
        record=report.record,
        question=asked_question(report.record),
        summary=_summary(report),
        effects=[effect_texts(effect) for effect in report.effects],
        images={name: _image(figures[name], "svg+xml") for name in ("curves.svg", "ablations.svg") if name in figures},
        origins=_origins(report),
        style=(_ASSETS / "report.css").read_text(encoding="utf-8"),
        script=(_ASSETS / "report.js").read_text(encoding="utf-8"),
        plotly=_plotly(),
        data=_packed(json.dumps(_data(report), separators=(",", ":"), allow_nan=False)),
    )
    return text.encode()


@cache
def _plotly() -> str:
    return _packed(get_plotlyjs())


def _packed(text: str) -> str:
    """Text as gzip in base64; without a time stamp, so that the same text packs to the same."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _image(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _data(report: Findings) -> dict[str, Any]:
    """What the page's script draws."""
    columns = _columns(report)
    specs = {row["trial_id"]: _spec(row["spec_json"]) for row in report.rows[:_MOST_SPECS]}
    reasons = {row["trial_id"]: row["co_reason"] or row["error"] or "" for row in report.rows}
    breaks = {
        row["trial_id"]: [row["co_step_low"], row["co_step"], row["co_step_high"]] for row in report.rows if row["co"]
    }
    curves, thinned = _curves(report)
    return {
        "columns": [{"name": name, "kind": _kind(name, report)} for name in columns],
        # What was given stays exact, so that a filter such as =64/255 finds it.
        "trials": [[_value(row.get(name), 6 if name in _OUTCOMES else 17) for name in columns] for row in report.rows],
        "curves": curves,
        "thinned": thinned,
        "breaks": breaks,
        "reasons": reasons,
        "specs": specs,
        "diagrams": _diagrams(report),
        "survival": _survivals(report),
        "examples": _examples(report),
    }


def _spec(text: str | None) -> Any:
    try:
        return parse_json((text or "{}").encode())
    except ValueError:  # of another hand; shown as it is
        return text


def _columns(report: Findings) -> list[str]:
    axes = [axis.name for axis in report.space]
    return list(dict.fromkeys(["trial_id", "state", "status", *axes, "seed", *_OUTCOMES]))


def _kind(name: str, report: Findings) -> str:
    if name in PIXEL_COLUMNS:
        return "pixels"
    return "text" if pa.types.is_string(report.trials.schema.field(name).type) else "number"


def _value(value: Any, digits: int) -> Any:
    """A value as JSON can hold it, floats to so many digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def _curves(report: Findings) -> tuple[dict[str, Any], bool]:
    """Measured columns by trial, and whether probes were left out to bound the page."""
    names = [name for name in _CURVE if report.curves[name].null_count < len(report.curves)]
    table = report.curves.select(["trial_id", "step", *names]).sort_by(
        [("trial_id", "ascending"), ("step", "ascending")]
    )
    ids = table["trial_id"].to_numpy(zero_copy_only=False)
    spans = [range(places[0], places[-1] + 1) for places in np.split(np.arange(len(ids)), _starts(ids)) if len(places)]
    most = max(_LEAST_PROBES_A_TRIAL, _MOST_NUMBERS // max(len(spans) * (len(names) + 1), 1))
    kept = {str(ids[span.start]): _thinned(span, most) for span in spans}
    columns = {name: table[name].to_numpy() for name in ("step", *names)}
    curves = {
        trial: {name: [_value(v, 4) for v in columns[name][places].tolist()] for name in columns}
        for trial, places in kept.items()
    }
    return curves, any(len(span) > most for span in spans)


def _starts(ids: Any) -> Any:
    """Places at which another trial begins."""
    return np.flatnonzero(ids[1:] != ids[:-1]) + 1


def _thinned(span: range, most: int) -> Any:
    """Places of at most so many probes, even over the curve, first and last among them."""
    return np.unique(np.linspace(span.start, span.stop - 1, min(len(span), most)).round().astype(int))


def _diagrams(report: Findings) -> list[dict[str, Any]]:
    """A menu of axes, each with a figure for each place of the others, and where P(CO) crosses 1/2 along them."""
    menu = []
    lines_left = _MOST_LINES
    for row_axis, column_axis in report.axis_pairs() if report.space else ():
        default = (row_axis, column_axis) == default_axes(report.space)
        diagrams = report.diagrams if default else report.diagrams_over(row_axis, column_axis)
        slices = []
        for diagram in diagrams:
            drawn = diagram if default or lines_left > 0 else replace(diagram, with_line=False)
            lines_left -= drawn.with_line
            slices.append(
                {
                    "where": drawn.where,
                    "caption": phase_caption(drawn),
                    "figure": phase_plot(drawn),
                    "crossings": [_crossing_text(drawn, row) for row in drawn.crossing_rows()],
                    "sought": drawn.with_line,
                }
            )
        label = f"{column_axis} across, {row_axis} up" if row_axis else f"{column_axis} alone"
        menu.append({"label": label, "slices": slices, "default": default})
    return menu


def _survivals(report: Findings) -> list[dict[str, Any]]:
    found = []
    for axis in [None, *(axis.name for axis in report.space if axis.name != "seed")]:
        groups = onset_groups(report.rows, axis)
        test = logrank(groups) if axis else None
        curves = [survival(label, *group) for label, group in groups.items()]
        if any(curve.trials for curve in curves):
            found.append(
                {
                    "label": f"by {axis}" if axis else "all trials",
                    "figure": survival_plot(curves),
                    "note": _logrank_text(test) if test else "",
                }
            )
    return found[1:] + found[:1]


def _logrank_text(test: Any) -> str:
    return f"Log-rank test over all groups: chi² {test.statistic:.3g}, {test.degrees} d.f., p {_p_text(test.p_value)}."


def _p_text(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def _examples(report: Findings) -> dict[str, str]:
    """Trial id to a picture, for some trials that kept snapshots."""
    axes = [axis.name for axis in report.space]
    found = {}
    for trial, kept in trials_with_examples(report.rows, report.snapshots.to_pylist(), _MOST_EXAMPLES):
        name = trial["trial_id"]
        found[name] = _image(
            image_files(name, examples_figure(trial, kept, examples_title(trial, axes)))[f"{name}.png"]
        )
    return found


def _summary(report: Findings) -> list[tuple[str, str, str]]:
    """Headline, number, and what stands below it."""
    numbers = report.summary()
    tiles = [("trials", f"{len(report.rows)}", f"of {report.asked}")]
    said = sum(map(is_conclusive, report.rows))
    tiles.append(("with CO", f"{numbers['co']:.0f}", f"of {said} that broke or stayed healthy"))
    if "median_co_step" in numbers:
        tiles.append(("median breaking point", f"{numbers['median_co_step']:.0f}", "steps, of those that broke"))
    unclear = len(report.rows) - len(report.failed) - said
    tiles += [("unclear", str(unclear), "diverged or never robust")] if unclear else []
    tiles.append(("failed", str(len(report.failed)), "trial" if len(report.failed) == 1 else "trials"))
    return tiles


def _crossing_text(diagram: PhaseDiagram, row: Mapping[str, Any]) -> str:
    axis = diagram.column_axis
    value, low, high = (format_value(axis, row[name]) for name in ("value", "low", "high"))
    up = diagram.row_axis
    place = ", ".join(part for part in (diagram.where, f"{up} {format_value(up, row[up])}" if up else "") if part)
    text = f"breaks {row['breaks']} {axis} {value} [{low}, {high}]"
    share = "" if row["share_of_resamples"] > 0.975 else f", in {row['share_of_resamples']:.0%} of resamples"
    return f"{place}: {text}{share}" if place else f"{text}{share}"


def _images_text(row: Mapping[str, Any]) -> str:
    """What a trial was trained and measured on; empty if its row does not say."""
    if row.get("train_images") is None:
        return ""
    used = {part: row[f"{part}_examples_used"] for part in ("probe", "final")}
    texts = {part: f"{n}" if n == row[f"{part}_examples"] else f"all {n}" for part, n in used.items()}
    return (
        f"{row['data_source']}: {row['train_images']} to train on, {row['test_images']} held out, of "
        f"{row['image_shape']}, {row['num_classes']} classes; probes on {texts['probe']}, final evaluation on "
        f"{texts['final']}"
    )


def _origins(report: Findings) -> dict[str, list[str]]:
    """What the trials ran on: versions, machines, devices, images; and when."""
    columns = {"versions": "versions", "device": "device", "host": "machine", "data_hash": "images (fingerprint)"}
    found = {label: sorted({str(row[name]) for row in report.rows if row[name]}) for name, label in columns.items()}
    found["images"] = sorted({text for row in report.rows if (text := _images_text(row))})
    times = [row[name] for row in report.rows for name in ("started_at", "finished_at")]
    if times:
        found["ran"] = [f"{min(times):%Y-%m-%d %H:%M} to {max(times):%Y-%m-%d %H:%M} UTC"]
    return found
