"""Limits that a worker process keeps."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from cosweep.worker.limits import (
    claim_gpu_share,
    gpu_problem,
    is_out_of_memory,
)

FRESH = """
import numpy as np
import pytest

from cosweep.worker import limits
from cosweep.worker.limits import MemoryLimitError, check_memory, private_memory
"""
HANG = """
import ctypes, sys
from cosweep.worker.limits import time_limit

with time_limit(float(sys.argv[1])):
    if sys.argv[2] == "hang":
        # A call of C that keeps the interpreter's lock: no thread of Python could end it.
        ctypes.PyDLL(None).sleep(60)
print("ended")
"""


def run_hanging(limit: float, what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HANG, str(limit), what]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_process_that_hangs_in_compiled_code_is_ended_and_says_where() -> None:
    done = run_hanging(0.5, "hang")
    assert done.returncode == 1
    assert "ended" not in done.stdout
    assert "Timeout" in done.stderr
    assert 'File "<string>", line 8 in <module>' in done.stderr


def test_a_process_that_ends_in_time_goes_on() -> None:
    done = run_hanging(60, "end")
    assert (done.returncode, done.stdout) == (0, "ended\n")


def run_fresh(code: str) -> None:
    """Run code in a process of its own: one that ran other tests has free memory, from which arrays come."""
    done = subprocess.run([sys.executable, "-c", FRESH + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_process_holds_is_measured_and_limited() -> None:
    run_fresh("""
before = private_memory()
held = np.ones(25_000_000)  # 0.2 GB
assert 0.15 < private_memory() - before < 0.3
check_memory(None)
check_memory(before + 1)
check_memory(before + 0.1, earlier=0.15)
with pytest.raises(MemoryLimitError, match=r"holds .* GB; resources.memory allows 0\\.01"):
    check_memory(0.01)
assert held.all()
""")


def test_a_process_that_has_grown_much_is_not_to_go_on() -> None:
    run_fresh("""
limits._GROWTH_GIGABYTES = 0.5
growth = limits.Growth()
assert growth.excess() == 0
small = np.ones(50_000_000)
assert growth.excess() == 0
held = np.ones(25_000_000)
assert 0.5 < growth.excess() < 0.7
assert len(small)
del held
ring = [np.ones(50_000_000)]
ring.append(ring)
del ring  # which only the collector finds
assert growth.excess() == 0
""")


def test_exceptions_for_want_of_memory_are_told_from_others() -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as full:
        np.empty(1 << 60, dtype=np.uint8)
    assert is_out_of_memory(full.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(
    ("share", "free", "total", "fits"),
    [(1, 79, 80, True), (1, 30, 80, False), (0.25, 12, 80, True), (0.25, 5, 80, False), (2, 79, 80, True)],
)
def test_a_share_of_a_gpu_is_there_or_the_numbers_are_told(share: float, free: int, total: int, fits: bool) -> None:
    problem = gpu_problem(share, int(free * 1e9), int(total * 1e9))
    assert (problem == "") == fits
    if problem:
        assert f"{free}.0 of the GPU's 80.0 GB are free" in problem


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="only a CUDA device can refuse memory beyond a share; pytest -m gpu where one is",
)
def test_a_share_of_a_real_gpu_is_kept_to() -> None:
    started = time.monotonic()
    claim_gpu_share(0.25)
    assert time.monotonic() - started < 30
    _, total = torch.cuda.mem_get_info()
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize(("patience", "refused"), [(60.0, False), (-1.0, True)])
def test_a_share_is_waited_for_and_refused_in_the_end(
    monkeypatch: pytest.MonkeyPatch, patience: float, refused: bool
) -> None:
    """With a device that says it has the memory at the third time."""
    free = iter([int(5e9), int(5e9), int(12e9)])
    fractions: list[float] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (next(free), int(80e9)))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr("cosweep.worker.limits._GPU_PATIENCE_SECONDS", patience)
    with pytest.raises(torch.OutOfMemoryError, match=r"5\.0 of the GPU") if refused else nullcontext():
        claim_gpu_share(0.25)
    assert fractions == [0.25]
    assert len(list(free)) == (2 if refused else 0)
