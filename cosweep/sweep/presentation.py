"""Tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

import pyarrow as pa
from rich import box
from rich.markup import escape
from rich.table import Table

from cosweep.data import CARRIERS, INTERVENTIONS, SOURCES
from cosweep.detection import DETECTORS
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.methods import METHODS
from cosweep.models import MODELS
from cosweep.results.breaking_points import PIXEL_COLUMNS, Cell, format_value
from cosweep.results.query import plain_rows
from cosweep.results.report import Report, asked_trials
from cosweep.results.store import Store
from cosweep.specs import Component
from cosweep.sweep.progress import format_seconds
from cosweep.units import format_pixels

_MENUS: Mapping[str, Mapping[str, Any]] = {
    "methods": METHODS,
    "interventions": INTERVENTIONS,
    "diagnostics": DIAGNOSTICS,
    "carriers": CARRIERS,
    "models": MODELS,
    "data": SOURCES,
    "detectors": DETECTORS,
}
_MOST_ROWS = 200
_MOST_COLUMNS = 20
_MOST_BREAKING_POINTS = 30


def _table(*columns: str, title: str | None = None) -> Table:
    """Narrow table that also reads well in a log of 80 columns."""
    style: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1), "collapse_padding": True}
    # Rich folds a title to the width of its table, which may hold a single short column.
    return Table(*columns, title=title, title_justify="left", min_width=min(len(title or ""), 78), **style)


def menu_table(what: str) -> Table:
    """Names of a registry, what each is, its options with their defaults, and where it comes from."""
    menu = _MENUS[what]
    components = [entry for entry in menu.values() if isinstance(entry, type) and issubclass(entry, Component)]
    table = _table("name", "what", *(["options"] if components else []), "source", title=what)
    shared: list[str] = []
    if components:
        base = next(cls for cls in components[0].__mro__ if all(issubclass(entry, cls) for entry in components))
        shared = _options(base)
        table.caption = f"all: {', '.join(shared)}"
        table.caption_justify = "left"
    for name, entry in menu.items():
        first = (entry.__doc__ or "").splitlines()[0].replace("``", "")
        options = [", ".join(o for o in _options(entry) if o not in shared)] if components else []
        table.add_row(name, first, *options, getattr(entry, "source", ""))
    return table


def _options(component: type[Component]) -> list[str]:
    """Options of a component, each with its default; null follows from the others."""
    return [f"{option.name}: {_default(option)}" for option in fields(component)]


def _default(option: Field[Any]) -> str:
    value = option.default
    if value is MISSING:
        return "(required)"
    if option.metadata.get("pixels") and isinstance(value, float):
        return format_pixels(value)
    if isinstance(value, (bool, type(None), tuple)):
        return json.dumps(value)
    return str(value)


def phase_table(report: Report) -> Table:
    """P(CO) by the axes of the sweep: broken of all trials, and the median breaking point."""
    diagram = report.diagram
    across = diagram.column_axis
    table = _table(title=f"{report.sweep}: CO of trials @ median step")
    table.add_column(f"{diagram.row_axis or ''} \\ {across}" if diagram.row_axis else across)
    if len(diagram.columns) > _MOST_COLUMNS:
        table.caption = f"{across} takes {len(diagram.columns)} values: see phase.png and phase.csv"
        return table
    for column in diagram.columns:
        table.add_column(format_value(across, column), justify="right")
    for row in diagram.rows:
        cells = [diagram.cells.get((row, column)) for column in diagram.columns]
        head = format_value(diagram.row_axis, row) if diagram.row_axis else "CO"
        table.add_row(
            head,
            *("-" if cell is None else _cell_text(cell) for cell in cells),
        )
    if any(cell.unclear for cell in diagram.cells.values()):
        table.caption = "?: diverged or never robust, so neither broken nor not"
    return table


def _cell_text(cell: Cell) -> str:
    step = "" if cell.co_step is None else f" @{cell.co_step:.0f}"
    return f"{cell.broken}/{cell.trials}{step}" + (f" ({cell.unclear} ?)" if cell.unclear else "")


def breaking_point_table(report: Report) -> Table:
    """Every broken trial with its breaking point."""
    broken = [row for row in report.trials.to_pylist() if row["co"]]
    told = [name for name in ("method", "intervention") if len(set(report.trials[name].to_pylist())) > 1]
    table = _table(title="breaking points (fgsm, pgd: last probe; robust: final evaluation)")
    for name in ("trial", *told):
        table.add_column(name, no_wrap=True)
    for name in ("epsilon", "beta", "seed", "state", "step", "epoch", "fgsm", "pgd", "robust"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in broken[:_MOST_BREAKING_POINTS]:
        pixels = (format_value(name, row[name]) for name in ("epsilon", "beta"))
        place = (str(row["seed"]), row["state"], str(row["co_step"]), f"{row['co_epoch']:.1f}")
        accuracies = (f"{row[name]:.2f}" for name in ("fgsm_acc", "pgd_acc", "robust_acc"))
        table.add_row(row["trial_id"], *(row[name] for name in told), *pixels, *place, *accuracies)
    if len(broken) > _MOST_BREAKING_POINTS:
        table.caption = f"{len(broken) - _MOST_BREAKING_POINTS} more in breaking_points.csv"
    return table


def status_table(store: Store, sweeps: list[str]) -> Table:
    """Trials of each sweep by status and state, with the rate and the time left at that rate."""
    table = _table("sweep", "done", "by status", "by state", "CO", "trials/hour", "time left", "last result")
    for name in sweeps:
        record = store.sweep_record(name)
        rows = asked_trials(store, name, record).to_pylist()
        good = [row for row in rows if row["status"] != "failed"]
        rate = _trials_an_hour(rows)
        asked = len(record["trial_ids"])
        left = asked - len(good)
        table.add_row(
            name,
            f"{len(good)} of {asked}",
            _counts(rows, "status"),
            _counts(good, "state"),
            str(sum(bool(row["co"]) for row in good)),
            "-" if rate is None else f"{rate:.0f}",
            "0s" if left <= 0 else "-" if not rate else format_seconds(left * 3600 / rate),
            max(str(row["finished_at"])[:19] for row in rows) if rows else "-",
        )
    return table


def _trials_an_hour(rows: list[dict[str, Any]]) -> float | None:
    """Rate over the trials that ended in the last hour before the last one did."""
    if len(rows) < 2:
        return None
    last = max(row["finished_at"] for row in rows)
    recent = [row for row in rows if (last - row["finished_at"]).total_seconds() <= 3600]
    seconds = (last - min(row["started_at"] for row in recent)).total_seconds()
    return len(recent) * 3600 / seconds if seconds > 0 else None


def _counts(rows: list[dict[str, Any]], column: str) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row[column]] = counts.get(row[column], 0) + 1
    return ", ".join(f"{count} {value}" for value, count in sorted(counts.items())) or "-"


def rich_table(table: pa.Table) -> Table:
    """Any table; pixel quantities also in n/255, long tables cut."""
    shown = _table(*table.column_names)
    rows = plain_rows(table.slice(0, _MOST_ROWS))
    for row in rows:
        shown.add_row(*(_cell(name, value) for name, value in row.items()))
    if table.num_rows > _MOST_ROWS:
        shown.caption = f"{table.num_rows - _MOST_ROWS} more rows; --format csv gives all"
    return shown


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return format_value(name, value) if name in PIXEL_COLUMNS else f"{value:.4g}"
    return escape(str(value))
