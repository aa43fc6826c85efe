"""What a strategy asks for, as specs of trials, and what it is told of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cosweep.errors import SpecError, clipped
from cosweep.search import Point, Strategy
from cosweep.training import TrialSpec
from cosweep.worker.events import Event


class Questions:
    """The specs that a strategy asks for, each once, without those whose trial has ended well before.

    Args:
        strategy: Asks for points.
        spec_at: The spec at a point; several points may have the same.
        finished: Rows of the trials that ended well before, by id.
        points: Those that these trials are at, by id, if the strategy is to be told of them first; what it has planned
            it is told when it asks.
        waiting: Points that an earlier run asked for and did not answer.
        note: Says in words what a user should know.
        values_of: The row of a trial, for what the strategy wants to be told of it besides how it ended.
        changed: Is called when a trial was asked for, and when one was answered.
    """

    def __init__(
        self,
        strategy: Strategy,
        spec_at: Callable[[Point], TrialSpec],
        finished: Mapping[str, Mapping[str, Any]],
        points: Mapping[str, Point] | None = None,
        waiting: Sequence[Point] = (),
        note: Callable[[str], None] = lambda text: None,
        values_of: Callable[[str], Mapping[str, Any] | None] = lambda trial_id: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.strategy = strategy
        self._spec_at, self._finished, self._note = spec_at, finished, note
        self._values_of, self._changed = values_of, changed
        self._points: dict[str, list[Point]] = {}
        self._ends: dict[str, Event] = {}
        for trial_id, point in (points or {}).items():
            self._points[trial_id] = [point]
            self._tell(trial_id, point, Event.of_row(finished[trial_id]))
        self._first = deque(waiting)
        for point in waiting:
            strategy.expect(point)

    def next(self) -> TrialSpec | None:
        """The next spec; None while the strategy asks for none."""
        while points := [self._first.popleft()] if self._first else self.strategy.ask(1):
            try:
                spec = self._spec_at(points[0])
            except SpecError as error:
                at = ", ".join(f"{path}={clipped(str(value), 60)}" for path, value in points[0].items())
                self._note(f"no trial is possible at {at}, and none is asked for there: {error}")
                self.strategy.withdraw(points[0])
                continue
            asked = self._points.setdefault(spec.trial_id, [])
            asked.append(points[0])
            if spec.trial_id in self._finished:
                self._tell(spec.trial_id, points[0], Event.of_row(self._finished[spec.trial_id]))
            elif spec.trial_id in self._ends:
                self._tell(spec.trial_id, points[0], self._ends[spec.trial_id])
            elif len(asked) == 1:
                self._changed()
                return spec
        return None

    @property
    def waiting(self) -> list[Point]:
        """Points that were asked for and have no answer, one for each trial."""
        known = self._finished.keys() | self._ends.keys()
        return [*(points[0] for trial_id, points in self._points.items() if trial_id not in known), *self._first]

    @property
    def ended(self) -> list[str]:
        """Trials that were asked for or told, and have a row."""
        return [trial_id for trial_id in self._points if trial_id in self._finished or trial_id in self._ends]

    @property
    def adapt(self) -> bool:
        """Whether answers change what the strategy asks next."""
        return self.strategy.adapts

    @property
    def are_done(self) -> bool:
        """Whether no more will be asked for."""
        return not self._first and self.strategy.done

    def answer(self, trial_id: str, end: Event) -> None:
        """Tell the strategy how a trial that it asked for ended."""
        self._ends[trial_id] = end
        for point in self._points.get(trial_id, ()):
            self._tell(trial_id, point, end)
        self._changed()

    def _tell(self, trial_id: str, point: Point, end: Event) -> None:
        row = self._values_of(trial_id) if self.strategy.columns else None
        values = {name: row.get(name) for name in self.strategy.columns} if row else None
        self.strategy.tell(point, co=end.co, co_step=end.co_step, total_steps=end.total_steps, values=values)
