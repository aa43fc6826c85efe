"""The line that a boundary search believes in, on trials whose line is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from cosweep.analysis.believed_line import believed_line
from cosweep.analysis.breaking_points import phase_diagrams
from cosweep.analysis.columns import swept_columns
from tests.results.rows import broken_row, trial_row

STEPS = 1000


def trials(count: int, noise: float, slope: float = 2.0) -> list[tuple[float, float, bool, float | None]]:
    """x, y, whether it broke and when, of trials whose line is x = 0.3 + 0.4 y."""
    draws = random.Random(0)
    found: list[tuple[float, float, bool, float | None]] = []
    for _ in range(count):
        x, y = draws.uniform(0.1, 1), draws.uniform(0.1, 1)  # no factor of 20, which is drawn by its logarithm
        time = slope * (0.3 + 0.4 * y - x) + noise * draws.gauss(0, 1)
        found.append((x, y, time < 0, math.exp(time) if time < 0 else None))
    return found


def test_the_line_of_known_times_is_found_with_its_interval() -> None:
    x, y, broken, shares = zip(*trials(80, 0.1), strict=True)
    line = believed_line(x, y, broken, shares)
    assert line is not None
    assert np.array(line.probability).shape == (len(line.y), len(line.x))
    for crossing in line.crossings:
        assert crossing.row is not None
        true = 0.3 + 0.4 * crossing.row
        assert crossing.value == pytest.approx(true, abs=0.03)
        assert crossing.low <= crossing.value <= crossing.high
        assert crossing.high - crossing.low < 0.2
        assert crossing.direction == "up"
    assert len(line.crossings) == 3


def test_the_band_of_the_figure_is_that_of_the_crossings() -> None:
    x, y, broken, shares = zip(*trials(80, 0.1), strict=True)
    line = believed_line(x, y, broken, shares)
    assert line is not None
    assert not line.resampled
    for crossing in line.crossings:
        row = int(np.argmin([abs(up - (crossing.row or 0)) for up in line.y]))
        unsure = [across for across, p in zip(line.x, line.share[row], strict=True) if 0.025 < p < 0.975]
        assert min(unsure) == pytest.approx(crossing.low, abs=0.06)
        assert max(unsure) == pytest.approx(crossing.high, abs=0.06)


def test_breaking_points_narrow_the_interval() -> None:
    x, y, broken, shares = zip(*trials(30, 0.1), strict=True)
    timed, untimed = believed_line(x, y, broken, shares), believed_line(x, y, broken, [None] * len(x))
    assert timed is not None
    assert untimed is not None
    widths = [np.mean([c.high - c.low for c in line.crossings]) for line in (timed, untimed)]
    assert widths[0] < widths[1]


def test_over_one_axis_there_is_one_crossing() -> None:
    x = [i / 20 for i in range(21)]
    line = believed_line(x, None, [value > 0.62 for value in x], [None] * 21)
    assert line is not None
    (crossing,) = line.crossings
    assert crossing.value == pytest.approx(0.62, abs=0.05)
    assert line.y_scale is None


@pytest.mark.parametrize("broken", [True, False])
def test_without_both_outcomes_there_is_no_line(broken: bool) -> None:
    assert believed_line([0.1, 0.2, 0.3, 0.4], None, [broken] * 4, [None] * 4) is None


def test_the_diagram_of_a_boundary_search_has_the_line_it_believes_in() -> None:
    rows = []
    for i, (x, y, broke, share) in enumerate(trials(60, 0.1)):
        place = {"epsilon": x, "beta": y, "seed": i, "total_steps": STEPS}
        rows.append(
            broken_row(str(i), round(STEPS * share), **place) if broke and share else trial_row(str(i), **place)
        )
    space = swept_columns(rows, ["epsilon", "beta", "seed"])
    (believed,) = phase_diagrams(rows, space, "beta", "epsilon", believed=True)
    (fitted,) = phase_diagrams(rows, space, "beta", "epsilon")
    ((_, line),) = believed.lines
    assert all(c.value == pytest.approx(0.3 + 0.4 * (c.row or 0), abs=0.05) for c in line.crossings)
    assert line != fitted.lines[0][1]
