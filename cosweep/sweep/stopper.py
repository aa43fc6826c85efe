"""Ray Tune's stopper; it reads the verdict and decides nothing."""

from __future__ import annotations

from typing import Any

from ray.tune import Stopper

from cosweep.metrics import TrialStatus


class VerdictStopper(Stopper):  # type: ignore[misc]
    """Ends a trial whose reported status says that its verdict stopped it.

    The core decides when a trial stops, from its spec alone, so that a trial is the same with Ray and
    without; the status comes after the final evaluation, when the trial's row is written.
    """

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return bool(result["status"] == TrialStatus.STOPPED)

    def stop_all(self) -> bool:
        return False
