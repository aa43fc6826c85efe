"""What a strategy asks for, as specs of trials, and what it is told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cosweep.search import Point, Strategy
from cosweep.training import TrialSpec
from cosweep.worker.events import Event


class Questions:
    """The specs that a strategy asks for, each once, without those whose trial has ended well before.

    Args:
        strategy: Asks for points.
        spec_at: The spec at a point; several points may have the same.
        finished: Rows of the trials that ended well before, by id.
    """

    def __init__(
        self, strategy: Strategy, spec_at: Callable[[Point], TrialSpec], finished: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._strategy, self._spec_at, self._finished = strategy, spec_at, finished
        self._points: dict[str, list[Point]] = {}
        self._ends: dict[str, Event] = {}

    def next(self) -> TrialSpec | None:
        """The next spec; None while the strategy asks for none."""
        while points := self._strategy.ask(1):
            spec = self._spec_at(points[0])
            asked = self._points.setdefault(spec.trial_id, [])
            asked.append(points[0])
            if spec.trial_id in self._finished:
                self._tell(points[0], Event.of_row(self._finished[spec.trial_id]))
            elif spec.trial_id in self._ends:
                self._tell(points[0], self._ends[spec.trial_id])
            elif len(asked) == 1:
                return spec
        return None

    @property
    def adapt(self) -> bool:
        """Whether answers change what the strategy asks next."""
        return self._strategy.adapts

    @property
    def are_done(self) -> bool:
        """Whether the strategy will ask no more."""
        return self._strategy.done

    def answer(self, trial_id: str, end: Event) -> None:
        """Tell the strategy how a trial that it asked for ended."""
        self._ends[trial_id] = end
        for point in self._points.get(trial_id, ()):
            self._tell(point, end)

    def _tell(self, point: Point, end: Event) -> None:
        self._strategy.tell(point, co=end.co, co_step=end.co_step, total_steps=end.total_steps)
