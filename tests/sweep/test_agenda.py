"""What a sweep that adapts takes from the tables, and what it leaves for the next run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cosweep.definition.search_space import parse_sweep
from cosweep.definition.sweep import Sweep
from cosweep.errors import CosweepError, SpecError
from cosweep.metrics import TrialState, TrialStatus
from cosweep.results.store import Store
from cosweep.specs import canonical_json
from cosweep.sweep.agenda import Agenda, finished_trials, refuse_other_data
from cosweep.sweep.queue import TrialQueue
from cosweep.training import TrialSpec
from cosweep.worker.events import Event, Phase
from tests.results.rows import curve, trial_row

SPACE: dict[str, Any] = {
    "method.epsilon": {"uniform": ["32/255", "96/255"]},
    "method": [{"name": "fgsm"}, {"name": "n_fgsm", "noise_scale": 1}],
    "interventions.0.beta": {"grid": [0, "16/255", "32/255"]},
    "seed": {"int": [0, 99]},
}
TRIAL = {"interventions": [{"kind": "inject", "beta": 0}]}
HEALTHY = Event(Phase.ENDED, state=TrialState.HEALTHY, total_steps=46, status=TrialStatus.COMPLETED)


def sweep_of(trials: int = 20, space: dict[str, Any] | None = None, **trial: Any) -> Sweep:
    search = {"kind": "boundary", "trials": trials}
    return parse_sweep({"name": "s", "trial": TRIAL | trial, "space": space or SPACE, "search": search})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.create()
    return made


def agenda_of(sweep: Sweep, store: Store) -> tuple[Agenda, io.StringIO]:
    said = io.StringIO()
    return Agenda(sweep, store, None, Console(file=said, width=300)), said


def write(store: Store, spec: TrialSpec, **columns: Any) -> None:
    store.write_trial("s", trial_row(spec.trial_id, spec_json=canonical_json(spec.to_dict()), **columns), curve())


def asked(agenda: Agenda, count: int) -> list[TrialSpec]:
    queue = TrialQueue(agenda.questions)
    specs = [queue.next() for _ in range(count)]
    return [spec for spec in specs if spec is not None]


def test_the_point_of_a_spec_is_the_one_it_was_made_at() -> None:
    sweep = sweep_of()
    for point in sweep.strategy().ask(12):
        assert sweep.point_of(sweep.spec_at(point)) == point


@pytest.mark.parametrize(
    "other",
    [
        {"method": {"name": "fgsm", "epsilon": 0.2}, "optimizer": {"epochs": 7}},
        {"method": {"name": "rs_fgsm", "epsilon": 0.2}},
        {"method": {"name": "fgsm", "epsilon": 0.2}, "interventions": [{"kind": "inject", "beta": 0.3}]},
        {"method": {"name": "fgsm", "epsilon": 0.2}, "interventions": []},
    ],
)
def test_a_spec_outside_the_space_is_at_no_point(other: dict[str, Any]) -> None:
    assert sweep_of().point_of(TrialSpec.from_dict(TRIAL | other)) is None


def test_rows_of_the_space_are_answers_and_others_are_left_out(store: Store) -> None:
    sweep = sweep_of()
    first, second = asked(agenda_of(sweep, store)[0], 2)
    write(store, first)
    write(store, second, status="failed", state=None, co=None)
    write(store, TrialSpec.from_dict(TRIAL | {"seed": 7, "optimizer": {"epochs": 7}}))
    assert finished_trials(sweep, store).keys() == {first.trial_id}
    agenda, _ = agenda_of(sweep, store)
    assert agenda.left == 19
    assert agenda.record()["trial_ids"] == [first.trial_id]
    specs = asked(agenda, 12)
    assert specs[0] == second, "a trial that failed runs again"
    assert first not in specs


def test_questions_without_an_answer_are_asked_first_by_the_next_run(store: Store) -> None:
    before = asked(agenda_of(sweep_of(), store)[0], 3)
    agenda, _ = agenda_of(sweep_of(), store)
    assert agenda.to_carry_on == {spec.trial_id for spec in before}
    assert asked(agenda, 3) == before


def test_questions_that_another_definition_asked_are_dropped(store: Store) -> None:
    asked(agenda_of(sweep_of(), store)[0], 3)
    assert agenda_of(sweep_of(optimizer={"epochs": 7}), store)[0].to_carry_on != set()
    narrow = SPACE | {"method.epsilon": {"uniform": ["40/255", "90/255"]}, "interventions.0.beta": {"grid": [0.4]}}
    assert agenda_of(sweep_of(space=narrow), store)[0].to_carry_on == set()
    del narrow["seed"]
    assert agenda_of(sweep_of(space=narrow), store)[0].to_carry_on == set()


def test_the_record_says_how_far_the_search_is(store: Store) -> None:
    agenda, _ = agenda_of(sweep_of(12), store)
    for spec in asked(agenda, 12):
        agenda.questions.answer(spec.trial_id, HEALTHY)
    record = store.sweep_record("s")
    assert (len(record["trial_ids"]), record["waiting"], record["most_trials"]) == (12, [], 12)
    assert record["progress"] == agenda.reason == "the budget is spent: 12 trials were asked for"
    assert (agenda.left, agenda.missing(12)) == (0, 0)


def test_an_interrupted_search_has_trials_missing(store: Store) -> None:
    agenda, _ = agenda_of(sweep_of(20), store)
    asked(agenda, 5)
    assert agenda.missing(3) == 17
    assert agenda.reason == ""


def test_a_store_that_fails_while_it_searches_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    agenda, said = agenda_of(sweep_of(), store)

    def fail(*_: object) -> None:
        raise OSError("the bucket is away")

    monkeypatch.setattr(store, "write_sweep", fail)
    assert len(asked(agenda, 1)) == 1
    assert "cannot be kept now (the bucket is away)" in said.getvalue()


def test_places_without_a_trial_are_told_and_left_out(store: Store) -> None:
    space = {"optimizer.momentum": {"uniform": [0.5, 0.95]}, "seed": {"int": [0, 9]}}
    partly = sweep_of(8, space, optimizer={"momentum_min": 0.8})
    (note,) = [note for note in partly.notes if "have no trial" in note]
    assert note.startswith("2 of 4 checked points have no trial, and none is asked for there, such as trial.optimizer")
    assert "(at optimizer.momentum=0.5, seed=0.0): must be at most momentum, 0.5; got 0.8" in note
    agenda, said = agenda_of(partly, store)
    specs = asked(agenda, 8)
    assert len(specs) == 8
    assert all(spec.optimizer.momentum >= 0.8 for spec in specs)
    assert "no trial is possible at optimizer.momentum=0.5" in said.getvalue()


def test_a_space_without_any_trial_is_refused() -> None:
    space = {"optimizer.momentum": {"uniform": [0.1, 0.5]}, "seed": {"int": [0, 9]}}
    with pytest.raises(SpecError, match="must be at most momentum"):
        sweep_of(8, space, optimizer={"momentum_min": 0.8})


def test_trials_of_other_images_are_refused(store: Store) -> None:
    sweep = sweep_of()
    (spec,) = asked(agenda_of(sweep, store)[0], 1)
    write(store, spec, data_hash="before")
    with pytest.raises(CosweepError, match=f"trial {spec.trial_id} of sweep s was run on other images"):
        refuse_other_data(sweep, finished_trials(sweep, store), {spec.data.load_key: "now"})
