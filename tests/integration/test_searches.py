"""Searches over real trainings: killed, carried on, ended, and given a larger budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.storages.journal import JournalFileBackend

from cosweep.results.query import run_query
from cosweep.results.store import Store
from tests.integration.processes import COSWEEP, run, start, wait_for, watched, workers_of

pytestmark = pytest.mark.integration

DEFINITION = """
name: line
trial:
  data: {source: digits, train_examples: 512}
  model: {name: preact_resnet, width: 4, blocks: [1]}
  optimizer: {epochs: 8, batch_size: 64, lr_max: 0.2}
  probe: {every: 8, examples: 64, pgd_steps: 4, grad_cos: false}
  final: {steps: 2, restarts: 1, examples: 64}
space:
  method.epsilon: {uniform: [8/255, 64/255]}
  interventions:
    grid:
      - [{kind: inject, beta: 0}]
      - [{kind: inject, beta: 64/255}]
  model.width: {grid: [4]}
  seed: {int: [0, 999]}
search: {kind: boundary, trials: 10}
tracking: {uri: "off"}
results: {root: results}
"""


def record(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "results/sweeps").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def rows(folder: Path) -> dict[str, int]:
    """When each row was written, by the trial's id."""
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "results/trials").glob("sweep=*/[!.]*.parquet")}


def test_a_search_that_was_killed_goes_on_with_its_questions_and_its_answers(tmp_path: Path) -> None:
    (tmp_path / "line.yaml").write_text(DEFINITION)
    driver = start(tmp_path, "line.yaml")
    with watched(driver) as lines:
        workers = wait_for(lambda: len(rows(tmp_path)) >= 3 and workers_of(driver.pid, "ray::ImplicitFunc"))
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(60)
        assert isinstance(workers, list)
        psutil.wait_procs(workers, timeout=60)
    assert "line: at most 10 trials, 0 done before, at most 10 to run" in "".join(lines)
    before, asked = rows(tmp_path), record(tmp_path)
    assert asked["most_trials"] == 10
    assert asked["waiting"]

    code, output = run(tmp_path, "line.yaml")
    assert code == 0, output
    assert f"at most 10 trials, {len(before)} done before" in output
    assert "the search ended: the budget is spent: 10 trials were asked for" in output
    after = rows(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == 10
    done = run_query(Store(tmp_path / "results"), "SELECT epsilon, seed FROM trials").to_pylist()
    places = {(row["epsilon"], row["seed"]) for row in done}
    assert {(point["method.epsilon"], point["seed"]) for point in asked["waiting"]} <= places
    assert sorted(record(tmp_path)["trial_ids"]) == sorted(after)
    assert not list((tmp_path / "results/checkpoints").rglob("*.pt"))

    code, output = run(tmp_path, "line.yaml")
    assert (code, rows(tmp_path)) == (0, after), output
    assert "line: the search has ended: the budget is spent" in output

    code, output = run(tmp_path, "line.yaml", "--set", "search.trials=12")
    assert code == 0, output
    assert len(rows(tmp_path)) == 12
    assert "at most 12 trials, 10 done before, at most 2 to run" in output
    assert "earlier" not in output


def test_the_specs_of_a_search_are_not_known_ahead(tmp_path: Path) -> None:
    (tmp_path / "line.yaml").write_text(DEFINITION)
    shown = subprocess.run(
        [COSWEEP, "validate", "line.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert shown.returncode == 0, shown.stderr
    assert "at most 10 of a boundary search, of which 0 are done" in shown.stdout
    specs = subprocess.run(
        [COSWEEP, "validate", "line.yaml", "--specs"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert specs.returncode == 2
    assert "a boundary search finds its trials as it runs; leave out --specs" in " ".join(specs.stderr.split())


def test_an_optuna_search_learns_what_trials_found_and_leaves_its_study(tmp_path: Path) -> None:
    (tmp_path / "line.yaml").write_text(DEFINITION)
    command = ["line.yaml", "--set", "search={kind: optuna, trials: 5, objective: [robust_acc, -train_seconds]}"]
    code, output = run(tmp_path, *command)
    assert code == 0, output
    assert "the search ended: the budget is spent: 5 trials were asked for" in output
    assert "optuna-dashboard results/searches/line/optuna.log" in output
    rows_of = run_query(
        Store(tmp_path / "results"), "SELECT epsilon, robust_acc, train_seconds, co FROM trials"
    ).to_pylist()
    found = {row["epsilon"]: row for row in rows_of}
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "results/searches/line/optuna.log")))
    trials = optuna.load_study(study_name="search", storage=storage).trials
    assert len(trials) == len(found) == 5
    for trial in trials:
        row = found[trial.params["method.epsilon"]]
        assert trial.values == [row["robust_acc"], row["train_seconds"]]
        assert (trial.constraints["co"] > 0) == row["co"]
    code, output = run(tmp_path, *command)
    assert code == 0, output
    assert "line: the search has ended: the budget is spent" in output
