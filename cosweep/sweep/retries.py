"""Whether a trial whose attempt came to nothing runs again; decided from events and texts alone, without Ray."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cosweep.sweep.progress import format_seconds
from cosweep.worker.events import Event, Phase

# What Ray writes of a worker that is gone; each has a test with the real thing, or Ray's source.
_MACHINE_LOST = re.compile(r"actor \S+ is unavailable|node has died|node was (terminated|drained|preempted)")
_MACHINE_FULL = re.compile(r"low on memory|OutOfMemoryError")
_PROCESS_DIED = re.compile(r"actor died|actor is dead|ActorDiedError")


class Blame(StrEnum):
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


RESTARTS = {Blame.TRIAL: 2, Blame.MEMORY: 1, Blame.MACHINE: 20, Blame.NOBODY: 20}
"""How often a trial is run again after an attempt that ended so; a lost machine is seldom the trial's fault."""


class Decision(StrEnum):
    """What becomes of a trial whose attempt came to nothing.

    Attributes:
        RUN_AGAIN: It runs again as it did.
        RUN_ALONE: It runs again with no other trial beside it, once these have ended.
        FAIL: It has failed.
    """

    RUN_AGAIN = "run again"
    RUN_ALONE = "run again alone"
    FAIL = "fail"


@dataclass(frozen=True)
class Failure:
    """What ended an attempt, in words, and whose fault it was."""

    text: str
    blame: Blame = Blame.TRIAL


@dataclass(frozen=True)
class Attempt:
    """An attempt at a trial that came to nothing, and what follows.

    Attributes:
        failure: What ended it.
        times: How many attempts at this trial ended by a failure of that blame, this one included.
    """

    failure: Failure
    times: int

    @property
    def decision(self) -> Decision:
        """What becomes of the trial."""
        if self.times > RESTARTS[self.failure.blame]:
            return Decision.FAIL
        return Decision.RUN_ALONE if self.failure.blame is Blame.MEMORY else Decision.RUN_AGAIN

    def __str__(self) -> str:
        """What happens to the trial, as people are told."""
        text, restarts = self.failure.text, RESTARTS[self.failure.blame]
        if self.decision is Decision.FAIL:
            return f"failed: {text}, {self.times} times"
        if self.decision is Decision.RUN_ALONE:
            return f"runs again alone, after the others: {text}"
        tries = f" ({self.times} of {restarts})" if self.failure.blame is Blame.TRIAL else ""
        return f"runs again{tries}: {text}"


def failure_of(error: str, last: Event | None, seconds: float, limit: float | None) -> Failure:
    """What ended an attempt at a trial.

    Args:
        error: Its text, as Ray has it.
        last: What the worker reported last in this attempt; None if it reported nothing.
        seconds: Since the worker began the trial.
        limit: On those; None is no limit.
    """
    phase = None if last is None else last.phase
    if last is not None and phase is Phase.RETIRING:
        return Failure(last.problem, Blame.NOBODY)
    if _MACHINE_LOST.search(error):
        return Failure("its machine was lost", Blame.MACHINE)
    if _MACHINE_FULL.search(error):
        return Failure("its machine ran out of memory", Blame.MEMORY)
    if not _PROCESS_DIED.search(error):
        reason = error.strip().splitlines()[-1] if error.strip() else "no reason known"
        if phase is Phase.HELD:
            return Failure(f"it could not begin: {reason}", Blame.MACHINE)
        what = "its results could not be written" if phase is Phase.WAITING else "its worker failed"
        return Failure(f"{what}: {reason}")
    if limit is not None and phase is Phase.RUNNING and seconds >= limit:
        return Failure(f"it did not end within resources.time_limit, {format_seconds(limit)}")
    return Failure("its worker process died")


class Retries:
    """Counts the attempts at the trials of a sweep.

    Args:
        limit: Seconds that a trial may take; None is no limit.
        clock: Seconds since some moment.
    """

    def __init__(self, limit: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._began: dict[str, float] = {}
        self._last: dict[str, Event] = {}
        self._lost: dict[str, Counter[Blame]] = {}

    def starts(self, trial_id: str) -> None:
        """A worker was given a trial."""
        self._last.pop(trial_id, None)
        self._began.pop(trial_id, None)

    def hears(self, trial_id: str, event: Event) -> None:
        """A worker reported on a trial."""
        if event.phase is Phase.RUNNING:
            self._began.setdefault(trial_id, self._clock())
        self._last[trial_id] = event

    def lost(self, trial_id: str, error: str) -> Attempt:
        """The attempt at a trial came to nothing, by an error with this text."""
        now = self._clock()
        seconds = now - self._began.pop(trial_id, now)
        failure = failure_of(error, self._last.pop(trial_id, None), seconds, self._limit)
        counts = self._lost.setdefault(trial_id, Counter())
        counts[failure.blame] += 1
        return Attempt(failure, counts[failure.blame])
