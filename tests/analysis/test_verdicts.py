"""Detectors on tables of curves from anywhere."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from cosweep.analysis.verdicts import detect_file
from cosweep.detection import Chance
from cosweep.detection.collapse import Collapse
from cosweep.detection.published import GradientCosine
from cosweep.errors import CosweepError

TEN = Chance(10)
HEADER = "trial_id,step,clean_acc,fgsm_acc,pgd_acc"
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
    healthy, broken = detect_file(path, Collapse(), TEN).to_pylist()
    assert (healthy["trial_id"], healthy["state"], healthy["co"], healthy["co_step"]) == ("h", "healthy", False, None)
    assert (broken["trial_id"], broken["state"], broken["co"]) == ("b", "co", True)
    assert (broken["co_step_low"], broken["co_step"], broken["co_step_high"]) == (40, 50, 50)
    assert "0.01" in broken["co_reason"]


def test_nan_is_divergence(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("trial_id,step,clean_acc,fgsm_acc,pgd_acc\na,1,0.5,0.4,0.3\na,2,nan,,nan\n")
    assert detect_file(path, Collapse(), TEN)["state"].to_pylist() == ["diverged"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial_id,step,clean_acc\na,1,0.5\n", "no column fgsm_acc, pgd_acc"),
        (
            f"{HEADER}\na,1,50,40,30\n",
            r"row 1: accuracies are fractions in \[0, 1\], got clean_acc 50; .* divide them by 100 in all",
        ),
        (f"{HEADER}\na,1,0.5,0.4,0.3\na,2,0.5,0.4,30\n", r"row 2: accuracies are fractions .* got pgd_acc 30;"),
        (f"{HEADER}\na,1,0.5,0.4,0.3\nb,1,50,40,30\n", r"row 2: accuracies are fractions"),
        (f"{HEADER}\na,1,0.5,0.4,-0.1\n", r"row 1: accuracies are fractions .* got pgd_acc -0.1"),
        (f"{HEADER}\n,1,0.5,0.4,0.3\n", "row 1: trial_id is empty"),
        (f"{HEADER}\na,1,0.5,0.4,0.3\n ,1,0.5,0.4,0.3\n", "row 2: trial_id is empty"),
        (
            f"{HEADER}\na,1,0.5,0.4,0.3\nb,1,0.5,0.4,0.3\na,1,0.5,0.4,0.2\n",
            r"c\.csv, row 3: trial 'a' has step 1 once more, with other numbers \(pgd_acc 0\.3 and 0\.2\); leave",
        ),
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
        detect_file(path, Collapse(), TEN)


@pytest.mark.parametrize("pair", [("007", "7"), ("1e3", "1000"), ("NA", "null"), ("123456789e99", "inf"), ("1", "01")])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_are_text_as_they_stand_in_the_file(tmp_path: Path, suffix: str, pair: tuple[str, str]) -> None:
    path = tmp_path / f"curves.{suffix}"
    rows = [f"{name},{step},0.8,0.5,0.4" for name in pair for step in (10, 20)]
    path.write_text("\n".join([HEADER, *rows]))
    if suffix == "parquet":
        as_text = pyarrow.csv.ConvertOptions(column_types={"trial_id": pa.string()})
        pq.write_table(pyarrow.csv.read_csv(path, convert_options=as_text), path)
    found = detect_file(path, Collapse(), TEN)
    assert found["trial_id"].to_pylist() == list(pair)


def test_ids_in_parquet_may_be_whole_numbers_or_categories_and_no_floats(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    for ids, found in ((pa.array([7, 8]), ["7", "8"]), (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"])):
        pq.write_table(_one_probe_each(ids), path)
        assert detect_file(path, Collapse(), TEN)["trial_id"].to_pylist() == found
    pq.write_table(_one_probe_each(pa.array([7.0, 8.0])), path)
    with pytest.raises(CosweepError, match="trial_id is of type double; write the ids as text or whole numbers"):
        detect_file(path, Collapse(), TEN)
    pq.write_table(_one_probe_each(pa.array(["a", None])), path)
    with pytest.raises(CosweepError, match="row 2: trial_id is empty"):
        detect_file(path, Collapse(), TEN)


def _one_probe_each(ids: pa.Array) -> pa.Table:
    numbers = {name: pa.array([0.5] * len(ids)) for name in ("clean_acc", "fgsm_acc", "pgd_acc")}
    return pa.table({"trial_id": ids, "step": pa.array([1] * len(ids)), **numbers})


def test_a_row_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    """A resumed log repeats rows: one collapsed probe three times would else be a confirmed collapse."""
    path = tmp_path / "c.csv"
    rows = ["a,10,0.8,0.5,0.4", *["a,30,0.7,0.9,0.01"] * 3, "a,40,0.8,0.5,0.4", *["a,50,nan,nan,nan"] * 2]
    path.write_text("\n".join([HEADER, *rows]))
    (verdict,) = detect_file(path, Collapse(), TEN).to_pylist()
    assert (verdict["co"], verdict["state"]) == (False, "diverged")


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosweepError, match="cannot be read"):
        detect_file(tmp_path / "none.parquet", Collapse(), TEN)


def test_a_rule_needs_the_column_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(curves(), path)
    with pytest.raises(CosweepError, match="no column grad_cos, which detector grad_cos reads"):
        detect_file(path, GradientCosine(), TEN)
