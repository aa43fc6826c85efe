"""Which signal ends a sweep in which way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from cosweep.sweep.stops import Stops

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (*ALL, signal.SIGUSR1)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize("number", ALL)
def test_outside_of_trials_a_signal_ends_the_sweep_at_once(number: signal.Signals) -> None:
    stops = Stops()
    with pytest.raises(KeyboardInterrupt), stops:
        signal.raise_signal(number)
    assert stops.asked == number.name


@pytest.mark.parametrize("first", ALL)
def test_while_trials_run_the_first_gives_them_up_and_only_a_ctrl_c_ends_the_rest(first: signal.Signals) -> None:
    heard: list[int] = []
    with Stops() as stops:
        with stops.giving_up():
            signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))  # as Tune does
            for number in (first, signal.SIGTERM, signal.SIGHUP):
                signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        assert stops.asked == first.name
        assert heard == [signal.SIGUSR1]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_second_ctrl_c_ends_trials_too() -> None:
    with Stops() as stops, stops.giving_up():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_that_the_process_was_started_to_ignore_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stops() as stops:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stops.asked
    finally:
        signal.signal(signal.SIGHUP, before)
