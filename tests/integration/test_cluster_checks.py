"""Clusters that cannot be used as asked: one message, before any trial; and one that grows on demand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from cosweep.results.store import Store
from tests.integration.clusters import Cluster, cluster
from tests.integration.processes import UNTRACKED, finish, run, start, wait_for

pytestmark = pytest.mark.integration

OTHER_RAY = """
import ray
ray.__version__ = "2.50.0"
from cosweep.cli.commands import app
app()
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    """A head without a place for trials."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder, cluster(Path(folder), "--num-cpus", "0") as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(UNTRACKED)
    return tmp_path


def test_an_address_where_nothing_listens_is_told_at_once(folder: Path) -> None:
    began = time.monotonic()
    code, output = run(folder, "tiny.yaml", RAY_ADDRESS="127.0.0.1:1")
    assert code == 2, output
    assert "error: no Ray cluster at RAY_ADDRESS=127.0.0.1:1" in output
    assert "Traceback" not in output
    assert not (folder / "results").exists()
    assert time.monotonic() - began < 60


def test_a_wrong_token_is_one_message(folder: Path, head: Cluster) -> None:
    wrong = head.environment | {"RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_TOKEN": "wrong"}
    code, output = run(folder, "tiny.yaml", **wrong)
    assert code == 2, output
    assert f"error: cannot join the Ray cluster at {head.address}" in output
    assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH" in output
    assert "Traceback" not in output


def test_another_version_of_ray_is_named_beside_the_cluster_s(folder: Path, head: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHER_RAY, "run", "tiny.yaml"],
        cwd=folder,
        env={**os.environ, **head.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Version mismatch" in done.stderr
    assert f"Ray: {ray.__version__}" in done.stderr
    assert "Ray: 2.50.0" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cluster_without_a_place_is_refused_or_waited_for(folder: Path, head: Cluster) -> None:
    code, output = run(folder, "tiny.yaml", **head.environment)
    assert code == 2, output
    assert "asks for 1 CPU and 0 GPUs on one machine; the largest of 1 has 0 CPUs" in output
    assert not (folder / "results").exists()
    driver = start(folder, "tiny.yaml", "--wait", **head.environment)
    wait_for(lambda: (folder / "results/sweeps/tiny.json").exists())
    machine = head.add("--num-cpus", "1")
    code, output = finish(driver)
    head.kill(machine)
    assert code == 0, output
    assert "4 to run, as machines come" in output
    assert len(Store(folder / "results").trials("tiny")) == 4


def test_a_gpu_that_torch_cannot_use_is_told_before_any_trial(folder: Path, head: Cluster) -> None:
    machine = head.add("--num-cpus", "1", "--num-gpus", "1")
    code, output = run(folder, "tiny.yaml", "--set", "resources.gpu=0.5", **head.environment)
    head.kill(machine)
    assert code == 2, output
    assert "offers a GPU to Ray, and torch finds no CUDA device there" in output
    assert not Store(folder / "results").sweeps()


def test_a_clock_that_is_off_is_told_and_changes_no_outcome(folder: Path, head: Cluster) -> None:
    off = ("env", f"PYTHONPATH={Path(__file__).parent / 'faults'}", "CLOCK_AHEAD=100")
    machine = head.add("--num-cpus", "1", before=off)
    code, output = run(folder, "tiny.yaml", "--set", "space.seed.grid=[0]", **head.environment)
    head.kill(machine)
    assert code == 0, output
    (ahead,) = re.findall(r"note: the clock of machine \S+ is (\d+) s ahead; started_at and finished_at", output)
    assert 60 < int(ahead) <= 100
    assert "2 done · 0 running · 0 left" in output


def test_a_machine_that_does_not_see_the_results_is_told_before_any_trial(folder: Path, head: Cluster) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("needs the right to make a mount namespace")
    (folder / "results").mkdir()
    hidden = f'mount -t tmpfs tmpfs "{folder}/results" && exec "$@"'
    machine = head.add("--num-cpus", "1", before=("unshare", "--mount", "sh", "-c", hidden, "sh"))
    code, output = run(folder, "tiny.yaml", **head.environment)
    head.kill(machine)
    assert code == 2, output
    assert "error: results location results: workers on machine" in output
    assert "it is another place there" in output
    assert "set results.root to a folder that all machines share, or a bucket" in output
    assert not Store(folder / "results").sweeps()
