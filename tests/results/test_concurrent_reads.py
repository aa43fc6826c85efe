"""Counts taken while trials are written and compacted by other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cosweep.results.query import run_query
from cosweep.results.store import Store

_TRIALS = 120
_WRITE = """
import sys
from cosweep.results.store import Store
from tests.results.rows import curve, trial_row

store = Store(sys.argv[1])
store.create()
for number in range(int(sys.argv[2])):
    store.write_trial("s", trial_row(f"{number:012x}"), curve())
"""
_COMPACT = """
import sys
from cosweep.results.compaction import compact_sweep
from cosweep.results.store import Store

while sys.stdin.readline():
    compact_sweep(Store(sys.argv[1]), "s")
    print("done", flush=True)
"""


def test_counts_never_fall_while_a_sweep_writes_and_is_compacted(tmp_path: Path) -> None:
    def process(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(tmp_path), str(_TRIALS)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    counts: list[int] = []
    compactions = 0
    with process(_WRITE) as writer, process(_COMPACT) as compactor:
        assert compactor.stdin is not None
        assert compactor.stdout is not None
        while writer.poll() is None or len(counts) < 3:
            compactor.stdin.write("again\n")
            compactor.stdin.flush()
            for _ in range(3):
                store = Store(tmp_path)
                sql = "SELECT count(*) AS n, count(DISTINCT trial_id) AS d FROM trials"
                (row,) = run_query(store, sql).to_pylist()
                probes = store.curves("s")
                assert row["n"] == row["d"]
                assert len(probes) == 3 * len(set(probes["trial_id"].to_pylist())) >= 3 * row["n"]
                assert store.bad_files == []
                counts.append(row["n"])
            assert compactor.stdout.readline() == "done\n"
            compactions += 1
        compactor.stdin.close()
    assert writer.returncode == compactor.returncode == 0
    assert counts == sorted(counts)
    assert Store(tmp_path).trials("s").num_rows == _TRIALS
    assert compactions >= 1
