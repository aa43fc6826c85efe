"""Killing a sweep's processes: nothing is lost, nothing runs twice, and the numbers are the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cosweep.results.store import Store
from tests.integration.processes import (
    LONGER,
    UNTRACKED,
    Numbers,
    finish,
    numbers,
    run,
    start,
    suffering,
    wait_for,
    watched,
    workers_of,
)

pytestmark = pytest.mark.integration

CARRIES_ON = re.compile(r"trial \w+ carries on from step \d+")


def rows(folder: Path) -> list[Path]:
    return list((folder / "results/trials").glob("sweep=*/[!.]*.parquet"))


def unfinished(folder: Path) -> set[str]:
    """Trials that have a checkpoint and no row; one that has just ended has both for a moment."""
    checkpoints = (folder / "results/checkpoints/sweep=tiny").glob("[!.]*.pt")
    return {path.stem for path in checkpoints} - {path.stem for path in rows(folder)}


def wait_for_busy(folder: Path, driver: int) -> list[psutil.Process]:
    """Wait for a first result with trials still running; the workers that run them."""
    return wait_for(lambda: workers_of(driver, "ray::ImplicitFunc.train") if rows(folder) else [])


def times(folder: Path) -> dict[str, int]:
    """When each row was written."""
    return {path.name: path.stat().st_mtime_ns for path in rows(folder)}


def ray_folder(driver: int) -> Path:
    """The temporary folder of the Ray that a driver started."""
    (raylet,) = (one for one in psutil.Process(driver).children(recursive=True) if one.name() == "raylet")
    (session,) = (part for part in raylet.cmdline() if part.startswith("--session_dir="))
    return Path(session.removeprefix("--session_dir=")).parents[1]


def kill_when(ready: Callable[[], object], driver: subprocess.Popen[str]) -> Path:
    """Kill a driver when it is time to, and its workers end; the temporary folder, which the next run is to clear."""
    workers, folder = wait_for(lambda: ready() and workers_of(driver.pid, "ray::ImplicitFunc")), ray_folder(driver.pid)
    assert isinstance(workers, list)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait(60)
    _, alive = psutil.wait_procs(workers, timeout=60)  # Ray ends them when their driver is gone
    assert not alive
    return folder


def test_a_driver_killed_again_and_again_carries_on_with_the_same_command(tmp_path: Path, reference: Numbers) -> None:
    (tmp_path / "tiny.yaml").write_text(UNTRACKED)
    command = ["tiny.yaml", *LONGER, "--set", "results.checkpoint_seconds=0"]
    pauses = suffering(tmp_path, "pause-0-1", "pause-24-1")
    driver = start(tmp_path, *command, **pauses)
    with watched(driver):
        first = kill_when(lambda: len(rows(tmp_path)) == len(unfinished(tmp_path)) == 2, driver)
    kept = times(tmp_path)
    driver = start(tmp_path, *command, **pauses)
    with watched(driver) as lines:
        last = kill_when(lambda: len(CARRIES_ON.findall("".join(lines))) == 2, driver)
    assert not first.exists()
    code, output = run(tmp_path, *command)
    assert code == 0, output
    assert "2 done before, 2 to run" in output
    assert len(CARRIES_ON.findall(output)) == 2, output
    assert not last.exists()
    assert kept.items() <= times(tmp_path).items()
    assert numbers(Store(tmp_path / "results")) == reference


def hang_up(driver: subprocess.Popen[str]) -> None:
    """What a terminal that is closed does to its jobs."""
    for _ in range(2):
        os.killpg(driver.pid, signal.SIGHUP)
        time.sleep(0.2)


def interrupt_twice(driver: subprocess.Popen[str]) -> None:
    for _ in range(2):
        os.killpg(driver.pid, signal.SIGINT)
        time.sleep(0.5)


def kill_raylet(driver: subprocess.Popen[str]) -> None:
    (raylet,) = (one for one in psutil.Process(driver.pid).children(recursive=True) if one.name() == "raylet")
    raylet.kill()


def test_a_sweep_that_is_ended_says_how_to_carry_on(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(UNTRACKED)
    command = ["tiny.yaml", "--set", "space.optimizer.epochs.grid=[2, 5000]"]
    carry_on = "carry on with: cosweep run tiny.yaml --set 'space.optimizer.epochs.grid=[2, 5000]'\n"
    for end, told in {
        hang_up: "trials have no result yet; ",
        interrupt_twice: "stopped by SIGINT; ",
        kill_raylet: "has ended, without which Ray runs nothing here; now ",
    }.items():
        driver = start(tmp_path, *command)
        wait_for_busy(tmp_path, driver.pid)
        end(driver)
        code, output = finish(driver, 60)
        assert code == 1, output
        assert output.endswith(told + carry_on), output
        assert "Traceback" not in output


def test_one_trial_alone_that_nobody_listens_to_gives_the_numbers_it_gave_beside_others(
    tmp_path: Path, reference: Numbers
) -> None:
    (tmp_path / "tiny.yaml").write_text(UNTRACKED)
    alone = ["--set", "space.seed.grid=[1]", "--set", "space.interventions.0.beta.grid=[24/255]"]
    driver = start(tmp_path, "tiny.yaml", *LONGER, *alone)
    assert driver.stdout is not None
    assert "1 to run" in driver.stdout.readline()
    driver.stdout.close()  # as head -1 does
    assert driver.wait(240) == 0
    trials, curves = numbers(Store(tmp_path / "results"))
    assert len(trials) == 1
    assert set(trials) <= set(reference[0])
    assert set(curves) <= set(reference[1])
