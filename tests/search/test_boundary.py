"""What a boundary search asks, when it ends, and what it refuses."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cosweep.search import Axis, Point, make_strategy
from cosweep.search.base import Strategy, place_of
from cosweep.search.boundary import Boundary, Outlook
from tests.search.faults import only_fault

SPACE: dict[str, Any] = {
    "method.epsilon": {"uniform": [0, 1]},
    "interventions.0.beta": {"uniform": [0, 1]},
    "seed": {"int": [0, 999]},
}
Truth = Callable[[float, float], float]
"""Log of the time to the breaking point, in trainings."""
STEPS = 1000
SEEDS_NOISE = 0.1


def boundary(trials: int = 60, space: dict[str, Any] = SPACE, **search: Any) -> Boundary:
    strategy = make_strategy({"kind": "boundary", "trials": trials, **search}, space)
    assert isinstance(strategy, Boundary)
    return strategy


def answer(strategy: Strategy, point: Point, truth: Truth, draws: random.Random) -> None:
    time = truth(point["method.epsilon"], point["interventions.0.beta"]) + SEEDS_NOISE * draws.gauss(0, 1)
    step = max(1, round(STEPS * math.exp(time))) if time < 0 else None
    strategy.tell(point, co=step is not None, co_step=step, total_steps=STEPS)


def searched(strategy: Strategy, truth: Truth, at_once: int = 6, most: int = 1000) -> list[Point]:
    """All points that a strategy asks for, answered so many at once."""
    asked: list[Point] = []
    draws = random.Random(0)
    while not strategy.done and len(asked) < most:
        points = strategy.ask(at_once)
        for point in points:
            answer(strategy, point, truth, draws)
        asked += points
    return asked


def misclassified(strategy: Strategy, truth: Truth) -> float:
    """Share of the space on the wrong side of the believed line."""
    places = [(x / 20, y / 20) for x in range(1, 20) for y in range(1, 20)]
    told = strategy.p_co([{"method.epsilon": x, "interventions.0.beta": y, "seed": 0} for x, y in places])
    return float(np.mean([(p > 0.5) != (truth(*place) < 0) for p, place in zip(told, places, strict=True)]))


def line(x: float, y: float) -> float:
    return 2.5 * (0.3 + 0.4 * y - x)


def band(x: float, y: float) -> float:
    return 4 * (abs(y - 0.45) - 0.22)


@pytest.mark.parametrize(("truth", "most"), [(line, 0.03), (band, 0.08)])
def test_it_finds_a_line_and_a_band_better_than_as_many_random_points(truth: Truth, most: float) -> None:
    strategy, other = boundary(48), make_strategy({"kind": "random", "trials": 48}, SPACE)
    searched(strategy, truth)
    searched(other, truth)
    assert misclassified(strategy, truth) < most
    assert misclassified(strategy, truth) <= misclassified(other, truth)


def test_the_corners_come_first() -> None:
    asked = boundary().ask(4)
    corners = {(x, y) for x in (0, 1) for y in (0, 1)}
    assert {(point["method.epsilon"], point["interventions.0.beta"]) for point in asked} == corners


def test_questions_that_wait_for_their_answers_are_not_asked_again_nearby() -> None:
    strategy = boundary()
    searched(strategy, line, most=16)
    waiting = strategy.ask(8)
    places = [(point["method.epsilon"], point["interventions.0.beta"]) for point in waiting]
    gaps = [math.dist(one, other) for i, one in enumerate(places) for other in places[:i]]
    assert len(set(places)) == 8
    assert float(np.median(gaps)) > 0.2


@pytest.mark.parametrize(("time", "told"), [(0.5, "nothing breaks"), (-0.5, "training breaks everywhere")])
def test_it_ends_when_nothing_breaks_or_everything_does(time: float, told: str) -> None:
    strategy = boundary(200)
    asked = searched(strategy, lambda x, y: time)
    assert strategy.reason.startswith(told), strategy.reason
    assert 8 <= len(asked) < 100


def test_it_does_not_say_that_nothing_breaks_before_it_has_looked_everywhere() -> None:
    strategy = boundary(100)
    searched(strategy, lambda x, y: 6 * (math.hypot(x - 0.6, y - 0.5) - 0.2))
    assert not strategy.reason.startswith("nothing breaks")
    assert any(told.co for told in strategy._answers.values())


def test_it_ends_when_the_line_is_known_and_says_how_well() -> None:
    strategy = boundary(200, tolerance=0.03)
    asked = searched(strategy, line)
    assert len(asked) < 120
    assert "within search.tolerance" in strategy.reason
    error = strategy.line_error()
    assert error is not None
    assert error <= 0.03
    assert misclassified(strategy, line) < 2 * 0.03


def test_it_ends_while_other_trials_run() -> None:
    strategy, draws = boundary(200, tolerance=0.03), random.Random(0)
    running = strategy.ask(3)
    asked = 3
    while not strategy.done:
        answer(strategy, running.pop(0), line, draws)
        running += strategy.ask(1)
        asked += 1
    assert "within search.tolerance" in strategy.reason
    assert len(running) in (2, 3)
    assert asked < 120


def test_a_larger_budget_goes_on_from_the_answers_of_a_smaller_one() -> None:
    small = boundary(20)
    before = searched(small, line)
    assert (len(before), small.done) == (20, True)
    large = boundary(30)
    draws = random.Random(0)
    for point in before:
        answer(large, point, line, draws)
    assert len(searched(large, line)) == 10


def test_answers_outside_the_budget_end_it() -> None:
    strategy = boundary(20)
    for point in searched(boundary(30), line):
        strategy.tell(point, co=False)
    assert strategy.done


def test_a_place_without_a_trial_is_not_asked_for_again_and_costs_nothing() -> None:
    strategy = boundary(20)
    corner = strategy.ask(1)[0]
    strategy.withdraw(corner)
    asked = searched(strategy, line)
    assert len(asked) == 20
    assert place_of(corner) not in map(place_of, asked)


def test_places_where_answers_are_neither_broken_nor_healthy_are_left() -> None:
    strategy = boundary(60)
    draws = random.Random(0)
    unclear = 0
    while not strategy.done:
        for point in strategy.ask(2):
            if point["method.epsilon"] > 0.5:
                strategy.tell(point, co=None)
                unclear += 1
            else:
                answer(strategy, point, lambda x, y: 2.5 * (0.1 + 0.3 * y - x), draws)
    assert unclear < 25


def test_when_no_answer_says_anything_it_ends() -> None:
    strategy = boundary(60)
    while not strategy.done:
        for point in strategy.ask(2):
            strategy.tell(point, co=None)
    assert re.fullmatch(
        r"none of 1?\d trials broke or stayed healthy: none ever was robust; train longer", strategy.reason
    )


def test_a_small_grid_is_asked_until_every_seed_was() -> None:
    space = {"method.epsilon": {"grid": [0.1, 0.2, 0.3]}, "seed": {"grid": [0, 1]}}
    strategy = boundary(60, space)
    asked = []
    while not strategy.done:
        for point in strategy.ask(1):
            asked.append(point)
            strategy.tell(point, co=point["seed"] == 0, co_step=500 if point["seed"] == 0 else None, total_steps=STEPS)
    assert sorted(map(str, asked)) == sorted(
        str({"method.epsilon": e, "seed": s}) for e in (0.1, 0.2, 0.3) for s in (0, 1)
    )
    assert strategy.reason == "every seed of every place was asked for"


def test_every_kind_of_axis_is_asked_for_its_own_values() -> None:
    space = {
        "optimizer.lr_max": {"loguniform": [0.01, 1]},
        "optimizer.epochs": {"int": [5, 30]},
        "method.name": {"grid": ["fgsm", "n_fgsm"]},
        "method.epsilon": {"grid": ["8/255", "16/255"]},
    }
    asked = boundary(16, space).ask(16)
    assert len(set(map(str, asked))) == 16, "without an axis of seeds each place is asked once"
    for point in asked:
        assert list(point) == list(space)
        assert 0.01 <= point["optimizer.lr_max"] <= 1
        assert isinstance(point["optimizer.epochs"], int)
        assert point["method.epsilon"] in ("8/255", "16/255")


def test_how_well_the_line_is_known_is_told_while_it_searches() -> None:
    strategy = boundary(40)
    assert strategy.progress == ""
    searched(strategy, line, most=20)
    assert re.fullmatch(r"the line is known to [\d.]+/255 of method\.epsilon", strategy.progress)


@pytest.mark.parametrize(
    ("search", "space", "path", "message"),
    [
        (
            {},
            {"method.name": ["fgsm", "n_fgsm"], "seed": {"int": [0, 9]}},
            "space",
            "needs an axis of at least two numbers",
        ),
        ({}, {"method.epsilon": [0.1]}, "space", "needs an axis of at least two numbers"),
        ({"trials": None}, SPACE, "search.trials", "missing; say how many trials"),
        ({"trials": 3}, SPACE, "search.trials", "must be at least 4, one for each corner of the space; got 3"),
        ({"tolerance": 2}, SPACE, "search.tolerance", "must be below the range of space.method.epsilon, 1; got 2"),
        (
            {"tolerance": 0.01},
            {"method.epsilon": {"linspace": [0, 1, 11]}},
            "search.tolerance",
            "must be at least half the smallest gap between the values of space.method.epsilon, 0.05",
        ),
        (
            {},
            SPACE | {"model.width": {"grid": list("abcdefgh" * 8)}},
            "space",
            "combinations of categories, a line each",
        ),
    ],
)
def test_a_space_or_a_search_that_has_no_line_to_find_is_refused(
    search: dict[str, Any], space: dict[str, Any], path: str, message: str
) -> None:
    fault = only_fault({"kind": "boundary", "trials": 40, **search}, space)
    assert fault.path == path
    assert message in fault.message


def test_what_an_answer_may_be_adds_up() -> None:
    mean = np.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    outlook = Outlook(mean, np.full(5, 0.4), 0.1)
    assert outlook.healthy == pytest.approx([0, 0.24, 0.5, 0.76, 1], abs=0.01)
    assert ((outlook.told >= 0) & (outlook.told <= 1)).all()
    assert outlook.told[0] == pytest.approx(1), "a breaking point tells the time itself"
    assert outlook.told[-1] == pytest.approx(0, abs=1e-3), "that training holds where it was known to"
    trained = outlook.trained(1.0)
    assert (np.diff(trained) > 0).all()
    assert trained[-1] == pytest.approx(1, abs=1e-3)


def test_numbers_in_a_grid_are_an_axis_whose_order_is_theirs() -> None:
    strategy = boundary(8, {"method.epsilon": {"grid": ["64/255", "8/255", "32/255"]}, "seed": {"int": [0, 9]}})
    assert {point["method.epsilon"] for point in strategy.ask(2)} == {"8/255", "64/255"}
    assert isinstance(strategy.axes[0], Axis)
