"""What a worker tells the driver, as Ray carries it."""

from __future__ import annotations

import json

import pytest

from cosweep.metrics import TrialState, TrialStatus
from cosweep.worker.events import Event, Phase


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("status", [None, *TrialStatus])
def test_an_event_survives_plain_data_beside_entries_of_rays(phase: Phase, status: TrialStatus | None) -> None:
    event = Event(phase, "a problem", 0.25, TrialState.CO, 12, 40, status)
    carried = json.loads(json.dumps(event.to_dict())) | {"training_iteration": 3, "done": False}
    assert Event.from_dict(carried) == event


def test_a_report_that_is_no_event_is_not_taken_for_one() -> None:
    with pytest.raises(KeyError, match="phase"):
        Event.from_dict({"training_iteration": 3})


@pytest.mark.parametrize(
    ("state", "co_step", "co"),
    [
        (TrialState.CO, 12, True),
        (TrialState.RECOVERED, 12, True),
        (TrialState.DIVERGED, 12, True),
        (TrialState.HEALTHY, None, False),
        (TrialState.DIVERGED, None, None),
        (TrialState.NOT_ROBUST, None, None),
        (None, None, None),
    ],
)
def test_a_trial_says_whether_training_broke_if_it_broke_or_is_healthy(
    state: TrialState | None, co_step: int | None, co: bool | None
) -> None:
    row = {"state": state, "co_step": co_step, "total_steps": 40, "status": "completed"}
    assert Event.of_row(row).co is co
    assert Event.of_row(row).total_steps == 40
