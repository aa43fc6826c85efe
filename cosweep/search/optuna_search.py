"""Looks for the points whose trials have the best results, by a sampler of Optuna's."""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosweep.errors import Fault, unknown_name
from cosweep.results.schema import MEASURED_COLUMNS
from cosweep.search.axes import SEED, Axis, Point, numbers_of
from cosweep.search.base import SearchSpec, Strategy, key_of
from cosweep.search.belief import Answer
from cosweep.wording import counted

if TYPE_CHECKING:
    import optuna

CO = "co"
"""Name of the constraint: positive where training broke."""
_MOST_TRIES = 200


class OptunaSearch(Strategy):
    """Asks where ``search.objective`` may be highest, or lowest after a minus sign; several make a Pareto front.

    That training broke violates a constraint, so that a high accuracy before the breaking point counts for nothing.
    Seeds are drawn at random, and the sampler does not know them. The study is made anew from the answers at each
    question: it depends on them alone.
    """

    options = frozenset({"trials", "objective", "sampler"})

    def __init__(self, search: SearchSpec, axes: Sequence[Axis]) -> None:
        super().__init__(search, axes)
        self._searched = [axis for axis in self.axes if axis.path != SEED]
        self._exhausted = False

    @classmethod
    def faults(cls, search: SearchSpec, axes: Sequence[Axis]) -> Iterator[Fault]:
        if search.trials is None:
            yield Fault("search.trials", "missing; say how many trials the search may ask for")
        if all(axis.path == SEED for axis in axes):
            yield Fault("space", "has no axis to search, besides seed")
        if not search.objective:
            yield Fault("search.objective", "is empty; name a column of trials, such as robust_acc")
        for name in search.objective:
            if name.removeprefix("-") not in MEASURED_COLUMNS:
                yield Fault("search.objective", unknown_name("column of results", name, MEASURED_COLUMNS))

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name.removeprefix("-") for name in self.search.objective)

    def ask(self, count: int = 1) -> list[Point]:
        points: list[Point] = []
        while len(points) < count and not self.done:
            point = self._next()
            if point is None:
                self._exhausted = True
                break
            self.expect(point)
            points.append(point)
        return points

    def withdraw(self, point: Mapping[str, Any]) -> None:
        """Take back a point; the sampler learns of it as of a trial that failed, so the budget counts it."""
        self.tell(point, co=None)

    @property
    def done(self) -> bool:
        return self._exhausted or self._spent >= (self.search.trials or 0)

    @property
    def reason(self) -> str:
        told = counted(self._spent, "trial was", "trials were")
        if self._exhausted:
            return f"no point is left that was not asked for, after {counted(self._spent, 'trial')}"
        return f"the budget is spent: {told} asked for" if self.done else ""

    @property
    def progress(self) -> str:
        """The best trials so far."""
        found = [values for answer in self._answers.values() if (values := self._reached(answer)) and not answer.co]
        if not found or len(self.search.objective) > 1:
            return ""
        (name,) = self.search.objective
        best = (min if name.startswith("-") else max)(value for (value,) in found)
        return f"best {self.columns[0]} without CO: {best:.4g}"

    def files(self) -> dict[str, bytes]:
        """The study as a journal, which ``optuna-dashboard`` opens."""
        import optuna
        from optuna.storages.journal import JournalFileBackend

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "study.log"
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
            self._study(storage=storage, study_name="search")
            return {"optuna.log": path.read_bytes()}

    @property
    def _spent(self) -> int:
        return len(self._waiting) + len(self._answers)

    def _study(self, **options: Any) -> optuna.Study:
        """A study of all that was told and is waited for."""
        import optuna

        directions = optuna.study.StudyDirection
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it tells of each study that it made one
        try:
            study = optuna.create_study(
                directions=[
                    directions.MINIMIZE if n.startswith("-") else directions.MAXIMIZE for n in self.search.objective
                ],
                **options,
            )
            study.add_trials(self._trials())
        finally:
            optuna.logging.set_verbosity(verbosity)
        return study

    def _next(self) -> Point | None:
        """What the sampler proposes; where that was asked for, another seed or a random point."""
        trial = self._study(sampler=self._sampler()).ask({axis.path: _distribution(axis) for axis in self._searched})
        proposed = {axis.path: _value(axis, trial.params[axis.path]) for axis in self._searched}
        draws, known = self._draws("point"), self._answers.keys() | self._waiting.keys()
        for attempt in range(_MOST_TRIES):
            random_values = {axis.path: axis.draw(draws) for axis in self.axes}
            values = random_values | (proposed if attempt < _MOST_TRIES // 2 else {})
            point = {axis.path: values[axis.path] for axis in self.axes}
            if key_of(point) not in known:
                return point
        return None

    def _reached(self, answer: Answer) -> tuple[float, ...] | None:
        """Values of the objectives; None if one is missing or no finite number."""
        found = [(answer.values or {}).get(name) for name in self.columns]
        numbers = tuple(float(value) for value in found if value is not None and math.isfinite(value))
        return numbers if len(numbers) == len(found) else None

    def _draws(self, purpose: str) -> random.Random:
        return random.Random(f"{self.search.seed} {purpose} {self._spent}")

    def _sampler(self) -> optuna.samplers.BaseSampler:
        import optuna

        seed = self._draws("sampler").randrange(2**31)
        kinds: dict[str, Any] = {
            "tpe": optuna.samplers.TPESampler,
            "gp": optuna.samplers.GPSampler,
            "random": optuna.samplers.RandomSampler,
        }
        sampler: optuna.samplers.BaseSampler = kinds[self.search.sampler](seed=seed)
        return sampler

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        """What was told and what is waited for, as Optuna's trials."""
        import optuna

        states = optuna.trial.TrialState
        trials = []
        for answer in [*self._answers.values(), *(Answer(point, None) for point in self._waiting.values())]:
            values, waits = self._reached(answer), key_of(answer.point) in self._waiting
            trial = optuna.trial.create_trial(
                state=states.RUNNING if waits else states.FAIL if values is None else states.COMPLETE,
                values=values,
                params={axis.path: _param(axis, answer.point[axis.path]) for axis in self._searched},
                distributions={axis.path: _distribution(axis) for axis in self._searched},
                user_attrs={"point": json.dumps(answer.point)},
                constraints=None if values is None else {CO: 1.0 if answer.co else -1.0},
            )
            trials.append(trial)
        return trials


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    """A grid of numbers is an order of its values, any other grid a choice."""
    import optuna

    if axis.kind == "grid":
        if numbers_of(axis.values) is not None:
            return optuna.distributions.IntDistribution(0, len(axis.values) - 1)
        return optuna.distributions.CategoricalDistribution(list(range(len(axis.values))))
    low, high = axis.values
    if axis.kind == "int":
        return optuna.distributions.IntDistribution(int(low), int(high))
    return optuna.distributions.FloatDistribution(low, high, log=axis.kind == "loguniform")


def _in_order(axis: Axis) -> list[Any]:
    numbers = numbers_of(axis.values)
    if numbers is None:
        return list(axis.values)
    return [value for _, value in sorted(zip(numbers, axis.values, strict=True), key=lambda pair: pair[0])]


def _value(axis: Axis, param: Any) -> Any:
    return _in_order(axis)[param] if axis.kind == "grid" else param


def _param(axis: Axis, value: Any) -> Any:
    """The parameter of a value; of a number that lies outside the axis now, the nearest one."""
    if axis.kind == "grid":
        return _in_order(axis).index(value)
    low, high = axis.values
    nearest = min(max(value, low), high)
    return int(nearest) if axis.kind == "int" else float(nearest)
