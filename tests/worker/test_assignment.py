"""What a worker is given of a trial."""

from __future__ import annotations

from cosweep.worker.assignment import Assignment
from tests.tiny import tiny_spec


def test_a_worker_gets_the_spec_that_was_asked_for() -> None:
    spec = tiny_spec()
    config = Assignment.of(spec).to_config()
    assert Assignment.from_config(config).trial_id == spec.trial_id
    assert Assignment.from_config(config).spec == spec
