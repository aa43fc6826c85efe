"""Cost of the tables: reading and querying generated stores before and after `cosweep compact`.

    python benchmarks/tables.py [--trials 1000,10000] [--probes 100]

Prints a Markdown table. Each number is the median of some repeats, each repeat a process of its own, since a reader
usually is one; memory is the most that such a process held. Files come from the page cache.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from cosweep.results.query import run_query
from cosweep.results.schema import SCHEMA_VERSION, TABLES, VERSION_KEY
from cosweep.results.store import Store

SWEEP = "generated"
BY_TRIAL = "SELECT trial_id, avg(pgd_acc), min(pgd_acc), max(step) FROM curves GROUP BY trial_id"
BY_EPSILON = (
    "SELECT epsilon, count(DISTINCT trial_id), avg(c.pgd_acc), avg(robust_acc) "
    "FROM trials JOIN curves c USING (trial_id) GROUP BY epsilon ORDER BY epsilon"
)
LOOKUPS = 100


def by_trial(store: Store) -> None:
    run_query(store, BY_TRIAL)


def by_epsilon(store: Store) -> None:
    run_query(store, BY_EPSILON)


def all_trials(store: Store) -> None:
    store.trials()


def lookups(store: Store) -> None:
    ids = trial_ids(len(store.partition("trials", SWEEP).trial_ids()))
    for trial_id in ids[:: max(1, len(ids) // LOOKUPS)][:LOOKUPS]:
        store.trial(SWEEP, trial_id)


def command(store: Store) -> None:
    line = [sys.executable, "-m", "cosweep", "query", BY_EPSILON, "--root", store.location]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def compaction(store: Store) -> None:
    subprocess.run(
        [sys.executable, "-m", "cosweep", "compact", "--root", store.location], check=True, stdout=subprocess.DEVNULL
    )


TASKS: dict[str, Callable[[Store], None]] = {
    "by trial": by_trial,
    "by epsilon": by_epsilon,
    "`Store.trials()`": all_trials,
    f"{LOOKUPS} x `Store.trial()`": lookups,
    "`cosweep query`": command,
    "`cosweep compact`": compaction,
}


def main() -> None:
    options = parsed()
    if options.measure:
        print(json.dumps(measured(TASKS[options.measure], Store(options.root))))
        return
    reading = [name for name in TASKS if "compact" not in name]
    print(f"pyarrow {pa.__version__}, {options.probes} probes a trial; seconds (MB of memory at most)\n")
    print(f"| trials | | files | MB | {' | '.join(reading)} |\n|{'---|' * (4 + len(reading))}")
    compacted = []
    for count in map(int, options.trials.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            generate(store, count, options.probes)
            print(row(store, count, "before", reading, options.repeats), flush=True)
            compacted.append(f"{count} trials {cell(store, '`cosweep compact`', 1)}")
            print(row(store, count, "after", reading, options.repeats), flush=True)
    print(f"\n`cosweep compact`: {', '.join(compacted)}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", default="1000,10000", help="sizes of the stores")
    parser.add_argument("--probes", type=int, default=100, help="per trial")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    return parser.parse_args()


def trial_ids(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [f"{number:012x}" for number in rng.integers(0, 1 << 48, count)]


def generate(store: Store, count: int, probes: int) -> None:
    """Files such as a sweep writes, with random numbers in place of measured ones."""
    rng = np.random.default_rng(1)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    store.create()
    for number, trial_id in enumerate(trial_ids(count)):
        accuracies = {name: float(rng.random()) for name in ("clean_acc", "fgsm_acc", "pgd_acc", "robust_acc")}
        given = {"epsilon": number % 16 / 255, "beta": number % 7 / 255, "seed": number % 5, "noise_scale": 2.0}
        texts = {"status": "completed", "state": "healthy", "method": "fgsm", "model": "preact_resnet"}
        times = {"started_at": started, "finished_at": started + timedelta(seconds=number)}
        told = {"spec_json": json.dumps({**given, **texts}), "steps": probes * 11, "co": False, "error": ""}
        trial = {"trial_id": trial_id, **texts, **given, **accuracies, **times, **told}
        curve: dict[str, object] = {
            name: rng.random(probes) for name in ("lr", "train_loss", "train_acc", "clean_acc", "fgsm_acc", "pgd_acc")
        }
        curve |= {"trial_id": [trial_id] * probes, "step": np.arange(probes) * 11, "epoch": np.arange(probes) / 2}
        write(store, "curves", trial_id, curve, probes)
        write(store, "trials", trial_id, {name: [value] for name, value in trial.items()}, 1)


def write(store: Store, kind: str, trial_id: str, values: dict[str, object], rows: int) -> None:
    arrays = {c.name: pa.array(values.pop(c.name, [None] * rows), c.type) for c in TABLES[kind]}
    table = pa.table(arrays | values).replace_schema_metadata({VERSION_KEY: str(SCHEMA_VERSION)})
    store.partition(kind, SWEEP).write(trial_id, table)


def row(store: Store, count: int, state: str, tasks: list[str], repeats: int) -> str:
    sizes = [path.stat().st_size for path in Path(store.location).rglob("*.parquet")]
    cells = [cell(store, task, repeats) for task in tasks]
    return f"| {count} | {state} | {len(sizes)} | {sum(sizes) / 1e6:.1f} | {' | '.join(cells)} |"


def cell(store: Store, task: str, repeats: int) -> str:
    """Median seconds of a task, and the most memory."""
    line = [sys.executable, __file__, "--measure", task, "--root", store.location]
    told = [json.loads(subprocess.run(line, check=True, capture_output=True).stdout) for _ in range(repeats)]
    return f"{statistics.median(t['seconds'] for t in told):.2f} s ({max(t['memory'] for t in told):.0f})"


def measured(task: Callable[[Store], None], store: Store) -> dict[str, float]:
    start = time.perf_counter()
    task(store)
    seconds = time.perf_counter() - start
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": seconds, "memory": kilobytes / 1e3}


if __name__ == "__main__":
    main()
