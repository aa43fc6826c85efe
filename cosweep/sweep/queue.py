"""The trials of a sweep that are still to run, in the order in which they are asked for."""

from __future__ import annotations

from collections import deque

from cosweep.sweep.questions import Questions
from cosweep.training import TrialSpec
from cosweep.worker.events import Event


class TrialQueue:
    """Hands out specs one at a time: those that run again first, then what the strategy asks for.

    A trial that was handed out counts as out until one of :meth:`ended`, :meth:`run_again` or :meth:`run_alone` says
    what became of it.

    Args:
        questions: What the strategy asks for.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._again: deque[TrialSpec] = deque()
        self._alone: list[TrialSpec] = []
        self._out: dict[str, TrialSpec] = {}

    def next(self) -> TrialSpec | None:
        """The spec to run next; None while no other is known."""
        spec = self._again.popleft() if self._again else self._questions.next()
        if spec is not None:
            self._out[spec.trial_id] = spec
        return spec

    @property
    def adapts(self) -> bool:
        """Whether what comes next depends on how the trials end that are out."""
        return self._questions.adapt

    @property
    def is_empty(self) -> bool:
        """Whether no trial is left that is not to run alone: none is asked for, and none is out and might run again."""
        return self._questions.are_done and not self._again and not self._out

    @property
    def count_alone(self) -> int:
        """How many trials wait until they can run alone."""
        return len(self._alone)

    def ended(self, trial_id: str, end: Event) -> None:
        """A trial has its row."""
        self._out.pop(trial_id, None)
        self._questions.answer(trial_id, end)

    def run_again(self, trial_id: str) -> None:
        """A trial that is out runs again before all others; one that is not out is left as it is."""
        if spec := self._out.pop(trial_id, None):
            self._again.append(spec)

    def run_alone(self, trial_id: str) -> None:
        """A trial that is out runs again once :meth:`start_alone` was called; one that is not out is left as it is."""
        if spec := self._out.pop(trial_id, None):
            self._alone.append(spec)

    def start_alone(self) -> None:
        """Hand out the trials that waited to run alone."""
        self._again.extend(self._alone)
        self._alone.clear()
