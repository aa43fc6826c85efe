"""Tune's callback: keeps the progress, says what happens, hands finished trials to MLflow, records lost ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from ray.tune import Callback

from cosweep.cluster.machines import processors
from cosweep.definition.sweep import Sweep
from cosweep.metrics import TrialStatus
from cosweep.results.store import Store
from cosweep.sweep.config import ENDED, spec_of
from cosweep.sweep.failures import TRIES, Attempts, Cause, Kind, error_of
from cosweep.sweep.progress import ProgressDisplay
from cosweep.sweep.pulse import Pulse
from cosweep.sweep.stops import Stops
from cosweep.tracking.tracker import Tracker
from cosweep.training import TrialSpec
from cosweep.worker.limits import Word
from cosweep.worker.rows import failed_row
from cosweep.worker.run_trial import Timer, finished_status

_IDLE_SECONDS = 60.0
"""After this long without any trial running, it is told what is waited for."""
_WAITS = {
    Word.HELD: ("waits to begin until the results location answers", "the results location answers"),
    Word.WAITING: ("has ended and waits until its results can be written", "its results are written now"),
}
"""What a trial waits for that says one of these words, and what is told when it goes on."""


class Monitor(Callback):  # type: ignore[misc]
    """Watches the trials of one sweep from the driver.

    Args:
        display: Shows the counts, and what happens.
        store: Where the results go.
        sweep: What is run.
        hashes: Fingerprint of each data set by load key.
        tracker: Has finished trials logged; None without MLflow.
        stops: Says when the sweep is to end.

    Attributes:
        alone: Ids of the trials that did not fit beside others, to run again alone.
        again: Ids of those that Tune gave up and that have tries left.
    """

    def __init__(
        self,
        display: ProgressDisplay,
        store: Store,
        sweep: Sweep,
        hashes: Mapping[str, str],
        tracker: Tracker | None,
        stops: Stops,
    ) -> None:
        self.alone: set[str] = set()
        self.again: set[str] = set()
        self.display, self._tally = display, display.tally
        self._store, self._sweep, self._hashes = store, sweep.name, hashes
        self._tracker, self._resources, self._stops = tracker, sweep.resources, stops
        self._told_stop = False
        self._attempts = Attempts(sweep.resources.time_limit)
        self._waiting: dict[str, Word] = {}
        self._idle = Timer(_IDLE_SECONDS)
        self._pulse: Pulse | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; nothing of this one is needed again

    def listen(self, pulse: Pulse) -> None:
        """Tell what a pulse has to say."""
        self._pulse = pulse

    def running(self) -> dict[str, float]:
        """Fraction done of each trial that runs."""
        return dict(self._tally.running)

    @property
    def interrupted(self) -> bool:
        """Whether trials are left that neither ended nor are to run again."""
        return bool(self._stops.asked) or self._tally.done + len(self.alone | self.again) < self._tally.total

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._tally.running[trial.trial_id] = 0.0
        self._attempts.starts(_id(trial))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        word, problem = result["status"], result.get("problem", "")
        self._attempts.reports(_id(trial), word, problem)
        if result.get("trained") is not None:
            self._tally.report(trial.trial_id, result)
        self._tell_problem(_id(trial), word, problem)

    def _tell_problem(self, trial_id: str, word: str, problem: str) -> None:
        if (before := self._waiting.get(trial_id)) != word:
            if before is not None:
                self.display.note(f"trial {trial_id}: {_WAITS[self._waiting.pop(trial_id)][1]}")
            if word in _WAITS:
                self._waiting[trial_id] = Word(word)
                self.display.note(f"trial {trial_id} {_WAITS[Word(word)][0]}: {problem}")
        if problem and word == Word.RUNNING:
            self.display.note(f"trial {trial_id} {problem}")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        if word := self._after_loss(trial):  # Tune starts it once more, which the worker then declines
            trial.config["trial"][ENDED] = word

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tune gave a trial up, which it also does when a worker is lost that was to begin it."""
        if word := self._after_loss(trial):
            self._end(trial, word, "")
        else:
            self.again.add(_id(trial))

    def _after_loss(self, trial: Any) -> str:
        """With which word a trial ends whose worker was lost; empty if it runs again as it did."""
        self._tally.running.pop(trial.trial_id, None)
        self._waiting.pop(_id(trial), None)
        if word := trial.config["trial"].get(ENDED):  # lost while it was declined, which was no attempt
            return str(word)
        cause, times = self._attempts.ended(_id(trial), error_of(trial))
        if times > TRIES[cause.kind]:
            return self._give_up(trial, cause, times)
        if cause.kind is Kind.MEMORY:
            return Word.OUT_OF_MEMORY
        tries = f" ({times} of {TRIES[cause.kind]})" if cause.kind is Kind.TRIAL else ""
        self.display.note(f"trial {_id(trial)} runs again{tries}: {cause.text}")
        return ""

    def _give_up(self, trial: Any, cause: Cause, times: int) -> str:
        """Record a trial as failed, unless it has ended well and only could not say so; its status."""
        spec = spec_of(trial.config)
        text = f"{cause.text}, {times} times"
        try:
            if ended := finished_status(self._store, self._sweep, spec.trial_id):
                return ended
            self._store.write_trial(self._sweep, self._row(spec, text), [])
        except Exception as problem:  # the sweep goes on; the trial has no row and is run by the next command
            self.display.note(f"trial {spec.trial_id} left no row ({text}; then {problem})")
        else:
            self.display.note(f"trial {spec.trial_id} failed: {text}")
        return TrialStatus.FAILED

    def _row(self, spec: TrialSpec, text: str) -> dict[str, object]:
        data_hash = self._hashes[spec.data.load_key]
        row = failed_row(spec, text, torch.device("cpu"), data_hash, datetime.now(UTC))
        gone = {"device": None, "host": None, "wall_seconds": None}  # with the worker, who alone knew
        return row | gone | {"workers": self._resources.workers}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        result = trial.last_result or {}
        if (status := result.get("status", Word.RUNNING)) in set(TrialStatus):
            self._tally.report(trial.trial_id, result)
        self._end(trial, status, result.get("problem") or "")

    def _end(self, trial: Any, word: str, problem: str) -> None:
        self._tally.running.pop(trial.trial_id, None)
        if word == Word.OUT_OF_MEMORY:
            self.alone.add(_id(trial))
            reason = problem.splitlines()[0] if problem else "its machine ran out of memory"
            self.display.note(f"trial {_id(trial)} runs again alone, after the others: {reason}")
        elif word in set(TrialStatus):  # else it was given up after an interrupt
            self._finish(trial, failed=word == TrialStatus.FAILED)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self.display.refresh()
        if self._stops.asked:  # also if Tune did not listen when it was
            self._tell_stop()
            os.kill(os.getpid(), signal.SIGUSR1)
        while self._pulse is not None and not self._pulse.notes.empty():
            self.display.note(self._pulse.notes.get())
        if self._tally.running:
            self._idle.restart()
        elif self._idle():
            self.display.note(
                "no trial has run for a minute: waiting for a machine with "
                f"{processors(self._resources.cpu, self._resources.gpu)} free; ray status tells what the cluster has"
            )

    def _tell_stop(self) -> None:
        if not self._told_stop:
            self._told_stop = True
            self.display.note(f"{self._stops.asked}: running trials are given up; a Ctrl-C now leaves out the report")

    def _finish(self, trial: Any, *, failed: bool) -> None:
        self.alone.discard(_id(trial))
        self.again.discard(_id(trial))
        self._tally.finish(trial.trial_id, failed=failed)
        if self._tracker is not None:
            self._tracker.trial_finished(_id(trial))


def _id(trial: Any) -> str:
    trial_id: str = trial.config["trial"]["id"]
    return trial_id
