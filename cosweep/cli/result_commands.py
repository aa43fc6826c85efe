"""Commands on results: queries, reports, verdicts, MLflow."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cosweep.errors import CosweepError
from cosweep.terminal import visible
from cosweep.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa


from cosweep.cli.app import (
    MOST_BAD_FILES,
    Format,
    Root,
    app,
    console,
    errors,
    print_findings,
    printable,
    reports_errors,
    warn_of_bad_files,
)

_SLOW_SECONDS = 5.0
_WHOLE = "--format csv or json, or a wider terminal"


@app.command()
@reports_errors
def query(
    sql: Annotated[
        str | None,
        typer.Argument(metavar="[SQL]", help="Over the views trials, curves, snapshots, all_trials, ..."),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the views' columns instead.")] = False,
    format: Annotated[Format, typer.Option(help="How rows are printed; in JSON NaN is null.")] = Format.TABLE,
    root: Root = "results",
) -> None:
    """SQL over the results, or what can be asked for."""
    from cosweep.results.coverage import lost_trials
    from cosweep.results.query import run_query
    from cosweep.results.store import Store
    from cosweep.results.views import described_columns

    if schema == (sql is not None):
        raise CosweepError('give a statement, as in cosweep query "SELECT * FROM trials", or --schema for the columns')
    store = Store(root)
    began = time.monotonic()
    try:
        table = described_columns(store) if sql is None else run_query(store, sql)
    except KeyboardInterrupt:
        errors.print("interrupted")
        raise typer.Exit(130) from None
    _print_table(table, format, _WHOLE if sql is None else f"SELECT fewer, {_WHOLE}")
    if time.monotonic() - began > _SLOW_SECONDS:
        errors.print("slow because of many small files? cosweep compact merges them, also while a sweep runs")
    if sql is not None and not store.sweeps():
        errors.print(f"[yellow]no sweeps in {printable(root)}[/]; is it the right --root?", soft_wrap=True)
    for note in lost_trials(store)[:MOST_BAD_FILES]:
        errors.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    warn_of_bad_files(store)


@app.command()
@reports_errors
def compact(
    sweep: Annotated[str | None, typer.Argument(help="A sweep; all without.")] = None, root: Root = "results"
) -> None:
    """Merge the small files of finished trials, so that queries take a fraction of the time; sweeps may run on."""
    from rich.progress import Progress

    from cosweep.cli.tables import compaction_table
    from cosweep.results.compaction import compact_sweep
    from cosweep.results.store import Store

    store = Store(root)
    known = store.swept()
    if sweep is not None and sweep not in known:
        raise store.no_sweep(sweep, known)
    done = []
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("")
        for name in [sweep] if sweep else known:
            done += compact_sweep(
                store, name, lambda what, now, of: bar.update(task, description=what, completed=now, total=of)
            )
    console.print(compaction_table(done) if done else f"no trials in {printable(root)} yet")
    warn_of_bad_files(store)


@app.command()
@reports_errors
def detect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Curves as CSV or Parquet.")],
    format: Annotated[Format, typer.Option(help="How verdicts are printed.")] = Format.TABLE,
    detector: Annotated[
        str,
        typer.Option(metavar="NAME", help="Which rule, or '{name: NAME, OPTION: VALUE}'; see cosweep list detectors."),
    ] = "collapse",
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    chance: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Largest class's share of the examples; 1/classes without."),
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(min=1, help="Examples that the accuracies were counted over; without, no counting noise."),
    ] = None,
) -> None:
    """Find breaking points in any table of curves: trial_id, step, clean_acc, fgsm_acc, pgd_acc."""
    from cosweep.analysis.verdicts import detect_file
    from cosweep.definition.yaml_file import parse_yaml
    from cosweep.detection import DETECTORS, Chance, Detector
    from cosweep.specs import build

    try:
        guessing = Chance(classes, chance, examples)
    except ValueError as error:
        raise CosweepError(f"--chance: {error}") from None
    rule: Detector = build(
        Detector,  # type: ignore[type-abstract]
        parse_yaml(detector, "--detector"),
        {Detector: DETECTORS},
        "--detector",
    )
    _print_table(detect_file(file, rule, guessing), format)


@app.command()
@reports_errors
def report(sweep: Annotated[str, typer.Argument(help="A sweep.")], root: Root = "results") -> None:
    """Write a sweep's page, figures and tables anew, of what has finished so far."""
    from cosweep.analysis.findings import make_findings
    from cosweep.report.files import report_files, write_report
    from cosweep.results.store import Store

    store = Store(root)
    with errors.status("reading results") as progress:
        made = make_findings(store, sweep)
        progress.update("drawing the report")
        files = report_files(made)
        write_report(store, made, files)
    print_findings(made)
    if made.partial:
        console.print(f"[yellow]partial[/]: {made.partial}")
    for note in [*made.missing_notes, *made.earlier_notes]:
        errors.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(f"[bold]report[/]  {printable(f'{root}/reports/{sweep}')}/report.html", soft_wrap=True)
    console.print(f"beside it {counted(len(files) - 1, 'file')}: figures as PNG and SVG, tables as CSV and Parquet")
    warn_of_bad_files(store)


@app.command()
@reports_errors
def sync(
    sweep: Annotated[str | None, typer.Argument(help="A sweep; all without.")] = None,
    root: Root = "results",
    uri: Annotated[str | None, typer.Option(help="MLflow's tracking URI; the sweep's own without.")] = None,
) -> None:
    """Bring MLflow up to date from the Parquet tables."""
    from cosweep.results.store import Store
    from cosweep.tracking.tracker import sync_sweep

    store = Store(root)
    for name in [sweep] if sweep else store.sweeps():
        target, logged, present = sync_sweep(store, name, uri)
        told = f"{name}: {counted(logged, 'trial')} logged to {target}, {present} there already"
        console.print(told, markup=False, soft_wrap=True)


@app.command()
@reports_errors
def ui(
    sweep: Annotated[str | None, typer.Argument(help="Open this sweep's page.")] = None,
    root: Root = "results",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
) -> None:
    """Open MLflow on the results, on this machine only."""
    from cosweep.results.store import Store
    from cosweep.tracking.ui import serve

    serve(Store(root), sweep, port, console)


def _print_table(table: pa.Table, format: Format, elsewhere: str = _WHOLE) -> None:
    from cosweep.results import query as formats

    if format is Format.TABLE:
        from cosweep.cli.tables import rows_table

        console.print(rows_table(table, elsewhere))
        return
    writers = {Format.CSV: formats.to_csv, Format.JSON: formats.to_json, Format.PARQUET: formats.to_parquet}
    if not sys.stdout.isatty():
        console.write_bytes(writers[format](table))
    elif format is Format.PARQUET:
        raise CosweepError("parquet is binary; send it to a file: cosweep ... --format parquet > rows.parquet")
    else:
        console.write_bytes(visible(writers[format](table).decode()).encode())
