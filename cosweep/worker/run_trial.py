"""One trial on a Ray worker: runs it, writes its rows, reports its verdict."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import ray
import torch
from ray import tune

from cosweep.data import Dataset
from cosweep.definition.sweep import GIGABYTE, ResourcesSpec
from cosweep.errors import CosweepError
from cosweep.metrics import TrialStatus
from cosweep.results.store import Store
from cosweep.training import TrialRun, TrialSpec
from cosweep.worker.assignment import Assignment
from cosweep.worker.checkpoints import Checkpoints
from cosweep.worker.events import Event, Phase
from cosweep.worker.limits import Growth, check_memory, claim_gpu_share, is_out_of_memory, time_limit
from cosweep.worker.rows import Row, failed_row, finished_row

REPORT_SECONDS = 5.0
REPORTS_PER_SECOND = 50.0
"""Of all trials together: the driver takes some milliseconds for a report, and its trial waits until it is done."""
STORE_PATIENCE_SECONDS = 900.0
"""How long a trial waits for a location that does not answer or takes no rows, before its attempt is given up."""
_LONGEST_PAUSE_SECONDS = 30.0
T = TypeVar("T")

_growth = Growth()


@dataclass(frozen=True)
class Setting:
    """What the trials of a sweep share.

    Attributes:
        sweep: Its name.
        results: Location of the store.
        resources: What a trial takes.
        checkpoint_seconds: How often a training is kept; None is never.
        datasets: By load key, the images in the object store and their fingerprint.
        is_alone: Whether a trial has its device, or the cluster, to itself, and cannot be given more.
        slots: How many trials of several workers the cluster can hold; these wait forever beside too many others.
        make_run: What runs a trial.
    """

    sweep: str
    results: str
    resources: ResourcesSpec
    checkpoint_seconds: float | None
    datasets: Mapping[str, tuple[ray.ObjectRef[Dataset], str]]
    is_alone: bool = False
    slots: int | None = None
    make_run: type[TrialRun] = TrialRun

    def alone(self) -> Setting:
        """These settings for trials that run alone, each with whole devices."""
        return replace(self, is_alone=True, resources=replace(self.resources, gpu=math.ceil(self.resources.gpu)))

    @property
    def demands(self) -> dict[str, float]:
        """What a trial, or each of its workers, takes, as Ray asks for it."""
        memory = self.resources.memory
        demands = {"cpu": self.resources.cpu, "gpu": self.resources.gpu}
        return demands if memory is None else {**demands, "memory": memory * GIGABYTE}

    @property
    def most_at_once(self) -> int | None:
        """Limit to how many trials run at once, where resources do not give it."""
        return 1 if self.is_alone and not self.resources.gpu else self.slots


@dataclass(frozen=True)
class Ended:
    """What a trial left.

    Attributes:
        row: Of ``trials``.
        curve, snapshots: Rows of the other tables.
        event: How far it came.
    """

    row: Row
    curve: list[dict[str, Any]]
    snapshots: list[dict[str, Any]]
    event: Event

    @classmethod
    def of(cls, run: TrialRun, row: Row) -> Ended:
        """What a run found."""
        curve = [probe.to_dict() for probe in run.curve]
        return cls(row, curve, [asdict(snapshot) for snapshot in run.snapshots], Event.of(run))


def train_trial(config: Mapping[str, Any], *, setting: Setting) -> None:
    """Tune's function trainable. The worker process serves many trials, so torch is imported once.

    An exception of the trial becomes its row, with status failed; one of the store or the worker is left
    to Tune, which runs the trial again.

    Args:
        config: An :class:`Assignment`, as Tune carries it.
        setting: What all trials share.
    """
    resources = setting.resources
    if excess := _growth.excess():
        report(Event(Phase.RETIRING, f"its process held {excess:.2g} GB of earlier trials"))
        os._exit(1)
    assignment = Assignment.from_config(config)
    if has_ended(assignment, setting):
        return
    spec = assignment.spec
    # A fixed number of threads: sums over several threads differ in the last bit.
    torch.set_num_threads(max(1, int(resources.cpu)))
    reference, data_hash = setting.datasets[spec.data.load_key]
    run = setting.make_run(spec, torch.device("cuda" if resources.gpu else "cpu"), ray.get(reference))
    checkpoints = checkpoints_of(setting, spec)
    started_at = datetime.now(UTC)
    try:
        with time_limit(resources.time_limit):
            report(Event.of(run))
            claim_gpu_share(resources.gpu)
            if told := checkpoints.resume(run):
                report(Event.of(run, problem=told))
            follow(run, checkpoints, resources, report, _growth.now)
        row = finished_row(run, data_hash, started_at)
    except Exception as error:
        if is_out_of_memory(error) and not setting.is_alone:
            report(Event.of(run, Phase.OUT_OF_MEMORY, str(error)))
            return
        row = failed_row(spec, error, run.device, data_hash, started_at)
    end(setting, Ended.of(run, row), checkpoints)


def report(event: Event) -> None:
    """Tell the driver, by Tune."""
    tune.report(event.to_dict())


def has_ended(assignment: Assignment, setting: Setting) -> bool:
    """Whether a trial has its row already, because its worker died after it wrote the row; if so, report that end.

    Raises:
        OSError, CosweepError: If the results location is not there for long.
    """
    ended = _patiently(lambda: good_end(_opened(setting), setting.sweep, assignment.trial_id), Event(Phase.HELD))
    if ended is not None:
        report(ended)
    return ended is not None


def good_end(store: Store, sweep: str, trial_id: str) -> Event | None:
    """How a trial ended well, from its row; None if it did not."""
    row = store.own_row(sweep, trial_id)
    return None if row is None or row["status"] == TrialStatus.FAILED else Event.of_row(row)


def checkpoints_of(setting: Setting, spec: TrialSpec) -> Checkpoints:
    """Where the trial's training is kept while it goes on."""
    _, data_hash = setting.datasets[spec.data.load_key]
    return Checkpoints(setting.results, setting.sweep, spec.trial_id, data_hash, setting.checkpoint_seconds)


