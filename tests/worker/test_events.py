"""What a worker tells the driver, as Ray carries it."""

from __future__ import annotations

import json

import pytest

from cosweep.metrics import TrialStatus
from cosweep.worker.events import Event, Phase


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("status", [None, *TrialStatus])
def test_an_event_survives_plain_data_beside_entries_of_rays(phase: Phase, status: TrialStatus | None) -> None:
    event = Event(phase, "a problem", 0.25, True, status)
    carried = json.loads(json.dumps(event.to_dict())) | {"training_iteration": 3, "done": False}
    assert Event.from_dict(carried) == event


def test_a_report_that_is_no_event_is_not_taken_for_one() -> None:
    with pytest.raises(KeyError, match="phase"):
        Event.from_dict({"training_iteration": 3})
