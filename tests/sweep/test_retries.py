"""What becomes of a trial whose attempt came to nothing; Ray wrote these texts in the tests with real processes."""

from __future__ import annotations

import pytest

from cosweep.sweep.retries import RESTARTS, Attempt, Blame, Decision, Failure, Retries, failure_of
from cosweep.worker.events import Event, Phase

WORKER_DIED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: ImplicitFunc\n\tactor_id: 4b71799a\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was "
    "killed by the OOM killer due to high memory usage, (2) ray stop --force was called"
)
UNAVAILABLE = (
    "The actor 644285403d8af7288dbf0e6901000000 is unavailable: The actor is temporarily unavailable: RpcError: RPC "
    "error: Socket closed rpc_code: 14. The task may or may not have been executed on the actor."
)
NODE_DIED = (
    "The actor died unexpectedly before finishing this task.\nThe actor died because its node has died. Node Id: 1"
)
PREEMPTED = "the actor's node was preempted\nThe actor died unexpectedly before finishing this task.\n\tclass_name: "
MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 127.0.0.1, ID: 7ce48eb39) "
    "was 5.58GB used / 23.54GB limit (0.236939)\nOOM kill reason: Memory usage 5807276032B exceeded threshold of "
    "5535554048B\nSet max_restarts and max_task_retries to enable retry when the task crashes due to OOM."
)
FULL = "ray::ImplicitFunc.train()\n  File x, line 1\nOSError: [Errno 28] No space left on device"


FULL_DISK = "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("error", "phase", "seconds", "failure"),
    [
        (WORKER_DIED, Phase.RUNNING, 5, Failure("its worker process died")),
        (WORKER_DIED, Phase.RUNNING, 65, Failure("it did not end within resources.time_limit, 1m 00s")),
        (WORKER_DIED, Phase.RETIRING, 1, Failure("the problem told", Blame.NOBODY)),
        (WORKER_DIED, None, 1e9, Failure("its worker process died")),
        (UNAVAILABLE, Phase.RUNNING, 65, Failure("its machine was lost", Blame.MACHINE)),
        (PREEMPTED, Phase.RUNNING, 5, Failure("its machine was lost", Blame.MACHINE)),
        (NODE_DIED, Phase.RUNNING, 5, Failure("its machine was lost", Blame.MACHINE)),
        (MEMORY, Phase.RUNNING, 5, Failure("its machine ran out of memory", Blame.MEMORY)),
        (FULL, Phase.WAITING, 5, Failure(f"its results could not be written: {FULL_DISK}")),
        (FULL, Phase.HELD, 5, Failure(f"it could not begin: {FULL_DISK}", Blame.MACHINE)),
        (FULL, Phase.RUNNING, 5, Failure(f"its worker failed: {FULL_DISK}")),
        ("", None, 0, Failure("its worker failed: no reason known")),
    ],
)
def test_the_cause_is_told_by_what_is_known(error: str, phase: Phase | None, seconds: float, failure: Failure) -> None:
    last = None if phase is None else Event(phase, "the problem told")
    assert failure_of(error, last, seconds, limit=60) == failure


def test_without_a_limit_no_time_is_too_long() -> None:
    assert failure_of(WORKER_DIED, Event(Phase.RUNNING), 1e9, None) == Failure("its worker process died")


def test_an_attempt_takes_no_time_and_no_report_of_an_earlier_one() -> None:
    now = 0.0
    retries = Retries(limit=60, clock=lambda: now)
    retries.starts("a")
    retries.hears("a", Event(Phase.RUNNING))
    now = 50.0
    retries.hears("a", Event(Phase.RUNNING))
    assert retries.lost("a", WORKER_DIED).failure == Failure("its worker process died")
    retries.starts("a")
    retries.hears("a", Event(Phase.RUNNING))
    now = 100.0
    assert retries.lost("a", WORKER_DIED).failure == Failure("its worker process died")
    retries.starts("a")
    retries.hears("a", Event(Phase.RUNNING))
    now = 160.0
    assert retries.lost("a", WORKER_DIED).failure.text.startswith("it did not end within")
    retries.starts("a")
    retries.hears("a", Event(Phase.RETIRING, "its process held 2 GB"))
    assert retries.lost("a", WORKER_DIED) == Attempt(Failure("its process held 2 GB", Blame.NOBODY), 1)
    retries.starts("a")
    assert retries.lost("a", FULL).failure == Failure(f"its worker failed: {FULL_DISK}")


def test_attempts_are_counted_by_blame_and_by_trial() -> None:
    retries = Retries(limit=None)
    for trial, error, times in (
        ("a", WORKER_DIED, 1),
        ("a", NODE_DIED, 1),
        ("a", WORKER_DIED, 2),
        ("b", WORKER_DIED, 1),
        ("a", UNAVAILABLE, 2),
        ("a", WORKER_DIED, 3),
    ):
        retries.starts(trial)
        retries.hears(trial, Event(Phase.RUNNING))
        assert retries.lost(trial, error).times == times


@pytest.mark.parametrize(
    ("blame", "times", "decision", "told"),
    [
        (Blame.TRIAL, 1, Decision.RUN_AGAIN, "runs again (1 of 2): it broke"),
        (Blame.TRIAL, 2, Decision.RUN_AGAIN, "runs again (2 of 2): it broke"),
        (Blame.TRIAL, 3, Decision.FAIL, "failed: it broke, 3 times"),
        (Blame.MEMORY, 1, Decision.RUN_ALONE, "runs again alone, after the others: it broke"),
        (Blame.MEMORY, 2, Decision.FAIL, "failed: it broke, 2 times"),
        (Blame.MACHINE, 20, Decision.RUN_AGAIN, "runs again: it broke"),
        (Blame.MACHINE, 21, Decision.FAIL, "failed: it broke, 21 times"),
        (Blame.NOBODY, 20, Decision.RUN_AGAIN, "runs again: it broke"),
        (Blame.NOBODY, 21, Decision.FAIL, "failed: it broke, 21 times"),
    ],
)
def test_what_becomes_of_a_trial_follows_from_the_blame_and_the_count(
    blame: Blame, times: int, decision: Decision, told: str
) -> None:
    attempt = Attempt(Failure("it broke", blame), times)
    assert (attempt.decision, str(attempt)) == (decision, told)


def test_every_blame_has_a_limit() -> None:
    assert RESTARTS.keys() == set(Blame)
