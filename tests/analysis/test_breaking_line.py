"""The breaking line: published and simulated ones, separated outcomes, and how often its interval holds the truth."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from statsmodels.api import Logit

from cosweep.analysis.breaking_line import BreakingLine, Crossing, Scale, breaking_line

# Bliss, Ann. Appl. Biol. 22:134, 1935: beetles killed by carbon disulphide, by the logarithm of its dose.
DOSES = (1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839)
BEETLES = (59, 60, 62, 56, 63, 59, 62, 60)
KILLED = (6, 13, 18, 28, 52, 53, 61, 60)
DOSE = [dose for dose, n in zip(DOSES, BEETLES) for _ in range(n)]
DEAD = [i < killed for killed, n in zip(KILLED, BEETLES) for i in range(n)]


def line_of(cells: dict[tuple[float, float], tuple[int, int]], **options: Any) -> BreakingLine:
    """Line of a grid: (x, y) to how many trials broke, of how many."""
    rows = [(x, y, i < broken) for (x, y), (broken, trials) in cells.items() for i in range(trials)]
    found = breaking_line([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], **options)
    assert found is not None
    return found


def along(found: BreakingLine, row: float | None = None) -> dict[str, Crossing]:
    return {crossing.direction: crossing for crossing in found.crossings if crossing.row == row}


# --- known answers ---------------------------------------------------------------------------------------------------


def test_the_median_lethal_dose_of_the_beetles() -> None:
    found = breaking_line(DOSE, None, DEAD)
    assert found is not None
    (crossing,) = found.crossings
    # Dobson, An Introduction to Generalized Linear Models, 1990, chapter 8: 1.7717 by a logit linear in the dose, which
    # fits poorly (deviance 11.2 on 6 degrees), and 1.7788 by a complementary log-log, which fits (3.4).
    assert crossing.value == pytest.approx(1.7788, abs=0.003)
    assert crossing.value == pytest.approx(1.7717, abs=0.010)
    assert crossing.low < 1.7788 < crossing.high
    assert crossing.high - crossing.low < 0.025
    assert (crossing.direction, crossing.row, crossing.share) == ("up", None, 1.0)


def test_the_fit_is_that_of_a_second_implementation_but_for_the_ridge() -> None:
    found = breaking_line(DOSE, None, DEAD, resamples=1)
    assert found is not None
    rank = np.searchsorted(DOSES, DOSE)
    expected = Logit(np.array(DEAD, float), np.column_stack([rank**p for p in range(3)])).fit(disp=False).params
    x = np.array(found.x)
    assert found.probability[0] == pytest.approx(expit(expected @ np.stack([x**p for p in range(3)])), abs=2e-3)


def test_a_ring_is_found_where_it_is() -> None:
    random = np.random.default_rng(0)
    x, y = random.uniform(-1, 1, (2, 600))
    broken = random.random(600) < expit(12 * (0.5 - x**2 - y**2))
    found = breaking_line(x.tolist(), y.tolist(), broken.tolist())
    assert found is not None
    places = np.stack(np.meshgrid(found.x, found.y), axis=-1)
    radius = np.linalg.norm(places, axis=-1)
    inside, sure = np.array(found.probability) >= 0.5, np.abs(radius - math.sqrt(0.5)) > 0.1
    assert (inside == (radius < math.sqrt(0.5)))[sure].all()
    assert len(found.crossings) == 6
    for crossing in found.crossings:
        assert crossing.row is not None
        true = math.sqrt(0.5 - crossing.row**2) * (-1 if crossing.direction == "up" else 1)
        assert crossing.low <= true <= crossing.high
        assert crossing.value == pytest.approx(true, abs=0.1)


def test_training_may_break_between_two_values_only() -> None:
    found = breaking_line([0.0, 1.0, 2.0, 3.0, 4.0] * 8, None, [False, False, True, False, False] * 8, resamples=1)
    assert found is not None
    crossings = along(found)
    assert 1 < crossings["up"].value < 2 < crossings["down"].value < 3
    assert [crossing.direction for crossing in found.crossings] == ["up", "down"]


# --- separated outcomes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 16.0, 32.0, 128.0)])
def test_separated_outcomes_have_a_line_midway(values: tuple[float, ...]) -> None:
    half = len(values) // 2
    found = breaking_line(values * 3, None, [value >= values[half] for value in values] * 3, resamples=1)
    assert found is not None
    (crossing,) = found.crossings
    assert crossing.value == pytest.approx((values[half - 1] + values[half]) / 2, rel=1e-3)
    middle = [p for x, p in zip(found.x, found.probability[0]) if x == pytest.approx(half - 0.5)]
    assert middle == pytest.approx([0.5], abs=1e-3)


def test_the_interval_of_separated_outcomes_fills_the_gap_between_values() -> None:
    found = breaking_line([0.0, 1.0, 2.0, 3.0] * 4, None, [False, False, True, True] * 4)
    assert found is not None
    (crossing,) = found.crossings
    assert crossing.low < 1.2
    assert crossing.high > 1.8


def test_a_mirrored_grid_has_a_mirrored_line() -> None:
    cells = {(float(x), float(y)): (2 if x + y > 3 else 0, 2) for x, y in product(range(4), range(3))}
    found = line_of(cells, resamples=1)
    mirrored = line_of({(3 - x, y): outcome for (x, y), outcome in cells.items()}, resamples=1)
    flipped = [row[::-1] for row in mirrored.probability]
    assert np.array(found.probability) == pytest.approx(np.array(flipped), abs=1e-3)
    turned = line_of({(y, x): outcome for (x, y), outcome in cells.items()}, resamples=1)
    assert np.array(found.probability) == pytest.approx(np.array(turned.probability).T, abs=1e-3)


def test_two_values_an_axis_make_straight_logits() -> None:
    cells = {(0.0, 0.0): (0, 4), (1.0, 0.0): (3, 4), (0.0, 1.0): (1, 4), (1.0, 1.0): (2, 4)}
    found = line_of(cells, resamples=1)
    logits = np.log(np.array(found.probability) / (1 - np.array(found.probability)))
    for axis in (0, 1):
        assert np.abs(np.diff(logits, 2, axis=axis)).max() < 1e-6
    corners = [[found.probability[10 + 20 * r][10 + 20 * c] for c in range(2)] for r in range(2)]
    assert np.array(corners) == pytest.approx(np.array([[0, 0.75], [0.25, 0.5]]), abs=0.02)


# --- the band --------------------------------------------------------------------------------------------------------


def test_the_interval_holds_the_true_crossing_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    x = np.repeat(np.arange(6.0), 6)
    held = 0
    for simulation in range(20):
        true = random.uniform(1, 4)
        broken = random.random(len(x)) < expit(4 * (x - true))
        found = breaking_line(x.tolist(), None, broken.tolist(), resamples=40, seed=simulation)
        crossing = along(found)["up"] if found else None
        held += crossing is not None and crossing.low <= true <= crossing.high
    assert 16 <= held <= 20


def test_a_crossing_that_moves_over_the_end_in_some_resamples_has_an_open_interval() -> None:
    found = breaking_line(
        [0.0, 1.0, 2.0] * 6, None, [False, True, True] * 2 + [True, True, True] * 2 + [False, True, True] * 2
    )
    assert found is not None
    (crossing,) = found.crossings
    assert crossing.low == 0
    assert 0.5 < crossing.share < 1


def test_the_share_is_sure_where_all_trials_agree_and_not_on_the_line() -> None:
    found = line_of({(float(x), float(y)): (4 if x > 2 else 0, 4) for x, y in product(range(6), range(3))})
    held, line, broken = np.interp([0, 2.5, 5], found.x, found.share[20])
    assert held < 0.025 < line < 0.975 < broken


def test_the_same_seed_gives_the_same_band_and_the_order_of_trials_none_at_all() -> None:
    x, y, broken = [0.0, 1.0, 2.0, 3.0] * 4, [0.0, 0.0, 1.0, 1.0] * 4, [False, True, False, True] * 3 + [True] * 4
    found = breaking_line(x, y, broken, resamples=20)
    assert found == breaking_line(x[::-1], y[::-1], broken[::-1], resamples=20)
    assert found != breaking_line(x, y, broken, resamples=20, seed=1)


# --- scales and edges ------------------------------------------------------------------------------------------------


def test_a_grid_is_fitted_in_the_ranks_of_its_values() -> None:
    scale = Scale.of([128.0, 0.0, 16.0, 32.0, 16.0])
    assert (scale.kind, scale.values) == ("positions", (0.0, 16.0, 32.0, 128.0))
    assert [scale.to_position(v) for v in (0, 8, 128, 200)] == [0, 0.5, 3, 3]
    assert [scale.to_value(p) for p in (-0.5, 0.5, 2.5)] == [0, 8, 80]


def test_many_values_are_fitted_as_they_are_or_in_their_logarithm() -> None:
    linear, log = Scale.of([i / 20 for i in range(20)]), Scale.of([10 ** (i / 10) for i in range(20)])
    assert (linear.kind, log.kind) == ("linear", "log")
    assert Scale.of([1.0 + i for i in range(18)]).kind == "linear"
    for scale in (linear, log):
        assert [scale.to_value(scale.to_position(v)) for v in scale.values] == pytest.approx(list(scale.values))


def test_a_grid_is_drawn_to_its_outer_edges_and_a_random_search_to_its_last_points() -> None:
    found = line_of({(0.0, 1.0): (0, 2), (4.0, 1.0): (2, 2), (9.0, 1.0): (2, 2), (9.0, 2.0): (0, 2)}, resamples=5)
    assert (found.x[0], found.x[-1], found.y[0], found.y[-1]) == (-0.5, 2.5, -0.5, 1.5)
    many = breaking_line([0.1 * 2**i for i in range(20)], None, [i > 9 for i in range(20)], resamples=5)
    assert many is not None
    assert many.x_scale.kind == "log"
    assert (10 ** many.x[0], 10 ** many.x[-1]) == pytest.approx((0.1, 0.1 * 2**19))
    assert 0.1 * 2**9 < many.crossings[0].value < 0.1 * 2**10


def test_many_rows_are_crossed_at_their_quartiles() -> None:
    y = [i / 40 for i in range(41)]
    found = breaking_line([0.0, 1.0] * 41, [v for v in y for _ in range(2)], [False, True] * 41, resamples=5)
    assert found is not None
    assert [crossing.row for crossing in found.crossings] == [0.25, 0.5, 0.75]


def test_a_single_row_is_one_axis() -> None:
    x, broken = [0.0, 1.0, 2.0, 3.0] * 2, [False, False, True, True] * 2
    assert breaking_line(x, [7.0] * 8, broken, resamples=5) == breaking_line(x, None, broken, resamples=5)
    found = breaking_line(x, None, broken, resamples=5)
    assert found is not None
    assert (found.y_scale, found.y, len(found.probability), len(found.share)) == (None, (0.0,), 1, 1)


@pytest.mark.parametrize(
    ("x", "broken"),
    [
        ([0.0, 1.0, 2.0, 3.0], [True] * 4),
        ([0.0, 1.0, 2.0, 3.0], [False] * 4),
        ([0.0, 1.0, 2.0], [False, True, True]),
        ([5.0] * 4, [False, True] * 2),
        ([], []),
    ],
)
def test_where_there_is_nothing_to_find_there_is_no_line(x: list[float], broken: list[bool]) -> None:
    assert breaking_line(x, None, broken) is None


def test_values_that_are_no_numbers_and_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        breaking_line([0.0, 1.0, math.nan, 2.0], None, [True, False, True, False])
    with pytest.raises(ValueError, match=r"zip|dimension"):
        breaking_line([0.0, 1.0, 2.0, 3.0], [0.0, 1.0], [True, False, True, False])
