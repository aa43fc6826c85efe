"""What trials report, and how often."""

from __future__ import annotations

import pytest

from cosweep.training import TrialSpec, run_trial
from cosweep.worker.events import Event
from cosweep.worker.run_trial import REPORTS_PER_SECOND, report_seconds


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 5.0), (200, 5.0), (250, 5.0), (1000, 20.0), (4000, 80.0)])
def test_trials_report_every_few_seconds_and_seldom_where_many_run(at_once: int, seconds: float) -> None:
    assert report_seconds(at_once) == seconds
    assert at_once / report_seconds(at_once) <= REPORTS_PER_SECOND


def test_what_is_trained_is_a_share_also_before_a_resumed_trial_knows_its_length() -> None:
    run = run_trial(
        TrialSpec.from_dict(
            {
                "data": {"source": "digits", "train_examples": 128},
                "model": {"name": "preact_resnet", "width": 4, "blocks": [1]},
                "optimizer": {"epochs": 4, "batch_size": 64},
                "probe": {"every": 2, "examples": 64, "pgd_steps": 4},
            }
        )
    )
    probes = iter(run)
    next(probes)
    assert Event.of(run).trained == 2 / 8
    resumed = run_trial(run.spec)
    resumed.resume(run.state())
    assert resumed.steps == 2
    assert Event.of(resumed).trained == 0
