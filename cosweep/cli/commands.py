"""The command line; parses arguments and prints, nothing else."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer
from rich.markup import escape

from cosweep import __version__
from cosweep.errors import CosweepError, SpecError, UnknownNameError
from cosweep.redaction import redacted
from cosweep.terminal import SafeConsole, hold_standard_streams, visible
from cosweep.wording import at_root, counted

if TYPE_CHECKING:
    import pyarrow as pa

    from cosweep.analysis.findings import Findings
    from cosweep.results.store import Store
    from cosweep.sweep.run import Outcome
    from cosweep.sweep.stops import Stops

P = ParamSpec("P")

app = typer.Typer(
    help="Where single-step adversarial training breaks: sweeps, breaking points, phase diagrams.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
hold_standard_streams()
# A log or a pipe has no width of its own; 80 columns would cut tables.
_width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
console = SafeConsole(highlight=False, width=_width)
errors = SafeConsole(stderr=True, highlight=False)

_MOST_BAD_FILES = 20
_MOST_FAULTS = 100

# What these do is kept whether or not it can be told; what the others print is all they do.
_GO_ON = ("run", "compact", "sync", "report")

_SLOW_SECONDS = 5.0
_WHOLE = "--format csv or json, or a wider terminal"
MENUS = ("methods", "interventions", "carriers", "models", "data", "diagnostics", "detectors")

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a place of the definition; repeatable.")
]
Root = Annotated[str, typer.Option(help="Where the results are.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A sweep definition in YAML.")]


class Format(StrEnum):
    """Output formats of tables."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Command that ends with exit code 2 and one message, without traceback, on an error of the user's."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SpecError as error:
            errors.print(f"[red]error:[/] {counted(len(error.faults), 'fault')} in the definition")
            for fault in error.faults[:_MOST_FAULTS]:
                errors.print(f"  {escape(str(fault))}", soft_wrap=True)
            if len(error.faults) > _MOST_FAULTS:
                errors.print(f"  and {len(error.faults) - _MOST_FAULTS:,} more")
            raise typer.Exit(2) from None
        except CosweepError as error:
            errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(2) from None
        if console.problem is not None and command.__name__ not in _GO_ON:
            raise typer.Exit(0 if isinstance(console.problem, BrokenPipeError) else 2)

    return run


def _version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version.")
    ] = False,
) -> None:
    """Where single-step adversarial training breaks: sweeps, breaking points, phase diagrams."""


@app.command()
@reports_errors
def run(
    file: File,
    overrides: Overrides = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for machines that the cluster adds on demand.")] = False,
) -> None:
    """Run a sweep; the same command carries on where it stopped."""
    from cosweep.sweep.stops import Stops

    stops = Stops()
    try:
        with stops:
            outcome = _run(file, overrides or [], stops, wait=wait)
    except KeyboardInterrupt:
        command = shlex.join(["cosweep", *sys.argv[1:]])
        errors.print(f"stopped by {stops.asked}; carry on with: {_shown(command)}", soft_wrap=True)
        raise typer.Exit(1) from None
    if outcome.missing or outcome.failed:
        raise typer.Exit(1)


def _run(file: Path, overrides: list[str], stops: Stops, *, wait: bool) -> Outcome:
    from cosweep.cluster.job import settled
    from cosweep.definition.search_space import load_sweep
    from cosweep.sweep.run import run_sweep

    sweep = settled(load_sweep(file, overrides))
    outcome = run_sweep(sweep, console, wait=wait, stops=stops)
    _print_outcome(outcome, sweep.results.root, sweep.command)
    return outcome


def _shown(text: str) -> str:
    """A text of the user's as it can be printed between markup."""
    return escape(redacted(text))


def _print_outcome(outcome: Outcome, root: str, command: str) -> None:
    report, uri = outcome.report, outcome.mlflow_uri
    console.print()
    _print_report(report)
    where = f"{root}/reports/{report.sweep}"
    query = at_root('cosweep query "SELECT * FROM trials"', root)
    places = [
        ("report", f"{where}/report.html"),
        ("figures", f"{where}/*.png, *.svg"),
        ("tables", f"{where}/*.csv, *.parquet; {query}"),
        ("MLflow", f"{uri}; {at_root(f'cosweep ui {report.sweep}', root)}" if uri else "off"),
    ]
    for name, place in places:
        console.print(f"[bold]{name}[/]  {escape(place)}", soft_wrap=True)
    for note in [*report.earlier_notes, *report.doubts]:
        errors.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    for row in outcome.failed:
        first = (row["error"] or "no reason was kept").splitlines()[0]
        errors.print(f"[red]failed[/] {row['trial_id']}: {escape(first)}", soft_wrap=True)
    if outcome.failed:
        errors.print(
            f"{counted(len(outcome.failed), 'trial')} failed; mend the cause and run again: {escape(command)}",
            soft_wrap=True,
        )
    if outcome.missing:
        missing = counted(outcome.missing, "trial has", "trials have")
        errors.print(f"{missing} no result yet; carry on with: {escape(command)}", soft_wrap=True)
    if outcome.unlogged_reason:
        missed = counted(outcome.unlogged, "trial") if outcome.unlogged else "the summary"
        errors.print(
            f"[yellow]MLflow misses {missed}[/] ({escape(outcome.unlogged_reason)}); all results are "
            f"in {escape(root)}; later: {escape(at_root(f'cosweep sync {report.sweep}', root))}",
            soft_wrap=True,
        )


