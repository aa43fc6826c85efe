"""What befalls trials and their disk in long sweeps. After each: every trial once, the numbers of an undisturbed sweep,
a line that says what happened."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosweep.definition.search_space import load_sweep
from cosweep.results.store import Store
from tests.integration.processes import (
    LONGER,
    UNTRACKED,
    Numbers,
    nearly_full,
    numbers,
    run,
    start,
    suffering,
    wait_for,
    watched,
)

pytestmark = pytest.mark.integration


def definition(folder: Path) -> Path:
    (folder / "tiny.yaml").write_text(UNTRACKED)
    return folder


def test_what_befalls_trials_once_costs_time_and_nothing_else(tmp_path: Path, reference: Numbers) -> None:
    """Trials hang, crash and fill the GPU, workers die before a trial and after its row, checkpoints are damaged."""
    faults = suffering(
        definition(tmp_path), "once-hang-0-0", "once-segfault-24-0", "once-full-24-1", "once-reset", "once-report"
    )
    checkpoints = tmp_path / "results/checkpoints/sweep=tiny"
    checkpoints.mkdir(parents=True)
    changes = [change for change in LONGER if change != "--set"]
    trials = [spec.trial_id for spec in load_sweep(tmp_path / "tiny.yaml", changes).trials]
    for trial in [*trials, "of-no-trial"]:
        (checkpoints / f"{trial}.pt").write_bytes(b"PK" * 500)
    code, output = run(tmp_path, "tiny.yaml", *LONGER, "--set", "resources.time_limit=20", **faults)
    assert code == 0, output
    assert re.search(r"trial \w+ runs again \([12] of 2\): it did not end within resources.time_limit, 20s", output)
    assert len(re.findall(r"trial \w+ runs again \([12] of 2\): its worker process died", output)) == 3
    assert re.search(r"trial \w+ runs again alone, after the others: CUDA out of memory", output)
    for trial in trials:
        assert f"trial {trial} begins anew, since its checkpoint cannot be used: it is damaged" in output
    assert "4 done · 0 running · 0 left" in output
    assert not list((tmp_path / "faults").iterdir())
    assert len(list(checkpoints.iterdir())) <= 1, "but that of the worker that died after its row"
    assert numbers(Store(tmp_path / "results")) == reference


def test_trials_that_always_crash_leak_or_fill_memory_fail_and_cost_the_others_nothing(
    tmp_path: Path, reference: Numbers
) -> None:
    faults = suffering(definition(tmp_path), "segfault-0-0", "leak-24-0", "full-24-1")
    code, output = run(tmp_path, "tiny.yaml", *LONGER, "--set", "resources.memory=2", **faults)
    assert code == 1, output
    assert output.count("its worker process died") >= 4  # two tries more, and the row
    rows = Store(tmp_path / "results").trials("tiny").to_pylist()
    errors = {(round(255 * row["beta"]), row["seed"]): row["error"] for row in rows if row["status"] == "failed"}
    assert errors.keys() == {(0, 0), (24, 0), (24, 1)}
    assert errors[0, 0] == "its worker process died, 3 times"
    assert re.match(r"MemoryLimitError: the trial's process holds \S+ GB; resources.memory allows 2", errors[24, 0])
    assert errors[24, 1].startswith("OutOfMemoryError: CUDA out of memory")
    assert "Traceback" not in output
    assert_are_part(Store(tmp_path / "results"), reference, 1)


def assert_are_part(store: Store, reference: Numbers, count: int) -> None:
    """So many trials ended well, and they and their curves are those of the undisturbed sweep."""
    well = [row["trial_id"] for row in store.trials("tiny").to_pylist() if row["status"] != "failed"]
    assert len(well) == count
    for found, sought in zip(numbers(store), reference, strict=True):
        own = [text for text in found if any(trial_id in text for trial_id in well)]
        assert own == [text for text in sought if any(trial_id in text for trial_id in well)]
        assert own


def test_trials_that_fill_their_machine_run_again_alone_and_fail_if_they_still_do(
    tmp_path: Path, reference: Numbers
) -> None:
    faults = suffering(definition(tmp_path), "once-fill-24-0", "fill-24-1")
    code, output = run(tmp_path, "tiny.yaml", *LONGER, **nearly_full(), **faults)
    assert code == 1, output
    assert output.count("runs again alone, after the others: its machine ran out of memory") >= 2
    rows = Store(tmp_path / "results").trials("tiny").to_pylist()
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert (round(255 * failed["beta"]), failed["seed"]) == (24, 1)
    assert failed["error"] == "its machine ran out of memory, 2 times"
    assert (failed["device"], failed["host"]) == (None, None)
    assert "Traceback" not in output
    assert_are_part(Store(tmp_path / "results"), reference, 3)


def test_two_workers_that_fill_their_machine_give_it_back_and_their_trial_runs_again_alone(tmp_path: Path) -> None:
    faults = suffering(definition(tmp_path), "once-fill-0-0")
    changes = ["--set", "trial.optimizer.epochs=4", "--set", "resources.workers=2"]
    changes += ["--set", "space.seed.grid=[0]", "--set", "space.interventions.0.beta.grid=[0]"]
    code, output = run(tmp_path, "tiny.yaml", *changes, **nearly_full(), **faults)
    assert code == 0, output
    assert "runs again alone, after the others: its machine ran out of memory" in output
    (row,) = Store(tmp_path / "results").trials("tiny").to_pylist()
    assert (row["status"], row["workers"], row["steps"]) == ("completed", 2, 16)


def fill(path: Path) -> None:
    """Write to a file until its disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_delays_results_and_loses_none(tmp_path: Path, reference: Numbers, small_disk: Path) -> None:
    place = f"results.root={small_disk}/results"
    mlflow = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    driver = start(definition(tmp_path), "tiny.yaml", *LONGER, "--set", place, **mlflow)
    with watched(driver) as lines:
        wait_for(lambda: (small_disk / "results/sweeps/tiny.json").exists())
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            fill(filler)
        waits = r"trial \w+ has ended and waits until its results can be written: .*No space left"
        wait_for(lambda: re.search(waits, "".join(lines)))
        filler.unlink()
        assert driver.wait(240) == 0, "".join(lines)
    output = "".join(lines)
    assert re.search(r"trial \w+: its results are written now", output)
    assert "runs again" not in output
    assert numbers(Store(small_disk / "results")) == reference
