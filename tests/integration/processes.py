"""Running cosweep as a user does, in a process of its own, on a definition of tiny trials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from cosweep.results.query import run_query
from cosweep.results.store import Store

T = TypeVar("T")
Numbers = tuple[list[str], list[str]]
COSWEEP = str(Path(sys.executable).with_name("cosweep"))
"""The command, as it is installed."""
FAULTS = Path(__file__).parent / "faults"

TINY = """
name: tiny
trial:
  data: {source: digits, train_examples: 256}
  interventions: [{kind: inject, beta: 24/255}]
  model: {name: preact_resnet, width: 4, blocks: [1]}
  method: {name: fgsm, epsilon: 64/255}
  optimizer: {epochs: 2, batch_size: 64}
  probe: {every: 3, examples: 64, pgd_steps: 4}
  final: {steps: 2, restarts: 1, examples: 64}
space:
  interventions.0.beta: {grid: [0, 24/255]}
  seed: {grid: [0, 1]}
"""

UNTRACKED = TINY + 'tracking: {uri: "off"}\n'
"""Where MLflow is not what a test is about: a writer less takes a sixth of a sweep's time."""

# Long enough that a fault finds trials running, short enough to wait for.
LONGER = ["--set", "trial.optimizer.epochs=30", "--set", "trial.probe.every=5"]

# Columns that differ between two runs of one spec.
CLOCKS = "train_seconds, probe_seconds, diagnostic_seconds, eval_seconds, wall_seconds, started_at, finished_at"


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start ``cosweep run`` in ``folder``, in a process group of its own."""
    return subprocess.Popen(
        [COSWEEP, "run", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def numbers(store: Store) -> Numbers:
    """Trials and curves of all sweeps, without what differs between two runs of one spec."""
    trials = run_query(store, f"SELECT * EXCLUDE ({CLOCKS}) FROM trials ORDER BY trial_id").to_pylist()
    curves = run_query(store, "SELECT * FROM curves ORDER BY trial_id, step").to_pylist()
    return [repr(row) for row in trials], [repr(row) for row in curves]


def suffering(folder: Path, *faults: str) -> dict[str, str]:
    """Environment in which trials have faults of :mod:`tests.integration.faults.sitecustomize`."""
    marks = folder / "faults"
    marks.mkdir()
    for fault in faults:
        (marks / fault).touch()
    return {"FAULTS": str(marks), "PYTHONPATH": f"{FAULTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def nearly_full() -> dict[str, str]:
    """Environment in which Ray takes this machine for full when 9 GB more are used, by other tests or by this one."""
    from ray._common.utils import get_system_memory
    from ray._private.utils import get_used_memory

    return {"RAY_memory_usage_threshold": str(min(0.95, (get_used_memory() + 9e9) / get_system_memory()))}


def workers_of(driver: int, title: str) -> list[psutil.Process]:
    """Ray's processes below a driver whose title begins so; none if it has ended."""
    try:
        family = psutil.Process(driver).children(recursive=True)
        return [process for process in family if "".join(process.cmdline()).startswith(title)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def watched(process: subprocess.Popen[str]) -> Iterator[list[str]]:
    """What a process prints, as it comes; the process ends with the context at the latest."""
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(30)


def finish(process: subprocess.Popen[str], timeout: float = 600) -> tuple[int, str]:
    """Exit code and output of a process."""
    output, _ = process.communicate(timeout=timeout)
    return process.returncode, output


def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run ``cosweep run`` to its end."""
    return finish(start(folder, *arguments, **environment))


def wait_for(condition: Callable[[], T], timeout: float = 120) -> T:
    """What a condition returns when it first holds.

    Raises:
        TimeoutError: If it does not in time.
    """
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true in {timeout:.0f} s")
        time.sleep(0.05)
    return found
