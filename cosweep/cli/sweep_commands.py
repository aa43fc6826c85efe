"""Commands that run sweeps, and say how far they are."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cosweep.errors import CosweepError
from cosweep.wording import at_root, counted

if TYPE_CHECKING:
    from cosweep.sweep.run import Outcome
    from cosweep.sweep.stops import Stops

from cosweep.cli.app import (
    File,
    Overrides,
    Root,
    app,
    console,
    errors,
    print_findings,
    printable,
    reports_errors,
    warn_of_bad_files,
)


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
        errors.print(f"stopped by {stops.asked}; carry on with: {printable(command)}", soft_wrap=True)
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


def _print_outcome(outcome: Outcome, root: str, command: str) -> None:
    report, uri = outcome.report, outcome.mlflow_uri
    console.print()
    print_findings(report)
    where = f"{root}/reports/{report.sweep}"
    query = at_root('cosweep query "SELECT * FROM trials"', root)
    places = [
        ("report", f"{where}/report.html"),
        ("figures", f"{where}/*.png, *.svg"),
        ("tables", f"{where}/*.csv, *.parquet; {query}"),
        ("MLflow", f"{uri}; {at_root(f'cosweep ui {report.sweep}', root)}" if uri else "off"),
    ]
    for name, place in outcome.files.items():
        shown = f"{place}; optuna-dashboard {shlex.quote(place)}" if name == "optuna.log" else place
        places.append(("search", shown))
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
    if specs and sweep.adapts:
        raise CosweepError(f"a {sweep.search.kind} search finds its trials as it runs; leave out --specs")
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
        console.print(f"no sweeps in {printable(root)} yet; start one with: cosweep run search_spaces/quickstart.yaml")
        return
    if watch:
        watch_sweeps(root, sweep, every, console)
        return
    store = Store(root)
    states = sweep_states(store, sweep)
    console.print(status_table(states))
    for note in (note for state in states for note in state.notes):
        errors.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    warn_of_bad_files(store)
