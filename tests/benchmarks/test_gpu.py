"""The check of a GPU: all its parts with a tiny network on the CPU, and that its cells are the paper's."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from cosweep.definition.search_space import load_sweep
from cosweep.training.compute import ComputeSpec
from tests.tiny import CPU

ROOT = Path(__file__).parents[2]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_writes_all_parts_and_a_second_one_leaves_out_what_has_ended(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    gpu.main(["--small", "--out", str(out)])
    rows = rows_of(out)
    assert [row["part"] for row in rows] == ["device", *["step"] * 7, *["cell"] * 2, *["step"] * 5]
    timed = [row for row in rows if row["status"] == "timed"]
    assert [row["precision"] for row in timed] == ["fp32", "bf16"]
    assert all(float(row["ms_per_step"]) > float(row["floor_ms"]) > 0 for row in timed)
    refused = [row["note"] for row in rows if row["status"] == "refused"]
    assert len(refused) == 10
    assert all("needs a CUDA device" in note for note in refused)
    cells = [row for row in rows if row["part"] == "cell"]
    assert [row["status"] for row in cells] == ["completed"] * 2
    assert all(row["step"] == row["total_steps"] and 0 <= float(row["robust_acc"]) <= 1 for row in cells)
    gpu.main(["--small", "--out", str(out)])
    assert [row["part"] for row in rows_of(out)[len(rows) :]] == ["device", *["step"] * 12]


def test_a_cell_that_time_runs_out_for_is_carried_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "rows.csv"
    bench = gpu.Bench(gpu.parsed(["--small", "--out", str(out)]), CPU)
    bench.write(part="device")
    over = iter([False, True])
    monkeypatch.setattr(bench, "is_over", lambda: next(over))
    bench.cell_row("fgsm", 6, 8)
    monkeypatch.setattr(bench, "is_over", lambda: False)
    bench.cell_row("fgsm", 6, 8)
    bench.cell_row("fgsm", 6, 8)
    cut, whole = rows_of(out)[1:]
    assert (cut["status"], whole["status"]) == ("time ran out", "completed")
    assert cut["trial_id"] == whole["trial_id"]
    assert int(cut["step"]) < int(whole["step"])
    assert not list(tmp_path.glob("*.checkpoint"))


def test_without_time_only_the_device_is_told(tmp_path: Path) -> None:
    gpu.main(["--small", "--out", str(tmp_path / "rows.csv"), "--minutes", "0"])
    assert [row["part"] for row in rows_of(tmp_path / "rows.csv")] == ["device"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--out", "rows.csv"], "--data is missing"), (["--small"], "required: --out")],
)
def test_what_is_missing_is_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(arguments)
    assert message in capsys.readouterr().err


def test_cells_have_the_settings_of_the_search_space() -> None:
    sweep = load_sweep(ROOT / "search_spaces/paper/injected_strength.yaml")
    asked = {"root": "there", "source": "image_parquet"}
    paper = {**gpu.raw_trial(Path("there"), small=False)}
    assert {key: paper["data"][key] for key in asked} == {"root": "there", "source": "image_folder"}

    def compared(plain: dict[str, Any]) -> dict[str, Any]:
        kept = {section: plain[section] for section in ("interventions", "model", "method", "optimizer", "seed")}
        return kept | {"box": plain["data"]["box"], "augment": plain["data"]["augment"]}

    of_sweep = [compared(spec.to_dict()) for spec in sweep.trials]
    for method, epsilon, beta in gpu.CELLS:
        cell = compared(gpu.cell_spec(paper, method, epsilon, beta, ComputeSpec()).to_dict())
        if method == "fgsm":
            assert cell in of_sweep
        else:
            assert cell | {"method": None} in [other | {"method": None} for other in of_sweep]
