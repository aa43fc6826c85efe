"""The files of a sweep's report: the page, its figures, and the tables behind them."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib

from cosweep.analysis.findings import Findings
from cosweep.analysis.survival import onset_groups, survival
from cosweep.report.curve_figures import ablations_figure, curves_figure
from cosweep.report.examples import examples_figure, examples_title, trials_with_examples
from cosweep.report.figures import image_files, phase_figure, survival_figure
from cosweep.report.page import page
from cosweep.results.query import to_csv, to_parquet
from cosweep.results.store import Store

_OURS = (".html", ".png", ".svg", ".csv", ".parquet")


def report_files(findings: Findings) -> dict[str, bytes]:
    """File name to content: the page, figures as PNG and SVG, tables as CSV and Parquet."""
    with matplotlib.rc_context({"text.parse_math": False}):  # a dollar in a name of the user's is a dollar
        figures = report_figures(findings)
        html = page(findings, figures)
    tables = findings.tables()
    return {
        "report.html": html,
        **figures,
        **{f"{name}.csv": to_csv(table) for name, table in tables.items()},
        **{f"{name}.parquet": to_parquet(table) for name, table in tables.items()},
    }


def report_figures(findings: Findings) -> dict[str, bytes]:
    """File name to PNG or SVG."""
    partial = f" ({findings.partial})" if findings.partial else ""
    name, rows, columns = findings.sweep, findings.rows, findings.record["axes"]
    axes = [axis.name for axis in findings.space]
    onset = [survival(label, *group) for label, group in onset_groups(rows, axes[0] if axes else None).items()]
    examples = [
        examples_figure(trial, kept, f"{name}: {examples_title(trial, axes)}")
        for trial, kept in trials_with_examples(rows, findings.snapshots.to_pylist(), 1)
    ]
    phase = phase_figure(findings.diagrams, f"{name}: trials with CO, and median breaking point{partial}")
    curves = curves_figure(rows, findings.curves, columns, f"{name}: median over trials{partial}")
    return {
        **image_files("phase", phase),
        **image_files("onset", survival_figure(onset, f"{name}: when training breaks{partial}")),
        **image_files("curves", curves),
        **image_files("ablations", ablations_figure(rows, columns, f"{name}: mean over trials{partial}")),
        **(image_files("examples", examples[0]) if examples else {}),
    }


def write_report(store: Store, findings: Findings, files: Mapping[str, bytes]) -> None:
    """Write the files of a report below ``reports/NAME``, and remove those of an earlier one.

    What lies there of a report with trials that this one leaves out is kept in a folder beside them.
    """
    folder = f"reports/{findings.sweep}"
    if findings.replaces:
        for name in store.files.names(folder):
            if name.endswith(_OURS):
                store.write_bytes(f"{folder}/{findings.aside[0]}/{name}", store.files.read(f"{folder}/{name}"))
    # By its table the next report knows what lies there: first, so that nothing new is taken for the report kept aside.
    for name in sorted(files, key=lambda name: name != "trials.parquet"):
        store.write_bytes(f"{folder}/{name}", files[name])
    for old in store.files.names(folder).keys() - files.keys():
        if old.endswith(_OURS):  # of an earlier report; others are not ours
            store.files.delete(f"{folder}/{old}")
