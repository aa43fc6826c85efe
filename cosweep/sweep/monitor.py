"""Tune's callback: keeps the progress, says what happens, hands finished trials to MLflow, records lost ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from ray.tune import Callback

from cosweep.errors import CosweepError
from cosweep.metrics import TrialStatus
from cosweep.results.files import BusyError
from cosweep.results.store import Store
from cosweep.sweep.config import spec_of
from cosweep.sweep.definition import Sweep
from cosweep.sweep.failures import WORKER_RESTARTS, Attempts
from cosweep.sweep.progress import ProgressDisplay
from cosweep.sweep.record import failed_row
from cosweep.sweep.status import PULSE_SECONDS
from cosweep.sweep.tracking import Tracker
from cosweep.sweep.trainable import Timer
from cosweep.sweep.worker import Word

_IDLE_SECONDS = 60.0
"""After this long without any trial running, it is told what is waited for."""


class Monitor(Callback):  # type: ignore[misc]
    """Watches the trials of one sweep from the driver.

    Args:
        display: Shows the counts, and what happens.
        store: Where the results go.
        sweep: What is run.
        hashes: Fingerprint of each data set by load key.
        tracker: Has finished trials logged; None without MLflow.
        still_in: Raises if another driver took the sweep over.

    Attributes:
        out_of_memory: Ids of the trials that did not fit beside others.
    """

    def __init__(
        self,
        display: ProgressDisplay,
        store: Store,
        sweep: Sweep,
        hashes: Mapping[str, str],
        tracker: Tracker | None,
        still_in: Callable[[], None],
    ) -> None:
        self.out_of_memory: set[str] = set()
        self.display, self._tally = display, display.tally
        self._store, self._sweep, self._hashes = store, sweep.name, hashes
        self._tracker, self._still_in = tracker, still_in
        self._attempts, self._workers = Attempts(sweep.resources.time_limit), sweep.resources.workers
        self._waiting: set[str] = set()
        self._pulse_due, self._pulse_failed = Timer(PULSE_SECONDS), False
        self._resources, self._idle = sweep.resources, Timer(_IDLE_SECONDS)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; nothing of this one is needed again

    @property
    def interrupted(self) -> bool:
        """Whether trials are left that neither ended nor wait to run alone."""
        return self._tally.done + len(self.out_of_memory) < self._tally.total

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._tally.running[trial.trial_id] = 0.0
        self._attempts.began(trial)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if result.get("trained") is not None:
            self._tally.report(trial.trial_id, result)
        self._tell_problem(_id(trial), result["status"], result.get("problem", ""))

    def _tell_problem(self, trial_id: str, word: str, problem: str) -> None:
        if word == Word.WAITING:
            if trial_id not in self._waiting:
                self.display.note(f"trial {trial_id} has ended and waits until its results can be written: {problem}")
            self._waiting.add(trial_id)
            return
        if trial_id in self._waiting:
            self._waiting.remove(trial_id)
            self.display.note(f"trial {trial_id}: its results are written now")
        if problem and word == Word.RUNNING:
            self.display.note(f"trial {trial_id} {problem}")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._tally.running.pop(trial.trial_id, None)
        cause = self._attempts.cause(trial)
        if not cause.counts:
            self._attempts.forgive(trial)
        tries = f" ({trial.num_failures} of {WORKER_RESTARTS})" if cause.counts else ""
        self.display.note(f"trial {_id(trial)} runs again{tries}: {cause.text}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        result = trial.last_result or {}
        status = result.get("status", Word.RUNNING)
        if status == Word.OUT_OF_MEMORY:
            self._tally.running.pop(trial.trial_id, None)
            self.out_of_memory.add(_id(trial))
            self.display.note(f"trial {_id(trial)} runs again alone, after the others: {_first_line(result)}")
        elif status in set(TrialStatus):
            self._tally.report(trial.trial_id, result)
            self._finish(trial, failed=status == TrialStatus.FAILED)
        else:  # given up after an interrupt
            self._tally.running.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        spec = spec_of(trial.config)
        text = f"{self._attempts.cause(trial).text}, {trial.num_failures} times"
        data_hash = self._hashes[spec.data.load_key]
        row = failed_row(spec, text, torch.device("cpu"), data_hash, datetime.now(UTC)) | {"workers": self._workers}
        try:
            self._store.write_trial(self._sweep, row, [])
        except Exception as problem:  # the sweep goes on; the trial has no row and is run by the next command
            self.display.note(f"trial {spec.trial_id} left no row ({text}; then {problem})")
        else:
            self.display.note(f"trial {spec.trial_id} failed: {text}")
        self._finish(trial, failed=True)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self.display.refresh()
        if self._tally.running:
            self._idle.restart()
        elif self._idle():
            self.display.note(
                f"no trial has run for a minute: waiting for a machine with {self._resources.cpu:g} CPUs and "
                f"{self._resources.gpu:g} GPUs free; ray status tells what the cluster has"
            )
        if self._pulse_due():
            self._tell(ended=False)
            self._stay_in()

    def _stay_in(self) -> None:
        """Give a sign of life, or end the sweep if another driver has it."""
        try:
            self._still_in()
        except BusyError as error:
            self.display.note(f"{error}; this one stops")
            os.kill(os.getpid(), signal.SIGUSR1)
        except (OSError, CosweepError) as error:
            self.display.note(f"no sign of life could be left: {error}")

    def on_experiment_end(self, trials: list[Any], **_: Any) -> None:
        self._tell(ended=True)

    def _tell(self, *, ended: bool) -> None:
        """Leave word of what runs, for ``cosweep status`` in another process."""
        running = {} if ended else dict(self._tally.running)
        try:
            self._store.write_pulse(self._sweep, {"running": running, "ended": ended})
        except OSError as problem:
            if not self._pulse_failed:
                self.display.note(f"cosweep status cannot show what runs: {problem}")
            self._pulse_failed = True

    def _finish(self, trial: Any, *, failed: bool) -> None:
        self.out_of_memory.discard(_id(trial))
        self._tally.finish(trial.trial_id, failed=failed)
        if self._tracker is not None:
            self._tracker.trial_finished(_id(trial))


def _id(trial: Any) -> str:
    trial_id: str = trial.config["trial"]["id"]
    return trial_id


def _first_line(result: Mapping[str, Any]) -> str:
    return str(result.get("problem") or "out of memory").splitlines()[0]
