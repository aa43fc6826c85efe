"""Why a trial's worker was lost, and whether that counts against the trial."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from cosweep.sweep.progress import format_seconds
from cosweep.sweep.worker import Word

WORKER_RESTARTS = 2
"""How often a trial is run again after its worker process died."""
MACHINE_RESTARTS = 20
"""How often it is run again after its machine was lost, which is seldom its fault."""

# What Ray writes of a worker that is gone; each has a test with the real thing, or Ray's source.
_MACHINE_LOST = re.compile(r"actor \S+ is unavailable|node has died|node was (terminated|drained|preempted)")
_MACHINE_FULL = re.compile(r"low on memory|OutOfMemoryError")
_PROCESS_DIED = re.compile(r"actor died|actor is dead|ActorDiedError")


class Cause(NamedTuple):
    """What ended an attempt, in words, and whether it counts as one."""

    text: str
    counts: bool = True


def cause_of(error: str, word: str, problem: str, seconds: float, limit: float | None) -> Cause:
    """What ended an attempt at a trial.

    Args:
        error: Its text, as Tune has it.
        word: What the worker reported last.
        problem: What it reported with that.
        seconds: Since the attempt began.
        limit: On those.
    """
    if word == Word.RETIRING:
        return Cause(problem, counts=False)
    if _MACHINE_LOST.search(error):
        return Cause("its machine was lost", counts=False)
    if _MACHINE_FULL.search(error):
        return Cause("its machine ran out of memory")
    if not _PROCESS_DIED.search(error):
        what = "its results could not be written" if word == Word.WAITING else "its worker failed"
        return Cause(f"{what}: {error.strip().splitlines()[-1] if error.strip() else 'no reason known'}")
    if limit is not None and seconds >= limit:
        return Cause(f"it did not end within resources.time_limit, {format_seconds(limit)}")
    return Cause("its worker process died")


def error_of(trial: Any) -> str:
    """Text of the exception that ended the last attempt at a trial, from Tune's file on the driver."""
    path = trial.error_file
    if path is None or not Path(path).exists():
        return ""
    return re.split(r"^Failure # \d+ \(occurred at .*\)$", Path(path).read_text(), flags=re.MULTILINE)[-1]


class Attempts:
    """Attempts at the trials of a sweep."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._began: dict[str, float] = {}
        self._losses: dict[str, int] = {}

    def began(self, trial: Any) -> None:
        """A worker begins a trial."""
        self._began[trial.trial_id] = time.monotonic()

    def cause(self, trial: Any) -> Cause:
        """Why the present attempt at a trial ended."""
        last = trial.last_result or {}
        seconds = time.monotonic() - self._began.get(trial.trial_id, time.monotonic())
        return cause_of(error_of(trial), last.get("status", ""), last.get("problem", ""), seconds, self._limit)

    def forgive(self, trial: Any) -> None:
        """Have the failure that Tune counted last not count, unless there were too many of its kind."""
        losses = self._losses[trial.trial_id] = self._losses.get(trial.trial_id, 0) + 1
        if losses <= MACHINE_RESTARTS:
            trial.run_metadata.num_failures -= 1
