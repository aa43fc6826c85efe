"""Changes of a definition from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosweep.definition.search_space import load_sweep
from cosweep.definition.sweep import Sweep
from cosweep.errors import CosweepError, SpecError


def test_a_sweep_keeps_what_was_changed_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("trial: {seed: 1}\n")
    changes = ["trial.seed=2", "results.root=my results"]
    sweep = load_sweep(tmp_path / "s.yaml", changes)
    assert sweep.record()["overrides"] == changes
    assert sweep.record()["source"] == "trial: {seed: 1}\n"
    assert sweep.command == f"cosweep run {tmp_path / 's.yaml'} --set trial.seed=2 --set 'results.root=my results'"
    assert load_sweep(tmp_path / "s.yaml").record()["overrides"] == []


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep_file.yaml"
    path.write_text(text)
    return path


def test_overrides_are_put_in_before_the_check(tmp_path: Path) -> None:
    path = write(tmp_path, "space: {seed: {grid: [0, 1]}}\n")
    changes = [
        "trial.optimizer.epochs=2",
        "space.seed.grid=[5]",
        "results.root=elsewhere",
        "space.method.epsilon.grid=[8/255]",
    ]
    sweep: Sweep = load_sweep(path, changes)
    assert (sweep.name, sweep.results.root) == ("sweep_file", "elsewhere")
    assert [(t.seed, t.optimizer.epochs, t.method.epsilon) for t in sweep.trials] == [(5, 2, 8 / 255)]


SWEPT = """
trial: {interventions: [{kind: inject}, {kind: low_pass}], method: {epsilon: 64/255}}
space:
  method.epsilon: {grid: [48/255, 64/255]}
  method.attack_mode: [train, eval]
  seed: {grid: [0, 1]}
  probe: {grid: [{every: 5, examples: 8}, {every: 7}]}
"""


@pytest.mark.parametrize(
    ("override", "seen"),
    [
        ("space.seed=null", {"seed": {0}}),
        ("space.seed.range=[2, 5]", {"seed": {2, 3, 4}}),
        ("space.seed=[7]", {"seed": {7}}),
        ("space.seed.grid.1=9", {"seed": {0, 9}}),
        ("space.method.epsilon.grid.0=8/255", {"epsilon": {8 / 255, 64 / 255}}),
        ("space.probe.grid.0.every=9", {"probe_every": {9, 7}}),
        ("trial.probe.examples=16", {"probe_examples": {8, 16}}),
        ("trial.method={warmup_epochs: 2}", {"warmup_epochs": {2}}),
        ("trial.interventions.1.bandwidth=3", {"bandwidth": {3}}),
    ],
)
def test_a_place_of_the_space_or_the_trial_can_be_changed(
    tmp_path: Path, override: str, seen: dict[str, set[object]]
) -> None:
    trials = load_sweep(write(tmp_path, SWEPT), [override]).trials
    assert {column: {t.flat()[column] for t in trials} for column in seen} == seen


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "trial.method.epsilon=8/255",
            r"no effect on method\.epsilon, which the axis space\.method\.epsilon sets in every",
        ),
        ("trial.method.epsilon=8/255", r"--set 'space\.method\.epsilon=\{grid: \[\.\.\.\]\}'"),
        ("trial.method.epsilon=8/255", r"--set space\.method\.epsilon=null"),
        ("trial.method={name: pgd, epsilon: 8/255}", r"no effect on method\.epsilon"),
        ("trial={method: {epsilon: 8/255}}", r"no effect on method\.epsilon"),
        ("trial.probe.every=3", r"no effect on probe\.every, which the axis space\.probe"),
        (
            "trial.interventions.2={kind: high_pass}",
            "the list has 2 entries, counted from 0; to add one, write the whole",
        ),
        ("trial.seed.x.y=1", "no such place in the definition: 1 has no options|expected a whole number"),
        ("space.method.attack_mode.1=train", r"space\.method\.attack_mode\.1: stands there twice"),
        ("trial.method={attack_mode: eval}", r"no effect on method\.attack_mode"),
        ("space.sede=null", r"unknown axis 'sede'; did you mean 'seed'\?"),
        ("space.sede.grid.0=1", r"unknown axis 'sede'; did you mean 'seed'\?"),
        ("space.seed.grid.2=1", "the list has 2 entries, counted from 0"),
        ("space.seed.grid.x=1", "'x' is no place in a list"),
        ("space.method.attack_mode.7=train", "the list has 2 entries"),
        ("name=1e5", r"name: expected a text, got 100000\.0; a text .* takes quotes, as in"),
    ],
)
def test_a_change_that_would_have_no_effect_or_no_place_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_sweep(write(tmp_path, SWEPT), [override])


def test_faults_of_changes_come_with_those_of_the_definition(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_sweep(write(tmp_path, SWEPT), ["trial.seed=3", "space.sede=null", "trial.model.name=x", "nmae=1"])
    paths = {fault.path for fault in caught.value.faults}
    assert paths == {"--set trial.seed", "--set space.sede", "trial.model.name", "nmae"}


def test_a_text_that_looks_like_a_number_takes_quotes(tmp_path: Path) -> None:
    assert load_sweep(write(tmp_path, SWEPT), ['name="1e5"', "tracking.uri=off"]).name == "1e5"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.optimizer.epochs", "expected path=value"),
        ("trial.optimizer.epochs=[", "not valid YAML"),
        ("trial.interventions.-1.beta=0", "expected a list"),
        ("trial.interventions.4.beta=0", "no such place|unknown|no interventions|expected"),
        ("trial.seed.x=1", "expected a whole number|no such place"),
        ("nothing=1", "unknown key 'nothing'"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(CosweepError, match=message):
        load_sweep(write(tmp_path, "trial: {seed: 1}\n"), [override])
