"""Trials of two workers on two CPUs, through Ray Train: their verdicts, their end, and what becomes of lost ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cosweep.definition.search_space import load_sweep
from cosweep.results.store import Store
from cosweep.training import run_trial
from cosweep.worker.rows import finished_row
from tests.integration.processes import UNTRACKED, finish, run, start, wait_for, workers_of

pytestmark = pytest.mark.integration

TWO = ["--set", "resources.workers=2"]
LONG = ["--set", "space.seed.grid=[0]", "--set", "space.interventions.0.beta.grid=[0]"]
LONG += ["--set", "trial.optimizer.epochs=60", "--set", "results.checkpoint_seconds=1"]
BREAKING = """
name: tiny
trial:
  data: {source: digits}
  interventions: [{kind: inject, beta: 16/255}]
  model: {name: preact_resnet, width: 8, blocks: [1, 1]}
  method: {name: fgsm, epsilon: 80/255}
  probe: {every: 11, examples: 256, pgd_steps: 10, snapshots: 1}
  final: {steps: 10, restarts: 2, examples: 360}
space:
  seed: {grid: [1]}
stop: {co: {after_steps: 20}}
tracking: {uri: "off"}
"""


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Store(folder / "results").trials("tiny").sort_by("trial_id").to_pylist()
    return found


@pytest.mark.slow
def test_two_workers_break_as_one_does(tmp_path: Path) -> None:
    (tmp_path / "breaking.yaml").write_text(BREAKING)
    (spec,) = load_sweep(tmp_path / "breaking.yaml").trials
    alone = run_trial(spec)
    list(alone)
    one = finished_row(alone, "", datetime.now(UTC))
    code, output = run(tmp_path, "breaking.yaml", "--set", "resources.workers=2")
    assert code == 0, output
    (two,) = rows(tmp_path)
    assert two["workers"] == 2
    for name in ("trial_id", "status", "state", "device"):
        assert two[name] == one[name], name
    assert one["co"]
    assert two["co_step_low"] < two["co_step"] <= two["co_step_high"]
    # Rounding in single precision, of sums in another order, moves it; in double precision it is the same step.
    assert abs(two["co_step"] - one["co_step"]) < 100
    assert max(one["robust_acc"], two["robust_acc"]) < 0.1


def test_a_killed_worker_has_its_trial_run_again_with_the_same_outcome(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(UNTRACKED)
    driver = start(tmp_path, "tiny.yaml", *LONG, *TWO)
    wait_for(lambda: list((tmp_path / "results").glob("checkpoints/*/*.pt")))
    workers = workers_of(driver.pid, "ray::RayTrainWorker")
    assert len(workers) == 2
    workers[1].kill()
    code, output = finish(driver)
    assert code == 0, output
    assert "runs again (1 of 2): its worker process died" in output
    assert "carries on from step" in output
    (row,) = rows(tmp_path)
    assert (row["status"], row["workers"], row["steps"]) == ("completed", 2, 240)


def test_what_a_worker_raises_is_its_trials_failure_and_trials_that_do_not_fit_at_once_all_end(tmp_path: Path) -> None:
    """The package of AutoAttack that the workers find is there and has nothing in it."""
    (tmp_path / "tiny.yaml").write_text(UNTRACKED)
    (tmp_path / "broken" / "pyautoattack").mkdir(parents=True)
    (tmp_path / "broken" / "pyautoattack" / "__init__.py").touch()
    path = os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")])
    changes = [*LONG, *TWO, "--set", "trial.final.attack=autoattack", "--set", "trial.optimizer.epochs=2"]
    changes += ["--set", "space.seed.grid=[0, 1]"]
    code, output = run(tmp_path, "tiny.yaml", *changes, PYTHONPATH=path)
    assert code == 1, output
    assert "runs again" not in output
    for row in (found := rows(tmp_path)):
        assert row["error"].startswith("ModuleNotFoundError: No module named 'pyautoattack.autopgd_base'")
        assert (row["status"], row["workers"]) == ("failed", 2)
        curve = Store(tmp_path / "results").trial("tiny", row["trial_id"])[1]
        assert curve[-1]["step"] == 8, "the probes before the failure are kept"
    assert sorted(row["seed"] for row in found) == [0, 1]


@pytest.fixture(scope="module")
def cluster_address() -> Iterator[str]:
    """Of a cluster of two CPUs, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_ends_leaves_nothing_reserved_on_the_cluster(
    tmp_path: Path, cluster_address: str, how: signal.Signals
) -> None:
    import ray

    (tmp_path / "tiny.yaml").write_text(UNTRACKED)
    driver = start(tmp_path, "tiny.yaml", *LONG, *TWO, RAY_ADDRESS=cluster_address)
    wait_for(lambda: list((tmp_path / "results").glob("checkpoints/*/*.pt")))
    assert ray.available_resources().get("CPU", 0) == 0
    driver.send_signal(how)
    finish(driver)
    wait_for(lambda: ray.available_resources().get("CPU", 0) == 2, timeout=60)
    groups = ray.util.placement_group_table()
    assert {group["state"] for group in groups.values()} == {"REMOVED"}
