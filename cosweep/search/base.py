"""What a search strategy is: it decides which points of the space are tried next. It plans and never runs."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from cosweep.errors import Fault
from cosweep.search.axes import MAX_POINTS, SEED, Axis, Point
from cosweep.search.belief import Answer, Belief
from cosweep.specs import Spec, number


@dataclass(frozen=True, kw_only=True)
class SearchSpec(Spec):
    """How the space is searched.

    Attributes:
        kind: Name of the strategy, out of ``STRATEGIES``.
        trials: How many points are tried at most; a grid has its own number.
        seed: Of what the strategy draws.
        order: In which a grid asks: along its ``axes``, or at ``random``, so that a part of it is already a picture.
        objective: Columns of ``trials`` that an Optuna search makes as high as it can; with a minus sign, as low.
        sampler: Of Optuna's: tree of Parzen estimators, Gaussian process, or at random.
        tolerance: A boundary search ends when the breaking line is known to this, in the unit of the first numeric
            axis; null is when the budget is spent.
    """

    kind: str = "grid"
    trials: int | None = number(None, low=1, high=MAX_POINTS)
    seed: int = number(0, low=0)
    order: Literal["axes", "random"] = "axes"
    objective: tuple[str, ...] = ("robust_acc",)
    sampler: Literal["tpe", "gp", "random"] = "tpe"
    tolerance: float | None = number(None, above=0.0, pixels=True)


class Strategy(ABC):
    """Asks for points, is told what trials there showed, and says when it will ask no more.

    Answers come in any order and late; those of an earlier run are told first, and their points are not asked again.
    The same seed and the same answers in the same order give the same questions.

    Args:
        search: Its options.
        axes: Of the space.
    """

    adapts: ClassVar[bool] = True
    """Whether answers change what it asks next, so that it is asked no sooner than need be."""
    options: ClassVar[frozenset[str]] = frozenset()
    """Options of the search that it has, besides ``kind`` and ``seed``."""

    def __init__(self, search: SearchSpec, axes: Sequence[Axis]) -> None:
        self.search, self.axes = search, tuple(axes)
        self._answers: dict[str, Answer] = {}
        self._waiting: dict[str, Point] = {}
        self._withdrawn: dict[str, Point] = {}

    @classmethod
    def faults(cls, search: SearchSpec, axes: Sequence[Axis]) -> Iterator[Fault]:
        """Why a strategy of this kind cannot search the space; paths as in a definition."""
        yield from ()

    @abstractmethod
    def ask(self, count: int = 1) -> list[Point]:
        """At most so many points to try next; none while the strategy waits for answers, or has done."""

    def tell(
        self,
        point: Mapping[str, Any],
        *,
        co: bool | None,
        co_step: int | None = None,
        total_steps: int | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """What a trial at a point showed; a later answer for the same point replaces an earlier one.

        Args:
            point: Any point of the space, whether it was asked for or not.
            co: Whether training broke; None if it neither broke nor stayed healthy, or failed.
            co_step: The breaking point.
            total_steps: Steps of the whole training.
            values: Of the strategy's ``columns``; None of a trial that failed.

        Raises:
            ValueError: If the point has other axes than the space.
        """
        if point.keys() != {axis.path for axis in self.axes}:
            expected = ", ".join(axis.path for axis in self.axes) or "no axes"
            raise ValueError(f"expected a point with {expected}; got {', '.join(point) or 'none'}")
        self._learn(Answer(dict(point), co, co_step, total_steps, values))

    def _learn(self, answer: Answer) -> None:
        """Take an answer, in place of an earlier one for the same point."""
        self._answers[key_of(answer.point)] = answer
        self._waiting.pop(key_of(answer.point), None)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of ``trials`` whose values it wants to be told."""
        return ()

    def files(self) -> dict[str, bytes]:
        """What it leaves beside the tables, for other tools: content by name."""
        return {}

    def expect(self, point: Mapping[str, Any]) -> None:
        """Count a point as asked for, which an earlier run asked for and did not answer."""
        self._waiting[key_of(point)] = dict(point)

    def withdraw(self, point: Mapping[str, Any]) -> None:
        """Take back a point that was asked for, since no trial is possible at its place, whatever the seed."""
        self._withdrawn[place_of(point)] = dict(point)
        self._waiting.pop(key_of(point), None)

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether the strategy will ask no more."""

    @property
    @abstractmethod
    def reason(self) -> str:
        """Why it will ask no more, in words; empty before that."""

    @property
    def progress(self) -> str:
        """How far a search that adapts is, in words; empty where its number of trials says it."""
        return ""

    def p_co(self, points: Sequence[Mapping[str, Any]]) -> list[float]:
        """What it believes of P(CO) over seeds at each of some points, in [0, 1]."""
        return Belief(self.axes, list(self._answers.values())).p_co([dict(point) for point in points])


class Planned(Strategy):
    """A strategy whose points are all known before the first answer."""

    adapts = False

    def __init__(self, search: SearchSpec, axes: Sequence[Axis]) -> None:
        super().__init__(search, axes)
        self._ahead = self.plan()
        self._next: Point | None = None
        self._advance()

    @abstractmethod
    def plan(self) -> Iterator[dict[str, tuple[int, Any]]]:
        """All points in their order: by path, the number of the value on its axis (-1 if drawn) and the value."""

    def ask(self, count: int = 1) -> list[Point]:
        points: list[Point] = []
        while len(points) < count and not self.done:
            assert self._next is not None
            points.append(self._next)
            self._advance()
        return points

    @property
    def done(self) -> bool:
        known = self._answers.keys() | self._waiting.keys()  # told and expected points need not have been asked for
        while self._next is not None and key_of(self._next) in known:
            self._advance()
        return self._next is None

    def _advance(self) -> None:
        point = next(self._ahead, None)
        self._next = None if point is None else {path: value for path, (_, value) in point.items()}


def key_of(point: Mapping[str, Any]) -> str:
    """Text that is the same for the same point."""
    return json.dumps(point, sort_keys=True)


def place_of(point: Mapping[str, Any]) -> str:
    """Text that is the same for points that differ in their seeds alone."""
    return key_of({path: value for path, value in point.items() if path != SEED})
