"""How trials are handed to Tune, in which order they start, and what ends Tune."""

from __future__ import annotations

import errno
import os
import pickle
import time
from pathlib import Path

import pytest
from ray.tune.experiment import Experiment, Trial
from ray.tune.search import SearchGenerator

from cosweep.errors import CosweepError
from cosweep.metrics import TrialStatus
from cosweep.sweep.queue import TrialQueue
from cosweep.sweep.tune import Asked, InOrder, VerdictStopper, _full_disk_told
from cosweep.training import TrialSpec
from cosweep.worker.assignment import Assignment
from cosweep.worker.events import Event, Phase
from tests.sweep.questions import questions_of, seeds


def test_a_full_disk_of_temporary_files_is_one_message_that_says_how_to_carry_on() -> None:
    message = r"^no space is left in \S+ for temporary files; make room, then carry on with: cosweep run x\.yaml$"
    with pytest.raises(CosweepError, match=message), _full_disk_told("cosweep run x.yaml"):
        Path("/dev/full").write_text("x")


def test_another_fault_of_the_system_is_not_taken_for_it() -> None:
    with pytest.raises(PermissionError), _full_disk_told("cosweep run x.yaml"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def specs(count: int) -> list[TrialSpec]:
    return seeds(count, interventions=[{"kind": "inject", "beta": "24/255"}], stop={"co": {"after_steps": "never"}})


def search_of(queue: TrialQueue, folder: Path) -> SearchGenerator:
    """What Tune makes of a queue."""
    search = SearchGenerator(Asked(queue))
    search.add_configurations(Experiment("many", lambda config: None, num_samples=10**9, storage_path=str(folder)))
    return search


def asked(specs: list[TrialSpec], folder: Path) -> tuple[list[Trial], float]:
    """The trials that Tune makes of specs, and the seconds of CPU it takes to make twenty of them."""
    search = search_of(TrialQueue(questions_of(specs)), folder)
    start = time.process_time()
    trials = [search.next_trial() for _ in range(20)]
    seconds = time.process_time() - start
    while (trial := search.next_trial()) is not None:
        trials.append(trial)
    return trials, seconds


def test_tune_makes_each_trial_once_in_order(tmp_path: Path) -> None:
    trials, _ = asked(specs(30), tmp_path)
    assert [Assignment.from_config(trial.config).spec for trial in trials] == specs(30)


def test_a_trial_of_a_large_sweep_takes_tune_no_longer_to_make(tmp_path: Path) -> None:
    _, few = asked(specs(30), tmp_path)
    _, many = asked(specs(1200), tmp_path)
    assert many < 5 * few, "Tune copies the whole sweep for each trial"


def test_tune_ends_when_no_trial_is_left_that_might_run_again(tmp_path: Path) -> None:
    (spec,) = specs(1)
    queue = TrialQueue(questions_of([spec]))
    search = search_of(queue, tmp_path)
    assert search.next_trial() is not None
    assert (search.next_trial(), search.is_finished()) == (None, False)
    queue.run_again(spec.trial_id)
    assert Assignment.from_config(search.next_trial().config).spec == spec
    queue.ended(spec.trial_id, Event(Phase.ENDED, status=TrialStatus.COMPLETED))
    assert (search.next_trial(), search.is_finished()) == (None, True)


def test_tune_can_pickle_its_search_which_strategies_need_not_bear() -> None:
    queue = TrialQueue(questions_of(specs(3)))
    assert pickle.loads(pickle.dumps(Asked(queue))).__dict__ == {}
    assert queue.next() is not None


@pytest.mark.parametrize("status", [None, *TrialStatus])
def test_tune_stops_a_trial_that_its_verdict_stopped_and_no_other(status: TrialStatus | None) -> None:
    event = Event(Phase.RUNNING if status is None else Phase.ENDED, status=status)
    assert VerdictStopper()("a", event.to_dict()) is (status is TrialStatus.STOPPED)


def scheduler_of(trials: list[Trial]) -> InOrder:
    scheduler = InOrder()
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    return scheduler


def test_trials_start_in_the_order_they_were_added() -> None:
    trials = [Trial("trial", stub=True) for _ in range(4)]
    scheduler = scheduler_of(trials)
    started = []
    while (trial := scheduler.choose_trial_to_run(None)) is not None:
        trial.set_status(Trial.RUNNING)
        started.append(trial)
    assert started == trials


def test_a_trial_is_offered_until_it_starts() -> None:
    trials = [Trial("trial", stub=True) for _ in range(2)]
    scheduler = scheduler_of(trials)
    assert scheduler.choose_trial_to_run(None) is scheduler.choose_trial_to_run(None) is trials[0]


def test_a_trial_that_ended_before_its_turn_is_passed_over() -> None:
    trials = [Trial("trial", stub=True) for _ in range(3)]
    scheduler = scheduler_of(trials)
    trials[0].set_status(Trial.ERROR)
    assert scheduler.choose_trial_to_run(None) is trials[1]
