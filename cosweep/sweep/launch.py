"""Running a sweep: the trials that have no finished row yet, through Ray Tune."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from cosweep import __version__
from cosweep.data import Dataset
from cosweep.errors import CosweepError, Fault, SpecError
from cosweep.metrics import TrialStatus
from cosweep.redaction import redacted
from cosweep.results.report import Report, make_report, write_report
from cosweep.results.store import Store
from cosweep.sweep.checkpoints import remove_ended
from cosweep.sweep.cluster import (
    cluster_address,
    concurrent_trials,
    connected,
    fitting_trials,
    graceful_sigterm,
    live_nodes,
    local_node,
)
from cosweep.sweep.definition import Sweep
from cosweep.sweep.preflight import check_machines
from cosweep.sweep.progress import ProgressDisplay, Tally, format_seconds
from cosweep.sweep.tracking import Tracker, tracking_uri, uri_to_keep
from cosweep.training import TrialRun, TrialSpec
from cosweep.training.checks import Checker

if TYPE_CHECKING:
    from cosweep.sweep.monitor import Monitor
    from cosweep.sweep.trainable import Setting

DRIVER_SECONDS = 60.0
"""After this long without a sign of life in a bucket a driver is taken for dead."""
_MLFLOW_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a run of a sweep left.

    Attributes:
        report: Over all finished trials of the sweep, earlier ones included.
        failed: Rows of the trials that failed.
        missing: Trials without a row, after an interrupt or a failure of the store.
        unlogged: Trials that MLflow misses, and why.
    """

    report: Report
    failed: list[dict[str, Any]]
    missing: int
    unlogged: int
    unlogged_reason: str
    mlflow_uri: str | None


def load_datasets(specs: tuple[TrialSpec, ...], workers: int) -> dict[str, Dataset]:
    """The images of each distinct source, by load key; checks that trials of so many workers fit them.

    Raises:
        CosweepError: If data are absent.
        SpecError: If an intervention or a model cannot act on them, with every such fault.
    """
    datasets: dict[str, Dataset] = {}
    checker = Checker(workers)
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


def finished_trials(sweep: Sweep, store: Store) -> dict[str, dict[str, Any]]:
    """Id and row of the sweep's trials that need not run again: all with a row but the failed."""
    asked = {spec.trial_id for spec in sweep.trials}
    rows = store.trials(sweep.name).select(["trial_id", "status", "data_hash", "co"]).to_pylist()
    return {r["trial_id"]: r for r in rows if r["trial_id"] in asked and r["status"] != TrialStatus.FAILED}


def run_sweep(sweep: Sweep, console: Console, *, wait: bool = False, make_run: type[TrialRun] = TrialRun) -> Outcome:
    """Run what is left of a sweep, and report on all of it.

    Args:
        sweep: What to run.
        console: Where to say how it goes.
        wait: Whether to wait for machines that the cluster adds on demand, if trials fit none of today's.
        make_run: What runs a trial.

    Raises:
        CosweepError: Before anything is written, if the sweep cannot run here.
    """
    store = Store(sweep.results.root)
    store.check_writable()
    with console.status("loading data"):
        datasets = load_datasets(sweep.trials, sweep.resources.workers)
        mark = "simulated-" if make_run.simulated else ""
        hashes = {key: mark + dataset.fingerprint() for key, dataset in datasets.items()}
    refuse_other_data(sweep, finished_trials(sweep, store), hashes)
    store.create()
    with store.files.exclusive(f"run of {sweep.name}", DRIVER_SECONDS, wait=True) as still_in:
        return _run_alone(sweep, datasets, hashes, store, console, still_in, make_run, wait=wait)


def _run_alone(
    sweep: Sweep,
    datasets: Mapping[str, Dataset],
    hashes: Mapping[str, str],
    store: Store,
    console: Console,
    still_in: Callable[[], None],
    make_run: type[TrialRun],
    *,
    wait: bool,
) -> Outcome:
    """Run what is left of a sweep that no other driver works on."""
    done = finished_trials(sweep, store)
    left = [spec for spec in sweep.trials if spec.trial_id not in done]
    uri = tracking_uri(store, sweep.tracking.uri)
    if left:
        with ExitStack() as stack:
            at_once = join_cluster(sweep, store, console, stack, wait=wait)
            console.print(
                f"{sweep.name}: {len(sweep.trials)} trials, {len(done)} done before, "
                f"{len(left)} to run, {min(at_once, len(left)) or 'as machines come'} at once",
                highlight=False,
            )
            from cosweep.sweep.monitor import Monitor  # imports Ray, which reads settings that connected() makes

            tracker = _begin(sweep, store, uri, done)
            broken = sum(bool(row["co"]) for row in done.values())
            tally = Tally(total=len(sweep.trials), done=len(done), earlier=len(done), broken=broken)
            monitor = Monitor(ProgressDisplay(tally, console), store, sweep, hashes, tracker, still_in)
            seconds = _run_trials(sweep, left, datasets, hashes, store, monitor, at_once, make_run)
            console.print(f"trials ended after {format_seconds(seconds)}", highlight=False)
    else:
        console.print(f"{sweep.name}: all {len(sweep.trials)} trials are done already", highlight=False)
        tracker = _begin(sweep, store, uri, done)
    with console.status("drawing the report"):
        return _conclude(sweep, store, tracker, uri)


