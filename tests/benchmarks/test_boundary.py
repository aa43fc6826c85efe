"""The benchmark of searches: its trials answer, and each way to choose them asks for as many as it may."""

from __future__ import annotations

import math

import pytest

from benchmarks.boundary import CATEGORIES, TRUTHS, WAYS, Recorded, Simulated, by_majority, error, run


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded()


def test_the_recorded_trainings_are_a_full_grid(recorded: Recorded) -> None:
    assert len(recorded.rows) == 12 * 12 * 2
    told = [recorded.answer(point) for point in recorded.points()]
    assert all(math.isfinite(seconds) and seconds > 0 for _, seconds in told)
    assert 50 < sum(bool(answer.co) for answer, _ in told) < 144
    assert error(recorded, [answer for answer, _ in told]) == 0


@pytest.mark.parametrize("way", WAYS)
def test_each_way_asks_for_as_many_points_as_it_may(way: str, recorded: Recorded) -> None:
    found = run(recorded, way, 12, 0, [4, 12])
    assert len(found) == 2
    assert found[0][1] < found[1][1]
    assert all(0 <= wrong < 0.6 for wrong, _ in found)


@pytest.mark.parametrize("name", TRUTHS)
def test_a_simulated_truth_is_cheaper_where_it_breaks(name: str) -> None:
    trials = Simulated(name, 0)
    told = [trials.answer(point) for point in trials.points()]
    assert len(told) == 288
    assert len(trials.mesh) == 24 * 24 * CATEGORIES.get(name, 1)
    assert all(0 < cost < 1 if answer.co else cost == 1 for answer, cost in told)
    assert 0 <= by_majority(trials) < 0.3
