"""Ray Tune, which starts the trials of a sweep as places become free and sees to it that they end."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray import tune
from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cosweep.cluster.machines import cluster_address
from cosweep.cluster.ray_private import all_losses_known, keep_keys_out_of_logs
from cosweep.cluster.scratch import scratch_folder
from cosweep.errors import CosweepError
from cosweep.metrics import TrialStatus
from cosweep.sweep.monitor import Monitor
from cosweep.sweep.pulse import Pulse
from cosweep.sweep.queue import TrialQueue
from cosweep.sweep.work import Work
from cosweep.worker.assignment import Assignment
from cosweep.worker.events import Event
from cosweep.worker.run_parallel import trainable_of
from cosweep.worker.run_trial import Setting

_PLACES_OF_A_GROWING_CLUSTER = 8
"""How many trials wait for machines at least, which is what makes a cluster add them."""
_MOST_WAITING = 200
"""How many may wait that are known before the first answer, so that a cluster grows fast; Tune's own limit."""


class Asked(Searcher):  # type: ignore[misc]
    """Gives Tune the next trial of a queue whenever a place may become free."""

    def __init__(self, queue: TrialQueue) -> None:
        super().__init__()
        self._queue = queue

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its search; nothing of this one is needed again

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Take what Tune says of the search, of which the queue needs nothing."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """What a worker is given of the next trial; None if there is none now, ``FINISHED`` if there will be none."""
        spec = self._queue.next()
        if spec is not None:
            return Assignment.of(spec).to_config()
        return Searcher.FINISHED if self._queue.is_empty else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Leave it to the monitor, which knows why a trial ended, to tell the queue."""


class InOrder(FIFOScheduler):  # type: ignore[misc]
    """Starts trials in the order they were added, as its base does, which looks through all of them each time."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Trial] = deque()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first that waits; None if none does."""
        while self._waiting and self._waiting[0].status != Trial.PENDING:
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None


class VerdictStopper(Stopper):  # type: ignore[misc]
    """Ends a trial of which its worker reported that its verdict stopped it.

    The core decides when a trial stops, from its spec alone, so that a trial is the same with Ray and without; the
    status comes after the final evaluation, when the trial's row is written.
    """

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return Event.from_dict(result).status is TrialStatus.STOPPED

    def stop_all(self) -> bool:
        return False


def run_trials(work: Work, queue: TrialQueue, monitor: Monitor, still_in: Callable[[], None]) -> float:
    """Have Tune run the trials of a queue, then, alone, those that ran out of memory beside others.

    Args:
        work: What they are run with.
        queue: The trials.
        monitor: Watches them, and tells the queue what becomes of them.
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
        _tune(setting, queue, monitor, work.at_once)
        while queue.count_alone and queue.is_empty and not work.stops.asked:
            queue.start_alone()
            _tune(setting.alone(), queue, monitor, 1)
    return time.monotonic() - started


def _setting(work: Work) -> Setting:
    sweep, store = work.sweep, work.store
    return Setting(
        sweep=sweep.name,
        results=str(store.local_path) if store.local_path else store.location,
        resources=sweep.resources,
        checkpoint_seconds=sweep.results.checkpoint_seconds,
        datasets={key: (ray.put(dataset), work.hashes[key]) for key, dataset in work.datasets.items()},
        slots=(work.at_once or _PLACES_OF_A_GROWING_CLUSTER) if sweep.resources.workers > 1 else None,
        make_run=work.make_run,
    )


def _tune(setting: Setting, queue: TrialQueue, monitor: Monitor, at_once: int) -> None:
    waiting = max(at_once, _MOST_WAITING)
    if queue.adapts:  # the later a question comes, the more answers it knows
        waiting = 1 if cluster_address() is None else _PLACES_OF_A_GROWING_CLUSTER
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(waiting)
    keep_keys_out_of_logs()
    with all_losses_known(), scratch_folder() as scratch:
        tune.Tuner(
            trainable_of(setting),
            tune_config=tune.TuneConfig(
                search_alg=Asked(queue),
                max_concurrent_trials=setting.most_at_once,
                num_samples=-1,  # until the queue is empty
                scheduler=InOrder(),
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name=setting.sweep, storage_path=scratch, stop=VerdictStopper(), callbacks=[monitor], verbose=0
            ),
        ).fit()


def _name(trial: Trial) -> str:
    return Assignment.from_config(trial.config).trial_id


@contextmanager
def _full_disk_told(command: str) -> Iterator[None]:
    """Context that turns a full disk into one message, with the command that carries on."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        text = (
            f"no space is left in {tempfile.gettempdir()} for temporary files; make room, then carry on with: {command}"
        )
        raise CosweepError(text) from error
