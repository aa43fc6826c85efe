"""Live progress of a sweep: done, running, left, time left, CO found so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from cosweep.redaction import redacted
from cosweep.worker.events import Event

_LINE_SECONDS = 15.0


@dataclass
class Tally:
    """Counts of a sweep under way.

    Attributes:
        total: Trials of the sweep.
        done: Trials with a row, those of earlier runs included.
        earlier: Trials that were done before this run.
        broken: Trials in which CO was found, running ones included.
        failed: Trials that failed.
        running: Fraction done of each running trial, by its id.
        started: Monotonic time at which this run began.
    """

    total: int
    done: int = 0
    earlier: int = 0
    broken: int = 0
    failed: int = 0
    running: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _seen_broken: set[str] = field(default_factory=set)

    def start(self, trial_id: str) -> None:
        """A worker was given a trial."""
        self.running[trial_id] = 0.0

    def hear(self, trial_id: str, event: Event) -> None:
        """A worker reported on a trial."""
        if event.trained is not None:
            self.running[trial_id] = event.trained
        if event.co and trial_id not in self._seen_broken:
            self._seen_broken.add(trial_id)
            self.broken += 1

    def stop(self, trial_id: str) -> None:
        """A worker has left a trial, however that ended."""
        self.running.pop(trial_id, None)

    def finish(self, *, failed: bool) -> None:
        """A trial has its row."""
        self.done += 1
        self.failed += failed

    def seconds_left(self) -> float | None:
        """Estimate from the share of trials trained in this run; None before there is a basis."""
        worked = self.done - self.earlier + sum(self.running.values())
        if worked < 0.5:
            return None
        left = self.total - self.earlier - worked
        return left * (time.monotonic() - self.started) / worked

    def __str__(self) -> str:
        left = self.total - self.done - len(self.running)
        parts = [f"{self.done} done", f"{len(self.running)} running", f"{left} left", f"CO in {self.broken}"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        seconds = self.seconds_left()
        parts.append("time left ?" if seconds is None else f"time left {format_seconds(seconds)}")
        return " · ".join(parts)


def format_seconds(seconds: float) -> str:
    """Time as people read it: 42s, 3m 05s, 2h 10m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


class ProgressDisplay:
    """Shows a tally: a live bar on a terminal, a line now and then in a log."""

    def __init__(self, tally: Tally, console: Console) -> None:
        self.tally, self._console = tally, console
        self._bar: Progress | None = None
        self._line_due = 0.0

    def __enter__(self) -> ProgressDisplay:
        if self._console.is_terminal:
            columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._bar.add_task(str(self.tally), total=self.tally.total, completed=self.tally.done)
        return self

    def refresh(self) -> None:
        """Show the present counts."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=str(self.tally), completed=self.tally.done)
        elif time.monotonic() >= self._line_due:
            self._line_due = time.monotonic() + _LINE_SECONDS
            self._console.print(str(self.tally), highlight=False)

    def note(self, text: str) -> None:
        """A line that stays above the counts."""
        self._console.print(redacted(text), markup=False, soft_wrap=True)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._console.print(str(self.tally), highlight=False)
