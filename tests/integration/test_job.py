"""A sweep as a job of a cluster that wants a token: submitted, stopped, carried on."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosweep.results.store import Store
from tests.integration.clusters import RAY, Cluster, cluster
from tests.integration.processes import wait_for

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
# The quickstart with smaller trainings, of which some take long enough to be stopped.
TINY = {
    "trial.data": "{source: digits, train_examples: 256}",
    "trial.final": "{steps: 2, restarts: 1, examples: 64}",
    "trial.probe": "{every: 2, examples: 64, pgd_steps: 4}",
    "space.method.epsilon.grid": "[64/255]",
    "space.interventions.0.beta.grid": "[0]",
    "space.seed.grid": "[0, 1]",
}
LENGTHS = "space.optimizer.epochs.grid=[2, 120]"


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    # The names of Ray's sockets are as long as the system allows in pytest's folders.
    with (
        tempfile.TemporaryDirectory(prefix="cs-") as folder,
        cluster(Path(folder), "--num-cpus", "2", dashboard=True) as up,
    ):
        yield up


def job(head: Cluster, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``ray job`` as a user runs it at the root of the repository."""
    command = [RAY, "job", arguments[0], "--address", head.dashboard, *arguments[1:]]
    known = {**os.environ, **head.environment, "RAY_ADDRESS": "", **environment}
    return subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False, timeout=300)


def submitted(head: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A job that was taken; the head's agent, which takes them, comes up after the head."""

    def attempt() -> subprocess.CompletedProcess[str] | None:
        done = job(head, "submit", *arguments)
        return None if "No available agent" in done.stderr else done

    found = wait_for(attempt)
    assert found is not None
    return found


def submit(head: Cluster, name: str, home: Path, *, wait: bool) -> subprocess.CompletedProcess[str]:
    changes = [part for path, value in TINY.items() for part in ("--set", f"{path}={value}")]
    return submitted(
        head,
        *("--submission-id", name, "--working-dir", ".", *([] if wait else ["--no-wait"])),
        *("--runtime-env-json", f'{{"env_vars": {{"COSWEEP_HOME": "{home}"}}}}'),
        *("--", "cosweep", "run", "search_spaces/quickstart.yaml", *changes, "--set", LENGTHS),
    )


def test_a_job_is_stopped_and_the_same_command_carries_on(head: Cluster, tmp_path: Path) -> None:
    begun = submit(head, "first", tmp_path, wait=False)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    rows = tmp_path / "results/trials/sweep=quickstart"
    wait_for(lambda: list(rows.glob("[!.]*.parquet")), 180)
    stopped = job(head, "stop", "first")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    kept = {path.name: path.stat().st_mtime_ns for path in rows.glob("[!.]*.parquet")}
    assert 1 <= len(kept) < 4, "the stop came too late to test anything"

    done = submit(head, "second", tmp_path, wait=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert f"4 trials, {len(kept)} done before, {4 - len(kept)} to run, {min(2, 4 - len(kept))} at once" in output
    assert "succeeded" in output
    after = {path.name: path.stat().st_mtime_ns for path in rows.glob("[!.]*.parquet")}
    assert len(after) == 4
    assert kept.items() <= after.items()

    logs = job(head, "logs", "second").stdout
    for text in ("on 1 machine", "running", "left", "time left", "4 done", f"{tmp_path}/results/reports/quickstart"):
        assert text in logs
    own = logs[logs.index("Running entrypoint") :]
    assert "\x1b" not in own
    assert "Traceback" not in own
    assert (tmp_path / "results/mlflow.db").exists()
    assert Store(tmp_path / "results").sweep_record("quickstart")["trial_ids"]
    inside = (head.folder / "ray").glob("session_*/runtime_resources/working_dir_files/*/*")
    assert {path.name for path in inside} >= {"cosweep", "search_spaces"}
    assert not list((head.folder / "ray").rglob("*.parquet"))


def test_what_is_uploaded_is_small_and_holds_no_results(head: Cluster) -> None:
    packages = list((head.folder / "ray").glob("session_*/runtime_resources/working_dir_files/_ray_pkg_*"))
    folders = [path for path in packages if path.is_dir()]
    assert folders
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.rglob("*")) < 2_000_000
        names = {path.name for path in folder.iterdir()}
        assert not names & {"results", "tests", "docs", "benchmarks", ".venv", ".git"}


def test_a_client_without_the_token_is_refused(head: Cluster) -> None:
    refused = job(head, "list", RAY_AUTH_TOKEN_PATH="", RAY_AUTH_TOKEN="wrong")
    assert refused.returncode != 0
    assert "auth" in (refused.stdout + refused.stderr).lower()
