"""The trials that are still to run."""

from __future__ import annotations

from cosweep.metrics import TrialStatus
from cosweep.sweep.queue import TrialQueue
from cosweep.training import TrialSpec
from cosweep.worker.events import Event, Phase
from tests.sweep.questions import questions_of, seeds

A, B, C = seeds(3)
END = Event(Phase.ENDED, status=TrialStatus.COMPLETED)


def queue_of(*specs: TrialSpec) -> TrialQueue:
    return TrialQueue(questions_of(specs))


def test_trials_are_handed_out_once_in_their_order() -> None:
    queue = queue_of(A, B)
    assert [queue.next(), queue.next(), queue.next()] == [A, B, None]


def test_a_queue_is_empty_when_every_trial_has_its_row() -> None:
    queue = queue_of(A, B)
    assert not queue.is_empty
    queue.next()
    queue.next()
    queue.ended(A.trial_id, END)
    assert not queue.is_empty, "b may have to run again"
    queue.ended(B.trial_id, END)
    assert queue.is_empty


def test_a_trial_that_runs_again_comes_before_those_that_wait() -> None:
    queue = queue_of(A, B, C)
    queue.next()
    queue.run_again(A.trial_id)
    assert [queue.next(), queue.next(), queue.next()] == [A, B, C]


def test_a_trial_runs_again_once_however_often_its_loss_is_told() -> None:
    queue = queue_of(A)
    queue.next()
    queue.run_again(A.trial_id)
    queue.run_again(A.trial_id)
    assert [queue.next(), queue.next()] == [A, None]
    queue.ended(A.trial_id, END)
    queue.run_again(A.trial_id)
    assert queue.is_empty


def test_trials_that_run_alone_wait_for_all_others() -> None:
    queue = queue_of(A, B)
    queue.next()
    queue.run_alone(A.trial_id)
    assert (queue.next(), queue.next(), queue.count_alone) == (B, None, 1)
    queue.ended(B.trial_id, END)
    assert queue.is_empty
    queue.start_alone()
    assert (queue.is_empty, queue.next(), queue.count_alone) == (False, A, 0)
