"""What may watch a sweep: MLflow is one observer, and code that calls ``run_sweep`` may pass others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cosweep.analysis.findings import Findings


class Observer(Protocol):
    """Learns which trials have their rows, in the driver's process. It must neither raise nor take long.

    Attributes:
        problem: What kept it from its work, in words; empty if nothing did.
    """

    problem: str

    def catch_up(self, trial_ids: Iterable[str]) -> None:
        """These trials had their rows before the sweep began."""

    def trial_finished(self, trial_id: str) -> None:
        """A trial has its row, in which it may have failed."""

    def finish(self, findings: Findings, files: dict[str, bytes], patience: float) -> int:
        """The sweep has ended.

        Args:
            findings: What it found.
            files: Of its report.
            patience: Seconds without progress after which to give up.

        Returns:
            How many trials the observer missed.
        """
