"""A sweep with diagnostics, snapshots and ablations, from YAML to tables and MLflow."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cosweep.diagnostics import DIAGNOSTICS
from cosweep.metrics import ABLATIONS
from cosweep.results.query import run_query
from cosweep.results.store import Store
from tests.integration.processes import TINY, run

pytestmark = pytest.mark.integration

_DIAGNOSTICS = ", ".join(f"{{name: {name}, examples: 16}}" for name in DIAGNOSTICS)
CHANGES = [
    f"trial.probe.diagnostics=[{_DIAGNOSTICS}]",
    "trial.probe.diagnostic_every=2",
    "trial.probe.diagnostic_limit=100",
    "trial.probe.snapshots=3",
    f"trial.final.on=[{', '.join(ABLATIONS)}]",
    "space.seed.grid=[0]",
]
NUMBERS = ("curvature", "delta_cos", "delta_high_share", "abnormal_share", "distorted_share")
LISTS = {"delta_spectrum": 8, "ray_loss": 11}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sweep of two trials, one without a feature and one with."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "tiny.yaml").write_text(TINY)
    code, output = run(folder, "tiny.yaml", *(part for change in CHANGES for part in ("--set", change)))
    assert code == 0, output
    return folder


def test_curves_have_the_diagnostics_at_every_other_probe_and_the_last(swept: Path) -> None:
    store = Store(swept / "results")
    assert len(store.trials("tiny")) == 2
    probes = store.curves("tiny").to_pylist()
    assert sorted(probe["step"] for probe in probes) == [3, 3, 6, 6, 8, 8]
    for probe in probes:
        assert all((probe[name] is None) is (probe["step"] == 3) for name in (*NUMBERS, *LISTS))
        if probe["step"] != 3:
            assert all(math.isfinite(probe[name]) for name in NUMBERS)
            assert {name: len(probe[name]) for name in LISTS} == LISTS
            assert sum(probe["delta_spectrum"]) == pytest.approx(1.0)


def test_trials_have_the_accuracies_on_every_ablation(swept: Path) -> None:
    for row in Store(swept / "results").trials("tiny").to_pylist():
        for name in ABLATIONS:
            assert 0 <= row[f"robust_acc_on_{name}"] <= row[f"clean_acc_on_{name}"] <= 1
        assert row["robust_acc"] == row["robust_acc_on_injected"]
        assert (row["probe_diagnostics"], row["final_on"]) == (",".join(DIAGNOSTICS), ",".join(ABLATIONS))
        assert row["diagnostic_seconds"] > 0
        alike = row["clean_acc_on_injected"] == row["clean_acc_on_clean"] == row["clean_acc_on_reversed"]
        assert alike or row["beta"] > 0


def test_snapshots_show_the_images_and_what_they_are_attacked_with(swept: Path) -> None:
    sql = "SELECT s.*, t.beta, t.epsilon, t.co FROM snapshots s JOIN trials t USING (trial_id)"
    rows = run_query(Store(swept / "results"), sql).to_pylist()
    assert len(rows) == sum(6 if trial["co"] else 3 for trial in Store(swept / "results").trials("tiny").to_pylist())
    for row in rows:
        assert row["moment"] in (("before", "after") if row["co"] else ("end",))
        assert row["shape"] == [1, 8, 8]
        feature = [new - old for new, old in zip(row["intervened"], row["original"], strict=True)]
        assert [abs(value) for value in feature] == pytest.approx([row["beta"]] * 64, abs=1e-6)
        assert 0 < max(map(abs, row["delta"])) <= row["epsilon"] + 1e-6
    assert len({row["example"] for row in rows}) == 3


def test_mlflow_has_the_numbers_of_the_diagnostics_at_their_steps(swept: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{swept / 'results/mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert len(children) == 2
    for child in children:
        _, curve = Store(swept / "results").trial("tiny", child.data.tags["trial_id"])
        for name in NUMBERS:
            history = client.get_metric_history(child.info.run_id, name)
            assert [(m.step, m.value) for m in history] == [(p["step"], p[name]) for p in curve if p["step"] != 3]
        assert not LISTS.keys() & child.data.metrics.keys()
        # How it was measured is the same in all trials, and would crowd out what differs.
        assert "probe_diagnostics" not in child.data.params
        assert child.data.params["method"] == "fgsm"
