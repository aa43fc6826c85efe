"""What ended an attempt at a trial; the texts are Ray's, as it wrote them in the tests with real processes."""

from __future__ import annotations

import pytest

from cosweep.sweep.failures import Attempts, Cause, Kind, cause_of
from cosweep.worker.limits import Word

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


@pytest.mark.parametrize(
    ("error", "word", "problem", "seconds", "cause"),
    [
        (WORKER_DIED, Word.RUNNING, "", 5, Cause("its worker process died")),
        (WORKER_DIED, Word.RUNNING, "", 65, Cause("it did not end within resources.time_limit, 1m 00s")),
        (WORKER_DIED, Word.RETIRING, "its process held 2 GB", 1, Cause("its process held 2 GB", Kind.NOBODY)),
        (UNAVAILABLE, Word.RUNNING, "", 65, Cause("its machine was lost", Kind.MACHINE)),
        (PREEMPTED, Word.RUNNING, "", 5, Cause("its machine was lost", Kind.MACHINE)),
        (NODE_DIED, Word.RUNNING, "", 5, Cause("its machine was lost", Kind.MACHINE)),
        (MEMORY, Word.RUNNING, "", 5, Cause("its machine ran out of memory", Kind.MEMORY)),
        (
            FULL,
            Word.WAITING,
            "",
            5,
            Cause("its results could not be written: OSError: [Errno 28] No space left on device"),
        ),
        (
            FULL,
            Word.HELD,
            "",
            5,
            Cause("it could not begin: OSError: [Errno 28] No space left on device", Kind.MACHINE),
        ),
        (FULL, Word.RUNNING, "", 5, Cause("its worker failed: OSError: [Errno 28] No space left on device")),
        ("", "", "", 0, Cause("its worker failed: no reason known")),
    ],
)
def test_the_cause_is_told_by_what_is_known(error: str, word: str, problem: str, seconds: float, cause: Cause) -> None:
    assert cause_of(error, word, problem, seconds, limit=60) == cause


def test_without_a_limit_no_time_is_too_long() -> None:
    assert cause_of(WORKER_DIED, Word.RUNNING, "", 1e9, None) == Cause("its worker process died")


def test_a_crash_before_the_first_word_is_no_matter_of_time_or_of_an_earlier_attempt() -> None:
    assert cause_of(WORKER_DIED, "", "", 1e9, 60) == Cause("its worker process died")
    attempts = Attempts(limit=None)
    for word in (Word.RUNNING, Word.RETIRING):
        attempts.starts("a")
        attempts.reports("a", word, "its process held 2 GB")
    assert attempts.ended("a", WORKER_DIED) == (Cause("its process held 2 GB", Kind.NOBODY), 1)
    attempts.starts("a")
    assert attempts.ended("a", WORKER_DIED) == (Cause("its worker process died"), 1)


def test_tries_are_counted_by_kind_and_by_trial() -> None:
    attempts = Attempts(limit=None)
    for trial, error, times in (
        ("a", WORKER_DIED, 1),
        ("a", NODE_DIED, 1),
        ("a", WORKER_DIED, 2),
        ("b", WORKER_DIED, 1),
        ("a", UNAVAILABLE, 2),
        ("a", WORKER_DIED, 3),
    ):
        attempts.starts(trial)
        attempts.reports(trial, Word.RUNNING, "")
        assert attempts.ended(trial, error)[1] == times
