"""The table of ``cosweep status``, once or anew every few seconds."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from rich.live import Live

from cosweep.cli.fitted_table import FittedTable
from cosweep.results.store import Store
from cosweep.sweep.state import SweepState, sweep_states
from cosweep.terminal import SafeConsole
from cosweep.wording import counted


def status_table(states: list[SweepState]) -> FittedTable:
    """A line for each sweep."""
    heads = ("sweep", "done", "running", "time left", "CO", "by state", "by status", "trials/hour", "last result")
    now = datetime.now(UTC)
    return FittedTable(heads, [state.cells(now) for state in states])


def watch_sweeps(root: str, sweep: str | None, every: float, console: SafeConsole) -> None:
    """Show the status anew every so many seconds until all trials are done, the user interrupts, or nobody reads.

    Raises:
        CosweepError: If there is no such sweep.
    """
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            store = Store(root)
            states = sweep_states(store, sweep)
            table = status_table(states)
            if store.bad_files:
                table.note = f"{counted(len(store.bad_files), 'unreadable file')} left out; cosweep status names them"
            if console.is_terminal:
                live.update(table, refresh=True)
            else:
                console.print(table)
            if console.problem is not None or all(state.left <= 0 for state in states):
                return
            try:
                time.sleep(every)
            except KeyboardInterrupt:
                return
