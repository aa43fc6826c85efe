"""What ``validate`` says of a sweep, and that a space of many points costs no more to check than one of few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cosweep.definition.search_space import parse_sweep
from cosweep.definition.sweep import ResourcesSpec
from cosweep.errors import SpecError
from cosweep.models.base import Model
from cosweep.sweep import validate
from cosweep.sweep.run import load_datasets, run_sweep
from cosweep.sweep.validate import training_seconds, validate_sweep, varied_values
from cosweep.training import TrialSpec
from tests.tiny import digits

TRIAL: dict[str, Any] = {
    "interventions": [{"kind": "inject", "beta": "24/255"}],
    "method": {"name": "fgsm", "epsilon": "64/255"},
    "model": {"name": "small_cnn", "filters": 2},
}
MANY = {
    "name": "many",
    "trial": TRIAL,
    "space": {
        "method.epsilon": {"uniform": [0.1, 0.3]},
        "optimizer.batch_size": {"int": [32, 400]},
        "seed": {"range": [0, 50]},
    },
    "search": {"kind": "random", "trials": 200},
}


def test_what_varies_is_told_with_its_effective_values() -> None:
    space = {"method": [{"name": "fgsm"}, {"name": "rs_fgsm"}], "optimizer.epochs": {"range": [20, 40]}}
    told = dict(varied_values(parse_sweep({"trial": TRIAL, "space": space}).trials))
    assert told == {"method": "fgsm, rs_fgsm", "alpha": "64/255, 80/255", "epochs": "20 to 39 (20 values)"}


def test_points_that_count_once_and_options_that_differ_are_told(tmp_path: Path) -> None:
    space = {"method.name": ["fgsm", "grad_align"], "method.lambda_": [0.2, 2]}
    sweep = parse_sweep({"trial": TRIAL, "space": space, "results": {"root": str(tmp_path)}})
    told = list(validate_sweep(sweep))
    assert ("trials", "3 from 4 points, of which 0 are done and 3 left") in told
    assert ("note", "method.lambda_ has no place in 2 of 4 points, which count once without it") in told
    assert ("varies", "lambda_: none, 0.2, 2") in told


def test_many_kinds_of_training_are_timed_by_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int] = []

    def seconds_a_step(spec: TrialSpec, dataset: object) -> float:
        timed.append(spec.optimizer.batch_size)
        return 1e-3 * spec.optimizer.batch_size

    monkeypatch.setattr(validate, "_seconds_a_step", seconds_a_step)
    specs = list(parse_sweep(MANY).trials)
    sizes = [spec.optimizer.batch_size for spec in specs]
    assert len(set(sizes)) > 100
    datasets = {spec.data.load_key: digits() for spec in specs}
    found = training_seconds(specs, datasets)
    assert len(timed) <= 24
    assert found == pytest.approx(sum(1e-3 * size * 25 * -(-1437 // size) for size in sizes))
    assert training_seconds([], datasets) == 0.0


def test_a_model_is_checked_once_for_all_sizes_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    monkeypatch.setattr(Model, "check", lambda self, classes, shape, batch: checked.append(batch))
    load_datasets(parse_sweep(MANY).trials, ResourcesSpec())
    assert len(checked) <= 2  # with one image in the last batch, and with more


COMPUTED = {"trial": TRIAL | {"compute": {"precision": "tf32", "compile": True}}}


def test_what_the_devices_cannot_compute_is_told_before_anything_is_written(tmp_path: Path) -> None:
    sweep = parse_sweep(COMPUTED | {"results": {"root": str(tmp_path / "results")}})
    for start in (lambda: list(validate_sweep(sweep)), lambda: run_sweep(sweep, Console())):
        with pytest.raises(
            SpecError, match=r"(?s)trial\.compute\.precision: tf32 needs.*trial\.compute\.compile: needs"
        ):
            start()
    assert not list(tmp_path.iterdir())


def test_what_only_a_gpu_computes_is_timed_here_without(tmp_path: Path) -> None:
    sweep = parse_sweep(COMPUTED | {"resources": {"gpu": 1}})
    datasets = load_datasets(sweep.trials, sweep.resources)
    assert training_seconds(list(sweep.trials), datasets) > 0
