"""Ray Tune, which starts the trials of a sweep and sees to it that they end."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import ray
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError

from cosweep.cluster.local_ray import keep_keys_out_of_logs
from cosweep.cluster.scratch import scratch_folder
from cosweep.errors import CosweepError
from cosweep.sweep.config import empty_config, listed
from cosweep.sweep.failures import TRIES
from cosweep.sweep.monitor import Monitor
from cosweep.sweep.pulse import Pulse
from cosweep.sweep.scheduler import InOrder
from cosweep.sweep.stopper import VerdictStopper
from cosweep.sweep.work import Work
from cosweep.training import TrialSpec
from cosweep.worker.run_parallel import trainable_of
from cosweep.worker.run_trial import Setting

_MOST_FAILURES = sum(TRIES.values()) + 3
"""Tune's own limit: all tries of all kinds, and some to decline a trial that has none left."""
_SLOTS_OF_A_GROWING_CLUSTER = 8
"""How many trials of several workers may wait for machines, which is what makes the cluster add them."""


def run_trials(work: Work, specs: list[TrialSpec], monitor: Monitor, still_in: Callable[[], None]) -> float:
    """Have Tune run trials, then those again that it gave up too soon, and alone those that ran out of memory.

    Args:
        work: What they are run with.
        specs: Of the trials.
        monitor: Watches them.
        still_in: Raises if another driver took the sweep over.

    Returns:
        The seconds it took.

    Raises:
        CosweepError: If Tune finds the disk of temporary files full.
    """
    setting = _setting(work)
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(_full_disk_told(work.sweep.command))
        stack.enter_context(work.stops.giving_up())
        stack.enter_context(monitor.display)
        monitor.listen(stack.enter_context(Pulse(work.store, work.sweep.name, monitor.running, still_in)))
        _tune(setting, specs, monitor)
        while (monitor.again or monitor.alone) and not monitor.interrupted:
            chosen = monitor.again or monitor.alone
            left = [spec for spec in specs if spec.trial_id in chosen]
            chosen_setting = setting if monitor.again else setting.alone()
            monitor.again = set()
            _tune(chosen_setting, left, monitor)
    return time.monotonic() - started


def _setting(work: Work) -> Setting:
    sweep, store = work.sweep, work.store
    return Setting(
        sweep=sweep.name,
        results=str(store.local_path) if store.local_path else store.location,
        resources=sweep.resources,
        checkpoint_seconds=sweep.results.checkpoint_seconds,
        datasets={key: (ray.put(dataset), work.hashes[key]) for key, dataset in work.datasets.items()},
        slots=(work.at_once or _SLOTS_OF_A_GROWING_CLUSTER) if sweep.resources.workers > 1 else None,
        make_run=work.make_run,
    )


def _tune(setting: Setting, specs: list[TrialSpec], monitor: Monitor) -> None:
    keep_keys_out_of_logs()
    with _all_losses_known(), scratch_folder() as scratch:
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
                failure_config=tune.FailureConfig(max_failures=_MOST_FAILURES),
                callbacks=[monitor],
                verbose=0,
            ),
        ).fit()


@contextmanager
def _full_disk_told(command: str) -> Iterator[None]:
    """Context in which a full disk is one message, with what carries on."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        text = (
            f"no space is left in {tempfile.gettempdir()} for temporary files; make room, then carry on with: {command}"
        )
        raise CosweepError(text) from error


@contextmanager
def _all_losses_known() -> Iterator[None]:
    """Context in which Tune takes any error of Ray's for a worker that died, such as that Ray ended it for memory.

    Tune (2.60) knows that one and those of the trial's own code; any other ends the sweep. And Ray's text of a worker
    whose machine was preempted does not say so.
    """
    task_failed = RayActorManager._actor_task_failed

    def failed(self: RayActorManager, tracked_actor_task: object, exception: Exception) -> None:
        if isinstance(exception, RayActorError) and exception.preempted:
            exception = RayActorError(error_msg=f"the actor's node was preempted\n{exception}", preempted=True)
        elif isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
        task_failed(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = task_failed
