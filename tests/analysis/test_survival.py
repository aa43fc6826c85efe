"""Time to CO: known answers from textbooks, a second implementation, and what is censored."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight

from cosweep.analysis.survival import logrank, onset_groups, survival, survival_rows
from tests.results.rows import broken_row, trial_row

# Weeks of remission of leukaemia (Freireich et al., Blood 21, 1963), with 6-mercaptopurine and with placebo.
TREATED = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [bool(x) for x in (1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0)]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_kaplan_meier_of_the_leukaemia_trial() -> None:
    curve = survival("6-MP", TREATED, RELAPSED)
    # Kleinbaum and Klein, Survival Analysis (2012), table in section 2.II.
    assert list(curve.steps) == [0, 6, 7, 10, 13, 16, 22, 23, 35]
    assert list(curve.at_risk) == [21, 21, 17, 15, 12, 11, 7, 6, 1]
    expected = (1, 0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482, 0.4482)
    assert curve.healthy == pytest.approx(expected, abs=5e-5)
    assert (curve.trials, curve.broken, curve.median) == (21, 9, 23)
    assert len(curve.censored) == 12


def test_the_log_log_band_is_that_of_a_second_implementation() -> None:
    curve = survival("6-MP", TREATED, RELAPSED)
    error = SurvfuncRight(np.array(TREATED), np.array(RELAPSED, int)).surv_prob_se
    share = np.array(curve.healthy[1:-1])
    spread = stats.norm.ppf(0.975) * error / (share * np.log(share))
    for found, sign in ((curve.low, 1), (curve.high, -1)):
        assert found[1:-1] == pytest.approx(share ** np.exp(-sign * spread), rel=1e-6)


def test_the_log_rank_test_of_the_leukaemia_trial() -> None:
    test = logrank({"6-MP": (TREATED, RELAPSED), "placebo": (PLACEBO, [True] * 21)})
    assert test is not None
    assert test.statistic == pytest.approx(16.79, abs=5e-3)  # Kleinbaum and Klein, section 2.IV
    assert test.degrees == 1
    assert test.p_value == pytest.approx(4.17e-5, rel=1e-3)


def test_the_log_rank_test_agrees_with_scipy_on_two_groups() -> None:
    rng = random.Random(0)
    groups = {}
    for name, scale in (("a", 100), ("b", 160)):
        times = [round(rng.expovariate(1 / scale)) + 1.0 for _ in range(40)]
        groups[name] = ([min(t, 150.0) for t in times], [t <= 150 for t in times])
    one, other = (
        stats.CensoredData(uncensored=[t for t, gone in zip(*g) if gone], right=[t for t, gone in zip(*g) if not gone])
        for g in groups.values()
    )
    expected = stats.logrank(one, other)
    test = logrank(groups)
    assert test is not None
    assert test.statistic == pytest.approx(expected.statistic**2)
    assert test.p_value == pytest.approx(expected.pvalue)


def test_the_log_rank_test_of_three_groups_agrees_with_lifelines() -> None:
    halves = {name: (TREATED[i::2], RELAPSED[i::2]) for i, name in enumerate("ab")}
    test = logrank({**halves, "placebo": (PLACEBO, [True] * 21)})
    assert test is not None
    # lifelines 0.30.3, multivariate_logrank_test
    assert test.statistic == pytest.approx(17.163875)
    assert test.degrees == 2
    assert test.p_value == pytest.approx(0.000187461, rel=1e-4)


def test_a_group_that_ended_before_the_first_breaking_point_is_not_compared() -> None:
    groups = {"a": ([5.0, 6.0, 9.0], [True, True, False]), "b": ([7.0, 9.0], [True, False])}
    assert logrank({**groups, "short": ([4.0, 3.0], [False, False])}) == logrank(groups)


NOTHING_TO_COMPARE = [
    {},
    {"a": ([1.0], [True])},
    {"a": ([1.0], [False]), "b": ([2.0], [False])},
    {"a": ([5.0, 5.0], [True, True]), "b": ([5.0], [True])},
]


@pytest.mark.parametrize("groups", NOTHING_TO_COMPARE)
def test_where_nothing_can_be_compared_there_is_no_test(groups: dict[str, tuple[list[float], list[bool]]]) -> None:
    assert logrank(groups) is None


def test_a_group_that_never_broke_stays_at_one() -> None:
    curve = survival("healthy", [575.0, 575.0], [False, False])
    assert (curve.steps, curve.healthy, curve.median) == ((0, 575), (1, 1), None)


def test_a_group_that_broke_wholly_ends_at_zero_with_an_undefined_band() -> None:
    curve = survival("broken", [10.0, 20.0], [True, True])
    assert list(curve.healthy) == [1, 0.5, 0]
    assert curve.median == 10
    assert math.isnan(curve.low[-1])


def test_no_trial_is_refused_and_so_are_lists_of_other_lengths() -> None:
    with pytest.raises(ValueError, match="no trial"):
        survival("empty", [], [])
    with pytest.raises(ValueError, match="same length"):
        survival("odd", [1.0, 2.0, 3.0], [True, False])


TRIALS = [
    broken_row("a", 100, epsilon=80 / 255, steps=300),
    trial_row("b", epsilon=80 / 255, steps=575),
    broken_row("c", 50, epsilon=80 / 255, steps=250, state="recovered"),
    trial_row("d", epsilon=48 / 255, steps=575),
    trial_row("e", epsilon=48 / 255, steps=575, state="diverged"),
    trial_row("f", epsilon=48 / 255, steps=575, state="not_robust"),
    trial_row("g", epsilon=48 / 255, status="failed", state=None, co=None, steps=None),
]


def test_healthy_trials_are_censored_and_those_with_nothing_to_lose_left_out() -> None:
    assert onset_groups(TRIALS, "epsilon") == {
        "epsilon 48/255": ([575.0], [False]),
        "epsilon 80/255": ([100.0, 575.0, 50.0], [True, False, True]),
    }
    assert onset_groups(TRIALS, None) == {"all trials": ([100.0, 575.0, 50.0, 575.0], [True, False, True, False])}


def test_an_option_that_some_trials_lack_makes_a_group() -> None:
    assert list(onset_groups([trial_row("a", beta=None), trial_row("b", beta=0.0)], "beta")) == ["beta none", "beta 0"]


def test_rows_of_the_table() -> None:
    rows = survival_rows([survival("g", [10.0, 20.0], [True, False])])
    assert [(r["group"], r["step"], r["at_risk"], r["healthy"]) for r in rows] == [
        ("g", 0, 2, 1),
        ("g", 10, 2, 0.5),
        ("g", 20, 1, 0.5),
    ]