def _print_report(report: Findings) -> None:
    from cosweep.cli.tables import breaking_point_table, effect_table, phase_tables

    if not report.diagrams:
        console.print("no trial has finished yet")
        return
    broke = any(row["co"] for row in report.rows)
    tables = phase_tables(report)
    tables += [breaking_point_table(report)] if broke else []
    tables += [effect_table(report)] if report.effects else []
    for table in tables:
        console.print(table, "")
    if not broke:
        console.print("no trial broke")


@app.command()
@reports_errors
def validate(
    file: File,
    overrides: Overrides = None,
    specs: Annotated[
        bool, typer.Option("--specs", help="Print the whole spec of each trial instead, one line of JSON each.")
    ] = False,
) -> None:
    """Expand and check a sweep without running it; say what it would cost."""
    from cosweep.cluster.job import settled
    from cosweep.definition.search_space import load_sweep
    from cosweep.sweep.validate import validate_sweep

    sweep = settled(load_sweep(file, overrides or ()))
    for spec in sweep.trials if specs else ():
        console.print(json.dumps({"trial_id": spec.trial_id, **spec.flat()}), markup=False, soft_wrap=True)
    for name, text in () if specs else validate_sweep(sweep):
        console.print(f"[bold]{name:<10}[/] {escape(text)}", soft_wrap=True)


@app.command()
@reports_errors
def status(
    sweep: Annotated[str | None, typer.Argument(help="A sweep; all without.")] = None,
    root: Root = "results",
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew until all trials are done.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = 5.0,
) -> None:
    """Trials by status and state, rate and time left."""
    from cosweep.cli.status_table import status_table, watch_sweeps
    from cosweep.results.store import Store
    from cosweep.sweep.state import sweep_states

    if not Store(root).sweeps():
        console.print(f"no sweeps in {_shown(root)} yet; start one with: cosweep run search_spaces/quickstart.yaml")
        return
    if watch:
        watch_sweeps(root, sweep, every, console)
        return
    store = Store(root)
    states = sweep_states(store, sweep)
    console.print(status_table(states))
    for note in (note for state in states for note in state.notes):
        errors.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    _warn_of_bad_files(store)


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
        errors.print(f"[yellow]no sweeps in {_shown(root)}[/]; is it the right --root?", soft_wrap=True)
    for note in lost_trials(store)[:_MOST_BAD_FILES]:
        errors.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    _warn_of_bad_files(store)


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
    console.print(compaction_table(done) if done else f"no trials in {_shown(root)} yet")
    _warn_of_bad_files(store)


@app.command()
@reports_errors
def detect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Curves as CSV or Parquet.")],
    format: Annotated[Format, typer.Option(help="How verdicts are printed.")] = Format.TABLE,
    detector: Annotated[str, typer.Option(help="Which rule; see cosweep list detectors.")] = "collapse",
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
    from cosweep.detection import Chance

    try:
        guessing = Chance(classes, chance, examples)
    except ValueError as error:
        raise CosweepError(f"--chance: {error}") from None
    _print_table(detect_file(file, detector, guessing), format)


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
    _print_report(made)
    if made.partial:
        console.print(f"[yellow]partial[/]: {made.partial}")
    for note in [*made.missing_notes, *made.earlier_notes]:
        errors.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(f"[bold]report[/]  {_shown(f'{root}/reports/{sweep}')}/report.html", soft_wrap=True)
    console.print(f"beside it {counted(len(files) - 1, 'file')}: figures as PNG and SVG, tables as CSV and Parquet")
    _warn_of_bad_files(store)


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


@app.command("schema")
@reports_errors
def print_schema() -> None:
    """The JSON Schema of a definition, for editors that complete and check YAML."""
    from cosweep.definition.schema import sweep_schema

    console.write_bytes((json.dumps(sweep_schema(), indent=1) + "\n").encode())


@app.command("list")
@reports_errors
def list_names(
    what: Annotated[str, typer.Argument(metavar="WHAT", help=f"Some of {', '.join(MENUS)}, with commas.")] = ",".join(
        MENUS
    ),
) -> None:
    """What a definition may name, with one line and the source of each."""
    from cosweep.cli.tables import menu_table

    for name in what.split(","):
        if name not in MENUS:
            raise UnknownNameError("menu", name, MENUS)
        console.print(menu_table(name), "")


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


def _warn_of_bad_files(store: Store) -> None:
    bad_files = store.bad_files
    for bad in bad_files[:_MOST_BAD_FILES]:
        word = "skipped" if bad.left_out else "in doubt:"
        errors.print(f"[yellow]{word}[/] {escape(bad.path)}: {escape(bad.problem)}", soft_wrap=True)
    skipped = sum(bad.left_out for bad in bad_files)
    if skipped > 1:
        errors.print(f"{skipped} files could not be read; their rows are missing above", soft_wrap=True)


if __name__ == "__main__":
    app()
