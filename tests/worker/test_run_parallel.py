"""Whose fault it is that a trial of several workers ended."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest
import torch

from cosweep.errors import CosweepError
from cosweep.parallel import Workers
from cosweep.training import TrialRun, TrialSpec
from cosweep.worker.run_parallel import WorkerError, error_of_trial


def raised(error: Exception, rank: int) -> WorkerError:
    """What the worker of this rank makes of it."""
    run = TrialRun(TrialSpec(), torch.device("cpu"), workers=Workers(rank, 3))
    return WorkerError.of(error, run, "ab12", datetime.now(UTC))


DIED = RuntimeError("A worker health check failed.")  # by Ray Train, of a worker that is gone
OWN = raised(CosweepError("no such carrier"), 1)
GLOO = RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711")
LOST = raised(GLOO, 0)


@pytest.mark.parametrize("failures", [{0: OWN}, {0: LOST, 1: OWN}, {1: OWN, 0: LOST, 2: LOST}])
def test_the_exception_that_one_worker_raised_is_the_trials_whatever_the_others_lost(
    failures: dict[int, Exception],
) -> None:
    error = error_of_trial(failures)
    assert error is OWN
    assert str(error).startswith("CosweepError: no such carrier\n")
    assert str(error).endswith("\nin worker 1")


@pytest.mark.parametrize("failures", [{1: DIED}, {0: LOST, 1: DIED}, {0: LOST}, {0: OWN, 1: DIED}])
def test_a_lost_process_or_connection_is_not_the_trials_fault(failures: dict[int, Exception]) -> None:
    assert error_of_trial(failures) is None


@pytest.mark.parametrize(
    ("error", "out_of_memory", "lost_others"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True, False),
        (torch.distributed.DistNetworkError("reset"), False, True),
        (ConnectionError("other checkpoints"), False, True),
        (GLOO, False, True),
        (RuntimeError("shapes differ"), False, False),
    ],
)
def test_what_an_exception_means_travels_with_it(error: Exception, out_of_memory: bool, lost_others: bool) -> None:
    sent = pickle.loads(pickle.dumps(raised(error, 0)))
    assert (sent.out_of_memory, sent.lost_others) == (out_of_memory, lost_others)
    assert str(error) in str(sent)