def join_cluster(sweep: Sweep, store: Store, console: Console, stack: ExitStack, *, wait: bool) -> int:
    """Connect to the cluster until the stack is left; how many trials it can run at once now.

    Raises:
        CosweepError: If it cannot run any, and is not waited for, or has machines that could not do their part.
    """
    own = cluster_address() is None
    if own:
        concurrent_trials(sweep.resources, [local_node()])  # seconds sooner than Ray could say it
    with console.status("starting Ray" if own else "joining the cluster"):
        stack.enter_context(connected())
    nodes = live_nodes()
    able = [node for node in nodes if fitting_trials(sweep.resources, node)]
    if wait and sum(fitting_trials(sweep.resources, node) for node in able) < sweep.resources.workers:
        console.print("no machine fits a trial yet; waiting for the cluster to add one", highlight=False)
        return 0
    at_once = concurrent_trials(sweep.resources, nodes)
    if not own:
        with console.status("checking the machines"):
            oddities = check_machines(able, store, gpu=sweep.resources.gpu > 0)
        where = f"{len(able)} machine{'s' if len(able) != 1 else ''}"
        console.print(
            f"cosweep {__version__} ({Path(__file__).parents[1]}) on {where}", highlight=False, soft_wrap=True
        )
        for oddity in oddities:
            console.print(f"[yellow]note:[/] {escape(oddity)}", soft_wrap=True)
    return at_once


def _begin(sweep: Sweep, store: Store, uri: str | None, done: Collection[str]) -> Tracker | None:
    """Keep what is asked, and start the tracker."""
    remove_ended(store, sweep.name, done)
    store.write_sweep(sweep.name, {**sweep.record(), "mlflow_uri": uri_to_keep(store, uri)})
    if uri is None:
        return None
    tracker = Tracker(store, sweep.name, uri)
    tracker.catch_up(done)
    return tracker


def refuse_other_data(sweep: Sweep, done: Mapping[str, Mapping[str, Any]], hashes: Mapping[str, str]) -> None:
    """Finished trials of the same spec must have seen the same images."""
    for spec in sweep.trials:
        row, now = done.get(spec.trial_id), hashes[spec.data.load_key]
        before = row["data_hash"] if row else now
        if before != now:
            raise CosweepError(
                f"trial {spec.trial_id} of sweep {sweep.name} was run on other images (fingerprint {before}; "
                f"the data source now has {now}); use another name or results.root"
            )


def _run_trials(
    sweep: Sweep,
    left: list[TrialSpec],
    datasets: Mapping[str, Dataset],
    hashes: Mapping[str, str],
    store: Store,
    monitor: Monitor,
    at_once: int,
    make_run: type[TrialRun],
) -> float:
    """Have Tune run the trials, and those that ran out of memory again, alone; the seconds it took."""
    import ray

    from cosweep.sweep.trainable import Setting

    shared = {key: (ray.put(dataset), hashes[key]) for key, dataset in datasets.items()}
    root = str(store.local_path) if store.local_path else store.location
    slots = (at_once or 1) if sweep.resources.workers > 1 else None
    seconds = sweep.results.checkpoint_seconds
    setting = Setting(sweep.name, root, sweep.resources, seconds, shared, slots=slots, make_run=make_run)
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(graceful_sigterm())
        stack.enter_context(monitor.display)
        _tune(setting, left, monitor)
        if monitor.out_of_memory and not monitor.interrupted:
            again = [spec for spec in left if spec.trial_id in monitor.out_of_memory]
            _tune(setting.alone(), again, monitor)
    return time.monotonic() - started


def _tune(setting: Setting, specs: list[TrialSpec], monitor: Monitor) -> None:
    from ray import tune

    from cosweep.sweep.config import empty_config, listed
    from cosweep.sweep.failures import WORKER_RESTARTS
    from cosweep.sweep.local_ray import keep_keys_out_of_logs
    from cosweep.sweep.parallel_trial import trainable_of
    from cosweep.sweep.scheduler import InOrder
    from cosweep.sweep.stopper import VerdictStopper

    keep_keys_out_of_logs()
    with tempfile.TemporaryDirectory(prefix="cosweep-", ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            trainable_of(setting),
            param_space=empty_config(),
            tune_config=tune.TuneConfig(
                search_alg=listed(specs, setting.most_at_once),
                num_samples=len(specs),
                scheduler=InOrder(),
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["trial"]["id"],
                trial_dirname_creator=lambda trial: trial.config["trial"]["id"],
            ),
            run_config=tune.RunConfig(
                name=setting.sweep,
                storage_path=scratch,
                stop=VerdictStopper(),
                failure_config=tune.FailureConfig(max_failures=WORKER_RESTARTS),
                callbacks=[monitor],
                verbose=0,
            ),
        ).fit()


def _conclude(sweep: Sweep, store: Store, tracker: Tracker | None, uri: str | None) -> Outcome:
    report = make_report(store, sweep.name, sweep.record())
    files = write_report(store, report)
    unlogged = 0
    if tracker is not None:
        unlogged = tracker.finish(report, files, _MLFLOW_PATIENCE_SECONDS)
    asked = {spec.trial_id for spec in sweep.trials}
    rows = [row for row in report.trials.to_pylist() if row["trial_id"] in asked]
    return Outcome(
        report=report,
        failed=[row for row in rows if row["status"] == TrialStatus.FAILED],
        missing=len(asked) - len(rows),
        unlogged=unlogged,
        unlogged_reason=tracker.problem if tracker else "",
        mlflow_uri=None if uri is None else redacted(uri),
    )
