"""What ended an attempt at a trial; the texts are Ray's, as it wrote them in the tests with real processes."""

from __future__ import annotations

import pytest

from cosweep.sweep.failures import Cause, cause_of
from cosweep.sweep.worker import Word

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
MEMORY = (
    "The actor died unexpectedly before finishing this task.\nTask was killed due to the node running low on memory."
)
FULL = "ray::ImplicitFunc.train()\n  File x, line 1\nOSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("error", "word", "problem", "seconds", "cause"),
    [
        (WORKER_DIED, Word.RUNNING, "", 5, Cause("its worker process died")),
        (WORKER_DIED, Word.RUNNING, "", 65, Cause("it did not end within resources.time_limit, 1m 00s")),
        (WORKER_DIED, Word.RETIRING, "its process held 2 GB", 1, Cause("its process held 2 GB", counts=False)),
        (UNAVAILABLE, Word.RUNNING, "", 65, Cause("its machine was lost", counts=False)),
        (NODE_DIED, Word.RUNNING, "", 5, Cause("its machine was lost", counts=False)),
        (MEMORY, Word.RUNNING, "", 5, Cause("its machine ran out of memory")),
        (
            FULL,
            Word.WAITING,
            "",
            5,
            Cause("its results could not be written: OSError: [Errno 28] No space left on device"),
        ),
        (FULL, Word.RUNNING, "", 5, Cause("its worker failed: OSError: [Errno 28] No space left on device")),
        ("", "", "", 0, Cause("its worker failed: no reason known")),
    ],
)
def test_the_cause_is_told_by_what_is_known(error: str, word: str, problem: str, seconds: float, cause: Cause) -> None:
    assert cause_of(error, word, problem, seconds, limit=60) == cause


def test_without_a_limit_no_time_is_too_long() -> None:
    assert cause_of(WORKER_DIED, Word.RUNNING, "", 1e9, None) == Cause("its worker process died")
