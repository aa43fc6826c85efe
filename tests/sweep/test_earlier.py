"""Why finished trials of a name do not count for a definition, and what a run keeps of itself."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cosweep.definition.search_space import parse_sweep
from cosweep.definition.sweep import Sweep
from cosweep.results.store import Store
from cosweep.specs import canonical_json
from cosweep.sweep.agenda import Agenda
from cosweep.sweep.earlier import why_not_counted
from cosweep.sweep.run import _begin, _conclude
from cosweep.training import TrialSpec
from tests.results.rows import curve, trial_row


def sweep_of(**trial: Any) -> Sweep:
    return parse_sweep({"name": "s", "trial": trial, "space": {"seed": {"grid": [0, 1, 2]}}})


def write(store: Store, specs: tuple[TrialSpec, ...], **columns: Any) -> None:
    for spec in specs:
        row = trial_row(spec.trial_id, spec_json=canonical_json(spec.to_dict()), **columns)
        store.write_trial("s", row, curve())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three finished trials of the defaults."""
    made = Store(tmp_path)
    write(made, sweep_of().trials)
    return made


@pytest.mark.parametrize(
    ("trial", "places"),
    [
        ({"final": {"steps": 20}}, "final.steps"),
        ({"final": {"steps": 20, "restarts": 1}}, "final.restarts, final.steps"),
        ({"probe": {"every": 23}}, "probe.every"),
        ({"stop": {"co": {"after_steps": 7}}}, "stop.co.after_steps"),
    ],
)
def test_trials_that_were_only_measured_otherwise_are_told(store: Store, trial: dict[str, Any], places: str) -> None:
    stop = trial.pop("stop", None)
    definition = {"name": "s", "trial": trial, "stop": stop, "space": {"seed": {"grid": [0, 1, 2]}}}
    (told,) = why_not_counted(parse_sweep(definition), store)
    assert told == (
        f"3 finished trials differ from this definition only in {places}; no weights are kept, so they train again"
    )


def test_nothing_is_told_of_the_same_definition_of_other_trainings_or_of_failed_trials(store: Store) -> None:
    assert why_not_counted(sweep_of(), store) == []
    assert why_not_counted(sweep_of(optimizer={"epochs": 3}), store) == []
    write(store, sweep_of().trials, status="failed", state=None, co=None)
    assert why_not_counted(sweep_of(final={"steps": 20}), store) == []


def test_nothing_is_told_when_the_new_trials_have_finished_too(store: Store) -> None:
    narrowed = sweep_of(final={"steps": 20})
    write(store, narrowed.trials)
    assert why_not_counted(narrowed, store) == []


def test_one_trial_is_told_as_one(store: Store) -> None:
    write(store, sweep_of(final={"steps": 20}).trials[1:])
    (told,) = why_not_counted(sweep_of(final={"steps": 20}), store)
    assert told.startswith("1 finished trial differs from this definition only in final.steps; ")


def test_a_row_of_another_hand_is_no_twin(store: Store) -> None:
    store.write_trial("s", trial_row("f" * 12, spec_json='{"final": NaN, "probe": 5}'), curve())
    store.write_trial("s", trial_row("e" * 12, spec_json="{"), curve())
    assert len(why_not_counted(sweep_of(final={"steps": 20}), store)) == 1


def test_a_run_keeps_which_trials_have_finished(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosweep.sweep.run.report_files", lambda findings: {})
    sweep = sweep_of()
    first, second, third = (spec.trial_id for spec in sweep.trials)
    console = Console(file=io.StringIO())
    write(store, sweep.trials[1:], status="failed", state=None, co=None)
    agenda = Agenda(sweep, store, None, console)
    _begin(agenda, None, ())
    assert store.sweep_record("s")["finished"] == [first]
    write(store, sweep.trials[1:2])
    outcome = _conclude(agenda, (), None, console)
    assert store.sweep_record("s")["finished"] == sorted([first, second])
    assert [row["trial_id"] for row in outcome.failed] == [third]
