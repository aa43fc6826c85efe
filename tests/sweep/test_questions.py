"""What a strategy asks for, as specs, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosweep.metrics import TrialState, TrialStatus
from cosweep.search import Point, make_strategy
from cosweep.sweep.questions import Questions
from cosweep.training import TrialSpec
from cosweep.worker.events import Event, Phase

BROKE = Event(Phase.ENDED, state=TrialState.CO, co_step=312, total_steps=575, status=TrialStatus.STOPPED)


def spec_at(point: Point) -> TrialSpec:
    """Seeds 0 and 10, 1 and 11, ... are the same spec."""
    return TrialSpec.from_dict({"seed": point["seed"] % 10})


def questions(*seeds: int, finished: Mapping[str, Any] | None = None) -> tuple[Questions, list[dict[str, Any]]]:
    """Questions over some seeds, and what their strategy is told."""
    strategy = make_strategy({}, {"seed": {"grid": list(seeds)}})
    told: list[dict[str, Any]] = []
    tell = strategy.tell

    def noted(point: Mapping[str, Any], **answer: Any) -> None:
        told.append({**point, **answer})
        tell(point, **answer)

    strategy.tell = noted  # type: ignore[method-assign]
    return Questions(strategy, spec_at, finished or {}), told


def test_the_answer_of_a_trial_reaches_the_strategy() -> None:
    asked, told = questions(3)
    spec = asked.next()
    assert spec is not None
    assert (spec.seed, asked.next(), asked.are_done, told) == (3, None, True, [])
    asked.answer(spec.trial_id, BROKE)
    assert told == [{"seed": 3, "co": True, "co_step": 312, "total_steps": 575, "values": None}]


def test_a_trial_that_has_ended_before_is_told_and_not_asked_for() -> None:
    row = {"state": "healthy", "co_step": None, "total_steps": 575, "status": "completed"}
    asked, told = questions(3, 4, finished={spec_at({"seed": 3}).trial_id: row})
    spec = asked.next()
    assert spec is not None
    assert spec.seed == 4
    assert told == [{"seed": 3, "co": False, "co_step": None, "total_steps": 575, "values": None}]


def test_points_with_the_same_spec_are_one_trial_and_all_get_its_answer() -> None:
    asked, told = questions(3, 13, 23)
    spec = asked.next()
    assert spec is not None
    assert asked.next() is None
    asked.answer(spec.trial_id, BROKE)
    assert [answer["seed"] for answer in told] == [3, 13, 23]
    late, told = questions(3, 13)
    spec = late.next()
    assert spec is not None
    late.answer(spec.trial_id, BROKE)
    assert late.next() is None
    assert [answer["seed"] for answer in told] == [3, 13]


def test_a_trial_that_failed_answers_nothing() -> None:
    asked, told = questions(3)
    spec = asked.next()
    assert spec is not None
    asked.answer(spec.trial_id, Event(Phase.ENDED, status=TrialStatus.FAILED))
    assert told[0]["co"] is None


def test_a_strategy_is_told_the_columns_that_it_wants() -> None:
    rows = {spec_at({"seed": seed}).trial_id: {"robust_acc": seed / 10, "clean_acc": 1.0} for seed in (3, 4)}
    strategy = make_strategy({"kind": "optuna", "trials": 9}, {"method.epsilon": [0.1], "seed": {"grid": [3, 4]}})
    told: list[Any] = []
    strategy.tell = lambda point, **answer: told.append(answer["values"])  # type: ignore[method-assign]
    row = {"state": "healthy", "co_step": None, "total_steps": 575, "status": "completed"}
    first, second = rows
    point = {"method.epsilon": 0.1, "seed": 3}
    asked = Questions(strategy, spec_at, {first: row}, {first: point}, [{**point, "seed": 4}], values_of=rows.get)
    assert asked.next() == spec_at({"seed": 4})
    asked.answer(second, BROKE)
    assert told == [{"robust_acc": 0.3}, {"robust_acc": 0.4}]
