"""Why a trial's worker was lost, and whether that counts against the trial."""

from __future__ import annotations

import re
import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from cosweep.sweep.progress import format_seconds
from cosweep.worker.limits import Word

WORKER_RESTARTS = 2
"""How often a trial is run again after its worker process died."""
MACHINE_RESTARTS = 20
"""How often it is run again after its machine was lost, which is seldom its fault."""
MEMORY_RESTARTS = 1
"""How often it is run again, alone, after Ray ended it for memory."""

# What Ray writes of a worker that is gone; each has a test with the real thing, or Ray's source.
_MACHINE_LOST = re.compile(r"actor \S+ is unavailable|node has died|node was (terminated|drained|preempted)")
_MACHINE_FULL = re.compile(r"low on memory|OutOfMemoryError")
_PROCESS_DIED = re.compile(r"actor died|actor is dead|ActorDiedError")


class Kind(StrEnum):
    """Whose fault the end of an attempt was.

    Attributes:
        TRIAL: The trial's, perhaps.
        MEMORY: That of all trials of a machine together.
        MACHINE: Its machine's, or that of what the machine needs.
        NOBODY: It had not begun.
    """

    TRIAL = "trial"
    MEMORY = "memory"
    MACHINE = "machine"
    NOBODY = "nobody"


TRIES = {
    Kind.TRIAL: WORKER_RESTARTS,
    Kind.MEMORY: MEMORY_RESTARTS,
    Kind.MACHINE: MACHINE_RESTARTS,
    Kind.NOBODY: MACHINE_RESTARTS,
}


class Cause(NamedTuple):
    """What ended an attempt, in words, and whose fault it was."""

    text: str
    kind: Kind = Kind.TRIAL


def cause_of(error: str, word: str, problem: str, seconds: float, limit: float | None) -> Cause:
    """What ended an attempt at a trial.

    Args:
        error: Its text, as Tune has it.
        word: What the worker reported last in this attempt; empty if it did not.
        problem: What it reported with that.
        seconds: Since it began the trial.
        limit: On those.
    """
    if word == Word.RETIRING:
        return Cause(problem, Kind.NOBODY)
    if _MACHINE_LOST.search(error):
        return Cause("its machine was lost", Kind.MACHINE)
    if _MACHINE_FULL.search(error):
        return Cause("its machine ran out of memory", Kind.MEMORY)
    if not _PROCESS_DIED.search(error):
        reason = error.strip().splitlines()[-1] if error.strip() else "no reason known"
        if word == Word.HELD:
            return Cause(f"it could not begin: {reason}", Kind.MACHINE)
        what = "its results could not be written" if word == Word.WAITING else "its worker failed"
        return Cause(f"{what}: {reason}")
    if limit is not None and word == Word.RUNNING and seconds >= limit:
        return Cause(f"it did not end within resources.time_limit, {format_seconds(limit)}")
    return Cause("its worker process died")


def error_of(trial: Any) -> str:
    """Text of the exception that ended the last attempt at a trial, from Tune's file on the driver."""
    path = trial.error_file
    if path is None or not Path(path).exists():
        return ""
    return re.split(r"^Failure # \d+ \(occurred at .*\)$", Path(path).read_text(), flags=re.MULTILINE)[-1]


class Attempts:
    """Attempts at the trials of a sweep; Tune's own count knows no kinds, and misses those lost between two trials."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._began: dict[str, float] = {}
        self._last: dict[str, tuple[str, str]] = {}
        self._lost: dict[str, Counter[Kind]] = {}

    def starts(self, trial_id: str) -> None:
        """A worker was given a trial."""
        self._last.pop(trial_id, None)

    def reports(self, trial_id: str, word: str, problem: str) -> None:
        """A worker says how it goes."""
        if word == Word.RUNNING and self._last.get(trial_id, ("", ""))[0] != Word.RUNNING:
            self._began[trial_id] = time.monotonic()
        self._last[trial_id] = word, problem

    def ended(self, trial_id: str, error: str) -> tuple[Cause, int]:
        """Why an attempt came to nothing, and how many did for causes of that kind."""
        word, problem = self._last.pop(trial_id, ("", ""))
        seconds = time.monotonic() - self._began.pop(trial_id, time.monotonic())
        cause = cause_of(error, word, problem, seconds, self._limit)
        lost = self._lost.setdefault(trial_id, Counter())
        lost[cause.kind] += 1
        return cause, lost[cause.kind]
