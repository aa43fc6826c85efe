"""A hundred trials that take no time, through real Ray and a driver that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks.simulation import drawn_curve
from cosweep.definition.search_space import parse_sweep
from cosweep.results.store import Store
from cosweep.training import TrialSpec
from tests.integration.processes import finish, run, wait_for, workers_of

pytestmark = pytest.mark.integration

TRIALS = 100
DEFINITION = f"""
name: many
trial: {{probe: {{every: 11}}}}
space: {{seed: {{grid: {list(range(TRIALS))}}}}}
resources: {{cpu: 0.5}}
"""
ROOT = Path(__file__).parents[2]
DRIVER = """
from pathlib import Path
from rich.console import Console
from cosweep.sweep.run import run_sweep
from cosweep.definition.search_space import load_sweep
from benchmarks.simulation import SimulatedRun
from tests.sweep.json_lines import JsonLines

lines = JsonLines(Path("told.jsonl"))
outcome = run_sweep(load_sweep(Path("many.yaml")), Console(), make_run=SimulatedRun, observers=[lines])
print(f"{outcome.missing} missing, {len(outcome.failed)} failed, {outcome.unlogged} not in MLflow")
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def written(folder: Path) -> dict[str, int]:
    """Trials that have a row, and when it was written."""
    files = (folder / "results/trials/sweep=many").glob("[!.]*.parquet")
    return {path.stem: path.stat().st_mtime_ns for path in files}


def curve_of(spec: TrialSpec, rows: int) -> list[tuple[object, ...]]:
    return [(p.step, p.clean_acc, p.fgsm_acc, p.pgd_acc) for p in drawn_curve(spec)[:rows]]


def test_every_one_of_many_trials_ends_once_though_the_driver_is_killed(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(DEFINITION)
    driver = start(tmp_path)
    wait_for(lambda: len(written(tmp_path)) > TRIALS / 4)
    workers = workers_of(driver.pid, "ray::ImplicitFunc")
    driver.kill()
    driver.communicate(timeout=60)
    assert not psutil.wait_procs(workers, timeout=60)[1]  # they may write another row until Ray ends them
    kept = written(tmp_path)
    assert len(kept) < TRIALS, "the kill came too late to test anything"
    (tmp_path / "told.jsonl").unlink()
    code, output = finish(start(tmp_path))
    assert code == 0, output
    assert f"{len(kept)} done before, {TRIALS - len(kept)} to run" in output
    assert "0 missing, 0 failed, 0 not in MLflow" in output
    assert kept.items() <= written(tmp_path).items()

    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert {line["earlier"] for line in told if "earlier" in line} == kept.keys()
    finished = [line["finished"] for line in told if "finished" in line]
    assert sorted(finished) == sorted(written(tmp_path).keys() - kept.keys())
    assert told[-1]["trials"] == TRIALS
    assert "report.html" in told[-1]["files"]

    store, sweep = Store(tmp_path / "results"), parse_sweep(yaml.safe_load(DEFINITION))
    rows = store.trials("many").to_pylist()
    assert sorted(row["seed"] for row in rows) == list(range(TRIALS))
    assert {row["device"] for row in rows} == {"simulated"}
    for spec in sweep.trials[:20]:
        curve = store.trial("many", spec.trial_id)[1]
        found = [(p["step"], p["clean_acc"], p["fgsm_acc"], p["pgd_acc"]) for p in curve]
        assert found == curve_of(spec, len(found))

    code, output = run(tmp_path, "many.yaml")
    assert code == 2, "a sweep that trains must not carry on from simulated trials"
    assert "was run on other images (fingerprint simulated-" in output
    assert "Traceback" not in output
