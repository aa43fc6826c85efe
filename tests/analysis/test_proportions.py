"""Intervals of P(CO): published ones, and a second implementation."""

from __future__ import annotations

import pytest
from statsmodels.stats.proportion import proportion_confint

from cosweep.analysis.proportions import wilson

# Newcombe, Stat. Med. 17:857, 1998, table I, method 3.
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("broken", "trials", "low", "high"), NEWCOMBE)
def test_published_intervals(broken: int, trials: int, low: float, high: float) -> None:
    assert wilson(broken, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_a_second_implementation_agrees(level: float) -> None:
    for trials in range(1, 12):
        for broken in range(trials + 1):
            expected = proportion_confint(broken, trials, 1 - level, method="wilson")
            assert wilson(broken, trials, level) == pytest.approx(expected, abs=1e-12)


def test_no_trials_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("broken", [-1, 3])
def test_a_count_out_of_range_is_refused(broken: int) -> None:
    with pytest.raises(ValueError, match="broken must be from 0 to trials, 2"):
        wilson(broken, 2)
