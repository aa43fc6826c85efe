"""Tune's callback: keeps the progress, hands finished trials to MLflow, records trials whose worker died."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from ray.exceptions import RayActorError
from ray.tune import Callback

from cosweep.metrics import TrialStatus
from cosweep.results.store import Store
from cosweep.sweep.config import spec_of
from cosweep.sweep.progress import ProgressDisplay
from cosweep.sweep.record import failed_row
from cosweep.sweep.status import PULSE_SECONDS
from cosweep.sweep.tracking import Tracker
from cosweep.sweep.trainable import RUNNING, Timer


class Monitor(Callback):  # type: ignore[misc]
    """Watches the trials of one sweep from the driver."""

    def __init__(
        self,
        display: ProgressDisplay,
        store: Store,
        sweep: str,
        hashes: Mapping[str, str],
        tracker: Tracker | None,
    ) -> None:
        self._display, self._tally = display, display.tally
        self._store, self._sweep, self._hashes = store, sweep, hashes
        self._tracker = tracker
        self._pulse_due, self._pulse_failed = Timer(PULSE_SECONDS), False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; nothing of this one is needed again

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._tally.running[trial.trial_id] = 0.0

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._tally.report(trial.trial_id, result)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._tally.running.pop(trial.trial_id, None)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        result = trial.last_result or {}
        if result.get("status", RUNNING) == RUNNING:  # given up after an interrupt
            self._tally.running.pop(trial.trial_id, None)
            return
        self._tally.report(trial.trial_id, result)
        self._finish(trial, failed=result["status"] == TrialStatus.FAILED)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        spec = spec_of(trial.config)
        error = trial.get_error()
        what = "the worker process died" if isinstance(error, RayActorError) else "the worker could not keep the result"
        text = f"{what}: {type(error).__name__}: {error}"
        data_hash = self._hashes[spec.data.load_key]
        row = failed_row(spec, text, torch.device("cpu"), data_hash, datetime.now(UTC))
        try:
            self._store.write_trial(self._sweep, row, [])
        except Exception as problem:  # the sweep goes on; the trial has no row and is run by the next command
            self._display.note(f"trial {spec.trial_id} left no row ({text.splitlines()[0]}; then {problem})")
        self._finish(trial, failed=True)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self._display.refresh()
        if self._pulse_due():
            self._tell(ended=False)

    def on_experiment_end(self, trials: list[Any], **_: Any) -> None:
        self._tell(ended=True)

    def _tell(self, *, ended: bool) -> None:
        """Leave word of what runs, for ``cosweep status`` in another process."""
        running = {} if ended else dict(self._tally.running)
        try:
            self._store.write_pulse(self._sweep, {"running": running, "ended": ended})
        except OSError as problem:
            if not self._pulse_failed:
                self._display.note(f"cosweep status cannot show what runs: {problem}")
            self._pulse_failed = True

    def _finish(self, trial: Any, *, failed: bool) -> None:
        self._tally.finish(trial.trial_id, failed=failed)
        if self._tracker is not None:
            self._tracker.trial_finished(trial.config["trial"]["id"])
