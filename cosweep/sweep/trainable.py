"""One trial on a Ray worker: runs it, writes its row and curve, reports its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import ray
import torch
from ray import tune

from cosweep.data import Dataset
from cosweep.metrics import ProbeMetrics
from cosweep.results.store import Store
from cosweep.sweep.config import spec_of
from cosweep.sweep.record import failed_row, finished_row
from cosweep.training import TrialRun

REPORT_SECONDS = 5.0
REPORTS_PER_SECOND = 50.0
"""Of all trials together: the driver takes some milliseconds for a report, and its trial waits until it is done."""
RUNNING = "running"


def train_trial(
    config: Mapping[str, Any],
    *,
    sweep: str,
    results: str,
    cpu: float,
    gpu: float,
    datasets: Mapping[str, tuple[ray.ObjectRef[Dataset], str]],
    make_run: type[TrialRun] = TrialRun,
) -> None:
    """Tune's function trainable. The worker process serves many trials, so torch is imported once.

    An exception of the trial becomes its row, with status failed; one of the store or the worker is left
    to Tune, which runs the trial again.

    Args:
        config: ``trial``, with the ``id`` and the ``spec`` of a trial as plain data.
        sweep: Name of the sweep.
        results: Location of the store.
        cpu, gpu: Resources of a trial.
        datasets: By load key, the images in the object store and their fingerprint.
        make_run: What runs a trial.
    """
    spec = spec_of(config)
    # A fixed number of threads: sums over several threads differ in the last bit.
    torch.set_num_threads(max(1, int(cpu)))
    device = torch.device("cuda" if gpu else "cpu")
    reference, data_hash = datasets[spec.data.load_key]
    started_at = datetime.now(UTC)
    run = make_run(spec, device, ray.get(reference))
    curve: list[ProbeMetrics] = []
    try:
        _follow(run, curve, Timer(report_seconds(_trials_at_once(cpu, gpu))))
        row = finished_row(run, curve[-1], data_hash, started_at)
    except Exception as error:
        row = failed_row(spec, error, device, data_hash, started_at)
    snapshots = [asdict(snapshot) for snapshot in run.snapshots]
    Store(results).write_trial(sweep, row, [probe.to_dict() for probe in curve], snapshots)
    tune.report({**_progress(run), "status": row["status"]})


def report_seconds(at_once: float) -> float:
    """Seconds between two reports of a trial's progress if so many trials run."""
    return max(REPORT_SECONDS, at_once / REPORTS_PER_SECOND)


def _trials_at_once(cpu: float, gpu: float) -> float:
    """How many trials the cluster can run as it is now."""
    cluster = ray.cluster_resources()
    return float(cluster.get("GPU", 0.0) / gpu if gpu else cluster.get("CPU", 0.0) / cpu)


def _follow(run: TrialRun, curve: list[ProbeMetrics], due: Timer) -> None:
    """Run the trial to its end; report when the verdict changes, and now and then for the progress."""
    verdict = run.verdict
    for probe in run:
        curve.append(probe)
        if run.verdict.co != verdict.co or due():
            verdict = run.verdict
            tune.report({**_progress(run), "status": RUNNING})


def _progress(run: TrialRun) -> dict[str, object]:
    return {"trained": run.steps / max(run.total_steps, 1), "co": run.verdict.co, "state": str(run.verdict.state)}


class Timer:
    """Says, when asked, whether its period has passed since it last said so."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last = clock()

    def __call__(self) -> bool:
        now = self._clock()
        passed = now - self._last >= self._seconds
        if passed:
            self._last = now
        return passed
