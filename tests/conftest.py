"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

os.environ["COLUMNS"] = "160"  # the width of a log; parallel test processes have a narrow one of their own
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's `&` does, for all that tests start too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the garbage collector, which statsmodels calls, the objects of all libraries and tests: half a second."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let it have them again, so that libraries find nothing left behind at the end."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread for the whole set: tiny tensors gain nothing from more, and sums keep one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoAttack's Square with 30 queries instead of 5000, where its strength is not the question."""
    from pyautoattack import square

    class Short(square.SquareAttack):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **(options | {"n_queries": 30}))

    monkeypatch.setattr(square, "SquareAttack", Short)
