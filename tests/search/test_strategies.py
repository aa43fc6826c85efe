"""Laws of all strategies: which points they ask for, what they do with answers, and when they are done."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from cosweep.errors import SpecError
from cosweep.search import STRATEGIES, Point, Strategy, make_strategy

SPACES: dict[str, dict[str, Any]] = {
    "grid": {
        "method.epsilon": {"linspace": ["48/255", "80/255", 3]},
        "method.name": {"grid": ["fgsm", "n_fgsm"]},
        "seed": {"range": [0, 2]},
    },
    "random": {
        "method.epsilon": {"uniform": ["48/255", "80/255"]},
        "optimizer.lr_max": {"loguniform": [0.01, 1]},
        "method.name": {"grid": ["fgsm", "n_fgsm"]},
        "seed": {"int": [0, 99]},
    },
    "boundary": {
        "method.epsilon": {"uniform": ["48/255", "80/255"]},
        "method.name": {"grid": ["fgsm", "n_fgsm"]},
        "seed": {"int": [0, 99]},
    },
}
SPACES["optuna"] = SPACES["random"]
ADAPT = {"boundary", "optuna"}
TRIALS = 12


def made(kind: str, seed: int = 0) -> Strategy:
    return make_strategy({"kind": kind, "trials": TRIALS, "seed": seed}, SPACES[kind])


def asked(strategy: Strategy, count: int = 1) -> list[Point]:
    """All points that a strategy asks for, each answered before the next is asked for."""
    points = []
    while not strategy.done:
        for point in strategy.ask(count):
            points.append(point)
            strategy.tell(
                point,
                co=point["seed"] % 2 == 0,
                co_step=7,
                total_steps=40,
                values={"robust_acc": point["method.epsilon"]},
            )
    return points


def test_every_strategy_has_a_space_here() -> None:
    assert SPACES.keys() == STRATEGIES.keys()


@pytest.mark.parametrize("kind", STRATEGIES)
class TestEveryStrategy:
    def test_it_asks_for_values_of_all_axes(self, kind: str) -> None:
        points = asked(made(kind))
        assert len(points) == TRIALS
        assert all(list(point) == list(SPACES[kind]) for point in points)

    @pytest.mark.parametrize("count", [1, 5, 100])
    def test_it_asks_for_no_more_than_it_is_asked_to(self, kind: str, count: int) -> None:
        strategy = made(kind)
        while not strategy.done:
            assert 1 <= len(strategy.ask(count)) <= count
        assert strategy.ask(count) == []

    def test_it_says_whether_answers_change_its_questions(self, kind: str) -> None:
        first, second = made(kind), made(kind)
        points = first.ask(1), second.ask(1)
        first.tell(points[0][0], co=True, co_step=3, total_steps=40)
        second.tell(points[1][0], co=False, total_steps=40)
        assert first.adapts == (kind in ADAPT)
        if kind not in ADAPT:  # how others adapt is a test of each
            assert first.ask(TRIALS) == second.ask(TRIALS)

    def test_the_same_answers_give_the_same_questions(self, kind: str) -> None:
        assert asked(made(kind)) == asked(made(kind))
        assert asked(made(kind), count=5) == asked(made(kind), count=5)
        if kind not in ADAPT:
            assert asked(made(kind)) == asked(made(kind), count=5)

    def test_answers_may_come_late_and_in_any_order(self, kind: str) -> None:
        strategy = made(kind)
        points = strategy.ask(TRIALS)
        random.Random(0).shuffle(points)
        for point in points:
            strategy.tell(point, co=None)
        assert strategy.done

    def test_answers_of_an_earlier_run_are_told_first_and_not_asked_for_again(self, kind: str) -> None:
        before = asked(made(kind))
        for known in range(TRIALS + 1):
            strategy = made(kind)
            for point in before[:known]:
                strategy.tell(point, co=False)
            after = asked(strategy)
            assert len(after) == TRIALS - known
            assert not any(point in before[:known] for point in after)
            if kind not in ADAPT:
                assert after == before[known:]

    def test_a_point_that_an_earlier_run_asked_for_counts_as_asked(self, kind: str) -> None:
        first = made(kind).ask(2)
        strategy = made(kind)
        for point in first:
            strategy.expect(point)
        after = asked(strategy)
        assert len(after) == TRIALS - 2
        assert not any(point in first for point in after)

    def test_a_point_that_was_never_asked_for_may_be_told(self, kind: str) -> None:
        strategy = made(kind)
        other = {**strategy.ask(1)[0], "seed": 12345}
        strategy.tell(other, co=True, co_step=3, total_steps=40)
        assert strategy.p_co([other])[0] > 0.5

    def test_a_later_answer_for_the_same_point_replaces_an_earlier_one(self, kind: str) -> None:
        corrected, told_once = made(kind), made(kind)
        point = corrected.ask(1)[0]
        corrected.tell(point, co=True, co_step=3, total_steps=40)
        corrected.tell(point, co=False, total_steps=40)
        told_once.tell(point, co=False, total_steps=40)
        assert corrected.p_co([point]) == told_once.p_co([point])

    def test_a_point_of_another_space_is_refused(self, kind: str) -> None:
        with pytest.raises(ValueError, match=r"expected a point with method\.epsilon, .*; got seed"):
            made(kind).tell({"seed": 0}, co=True)

    def test_it_says_why_it_asks_no_more_and_only_then(self, kind: str) -> None:
        strategy = made(kind)
        assert (strategy.done, strategy.reason) == (False, "")
        asked(strategy)
        assert strategy.done
        assert "asked for" in strategy.reason

    def test_what_it_believes_depends_on_the_answers_and_not_on_their_order(self, kind: str) -> None:
        points = made(kind).ask(TRIALS)
        beliefs = []
        for order in (points, points[::-1]):
            strategy = made(kind)
            for point in order:
                strategy.tell(point, co=point["method.name"] == "fgsm")
            beliefs.append(strategy.p_co(points))
        assert beliefs[0] == pytest.approx(beliefs[1], abs=1e-9)
        assert all(0 <= p <= 1 for p in beliefs[0])


def test_a_grid_is_asked_for_in_the_order_of_its_axes() -> None:
    strategy = make_strategy({}, {"method.epsilon": [0.1, 0.2], "seed": {"range": [0, 3]}})
    expected = [{"method.epsilon": e, "seed": s} for e, s in itertools.product([0.1, 0.2], range(3))]
    assert strategy.ask(100) == expected


def test_without_axes_there_is_one_point() -> None:
    strategy = make_strategy({}, {})
    assert (strategy.ask(5), strategy.done) == ([{}], True)


def test_another_seed_draws_other_points() -> None:
    assert asked(made("random", seed=0)) != asked(made("random", seed=1))


def test_all_faults_of_the_search_and_the_space_come_together() -> None:
    with pytest.raises(SpecError) as caught:
        make_strategy({"kind": "random", "trails": 3}, {"seed": {"int": [3, 0]}, "method.epsilon": 7})
    assert {fault.path for fault in caught.value.faults} == {"search.trails", "space.seed", "space.method.epsilon"}


@pytest.mark.parametrize(
    ("search", "space", "path", "message"),
    [
        ({"kind": "gird"}, {}, "search.kind", "did you mean 'grid'? known: boundary, grid, optuna, random"),
        ({"kind": "random"}, {}, "search.trials", "missing"),
        ({}, {"seed": {"int": [0, 9]}}, "space.seed", "int needs search.kind random or boundary"),
        ({}, {"seed": {"linspace": [0, 1]}}, "space.seed", "expected [low, high, number of values], got [0, 1]"),
        ({}, {"seed": {"linspace": [0, 1, 1]}}, "space.seed", "a whole number of at least 2 values, got 1"),
        ({}, {"seed": {"linspace": [0, 1, 10**9]}}, "space.seed", "at most 1,000,000 are allowed"),
    ],
)
def test_a_fault_names_its_place_and_what_was_expected(
    search: dict[str, Any], space: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        make_strategy(search, space)
    (fault,) = caught.value.faults
    assert fault.path == path
    assert message in fault.message


def test_a_linspace_has_its_ends_exactly() -> None:
    (axis,) = make_strategy({}, {"method.epsilon": {"linspace": [0, "128/255", 8]}}).axes
    assert (axis.values[0], axis.values[-1], len(axis.values)) == (0, 128 / 255, 8)
    assert axis.values[1] == pytest.approx(128 / 255 / 7)


def test_a_grid_in_random_order_asks_for_the_same_points_otherwise() -> None:
    space = {"method.epsilon": {"linspace": [0.1, 0.4, 8]}, "seed": {"range": [0, 6]}}
    orders = [
        make_strategy({"order": order, "seed": seed}, space).ask(100)
        for order, seed in (("axes", 0), ("random", 0), ("random", 0), ("random", 1))
    ]
    assert orders[1] == orders[2] != orders[3]
    assert sorted(map(str, orders[0])) == sorted(map(str, orders[1])) == sorted(map(str, orders[3]))
    assert len({point["method.epsilon"] for point in orders[1][:12]}) >= 5, "a quarter of the grid is a picture"


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"kind": "random", "trials": 3, "order": "random"}, r"search\.order: is of search\.kind grid, not of random"),
        ({"kind": "grid", "tolerance": 0.1}, r"search\.tolerance: is of search\.kind boundary, not of grid"),
    ],
)
def test_an_option_of_another_kind_is_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_strategy(search, {"seed": {"grid": [0, 9]}} if search["kind"] == "grid" else {"seed": {"int": [0, 9]}})
