"""Signs of life of a driver, from a thread of their own: a location that does not answer holds up no trial."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from cosweep.cluster.ray_private import end_trials
from cosweep.errors import CosweepError
from cosweep.results.files import BusyError
from cosweep.results.store import Store
from cosweep.sweep.state import PULSE_SECONDS

_END_SECONDS = 10.0


class Pulse:
    """Context that writes what runs, for ``cosweep status`` elsewhere, and keeps other drivers out.

    Args:
        store, sweep: Where, and of which sweep.
        running: Says the fraction done of each trial that runs.
        still_in: Gives a sign of life, and raises if another driver took the sweep over.

    Attributes:
        notes: What is to be told, as it comes.
    """

    def __init__(
        self, store: Store, sweep: str, running: Callable[[], dict[str, float]], still_in: Callable[[], None]
    ) -> None:
        self.notes: SimpleQueue[str] = SimpleQueue()
        self._store, self._sweep, self._running, self._still_in = store, sweep, running, still_in
        self._ended, self._in_trouble = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, name="cosweep-pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(_END_SECONDS)

    def _beat(self) -> None:
        while not self._ended.wait(PULSE_SECONDS):
            self._try(lambda: self._store.write_pulse(self._sweep, {"running": self._running(), "ended": False}))
            self._try(self._still_in)
        self._try(lambda: self._store.write_pulse(self._sweep, {"running": {}, "ended": True}))

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except BusyError as error:
            self.notes.put(f"{error}; this one stops")
            end_trials()
            self._ended.set()
        except (OSError, CosweepError) as error:
            if not self._in_trouble:
                self.notes.put(f"cosweep status elsewhere cannot show what runs: {error}")
            self._in_trouble = True
        else:
            self._in_trouble = False
