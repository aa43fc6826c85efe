"""cluster/slurm.sh on two machines: network namespaces, a stub of srun; Ray, cosweep and the rest as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cosweep.results.store import Store
from tests.cluster_files.files import CLUSTER
from tests.cluster_files.programs import absent, program
from tests.integration.processes import TINY
from tests.security.planted import modules_that_ran, plant

SCRIPT = CLUSTER / "slurm.sh"
NODES = Path(__file__).parent / "slurm" / "two_nodes.sh"
APART = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


def unshare() -> list[str]:
    """Command that runs another in namespaces of its own; skips the test where that is not allowed."""
    command = [program("unshare", "util-linux"), *APART]
    program("ip", "iproute2")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        absent("namespaces need root")
    return command


@pytest.mark.integration
def test_a_sweep_runs_on_all_nodes_of_an_allocation(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    marks = plant(tmp_path)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_ON_NODE": "1",
        "SRUN_LOG": str(tmp_path / "srun.log"),
    }
    done = subprocess.run(
        [*unshare(), NODES, SCRIPT, "tiny.yaml", "--set", f"results.root={tmp_path / 'results'}"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "4 to run, 2 at once" in done.stdout
    assert set(Store(tmp_path / "results").trials("tiny")["host"].to_pylist()) == {"one", "two"}
    (asked,) = (tmp_path / "srun.log").read_text().splitlines()
    assert asked.startswith("srun --nodes=2 --ntasks=2 --cpu-bind=none --wait=10 ray symmetric-run ")
    assert not re.search("[0-9a-f]{64}", asked), "the token is on the command line"
    assert modules_that_ran(marks) == []


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_job_ends_as_its_sweep_does_whatever_ray_says(tmp_path: Path, code: int) -> None:
    stubs = {
        "srun": 'while [[ "$1" == --* ]]; do shift; done; "$@"',
        "ray": 'until [[ "$1" == -- ]]; do shift; done; "${@:2}"; exit 1',
        "cosweep": f"exit {code}",
    }
    for name, body in stubs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "1"}
    assert subprocess.run([SCRIPT, "a.yaml"], env={**os.environ, **environment}, check=False).returncode == code


def test_without_a_sweep_the_script_says_how_it_is_used() -> None:
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: sbatch cluster/slurm.sh SWEEP.yaml" in done.stderr


def test_nodes_are_whole_and_run_one_ray_each() -> None:
    asked = re.findall(r"^#SBATCH (--\S+)", SCRIPT.read_text(), re.MULTILINE)
    assert {"--exclusive", "--ntasks-per-node=1", "--requeue"} <= set(asked)
