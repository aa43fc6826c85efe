"""Signals that ask a sweep to end: Ctrl-C, SIGTERM, and SIGHUP of a terminal that was closed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from cosweep.cluster.ray_private import end_trials, trials_can_be_ended

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """Listens to the signals while it is entered, but for those that the process was started to ignore, as by nohup.

    While trials run, the first has Tune give them up, so that the report is drawn. At any other time it ends the sweep
    at once, by KeyboardInterrupt, which is the one exception that Ray lets through. So does a Ctrl-C after the first
    signal; another SIGTERM or SIGHUP then changes nothing: a closed terminal, or ``timeout``, sends them twice.

    Attributes:
        asked: Name of the first signal that came; empty if none did.
    """

    def __init__(self) -> None:
        self.asked = ""
        self._trials_run = False
        self._before: dict[signal.Signals, signal.Handlers] = {}

    def __enter__(self) -> Stops:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """Context in which the first signal has Tune give up the trials that run."""
        with trials_can_be_ended():
            self._trials_run = True
            try:
                yield
            finally:
                self._trials_run = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first, self.asked = not self.asked, self.asked or signal.Signals(number).name
        if is_first and self._trials_run:
            end_trials()
        elif is_first or number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # one more ends the process, should this take long
            raise KeyboardInterrupt
