"""Compaction beside writers, readers and other compactions, and killed: real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cosweep.results.compaction import compact_sweep
from cosweep.results.store import Store
from tests.results.rows import curve, snapshot_rows, trial_row
from tests.results.test_compaction import names, rows_of

pytestmark = pytest.mark.integration

WRITER = """
import sys, time
from cosweep.results.store import Store
from tests.results.rows import curve, trial_row
store = Store(sys.argv[1])
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    store.write_trial("s", trial_row(f"{number:04d}"), curve())
    print(number, flush=True)
"""
COMPACTOR = """
import sys
from cosweep.errors import CosweepError
from cosweep.results.compaction import compact_sweep
from cosweep.results.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
while True:
    try:
        compact_sweep(store, "s")
    except CosweepError as error:
        assert "another compaction" in str(error), error
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process; it must not have ended by itself before."""
    alive = process.poll() is None
    process.kill()
    _, errors = process.communicate()
    assert alive, errors


def test_readers_never_miss_or_double_a_trial_while_others_write_and_compact(tmp_path: Path) -> None:
    root = tmp_path / "results"
    Store(root).create()
    compactors = [start(COMPACTOR, str(root)) for _ in range(2)]
    writer = start(WRITER, str(root), "300")
    assert writer.stdout is not None
    os.set_blocking(writer.stdout.fileno(), False)
    written = looks = 0
    while written < 300:
        with suppress(BlockingIOError):
            written += os.read(writer.stdout.fileno(), 1 << 16).count(b"\n")
        store = Store(root)
        ids = store.trials()["trial_id"].to_pylist()
        assert len(ids) == len(set(ids)) >= written, f"{written} written, {len(ids)} seen"
        probes = store.curves()["trial_id"].to_pylist()
        assert set(ids) <= set(probes)
        assert len(probes) == 3 * len(set(probes))
        assert store.bad_files == []
        looks += 1
    for process in compactors:
        end(process)
    assert writer.wait() == 0
    assert looks > 5


def test_killing_compaction_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    store, rng = Store(tmp_path), random.Random(0)
    store.write_trial("s", trial_row("failed", status="failed"), curve())
    for kill in range(6):
        for number in range(15):
            store.write_trial("s", trial_row(f"{kill}{number:02d}"), curve(), snapshot_rows(("end", number)))
        before = rows_of(store)
        process = start(COMPACTOR, store.location)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert rows_of(store) == before
    compact_sweep(store, "s")
    assert names(store, "trials") == ["compacted.parquet", "failed.parquet"]
    assert rows_of(store) == before
