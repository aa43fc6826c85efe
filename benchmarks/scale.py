"""What a sweep costs by itself, by its number of trials; makes the tables of docs/scaling.md.

    python benchmarks/scale.py [--trials 100 1000 10000] [--mlflow none|SQLite|server] [--at-once 4]

Trials are simulated and take no time, so that all of it is the driver's, Ray's and the store's: the worst case. Each
driver is a process of its own that is watched from here: one undisturbed, and one killed with -9 half-way and started
again. What is said of a trial is between the first row and the last; ``report`` is all that comes after that.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from mlflow_logging import mlflow
from rich.console import Console
from rich.table import Table
from simulation import SimulatedRun

from cosweep.definition.search_space import parse_sweep
from cosweep.sweep import run

SWEEP = "scale"
POLL_SECONDS = 0.2
HEADS = (
    "trials",
    "first result",
    "wall a trial",
    "driver CPU a trial",
    "report",
    "driver peak",
    "carries on after",
    "MLflow rows/s",
)


@dataclass(frozen=True)
class Moment:
    """Where a driver was.

    Attributes:
        rows: Trials with a row.
        wall: Seconds since the driver started.
        cpu: Seconds of CPU that it took.
    """

    rows: int
    wall: float
    cpu: float


def main() -> None:
    options = parsed()
    if options.drive:
        drive(options.drive, options.trials[0], options.at_once)
        return
    table = Table(*HEADS)
    for trials in options.trials:
        with tempfile.TemporaryDirectory() as name:
            table.add_row(f"{trials:,}", *measured(Path(name), trials, options))
        Console(stderr=True).print(table)
    Console().print(table)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--mlflow", choices=["none", "SQLite", "server"], default="none")
    parser.add_argument("--at-once", type=int, default=4, help="trials at a time, all on this machine's cores")
    parser.add_argument("--drive", metavar="ROOT", help=argparse.SUPPRESS)
    return parser.parse_args()


def drive(root: str, trials: int, at_once: int) -> None:
    """Be the driver of one sweep; says its peak memory at the end."""
    raw = {
        "name": SWEEP,
        "space": {
            "method.epsilon": {"grid": [n / 255 for n in range(1, 11)]},
            "seed": {"grid": list(range(trials // 10))},
        },
        "resources": {"cpu": (os.cpu_count() or 1) / at_once},
        "results": {"root": root},
    }
    if not os.environ["MLFLOW_TRACKING_URI"]:
        run.tracking_uri = lambda *_: None  # a sweep into a folder is always logged, at worst into SQLite
    outcome = run.run_sweep(parse_sweep(raw), Console(stderr=True), make_run=SimulatedRun)
    if lost := outcome.missing + len(outcome.failed) + outcome.unlogged:
        raise RuntimeError(f"{lost} trials are missing, failed, or not in MLflow: {outcome.unlogged_reason}")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(folder: Path, trials: int, options: argparse.Namespace) -> list[str]:
    """Cells of one row."""
    with mlflow(options.mlflow, folder / "mlflow") as uri:
        driver = Driver(folder / "quiet", trials, options.at_once, uri)
        first, last = driver.reach(1), driver.reach(trials)
        end, peak = driver.finish()
        rows = logged_points(folder / "mlflow" / "mlflow.db") / (end - first.wall) if uri else None
    resumed = carried_on(folder / "killed", trials, options.at_once)
    each = 1000 / (last.rows - first.rows)
    return [
        f"{first.wall:.1f} s",
        f"{each * (last.wall - first.wall):.1f} ms",
        f"{each * (last.cpu - first.cpu):.1f} ms",
        f"{end - last.wall:.1f} s",
        f"{peak:.0f} MB",
        f"{resumed:.1f} s",
        "-" if rows is None else f"{rows:.0f}",
    ]


def carried_on(root: Path, trials: int, at_once: int) -> float:
    """Seconds from the second start of a driver, killed half-way, to its first result; nothing runs twice."""
    killed = Driver(root, trials, at_once, "")
    killed.reach(trials // 2)
    killed.kill()
    kept = killed.results()
    again = Driver(root, trials, at_once, "")
    seconds = again.reach(len(kept) + 1).wall
    again.reach(trials)
    again.finish()
    after = again.results()
    assert len(after) == trials, f"{len(after)} of {trials} trials have a row"
    assert kept.items() <= after.items(), "a finished trial was run again"
    return seconds


class Driver:
    """A driver in a process of its own, watched from outside."""

    def __init__(self, root: Path, trials: int, at_once: int, uri: str) -> None:
        self._folder = root / "trials" / f"sweep={SWEEP}"
        command = [sys.executable, __file__, "--drive", str(root), "--trials", str(trials), "--at-once", str(at_once)]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._watched = psutil.Process(self._process.pid)

    def results(self) -> dict[str, int]:
        """Files of trials that ended, and when they were written."""
        if not self._folder.exists():
            return {}
        with os.scandir(self._folder) as entries:
            return {e.name: e.stat().st_mtime_ns for e in entries if not e.name.startswith(".")}

    def reach(self, rows: int) -> Moment:
        """The moment at which so many trials have a row."""
        while (found := len(self.results())) < rows:
            if self._process.poll() is not None:
                raise RuntimeError(f"the driver ended with {found} of {rows} rows")
            time.sleep(POLL_SECONDS)
        cpu = self._watched.cpu_times()
        return Moment(found, time.monotonic() - self._started, cpu.user + cpu.system)

    def finish(self) -> tuple[float, float]:
        """Seconds since the start at the driver's end, and its peak memory in MB."""
        output, _ = self._process.communicate()
        return time.monotonic() - self._started, float(output.split()[-1])

    def kill(self) -> None:
        """End the driver as a crash would; Ray's processes end by themselves."""
        family = self._watched.children(recursive=True)
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        while any(alive(process) for process in family):
            time.sleep(POLL_SECONDS)


def alive(process: psutil.Process) -> bool:
    """Whether a process still does something; some systems keep what is left of one that ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def logged_points(database: Path) -> int:
    """Rows of metrics that MLflow has."""
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])


if __name__ == "__main__":
    main()
