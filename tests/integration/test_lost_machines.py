"""Machines that a long sweep loses, and a second driver: every trial once, and the numbers of an undisturbed sweep."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosweep.results.store import Store
from tests.integration.clusters import Cluster, cluster
from tests.integration.processes import LONGER, UNTRACKED, Numbers, finish, numbers, run, start, wait_for

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def machines() -> Iterator[Cluster]:
    """A cluster of two machines with a core each."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder, cluster(Path(folder), "--num-cpus", "1") as made:
        made.add("--num-cpus", "1")
        yield made


def run_and_lose(
    machines: Cluster, lose: Callable[[subprocess.Popen[bytes]], None], folder: Path, *changes: str
) -> None:
    """Run a sweep that loses a machine when two trials have been kept, and gets another; they carry on."""
    changes += ("--set", "results.checkpoint_seconds=0.1")
    (folder / "tiny.yaml").write_text(UNTRACKED)
    driver = start(folder, "tiny.yaml", *changes, **machines.environment)
    checkpoints = folder / "results/checkpoints/sweep=tiny"
    wait_for(lambda: len(list(checkpoints.glob("[!.]*.pt"))) == 2 if checkpoints.exists() else False)
    lose(machines.machines[-1])
    machines.add("--num-cpus", "1")
    code, output = finish(driver)
    assert code == 0, output
    assert re.search(r"trial \w+ runs again: its machine was lost", output), output
    assert re.search(r"trial \w+ carries on from step \d+", output), output
    assert not list(checkpoints.iterdir())


def test_a_lost_machine_and_a_new_one_cost_nothing(tmp_path: Path, reference: Numbers, machines: Cluster) -> None:
    run_and_lose(machines, machines.kill, tmp_path, *LONGER)
    assert numbers(Store(tmp_path / "results")) == reference


def test_a_machine_that_is_preempted_is_no_fault_of_its_trial_and_a_second_driver_is_refused(
    tmp_path: Path, machines: Cluster
) -> None:
    """Saying so to Ray takes some seconds, and so does the second driver's start, so trials are long."""
    changes = ["--set", "trial.optimizer.epochs=600", "--set", "trial.probe.every=5", "--set", "space.seed.grid=[0]"]
    changes += ["--set", "stop.co.after_steps=never"]

    def preempt(machine: subprocess.Popen[bytes]) -> None:
        code, output = run(tmp_path, "tiny.yaml", *changes, **machines.environment)
        assert code == 2, output
        assert re.search(r"error: another run of tiny works on results: process \d+ on", output)
        machines.preempt(machine)

    run_and_lose(machines, preempt, tmp_path, *changes)
    rows = Store(tmp_path / "results").trials("tiny").to_pylist()
    assert [(row["status"], row["steps"]) for row in rows] == [("completed", 2400)] * 2
