"""The order in which Tune starts trials."""

from __future__ import annotations

from collections import deque
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class InOrder(FIFOScheduler):  # type: ignore[misc]
    """Starts trials in the order they were added, as its base does, which looks through all of them each time."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Trial] = deque()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first that waits; None leaves to Tune those that wait for a second run."""
        while self._waiting and self._waiting[0].status != Trial.PENDING:
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None
