"""Tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

import pyarrow as pa

from cosweep.analysis.breaking_points import Cell, PhaseDiagram
from cosweep.analysis.effects import ALL, effect_texts
from cosweep.analysis.findings import Findings
from cosweep.analysis.values import PIXEL_COLUMNS, format_value
from cosweep.cli.fitted_table import FittedTable
from cosweep.results.compaction import Compacted
from cosweep.results.query import plain_rows
from cosweep.specs import Component
from cosweep.units import format_pixels
from cosweep.wording import counted

_MOST_ROWS = 200
_MOST_COLUMNS = 20
_MOST_BREAKING_POINTS = 30
_MOST_PHASE_TABLES = 6
_IN_REPORT = "see report.html, or a wider terminal"


def _menu(what: str) -> Mapping[str, Any]:
    """A registry by its name on the command line."""
    # Here, since these load torch, which takes longer than the rest of any command that prints a table.
    from cosweep.data import CARRIERS, INTERVENTIONS, SOURCES
    from cosweep.detection import DETECTORS
    from cosweep.diagnostics import DIAGNOSTICS
    from cosweep.methods import METHODS
    from cosweep.models import MODELS

    menus: dict[str, Mapping[str, Any]] = {
        "methods": METHODS,
        "interventions": INTERVENTIONS,
        "diagnostics": DIAGNOSTICS,
        "carriers": CARRIERS,
        "models": MODELS,
        "data": SOURCES,
        "detectors": DETECTORS,
    }
    return menus[what]


def menu_table(what: str) -> FittedTable:
    """Names of a registry, what each is, its options with their defaults, and where it comes from."""
    menu = _menu(what)
    components = [entry for entry in menu.values() if isinstance(entry, type) and issubclass(entry, Component)]
    table = FittedTable(["name", "what", *(["options"] if components else []), "source"], title=what)
    shared: list[str] = []
    if components:
        base = next(cls for cls in components[0].__mro__ if all(issubclass(entry, cls) for entry in components))
        shared = _options(base)
        table.note = f"all: {', '.join(shared)}" if shared else ""
    for name, entry in menu.items():
        first = (entry.__doc__ or "").splitlines()[0].replace("``", "")
        options = [", ".join(o for o in _options(entry) if o not in shared)] if components else []
        source = getattr(entry, "source", "")
        if columns := [column.name for column in getattr(entry, "columns", ())]:
            source += f"; {'column' if len(columns) == 1 else 'columns'} {', '.join(columns)}"
        table.add_row(name, first, *options, source)
    return table


def _options(component: type[Component]) -> list[str]:
    """Options of a component, each with its default, of norm the values it may have; null follows from the others."""
    norms = " or ".join(getattr(component, "norms", ()))
    return [
        f"{option.name}: {norms if option.name == 'norm' and norms else _default(option)}"
        for option in fields(component)
    ]


def _default(option: Field[Any]) -> str:
    value = option.default
    if value is MISSING:
        return "(required)"
    if option.metadata.get("pixels") and isinstance(value, float):
        return format_pixels(value)
    if "in_epsilons" in option.metadata:
        return f"{option.metadata['in_epsilons']:g} epsilon"
    if isinstance(value, (bool, type(None), tuple)):
        return json.dumps(value)
    return str(value)


def phase_tables(report: Findings) -> list[FittedTable]:
    """P(CO) by two axes of the sweep, a table for each place of the others; the last says how many are left out."""
    tables = [_phase_table(report.sweep, diagram) for diagram in report.diagrams[:_MOST_PHASE_TABLES]]
    if more := len(report.diagrams) - len(tables):
        tables[-1].note = f"{counted(more, 'more such table')}: see report.html and phase.csv"
    return tables


def _phase_table(sweep: str, diagram: PhaseDiagram) -> FittedTable:
    across = diagram.column_axis
    title = f"{sweep}: CO of trials @ median step" + (f", {diagram.where}" if diagram.where else "")
    if diagram.pooled:
        title += f" (over all {', '.join(diagram.pooled)})"
    corner = f"{diagram.row_axis} \\ {across}" if diagram.row_axis else across
    if len(diagram.columns) > _MOST_COLUMNS:
        note = f"{across} takes {len(diagram.columns)} values: see report.html, phase.png and phase.csv"
        return FittedTable([corner], title=title, note=note)
    values = [format_value(across, column) for column in diagram.columns]
    table = FittedTable([corner, *values], title=title, right=values, elsewhere=_IN_REPORT, least=0, turns=False)
    for row in diagram.rows:
        cells = [diagram.cells.get((row, column)) for column in diagram.columns]
        head = format_value(diagram.row_axis, row) if diagram.row_axis else "CO"
        table.add_row(head, *("-" if cell is None else _cell_text(cell) for cell in cells))
    if any(cell.unclear for cell in diagram.cells.values()):
        table.note = "?: diverged or never robust, so neither broken nor not"
    return table


def _cell_text(cell: Cell) -> str:
    step = "" if cell.co_step is None else f" @{cell.co_step:.0f}"
    return f"{cell.broken}/{cell.trials}{step}" + (f" ({cell.unclear} ?)" if cell.unclear else "")


def breaking_point_table(report: Findings) -> FittedTable:
    """Every broken trial with its breaking point."""
    broken = [row for row in report.trials.to_pylist() if row["co"]]
    told = [axis.name for axis in report.space if axis.name not in ("epsilon", "beta", "seed")]
    right = ["epsilon", "beta", "seed", "state", "step", "epoch", "fgsm", "pgd", "robust"]
    title = "breaking points (fgsm, pgd: last probe; robust: final evaluation)"
    elsewhere = "see breaking_points.csv, or a wider terminal"
    table = FittedTable(["trial", *told, *right], title=title, right=right, elsewhere=elsewhere)
    for row in broken[:_MOST_BREAKING_POINTS]:
        pixels = (format_value(name, row[name]) for name in ("epsilon", "beta"))
        place = (str(row["seed"]), row["state"], str(row["co_step"]), f"{row['co_epoch']:.1f}")
        found = (row[name] for name in ("fgsm_acc", "pgd_acc", "robust_acc"))
        accuracies = ("-" if accuracy is None else f"{accuracy:.2f}" for accuracy in found)
        table.add_row(
            row["trial_id"], *(format_value(name, row.get(name)) for name in told), *pixels, *place, *accuracies
        )
    if len(broken) > _MOST_BREAKING_POINTS:
        table.note = f"{len(broken) - _MOST_BREAKING_POINTS} more in breaking_points.csv"
    return table


def effect_table(report: Findings) -> FittedTable:
    """What each intervention changes, over all pairs of trials that differ in it alone."""
    heads = ["intervention", "pairs", "P(CO) difference [95 %]", "p (Holm)", "onset, steps"]
    title = "effect of the intervention: trials paired by everything else"
    table = FittedTable(heads, title=title, elsewhere=_IN_REPORT)
    for effect in report.effects:
        if effect.stratum == ALL:
            texts = effect_texts(effect)
            table.add_row(*(texts[name] for name in ("intervention", "pairs", "difference", "p", "onset")))
    return table


def compaction_table(done: Sequence[Compacted]) -> FittedTable:
    """What compaction did to each table of each sweep: files and MB before and now, seconds."""
    numbers = ["files", "MB", "seconds"]
    table = FittedTable(["sweep", "table", *numbers], right=numbers)
    for one in done:
        if one.files[0]:
            size = " -> ".join(f"{count / 1e6:.2f}" for count in one.size)
            table.add_row(one.sweep, one.kind, f"{one.files[0]} -> {one.files[1]}", size, f"{one.seconds:.1f}")
    return table


def rows_table(table: pa.Table, elsewhere: str) -> FittedTable:
    """Any table; pixel quantities in n/255, long tables cut.

    Args:
        table: Its rows.
        elsewhere: How to see the columns that a narrow terminal has no room for.
    """
    shown = FittedTable(table.column_names, elsewhere=elsewhere)
    for row in plain_rows(table.slice(0, _MOST_ROWS)):
        shown.add_row(*(_cell(name, value) for name, value in row.items()))
    if not table.num_rows:
        shown.note = "no rows"
    if table.num_rows > _MOST_ROWS:
        shown.note = f"{counted(table.num_rows - _MOST_ROWS, 'more row')}; --format csv gives all"
    return shown


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return format_value(name, value) if name in PIXEL_COLUMNS else f"{value:.4g}"
    return str(value)
