"""The order in which trials start."""

from __future__ import annotations

from ray.tune.experiment import Trial

from cosweep.sweep.scheduler import InOrder


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
