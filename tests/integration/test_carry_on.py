"""Killing a sweep's processes: nothing is lost, nothing runs twice, and the numbers are the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from cosweep.results.store import Store
from tests.integration.processes import LONGER, TINY, Numbers, finish, numbers, run, start, wait_for, workers_of

pytestmark = pytest.mark.integration


def rows(folder: Path) -> list[Path]:
    return list((folder / "results/trials").glob("sweep=*/[!.]*.parquet"))


def wait_for_busy(folder: Path, driver: int) -> list[psutil.Process]:
    """Wait for a first result with trials still running; the workers that run them."""
    return wait_for(lambda: workers_of(driver, "ray::ImplicitFunc.train") if rows(folder) else [])


def test_a_killed_driver_carries_on_with_the_same_command(tmp_path: Path, reference: Numbers) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    driver = start(tmp_path, "tiny.yaml", *LONGER)
    workers = wait_for_busy(tmp_path, driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=60)  # Ray ends them when their driver is gone
    assert not alive
    kept = {path.name: path.stat().st_mtime_ns for path in rows(tmp_path)}
    assert 1 <= len(kept) < 4, "the kill came too late to test anything"
    code, output = run(tmp_path, "tiny.yaml", *LONGER)
    assert code == 0, output
    assert f"{len(kept)} done before" in output
    after = {path.name: path.stat().st_mtime_ns for path in rows(tmp_path)}
    assert kept.items() <= after.items()
    assert numbers(Store(tmp_path / "results")) == reference


def test_a_killed_worker_costs_its_trial_a_second_run_only(tmp_path: Path, reference: Numbers) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    driver = start(tmp_path, "tiny.yaml", *LONGER)
    wait_for_busy(tmp_path, driver.pid)[0].kill()
    code, output = finish(driver)
    assert code == 0, output
    assert numbers(Store(tmp_path / "results")) == reference


def test_an_interrupted_sweep_ends_cleanly_and_says_how_to_carry_on(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    driver = start(tmp_path, "tiny.yaml", "--set", "space.optimizer.epochs.grid=[2, 5000]")
    wait_for_busy(tmp_path, driver.pid)
    driver.send_signal(signal.SIGTERM)
    code, output = finish(driver)
    assert code == 1
    assert "have no result yet; carry on with: cosweep run tiny.yaml" in output
    assert "Traceback" not in output


def test_one_trial_alone_gives_the_numbers_it_gave_beside_others(tmp_path: Path, reference: Numbers) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    code, output = run(
        tmp_path,
        "tiny.yaml",
        *LONGER,
        "--set",
        "space.seed.grid=[1]",
        "--set",
        "space.interventions.0.beta.grid=[24/255]",
    )
    assert code == 0, output
    trials, curves = numbers(Store(tmp_path / "results"))
    assert len(trials) == 1
    assert set(trials) <= set(reference[0])
    assert set(curves) <= set(reference[1])
