"""Tune's callback: shows how the trials go, and hands on what ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from ray.tune import Callback

from cosweep.cluster.machines import processors
from cosweep.cluster.ray_private import end_trials, error_of
from cosweep.definition.sweep import Sweep
from cosweep.metrics import TrialStatus
from cosweep.results.store import Store
from cosweep.sweep.observers import Observer
from cosweep.sweep.progress import ProgressDisplay
from cosweep.sweep.pulse import Pulse
from cosweep.sweep.queue import TrialQueue
from cosweep.sweep.retries import Attempt, Decision, Retries
from cosweep.sweep.stops import Stops
from cosweep.worker.assignment import Assignment
from cosweep.worker.events import Event, Phase
from cosweep.worker.rows import failed_row
from cosweep.worker.run_trial import Timer, good_end

_IDLE_SECONDS = 60.0
"""After this long without any trial running, the monitor tells what is waited for."""
_WAITS = {
    Phase.HELD: ("waits to begin until the results location answers", "the results location answers"),
    Phase.WAITING: ("has ended and waits until its results can be written", "its results are written now"),
}
"""What is told of a trial that comes into one of these phases, and when it leaves it."""


class Monitor(Callback):  # type: ignore[misc]
    """Watches the trials of one sweep from the driver.

    Args:
        display: Shows the counts, and what happens.
        queue: Learns what becomes of the trials.
        store: Where the results go.
        sweep: What is run.
        hashes: Fingerprint of each data set by load key.
        observers: Are told of finished trials.
        stops: Says when the sweep is to end.
    """

    def __init__(
        self,
        display: ProgressDisplay,
        queue: TrialQueue,
        store: Store,
        sweep: Sweep,
        hashes: Mapping[str, str],
        observers: Sequence[Observer],
        stops: Stops,
    ) -> None:
        self.display, self._tally, self._queue = display, display.tally, queue
        self._store, self._sweep, self._hashes = store, sweep.name, hashes
        self._observers, self._resources, self._stops = observers, sweep.resources, stops
        self._told_stop = False
        self._retries = Retries(sweep.resources.time_limit)
        self._waiting: dict[str, Phase] = {}
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

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._tally.start(_id(trial))
        self._retries.starts(_id(trial))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        trial_id, event = _id(trial), Event.from_dict(result)
        self._retries.hears(trial_id, event)
        self._tally.hear(trial_id, event)
        if (before := self._waiting.get(trial_id)) != event.phase:
            if before is not None:
                self.display.note(f"trial {trial_id}: {_WAITS[self._waiting.pop(trial_id)][1]}")
            if event.phase in _WAITS:
                self._waiting[trial_id] = event.phase
                self.display.note(f"trial {trial_id} {_WAITS[event.phase][0]}: {event.problem}")
        if event.problem and event.phase is Phase.RUNNING:
            self.display.note(f"trial {trial_id} {event.problem}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        trial_id = _id(trial)
        event = Event.from_dict(trial.last_result) if trial.last_result else None
        if event is not None:
            self._tally.hear(trial_id, event)
        self._tally.stop(trial_id)
        if event is not None and event.phase is Phase.OUT_OF_MEMORY:
            reason = event.problem.splitlines()[0] if event.problem else "its machine ran out of memory"
            self.display.note(f"trial {trial_id} runs again alone, after the others: {reason}")
            self._queue.run_alone(trial_id)
        elif event is not None and event.status is not None:
            self._finish(trial_id, event)
        # Else the trial was given up, as the sweep was asked to end.

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tune lost the trial's worker, perhaps before that began the trial."""
        trial_id = _id(trial)
        self._tally.stop(trial_id)
        self._waiting.pop(trial_id, None)
        attempt = self._retries.lost(trial_id, error_of(trial))
        if attempt.decision is Decision.FAIL:
            self._finish(trial_id, self._give_up(trial, attempt))
            return
        self.display.note(f"trial {trial_id} {attempt}")
        if attempt.decision is Decision.RUN_ALONE:
            self._queue.run_alone(trial_id)
        else:
            self._queue.run_again(trial_id)

    def _give_up(self, trial: Any, attempt: Attempt) -> Event:
        """Record a trial as failed and return its end; or the good end that its worker could not report."""
        spec = Assignment.from_config(trial.config).spec
        text = f"{attempt.failure.text}, {attempt.times} times"
        try:
            ended = good_end(self._store, self._sweep, spec.trial_id)
            if ended is not None:
                return ended
            row = failed_row(spec, text, torch.device("cpu"), self._hashes[spec.data.load_key], datetime.now(UTC))
            # The worker alone knew these, and is gone.
            unknown = {"device": None, "host": None, "wall_seconds": None}
            self._store.write_trial(self._sweep, row | unknown | {"workers": self._resources.workers}, [])
        except Exception as problem:  # the sweep goes on; the trial has no row and is run by the next command
            self.display.note(f"trial {spec.trial_id} left no row ({text}; then {problem})")
        else:
            self.display.note(f"trial {spec.trial_id} {attempt}")
        return Event(Phase.ENDED, status=TrialStatus.FAILED)

    def _finish(self, trial_id: str, end: Event) -> None:
        self._queue.ended(trial_id, end)
        self._tally.finish(failed=end.status is TrialStatus.FAILED)
        for observer in self._observers:
            observer.trial_finished(trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self.display.refresh()
        if self._stops.asked:
            if not self._told_stop:
                self._told_stop = True
                self.display.note(
                    f"{self._stops.asked}: running trials are given up; a Ctrl-C now leaves out the report"
                )
            end_trials()  # again, since Tune may not have listened when the signal came
        while self._pulse is not None and not self._pulse.notes.empty():
            self.display.note(self._pulse.notes.get())
        if self._tally.running:
            self._idle.restart()
        elif self._idle():
            self.display.note(
                "no trial has run for a minute: waiting for a machine with "
                f"{processors(self._resources.cpu, self._resources.gpu)} free; ray status tells what the cluster has"
            )


def _id(trial: Any) -> str:
    return Assignment.from_config(trial.config).trial_id
