"""What MLflow costs: logging generated trials into SQLite and into a server, and a sweep with and without it.

    python benchmarks/mlflow_logging.py [--trials 1000] [--probes 100] [--sweep 300] [--repeats 3]

Prints Markdown tables. The first logs trials one after the other. The others run trials through Ray Tune: such that do
nothing, the worst case, and such that compute. The server shares the machine's cores with them, as it need not.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from cosweep.analysis.findings import make_findings
from cosweep.cluster.machines import connected
from cosweep.results.store import Store
from cosweep.tracking.entries import trial_entry
from cosweep.tracking.runs import SweepRuns
from cosweep.tracking.tracker import Tracker
from cosweep.training import TrialSpec
from cosweep.worker.rows import failed_row

SWEEP = "generated"
REPORTS = 5


def main() -> None:
    options = parsed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "results")
        ids = generate(store, options.trials, options.probes)
        row, curve = store.trial(SWEEP, ids[0])
        points = len(trial_entry(row, curve, ["epsilon", "seed"], "results").points)
        print(f"{options.trials} trials of {options.probes} probes, {points} points a trial\n")
        print("| MLflow | ms a trial | points a second | CPU of the driver |\n|---|---|---|---|")
        for kind in ("SQLite", "server"):
            with mlflow(kind, folder / f"alone-{kind}") as uri:
                wall, cpu = logged(store, ids, uri)
            each = wall / options.trials
            print(f"| {kind} | {1000 * each:.0f} | {points / each:.0f} | {cpu / wall:.0%} |", flush=True)
        sweeps(store, ids[: options.sweep], 0.0, folder / "idle", options.repeats)
        sweeps(store, ids[: options.sweep // 3], options.work, folder / "working", options.repeats)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--probes", type=int, default=100, help="a trial")
    parser.add_argument("--sweep", type=int, default=300, help="trials of the sweep")
    parser.add_argument("--work", type=float, default=0.5, help="seconds of a trial in the sweep that computes")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def generate(store: Store, trials: int, probes: int) -> list[str]:
    """Trials with the columns of real ones; every third breaks."""
    store.create()
    started = datetime(2026, 1, 1, tzinfo=UTC)
    ids = []
    for number in range(trials):
        raw = {"method": {"name": "fgsm", "epsilon": (1 + number // 10) / 255}, "seed": number % 10}
        spec = TrialSpec.from_dict(raw)
        co = number % 3 == 0
        found = {"status": "completed", "state": "co" if co else "healthy", "co": co, "error": "", "co_reason": ""}
        step = {"co_step": 500, "co_step_low": 495, "co_step_high": 505, "co_epoch": 20.0} if co else {}
        row = failed_row(spec, "", torch.device("cpu"), "generated", started) | found | step
        row |= {"steps": 11 * probes, "robust_acc": 0.1, "finished_at": started + timedelta(seconds=60)}
        store.write_trial(SWEEP, row, [probe(n, number) for n in range(1, probes + 1)])
        ids.append(spec.trial_id)
    store.write_sweep(SWEEP, {"name": SWEEP, "trial_ids": ids, "axes": ["epsilon", "seed"], "source": ""})
    return ids


def probe(number: int, trial: int) -> dict[str, object]:
    names = ("lr", "train_loss", "train_acc", "clean_acc", "fgsm_acc", "pgd_acc", "grad_cos", "curvature")
    return {
        "step": 11 * number,
        "epoch": number / 2,
        **{name: abs(math.sin(number * place + trial)) for place, name in enumerate(names, 1)},
    }


@contextmanager
def mlflow(kind: str, folder: Path) -> Iterator[str]:
    """Address of an empty MLflow store; empty for none."""
    folder.mkdir()
    database = f"sqlite:///{folder / 'mlflow.db'}"
    if kind != "server":
        yield database if kind == "SQLite" else ""
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", str(folder)]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(command, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def logged(store: Store, ids: list[str], uri: str) -> tuple[float, float]:
    """Seconds that logging takes, and seconds of this process's CPU."""
    runs = SweepRuns(store, SWEEP, uri)
    runs.begin(datetime.now(UTC))
    wall, cpu = time.perf_counter(), time.process_time()
    for trial_id in ids:
        runs.log_trial(trial_id)
    return time.perf_counter() - wall, time.process_time() - cpu


def sweeps(store: Store, ids: list[str], work: float, folder: Path, repeats: int) -> None:
    """Run a sweep with each kind of MLflow in turn, and print medians."""
    found: dict[str, list[tuple[float, float, int]]] = {"none": [], "SQLite": [], "server": []}
    report = make_findings(store, SWEEP)
    folder.mkdir()
    for repeat in range(repeats):
        for kind, results in found.items():
            with connected(), mlflow(kind, folder / f"{kind}-{repeat}") as uri:
                tracker = Tracker(store, SWEEP, uri) if uri else None
                seconds = swept(ids, work, tracker)
                start = time.perf_counter()
                missed = tracker.finish(report, {}, 600) if tracker else 0
                results.append((seconds, time.perf_counter() - start, missed))
    print(f"\nA sweep of {len(ids)} trials that compute for {work:g} s, {REPORTS} reports each, two at once:\n")
    print("| MLflow | seconds | more than without, a trial | all logged after | missed |\n|---|---|---|---|---|")
    without = statistics.median(seconds for seconds, _, _ in found["none"])
    for kind, results in found.items():
        seconds, after, missed = (statistics.median(column) for column in zip(*results, strict=True))
        more = 1000 * (seconds - without) / len(ids)
        print(f"| {kind} | {seconds:.1f} | {more:+.0f} ms | {after:.1f} s | {missed:.0f} |", flush=True)


class Logging(tune.Callback):  # type: ignore[misc]
    """Hands finished trials to MLflow, as a sweep's own callback does."""

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker = tracker

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        if self._tracker is not None:
            self._tracker.trial_finished(trial.config["id"])


def swept(ids: list[str], work: float, tracker: Tracker | None) -> float:
    """Seconds of a Tune run over the trials."""
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        tune.Tuner(
            tune.with_resources(tune.with_parameters(made_up_trial, work=work), {"cpu": 1}),
            param_space={"id": tune.grid_search(ids)},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=scratch, callbacks=[Logging(tracker)], verbose=0),
        ).fit()
        return time.perf_counter() - start


def made_up_trial(config: dict[str, Any], work: float) -> None:
    """Takes so many seconds of CPU, which another process may stretch."""
    for number in range(REPORTS):
        until = time.process_time() + work / REPORTS
        while time.process_time() < until:
            pass
        tune.report({"trained": number})


if __name__ == "__main__":
    ray.logger.setLevel("ERROR")
    main()
