"""Running a sweep: the trials that have no finished row yet, through Ray Tune."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from cosweep import __version__
from cosweep.analysis.findings import Findings, make_findings
from cosweep.cluster.machines import (
    Node,
    cluster_address,
    concurrent_trials,
    connected,
    fitting_trials,
    live_nodes,
    local_node,
    places,
)
from cosweep.cluster.preflight import check_machines
from cosweep.cluster.ray_watch import RayWatch
from cosweep.data import Dataset
from cosweep.definition.sweep import ResourcesSpec, Sweep
from cosweep.errors import CosweepError, Fault, SpecError
from cosweep.metrics import TrialStatus
from cosweep.redaction import redacted
from cosweep.report.files import report_files, write_report
from cosweep.results.files import NoLocksError
from cosweep.results.store import Store
from cosweep.sweep.agenda import Agenda, finished_trials, refuse_other_data
from cosweep.sweep.earlier import why_not_counted
from cosweep.sweep.observers import Observer
from cosweep.sweep.progress import ProgressDisplay, Tally, format_seconds
from cosweep.sweep.queue import TrialQueue
from cosweep.sweep.stops import Stops
from cosweep.sweep.work import Work
from cosweep.tracking.tracker import Tracker, tracking_uri
from cosweep.training import TrialRun, TrialSpec
from cosweep.training.checks import Checker
from cosweep.wording import at_root, counted
from cosweep.worker.checkpoints import remove_others

DRIVER_SECONDS = 60.0
"""After this long without a sign of life in a bucket a driver is taken for dead."""
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a run of a sweep left.

    Attributes:
        report: Over all finished trials of the sweep, earlier ones included.
        failed: Rows of the trials that failed.
        missing: Trials without a row, after an interrupt or a failure of the store.
        files: What the strategy left for other tools, by name: where it lies.
        unlogged: Trials that MLflow, or another observer, misses, and why.
    """

    report: Findings
    failed: list[dict[str, Any]]
    missing: int
    unlogged: int
    unlogged_reason: str
    mlflow_uri: str | None
    files: dict[str, str]


def load_datasets(specs: tuple[TrialSpec, ...], resources: ResourcesSpec) -> dict[str, Dataset]:
    """The images of each distinct source, by load key; checks that trials with such resources fit them.

    Raises:
        CosweepError: If data are absent.
        SpecError: If an intervention or a model cannot act on them, or such a device cannot compute as a trial says,
            with every such fault.
    """
    datasets: dict[str, Dataset] = {}
    checker = Checker(resources.workers, "cuda" if resources.gpu else "cpu")
    faults: dict[Fault, None] = {}
    for spec in specs:
        key = spec.data.load_key
        if key not in datasets:
            datasets[key] = spec.data.load()
        found = checker.faults(spec, datasets[key])
        faults |= dict.fromkeys(Fault(f"trial.{fault.path}", fault.message) for fault in found)
    if faults:
        raise SpecError(faults)
    return datasets


def run_sweep(
    sweep: Sweep,
    console: Console,
    *,
    wait: bool = False,
    make_run: type[TrialRun] = TrialRun,
    stops: Stops | None = None,
    observers: Sequence[Observer] = (),
) -> Outcome:
    """Run what is left of a sweep, and report on all of it.

    Args:
        sweep: What to run.
        console: Where to say how it goes.
        wait: Whether to wait for machines that the cluster adds on demand, if trials fit none of today's.
        make_run: What runs a trial.
        stops: Signals that end it early, if they are listened to.
        observers: What watches it besides MLflow.

    Raises:
        CosweepError: Before anything is written, if the sweep cannot run here.
    """
    store = Store(sweep.results.root)
    store.check_writable()
    with console.status("loading data"):
        datasets = load_datasets(sweep.trials, sweep.resources)
        hashes = {key: make_run.data_hash(dataset) for key, dataset in datasets.items()}
    for text in [text for dataset in datasets.values() for text in dataset.notes]:
        console.print(f"[yellow]note:[/] {escape(text)}", soft_wrap=True)
    refuse_other_data(sweep, finished_trials(sweep, store), hashes)
    uri = tracking_uri(store, sweep.tracking.uri)
    agenda = Agenda(sweep, store, uri, console)
    with ExitStack() as stack:
        able = None if not agenda.left else _join_cluster(sweep, console, stack, wait=wait)
        store.create()
        still_in = _keep_others_out(sweep, store, console, stack)
        agenda = Agenda(sweep, store, uri, console)  # by now, of all that another driver may have run
        for note in why_not_counted(sweep, store):
            console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
        if able is not None and agenda.left and cluster_address() is not None:
            _check_machines(sweep, store, able, console)
        remove_others(store, sweep.name, agenda.to_carry_on)
        watching = _begin(agenda, uri, observers)
        if able is None or not agenda.left:
            console.print(f"{sweep.name}: {agenda.all_done}", highlight=False)
        else:
            work = Work(sweep, store, datasets, hashes, make_run, places(sweep.resources, able), stops or Stops())
            _run_trials(work, agenda, console, watching, still_in)
        with console.status("drawing the report"):
            return _conclude(agenda, watching, uri, console)


