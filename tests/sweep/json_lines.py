"""An observer that writes what it is told as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cosweep.analysis.findings import Findings


class JsonLines:
    """Writes a line for each thing that it is told.

    Args:
        path: The file; lines are added at its end.
    """

    problem = ""

    def __init__(self, path: Path) -> None:
        self._path = path

    def catch_up(self, trial_ids: Iterable[str]) -> None:
        for trial_id in trial_ids:
            self._write(earlier=trial_id)

    def trial_finished(self, trial_id: str) -> None:
        self._write(finished=trial_id)

    def finish(self, findings: Findings, files: dict[str, bytes], patience: float) -> int:
        self._write(trials=len(findings.rows), files=sorted(files))
        return 0

    def _write(self, **told: object) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(told) + "\n")
