"""Detectors on tables of curves from anywhere."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from cosweep.errors import CosweepError
from cosweep.results.detect import detect_file

HEALTHY = [(10 * i, 0.8, 0.5, 0.4) for i in range(1, 9)]
BROKEN = [(10 * i, 0.8, 0.5, 0.4) if i < 5 else (10 * i, 0.7, 0.9, 0.01) for i in range(1, 9)]


def curves() -> pa.Table:
    names = ("step", "clean_acc", "fgsm_acc", "pgd_acc")
    rows = [dict(zip(names, probe), trial_id="h") for probe in HEALTHY]
    rows += [dict(zip(names, probe), trial_id="b") for probe in reversed(BROKEN)]
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_each_curve_gets_a_verdict_whatever_the_order_of_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"curves.{suffix}"
    pyarrow.csv.write_csv(curves(), path) if suffix == "csv" else pq.write_table(curves(), path)
    healthy, broken = detect_file(path, "collapse", 10).to_pylist()
    assert (healthy["trial_id"], healthy["state"], healthy["co"], healthy["co_step"]) == ("h", "healthy", False, None)
    assert (broken["trial_id"], broken["state"], broken["co"]) == ("b", "co", True)
    assert (broken["co_step_low"], broken["co_step"], broken["co_step_high"]) == (40, 50, 50)
    assert "0.01" in broken["co_reason"]


def test_nan_is_divergence(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("trial_id,step,clean_acc,fgsm_acc,pgd_acc\na,1,0.5,0.4,0.3\na,2,nan,,nan\n")
    assert detect_file(path, "collapse", 10)["state"].to_pylist() == ["diverged"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial_id,step,clean_acc\na,1,0.5\n", "no column fgsm_acc, pgd_acc"),
        ("trial_id,step,clean_acc,fgsm_acc,pgd_acc\na,1,50,40,30\n", r"row 1: accuracies are fractions"),
        ("trial_id,step,clean_acc,fgsm_acc,pgd_acc\na,1,x,0.4,0.3\n", "row 1"),
        ("trial_id,step,clean_acc,fgsm_acc,pgd_acc\na,,0.5,0.4,0.3\n", "row 1"),
        ("trial_id,step,clean_acc,fgsm_acc,pgd_acc\na,1.5,0.5,0.4,0.3\n", "row 1: step must be a whole number"),
        ("trial_id,step,clean_acc,fgsm_acc,pgd_acc\na,1,0.5,0.4,0.3\na,2,,0.4,0.3\n", "row 2: clean_acc is empty"),
        ("trial_id,step,clean_acc,fgsm_acc,pgd_acc,step\na,1,0.5,0.4,0.3,1\n", "stands there twice"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(CosweepError, match=message):
        detect_file(path, "collapse", 10)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosweepError, match="cannot be read"):
        detect_file(tmp_path / "none.parquet", "collapse", 10)


def test_a_rule_needs_the_column_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(curves(), path)
    with pytest.raises(CosweepError, match="no column grad_cos, which detector grad_cos reads"):
        detect_file(path, "grad_cos", 10)
