"""The tally of a sweep under way."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from cosweep.sweep.progress import ProgressDisplay, Tally, format_seconds
from cosweep.worker.events import Event, Phase


def test_the_tally_counts_each_trial_once() -> None:
    tally = Tally(total=4, done=1, earlier=1)
    tally.start("a")
    tally.hear("a", Event(Phase.RUNNING, trained=0.5, co_step=7))
    tally.hear("a", Event(Phase.RUNNING, trained=0.6, co_step=7))
    tally.hear("b", Event(Phase.RUNNING, trained=0.1))
    tally.stop("a")
    tally.finish(failed=False)
    tally.start("a")  # such as one that runs again
    tally.hear("a", Event(Phase.RUNNING, trained=0.6, co_step=7))
    tally.stop("a")
    tally.finish(failed=True)
    assert (tally.done, tally.broken, tally.failed, tally.running) == (3, 1, 1, {"b": 0.1})
    assert str(tally).startswith("3 done · 1 running · 0 left · CO in 1 · 1 failed · time left")


def test_time_left_counts_work_of_this_run_only() -> None:
    tally = Tally(total=10, done=6, earlier=6, started=time.monotonic() - 3000)
    assert tally.seconds_left() is None
    tally.finish(failed=False)
    tally.hear("b", Event(Phase.RUNNING, trained=0.5))
    assert tally.seconds_left() == pytest.approx(2.5 * 3000 / 1.5, rel=0.01)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.6, "1m 00s"), (185, "3m 05s"), (7800, "2h 10m")])
def test_seconds_are_shown_as_people_read_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_log_gets_lines_not_a_bar() -> None:
    out = io.StringIO()
    tally = Tally(total=2)
    with ProgressDisplay(tally, Console(file=out)) as display:
        display.refresh()
        display.refresh()
        tally.finish(failed=False)
    lines = out.getvalue().splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["0 done", "1 done"]


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with ProgressDisplay(Tally(total=2), Console(file=out, force_terminal=True)) as display:
        display.refresh()
    assert "\x1b[" in out.getvalue()
