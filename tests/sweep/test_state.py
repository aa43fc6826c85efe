"""How far a sweep is: what runs, the rate, the time left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cosweep.sweep.state import SweepState
from tests.results.rows import START, broken_row, trial_row


def state(*rows: dict[str, Any], asked: int = 4, **pulse: Any) -> SweepState:
    return SweepState("s", asked, list(rows), {"at": START.isoformat(), **pulse} if pulse else {})


RUNNING = [
    ({}, 0, "-"),
    ({"running": {}}, 3, "starting"),
    ({"running": {"a": 0.4, "b": 0.856}}, 3, "2 (40%, 86%)"),
    ({"running": dict.fromkeys("abcdef", 0.5)}, 3, "6 (50%, 50%, 50%, 50%, ...)"),
    ({"running": {"a": 0.4}}, 600, "silent for 10m 00s"),  # killed, or cut off from the results
    ({"running": {}, "ended": True}, 3, "-"),
]


@pytest.mark.parametrize(("pulse", "seconds", "told"), RUNNING)
def test_what_the_driver_last_said(pulse: dict[str, Any], seconds: float, told: str) -> None:
    assert state(**pulse).running(START + timedelta(seconds=seconds)) == told


def test_nothing_runs_when_all_is_done() -> None:
    assert state(trial_row("a"), asked=1, running={"a": 0.9}).running(START) == "-"


def test_failed_trials_are_left_to_do() -> None:
    failed = trial_row("b", status="failed", state=None, co=None)
    found = state(trial_row("a"), failed)
    assert (len(found.good), found.left) == (1, 3)


def test_the_rate_is_that_of_the_last_hour() -> None:
    ends = [0, 7000, 7100, 7200]
    rows = [
        broken_row(
            str(end), started_at=START + timedelta(seconds=end - 100), finished_at=START + timedelta(seconds=end)
        )
        for end in ends
    ]
    found = state(*rows, asked=7)
    assert found.rate() == pytest.approx(3 * 3600 / 300)
    assert found.cells(START)[3] == "5m 00s"


def test_one_trial_gives_no_rate() -> None:
    assert state(trial_row("a")).rate() is None
