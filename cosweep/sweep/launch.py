"""Running a sweep: the trials that have no finished row yet, through Ray Tune."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from cosweep.data import Dataset
from cosweep.errors import CosweepError, Fault, SpecError
from cosweep.metrics import TrialStatus
from cosweep.results.report import Report, make_report, write_report
from cosweep.results.store import Store
from cosweep.sweep.cluster import concurrent_trials, connected, graceful_sigterm, local_node
from cosweep.sweep.definition import Sweep
from cosweep.sweep.progress import ProgressDisplay, Tally, format_seconds
from cosweep.sweep.tracking import Tracker, tracking_uri, uri_to_keep
from cosweep.training import TrialRun, TrialSpec
from cosweep.training.checks import Checker

WORKER_RESTARTS = 2
"""How often a trial is run again after its worker process died."""
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


def load_datasets(specs: tuple[TrialSpec, ...]) -> dict[str, Dataset]:
    """The images of each distinct source, by load key; checks that the trials fit them.

    Raises:
        CosweepError: If data are absent.
        SpecError: If an intervention or a model cannot act on them, with every such fault.
    """
    datasets: dict[str, Dataset] = {}
    checker = Checker()
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


def run_sweep(sweep: Sweep, console: Console, make_run: type[TrialRun] = TrialRun) -> Outcome:
    """Run what is left of a sweep, and report on all of it.

    Args:
        sweep: What to run.
        console: Where to say how far it is.
        make_run: What runs a trial.

    Raises:
        CosweepError: Before anything is written, if the sweep cannot run here.
    """
    store = Store(sweep.results.root)
    store.check_writable()
    with console.status("loading data"):
        datasets = load_datasets(sweep.trials)
        mark = "simulated-" if make_run.simulated else ""
        hashes = {key: mark + dataset.fingerprint() for key, dataset in datasets.items()}
    done = finished_trials(sweep, store)
    refuse_other_data(sweep, done, hashes)
    left = [spec for spec in sweep.trials if spec.trial_id not in done]
    uri = tracking_uri(store, sweep.tracking.uri)
    if left:
        if not os.environ.get("RAY_ADDRESS"):
            concurrent_trials(sweep.resources, [local_node()])  # seconds sooner than Ray could say it
        with ExitStack() as stack:
            with console.status("starting Ray"):
                nodes = stack.enter_context(connected())
            at_once = min(concurrent_trials(sweep.resources, nodes), len(left))
            console.print(
                f"{sweep.name}: {len(sweep.trials)} trials, {len(done)} done before, "
                f"{len(left)} to run, {at_once} at once",
                highlight=False,
            )
            tracker = _begin(sweep, store, uri, done)
            broken = sum(bool(row["co"]) for row in done.values())
            tally = Tally(total=len(sweep.trials), done=len(done), earlier=len(done), broken=broken)
            display = ProgressDisplay(tally, console)
            seconds = _run_trials(sweep, left, datasets, hashes, store, tracker, display, make_run)
            console.print(f"trials ended after {format_seconds(seconds)}", highlight=False)
    else:
        console.print(f"{sweep.name}: all {len(sweep.trials)} trials are done already", highlight=False)
        tracker = _begin(sweep, store, uri, done)
    with console.status("drawing the report"):
        return _conclude(sweep, store, tracker, uri)


def _begin(sweep: Sweep, store: Store, uri: str | None, done: Iterable[str]) -> Tracker | None:
    """Make the results folder, keep what is asked, and start the tracker; the first things to be written."""
    store.create()
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
    tracker: Tracker | None,
    display: ProgressDisplay,
    make_run: type[TrialRun],
) -> float:
    """Have Tune run the trials; returns the seconds it took."""
    import ray
    from ray import tune

    from cosweep.sweep.config import empty_config, listed
    from cosweep.sweep.monitor import Monitor
    from cosweep.sweep.scheduler import InOrder
    from cosweep.sweep.stopper import VerdictStopper
    from cosweep.sweep.trainable import train_trial

    resources = sweep.resources
    shared = {key: (ray.put(dataset), hashes[key]) for key, dataset in datasets.items()}
    root = str(store.local_path) if store.local_path else store.location
    trainable = tune.with_resources(
        tune.with_parameters(
            train_trial,
            sweep=sweep.name,
            results=root,
            cpu=resources.cpu,
            gpu=resources.gpu,
            datasets=shared,
            make_run=make_run,
        ),
        {"cpu": resources.cpu, "gpu": resources.gpu},
    )
    started = datetime.now(UTC)
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="cosweep-", ignore_cleanup_errors=True))
        stack.enter_context(graceful_sigterm())
        stack.enter_context(display)
        tune.Tuner(
            trainable,
            param_space=empty_config(),
            tune_config=tune.TuneConfig(
                search_alg=listed(left),
                num_samples=len(left),
                scheduler=InOrder(),
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["trial"]["id"],
                trial_dirname_creator=lambda trial: trial.config["trial"]["id"],
            ),
            run_config=tune.RunConfig(
                name=sweep.name,
                storage_path=scratch,
                stop=VerdictStopper(),
                failure_config=tune.FailureConfig(max_failures=WORKER_RESTARTS),
                callbacks=[Monitor(display, store, sweep.name, hashes, tracker)],
                verbose=0,
            ),
        ).fit()
    return (datetime.now(UTC) - started).total_seconds()


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
        mlflow_uri=uri,
    )
