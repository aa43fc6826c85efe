"""What a worker process sees to besides its trials: limits of time and memory, and its share of a GPU."""

from __future__ import annotations

import faulthandler
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from cosweep.definition.sweep import GIGABYTE
from cosweep.errors import CosweepError

_STDERR = 2
_GROWTH_GIGABYTES = 2.0  # starting CUDA alone may take one
_GARBAGE_GIGABYTES = 0.5  # looking for garbage takes 0.12 s, as much as all else between two trials
_GPU_PATIENCE_SECONDS = 60.0
_GPU_SLACK = 0.5  # contexts of other trials' processes take some of each share


class MemoryLimitError(CosweepError):
    """A trial that took more memory than its definition allows."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Context that ends the process when it takes longer; the threads' stacks go to its log."""
    if seconds is None:
        yield
        return
    # A thread of C: it ends a process that hangs in compiled code and holds the interpreter's lock, too.
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def private_memory() -> float:
    """Gigabytes that this process holds and does not share with others."""
    used = psutil.Process().memory_info()
    return float(used.rss - getattr(used, "shared", 0)) / GIGABYTE


def check_memory(limit: float | None, earlier: float = 0.0) -> None:
    """See that the process keeps to a trial's gigabytes.

    Args:
        limit: How many.
        earlier: Those that it holds of earlier trials, which are not this one's fault.

    Raises:
        MemoryLimitError: If it does not.
    """
    if limit is not None and (used := private_memory() - earlier) > limit:
        raise MemoryLimitError(
            f"the trial's process holds {used:.2g} GB; resources.memory allows {limit:g}. "
            "Raise it, or lower optimizer.batch_size, probe.examples or the size of the model"
        )


class Growth:
    """Measures how much memory this process has gained since it was first asked.

    Attributes:
        now: Gigabytes, when it was last asked.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self.now = 0.0

    def excess(self) -> float:
        """Gigabytes that the process has gained, if that is too much to start another trial with; else 0."""
        held = private_memory()
        if self._first is None:
            self._first = held
        if held - self._first > _GARBAGE_GIGABYTES:
            gc.collect()
            held = private_memory()
        self.now = max(held - self._first, 0.0)
        return self.now if self.now > _GROWTH_GIGABYTES else 0.0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of a device or the machine, was not to be had."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def claim_gpu_share(share: float) -> None:
    """Keep to a share of the device's memory, once that much of it is free.

    Raises:
        torch.OutOfMemoryError: If other programs hold it for a minute.
    """
    if not share:
        return
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share)
    torch.cuda.empty_cache()  # of this process's last trial
    deadline = time.monotonic() + _GPU_PATIENCE_SECONDS
    while problem := gpu_problem(share, *torch.cuda.mem_get_info()):
        if time.monotonic() > deadline:
            raise torch.OutOfMemoryError(problem)
        time.sleep(1.0)  # the process of the trial before may still be ending


def gpu_problem(share: float, free: int, total: int) -> str:
    """Why a share of a device's memory cannot be had, from its bytes; empty if it can."""
    wanted = min(share, 1.0) * total
    if free >= _GPU_SLACK * wanted:
        return ""
    return (
        f"{free / GIGABYTE:.1f} of the GPU's {total / GIGABYTE:.1f} GB are free, and a share of {min(share, 1.0):g} is "
        f"{wanted / GIGABYTE:.1f} GB: other programs use it"
    )
