"""How trials are handed to Tune."""

from __future__ import annotations

import time
from pathlib import Path

from ray import tune
from ray.tune.experiment import Experiment

from cosweep.sweep.config import config_of, empty_config, listed, spec_of
from cosweep.training import TrialSpec


def specs(count: int) -> list[TrialSpec]:
    raw = {"interventions": [{"kind": "inject", "beta": "24/255"}], "stop": {"co": {"after_steps": "never"}}}
    return [TrialSpec.from_dict({**raw, "seed": seed}) for seed in range(count)]


def asked(specs: list[TrialSpec], folder: Path) -> tuple[list[tune.experiment.Trial], float]:
    """The trials that Tune makes of specs, and the seconds of CPU it takes to make twenty of them."""
    search = listed(specs)
    search.add_configurations(
        Experiment("many", lambda config: None, config=empty_config(), num_samples=len(specs), storage_path=str(folder))
    )
    start = time.process_time()
    trials = [search.next_trial() for _ in range(20)]
    seconds = time.process_time() - start
    while (trial := search.next_trial()) is not None:
        trials.append(trial)
    return trials, seconds


def test_a_worker_gets_the_spec_that_was_asked_for() -> None:
    (spec,) = specs(1)
    assert spec_of(config_of(spec)) == spec
    assert config_of(spec)["trial"]["id"] == spec.trial_id
    assert {k: v.keys() for k, v in empty_config().items()} == {k: v.keys() for k, v in config_of(spec).items()}


def test_tune_makes_each_trial_once_in_order(tmp_path: Path) -> None:
    trials, _ = asked(specs(30), tmp_path)
    assert [spec_of(trial.config) for trial in trials] == specs(30)


def test_a_trial_of_a_large_sweep_takes_tune_no_longer_to_make(tmp_path: Path) -> None:
    _, few = asked(specs(30), tmp_path)
    _, many = asked(specs(1200), tmp_path)
    assert many < 5 * few, "Tune copies the whole sweep for each trial"