def end(setting: Setting, ended: Ended, checkpoints: Checkpoints) -> None:
    """Keep what a trial left, and report that it has ended."""
    row = ended.row | {"workers": setting.resources.workers}
    _patiently(
        lambda: _opened(setting).write_trial(setting.sweep, row, ended.curve, ended.snapshots),
        replace(ended.event, phase=Phase.WAITING),
    )
    checkpoints.remove()
    report(replace(ended.event, phase=Phase.ENDED, status=TrialStatus(str(ended.row["status"]))))


def follow(
    run: TrialRun,
    checkpoints: Checkpoints,
    resources: ResourcesSpec,
    report: Callable[[Event], None],
    earlier_gigabytes: float = 0.0,
) -> None:
    """Run the trial to its end; report when the verdict changes, and now and then for the progress."""
    due = Timer(report_seconds(_trials_at_once(resources)))
    verdict = run.verdict
    for _ in run:
        check_memory(resources.memory, earlier_gigabytes)
        problem = checkpoints.keep(run) if run.workers.rank == 0 else ""
        if run.workers.any(run.verdict.co != verdict.co or due() or bool(problem), run.device):
            verdict = run.verdict
            report(Event.of(run, problem=problem))


def report_seconds(at_once: float) -> float:
    """Seconds between two reports of a trial's progress if so many trials run."""
    return max(REPORT_SECONDS, at_once / REPORTS_PER_SECOND)


def _trials_at_once(resources: ResourcesSpec) -> float:
    """How many trials the cluster can run as it is now."""
    cluster, workers = ray.cluster_resources(), resources.workers
    if resources.gpu:
        return float(cluster.get("GPU", 0.0)) / resources.gpu / workers
    return float(cluster.get("CPU", 0.0)) / resources.cpu / workers


def _opened(setting: Setting) -> Store:
    """The sweep's results, which must be there."""
    store = Store(setting.results)
    store.check_made()
    return store


def _patiently(act: Callable[[], T], waits: Event) -> T:
    """Use the results location; if that fails, try again for some minutes, since a lost trial costs more than the wait.

    Args:
        act: What to do.
        waits: To report while it waits, with the trouble.
    """
    began, pause = time.monotonic(), 1.0
    while True:
        try:
            return act()
        except (OSError, CosweepError) as error:
            if time.monotonic() - began > STORE_PATIENCE_SECONDS:
                raise
            report(replace(waits, problem=str(error)))
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class Timer:
    """Answers, when it is called, whether its period has passed since it began or last answered True."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last = clock()

    def __call__(self) -> bool:
        now = self._clock()
        passed = now - self._last >= self._seconds
        if passed:
            self._last = now
        return passed

    def restart(self) -> None:
        """Let its period begin now."""
        self._last = self._clock()
