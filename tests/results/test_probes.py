"""Curves held against the rows of their trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosweep.results.compaction import compact_sweep
from cosweep.results.schema import TABLES, table_from_rows
from cosweep.results.store import Store
from tests.results.rows import broken_row, curve, measured_curve, trial_row

Rows = list[dict[str, Any]]
OTHER = [{**curve(1)[0], "pgd_acc": 0.9}]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.write_trial("s", trial_row("a"), curve(6))
    made.write_trial("s", broken_row("b"), measured_curve())
    return made


def rewrite(store: Store, rows: Rows, trial_id: str = "a", sweep: str = "s") -> None:
    """Leave these probes in a trial's file of curves."""
    table = table_from_rows([{"trial_id": trial_id, **row} for row in rows], TABLES["curves"])
    store.partition("curves", sweep).write(trial_id, table)


def test_a_row_says_how_many_probes_were_written(store: Store) -> None:
    assert store.trials().sort_by("trial_id")["probes"].to_pylist() == [6, 3]
    store.curves()
    assert store.bad_files == []


CASES: list[tuple[str, Rows, int, str, bool]] = [
    ("doubled", curve(6) * 2, 6, "the curve has 12 rows of 6 probes; each counts once", False),
    ("one twice", [*curve(6), curve(2)[1]], 6, "the curve has 7 rows of 6 probes; each counts once", False),
    ("half", curve(3), 3, "the curve has 3 probes where 6 were written", False),
    ("half, doubled", curve(3) * 2, 3, "the curve has 3 probes where 6 were written", False),
    ("none", [], 0, "the curve has 0 probes where 6 were written", False),
    ("more", curve(8), 8, "the curve has 8 probes where 6 were written", False),
    ("torn", [*curve(6), *OTHER], 0, "the curve has probes of one step that differ; it is left out", True),
]


@pytest.mark.parametrize(("rows", "kept", "problem", "left_out"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_curve_that_is_not_as_written_is_named(
    store: Store, rows: Rows, kept: int, problem: str, left_out: bool, compacted: bool
) -> None:
    rewrite(store, rows)
    if compacted:
        compact_sweep(store, "s")
    read = store.curves("s").to_pylist()
    assert [row["step"] for row in read if row["trial_id"] == "a"] == [11 * (i + 1) for i in range(kept)]
    assert sum(row["trial_id"] == "b" for row in read) == 3
    (bad,) = store.bad_files
    assert bad.path.endswith("curves/sweep=s, trial a")
    assert (bad.problem, bad.left_out) == (problem, left_out)
    assert len(store.trial("s", "a")[1]) == kept


def test_a_curve_whose_file_is_gone_is_named(store: Store) -> None:
    store.files.delete("curves/sweep=s/a.parquet")
    assert set(store.curves()["trial_id"].to_pylist()) == {"b"}
    assert [bad.problem for bad in store.bad_files] == ["the curve has 0 probes where 6 were written"]


def test_a_curve_whose_file_is_damaged_is_named_once(store: Store) -> None:
    store.write_bytes("curves/sweep=s/a.parquet", b"")
    store.curves()
    assert [Path(bad.path).name for bad in store.bad_files] == ["a.parquet"]


def test_probes_that_are_not_numbers_may_stand_twice(store: Store) -> None:
    rewrite(store, measured_curve() * 2, "b")
    assert store.curves()["trial_id"].to_pylist().count("b") == 3


def test_an_older_row_says_nothing_of_its_curve(store: Store) -> None:
    older = table_from_rows([trial_row("a")], TABLES["trials"]).drop_columns(["probes"])
    store.partition("trials", "s").write("a", older)
    rewrite(store, curve(2))
    assert len(store.curves()) == 5
    assert store.bad_files == []
    assert {row["trial_id"]: row["probes"] for row in store.trials().to_pylist()} == {"a": None, "b": 3}
