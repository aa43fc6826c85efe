"""How often trials report."""

from __future__ import annotations

import pytest

from cosweep.sweep.trainable import REPORTS_PER_SECOND, report_seconds


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 5.0), (200, 5.0), (250, 5.0), (1000, 20.0), (4000, 80.0)])
def test_trials_report_every_few_seconds_and_seldom_where_many_run(at_once: int, seconds: float) -> None:
    assert report_seconds(at_once) == seconds
    assert at_once / report_seconds(at_once) <= REPORTS_PER_SECOND
