"""A whole sweep with real Ray and real MLflow, from YAML to tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosweep.results.store import Store
from tests.integration.processes import TINY, run

pytestmark = pytest.mark.integration

CHANGES = ["--set", "space.optimizer.grid=[{epochs: 2}, {epochs: 2, lr_max: 1.0e+12}]"]
CHANGES += [
    "--set",
    "space.final.grid=[{attack: pgd}, {attack: autoattack, examples: 16}]",
    "--set",
    "space.seed.grid=[0]",
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """Folder, exit code and output of a sweep of two good trials, two that diverge and four that fail.

    They fail since the package of AutoAttack that the workers find is there and has nothing in it.
    """
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "broken" / "pyautoattack").mkdir(parents=True)
    (folder / "broken" / "pyautoattack" / "__init__.py").touch()
    code, output = run(folder, "tiny.yaml", *CHANGES, PYTHONPATH=str(folder / "broken"))
    return folder, code, output


def test_the_sweep_goes_on_after_a_failure_and_says_so(swept: tuple[Path, int, str]) -> None:
    _, code, output = swept
    assert code == 1, output
    assert "Traceback" not in output
    assert "4 trials failed" in output
    assert "No module named 'pyautoattack.autopgd_base'" in output


def test_every_trial_has_one_row_with_its_status(swept: tuple[Path, int, str]) -> None:
    rows = Store(swept[0] / "results").trials("tiny").to_pylist()
    found = sorted((row["final_attack"], row["lr_max"], row["status"], str(row["state"])) for row in rows)
    assert [f[2] for f in found] == ["failed"] * 4 + ["completed"] * 2 + ["stopped"] * 2
    assert {f[3] for f in found[6:]} == {"diverged"}
    diverged = next(row for row in rows if row["status"] == "stopped")
    assert "lower optimizer.lr_max" in diverged["error"]
    assert all("ModuleNotFoundError" in row["error"] for row in rows if row["status"] == "failed")


def test_the_rows_tell_what_ran_and_how_long(swept: tuple[Path, int, str]) -> None:
    store = Store(swept[0] / "results")
    row = next(row for row in store.trials("tiny").to_pylist() if row["status"] == "completed")
    assert row["steps"] == row["epochs"] * 4
    assert 0 < row["train_seconds"] + row["probe_seconds"] + row["eval_seconds"] <= row["wall_seconds"]
    assert row["device"] == "cpu"
    assert row["robust_attack"] == "pgd-2-1"
    probes = [p["step"] for p in store.trial("tiny", row["trial_id"])[1]]
    assert probes[:2] == [3, 6]
    assert probes[-1] == row["steps"]


def test_figure_tables_and_progress_are_there(swept: tuple[Path, int, str]) -> None:
    folder, _, output = swept
    assert (folder / "results/reports/tiny/phase.png").read_bytes().startswith(b"\x89PNG")
    assert "8 done · 0 running · 0 left" in output
    for text in ("figure", "tables", "MLflow", "cosweep ui tiny", "no trial broke"):
        assert text in output


def test_mlflow_has_a_parent_and_a_child_per_trial(swept: tuple[Path, int, str]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{swept[0] / 'results/mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if r not in parents]
    assert len(parents) == 1
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parents[0].info.run_id}
    rows = {row["trial_id"]: row for row in Store(swept[0] / "results").trials("tiny").to_pylist()}
    assert {r.data.tags["trial_id"] for r in children} == set(rows)
    for child in children:
        row = rows[child.data.tags["trial_id"]]
        assert child.data.tags["status"] == row["status"]
        assert float(child.data.params["epsilon"]) == row["epsilon"]
        if row["status"] == "completed":
            history = client.get_metric_history(child.info.run_id, "pgd_acc")
            curve = Store(swept[0] / "results").trial("tiny", row["trial_id"])[1]
            assert [(m.step, m.value) for m in history] == [(p["step"], p["pgd_acc"]) for p in curve]
    # MLflow's server serves them from there; the client alone does not, since the folder may be moved.
    kept = swept[0] / "results/mlartifacts" / parents[0].info.artifact_uri.removeprefix("mlflow-artifacts:/")
    reported = {file.name for file in (swept[0] / "results/reports/tiny").iterdir()}
    assert {"report.html", "phase.png", "trials.csv"} <= reported
    assert {file.name for file in kept.iterdir()} == reported | {"definition.yaml"}
    assert parents[0].data.metrics["trials"] == 8


def test_the_same_command_runs_failed_trials_and_they_succeed_once_mended(
    swept: tuple[Path, int, str],
) -> None:
    folder, _, _ = swept
    store = Store(folder / "results")
    before = {r["trial_id"]: r["finished_at"] for r in store.trials("tiny").to_pylist() if r["status"] != "failed"}
    code, output = run(folder, "tiny.yaml", *CHANGES)
    assert code == 0, output
    assert "4 done before, 4 to run" in output
    after = {r["trial_id"]: r["finished_at"] for r in store.trials("tiny").to_pylist()}
    assert len(after) == 8
    assert before.items() <= after.items()