def _keep_others_out(sweep: Sweep, store: Store, console: Console, stack: ExitStack) -> Callable[[], None]:
    """Let no other driver work on the sweep until the stack is left.

    Returns:
        What gives a sign of life, and raises if another driver took over.

    Raises:
        CosweepError: If another driver works on it.
    """
    try:
        return stack.enter_context(store.files.exclusive(f"run of {sweep.name}", DRIVER_SECONDS, wait=True))
    except NoLocksError as error:  # two drivers would do work twice, and write the same rows
        console.print(f"[yellow]note:[/] {escape(str(error))}; a second driver would not be noticed", soft_wrap=True)
        return lambda: None


def _join_cluster(sweep: Sweep, console: Console, stack: ExitStack, *, wait: bool) -> list[Node]:
    """Connect to the cluster until the stack is left; its machines that can take part.

    Raises:
        CosweepError: If they cannot run any trial, and are not waited for.
    """
    own = cluster_address() is None
    if own:
        concurrent_trials(sweep.resources, [local_node()])  # seconds sooner than Ray could say it
    with console.status("starting Ray" if own else "joining the cluster"):
        stack.enter_context(connected())
    stack.enter_context(RayWatch(console, sweep.command))
    nodes = live_nodes()
    if not (wait and places(sweep.resources, nodes) == 0):
        concurrent_trials(sweep.resources, nodes)
    return [node for node in nodes if fitting_trials(sweep.resources, node)]


def _check_machines(sweep: Sweep, store: Store, able: list[Node], console: Console) -> None:
    with console.status("checking the machines"):
        oddities = check_machines(able, store, gpu=sweep.resources.gpu > 0)
    where = counted(len(able), "machine")
    package = Path(__file__).parents[1]
    console.print(f"cosweep {__version__} ({escape(str(package))}) on {where}", highlight=False, soft_wrap=True)
    for oddity in oddities:
        console.print(f"[yellow]note:[/] {escape(oddity)}", soft_wrap=True)


def _run_trials(
    work: Work, agenda: Agenda, console: Console, observers: Sequence[Observer], still_in: Callable[[], None]
) -> None:
    """Have the trials run that are left, and show how it goes."""
    from cosweep.sweep.monitor import Monitor  # imports Ray, which reads settings that connected() makes
    from cosweep.sweep.tune import run_trials

    done, total = len(agenda.done), work.sweep.most_trials
    at_once = f"{min(work.at_once, agenda.left)} at once" if work.at_once else "as machines come"
    most = "at most " if work.sweep.adapts else ""
    told = f"{most}{counted(total, 'trial')}, {done} done before, {most}{agenda.left} to run, {at_once}"
    console.print(
        f"{work.sweep.name}: {told}",
        highlight=False,
    )
    broken = sum(bool(row["co"]) for row in agenda.done.values())
    tally = Tally(total=total, done=done, earlier=done, broken=broken)
    queue = TrialQueue(agenda.questions)
    monitor = Monitor(
        ProgressDisplay(tally, console), queue, work.store, work.sweep, work.hashes, observers, work.stops
    )
    seconds = run_trials(work, queue, monitor, still_in)
    console.print(f"trials ended after {format_seconds(seconds)}", highlight=False)
    if reason := agenda.reason:
        console.print(f"the search ended: {escape(reason)}", highlight=False, soft_wrap=True)


def _begin(agenda: Agenda, uri: str | None, others: Sequence[Observer]) -> list[Observer]:
    """Keep what is asked, and tell all observers, MLflow's first, which trials are done."""
    agenda.keep()
    observers = [*([] if uri is None else [Tracker(agenda.store, agenda.sweep.name, uri)]), *others]
    for observer in observers:
        observer.catch_up(agenda.done)
    return observers


def _conclude(agenda: Agenda, observers: Sequence[Observer], uri: str | None, console: Console) -> Outcome:
    sweep, store = agenda.sweep, agenda.store
    report = make_findings(store, sweep.name, agenda.record())
    files = report_files(report)
    left: dict[str, str] = {}
    try:
        agenda.keep([row["trial_id"] for row in report.rows if row["status"] != TrialStatus.FAILED])
        write_report(store, report, files)
        left = agenda.keep_files()
    except (OSError, CosweepError) as error:  # all trials have their rows; what they say is still to be shown
        console.print(
            f"[yellow]the report cannot be written[/] ({escape(str(error))}); later: "
            f"{escape(redacted(at_root(f'cosweep report {sweep.name}', sweep.results.root)))}",
            soft_wrap=True,
        )
    unlogged = sum(observer.finish(report, files, _PATIENCE_SECONDS) for observer in observers)
    return Outcome(
        report=report,
        failed=report.failed,
        missing=agenda.missing(report.trials.num_rows),
        unlogged=unlogged,
        unlogged_reason=next((observer.problem for observer in observers if observer.problem), ""),
        mlflow_uri=None if uri is None else redacted(uri),
        files=left,
    )
