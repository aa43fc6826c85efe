"""SQL over the store."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cosweep.errors import CosweepError
from cosweep.results.query import run_query, to_csv, to_json, to_parquet
from cosweep.results.schema import TABLES, VIEW_COLUMNS
from cosweep.results.store import Store
from tests.results.rows import broken_row, curve, measured_curve, snapshot_rows, trial_row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.write_trial("s", trial_row("a", robust_acc=float("nan")), curve())
    made.write_trial("s", broken_row("b"), curve())
    return made


def test_a_query_joins_both_views(store: Store) -> None:
    sql = "SELECT t.trial_id, count(*) AS n FROM trials t JOIN curves c USING (trial_id) GROUP BY 1 ORDER BY 1"
    assert run_query(store, sql).to_pylist() == [{"trial_id": "a", "n": 3}, {"trial_id": "b", "n": 3}]


def test_a_wrong_query_names_the_columns_that_exist(store: Store) -> None:
    with pytest.raises(CosweepError, match=r"(?s)nosuch.*columns that exist:.*trials: trial_id, status"):
        run_query(store, "SELECT nosuch FROM trials")


@pytest.mark.parametrize(
    "sql",
    [
        "COPY trials TO '{folder}/out.csv'",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM '{folder}/secret.csv'",
        "ATTACH '{folder}/other.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ],
)
def test_a_query_reaches_no_file(store: Store, tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CosweepError, match=r"(?i)permission|disabled|locked|cannot|does not exist"):
        run_query(store, sql.format(folder=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "expected one statement, such as SELECT .*, got none"),
        (" ; -- nothing", "got none"),
        ("SELECT 1; SELECT 2", "got 2"),
        ("DROP VIEW trials", "cannot DROP"),
        ("DROP VIEW trials; SELECT 1", "got 2"),
        ("CREATE VIEW mine AS SELECT * FROM trials", "cannot CREATE"),
        ("CREATE TABLE mine AS SELECT * FROM trials", "cannot CREATE"),
        ("SET threads = 2", "cannot SET"),
        ("INSERT INTO trials SELECT * FROM trials", "cannot INSERT"),
    ],
)
def test_a_query_is_one_statement_that_reads(store: Store, sql: str, message: str) -> None:
    with pytest.raises(CosweepError, match=message):
        run_query(store, sql)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) FROM trials;", 1),
        ("FROM trials", 2),
        ("WITH t AS (FROM trials) SELECT * FROM t", 2),
        ("VALUES (1), (2), (3)", 3),
        ("DESCRIBE trials", len(TABLES["trials"]) + len(VIEW_COLUMNS)),
        ("SUMMARIZE (SELECT co FROM trials)", 1),
        ("PIVOT trials ON state USING count(*) GROUP BY co", 2),
        ("EXPLAIN SELECT 1", 1),
    ],
)
def test_all_that_reads_is_a_query(store: Store, sql: str, rows: int) -> None:
    assert len(run_query(store, sql)) == rows


def test_columns_of_one_name_are_all_kept(store: Store) -> None:
    table = run_query(
        store, "SELECT t.pgd_acc, c.pgd_acc, t.trial_id FROM trials t JOIN curves c USING (trial_id) LIMIT 1"
    )
    assert table.column_names == ["pgd_acc", "pgd_acc_1", "trial_id"]


def test_sums_are_numbers_in_json(store: Store) -> None:
    assert json.loads(to_json(run_query(store, "SELECT sum(step) AS n FROM curves"))) == [{"n": 132}]


def test_json_has_null_for_nan_and_text_for_times(store: Store) -> None:
    table = run_query(store, "SELECT trial_id, robust_acc, co, started_at FROM trials ORDER BY 1")
    first, second = json.loads(to_json(table))
    assert first == {"trial_id": "a", "robust_acc": None, "co": False, "started_at": "2026-01-01T00:00:00+00:00"}
    assert second["co"] is True


def test_csv_and_parquet_hold_the_same_rows(store: Store) -> None:
    table = run_query(store, "SELECT trial_id, steps FROM trials ORDER BY 1")
    rows = list(csv.DictReader(io.StringIO(to_csv(table).decode())))
    assert rows == [{"trial_id": "a", "steps": "46"}, {"trial_id": "b", "steps": "46"}]
    assert pq.read_table(io.BytesIO(to_parquet(table))).to_pylist() == table.to_pylist()


ODD = """SELECT CAST('inf' AS DOUBLE) AS up, CAST('-inf' AS DOUBLE) AS down, CAST('nan' AS DOUBLE) AS nan,
    {'a': CAST('nan' AS DOUBLE), 'b': [CAST('inf' AS DOUBLE), 1.5], 'c': {'d': 'x'}} AS struct"""


def test_json_is_json_whatever_a_struct_or_a_list_holds(store: Store) -> None:
    (row,) = json.loads(to_json(run_query(store, ODD)), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert row == {"up": None, "down": None, "nan": None, "struct": {"a": None, "b": [None, 1.5], "c": {"d": "x"}}}


def test_csv_shows_infinities_and_has_structs_as_json(store: Store) -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv(run_query(store, ODD)).decode()))
    assert (row["up"], row["down"], row["nan"]) == ("inf", "-inf", "")
    assert json.loads(row["struct"]) == {"a": None, "b": [None, 1.5], "c": {"d": "x"}}


@pytest.mark.parametrize(
    "value", ["DATE '99999-01-01'", "DATE 'infinity'", "TIMESTAMP '-infinity'", "[TIMESTAMPTZ '99999-01-01']"]
)
def test_a_date_that_python_does_not_hold_is_named(store: Store, value: str) -> None:
    table = run_query(store, f"SELECT 1 AS n, {value} AS far")
    for write in (to_json, to_csv):
        with pytest.raises(CosweepError, match=r"column far has a value .*CAST\(far AS VARCHAR\)"):
            write(table)
    assert pq.read_table(io.BytesIO(to_parquet(table))).equals(table)
    assert b"far" in to_csv(run_query(store, f"SELECT CAST({value} AS VARCHAR) AS far"))


@pytest.mark.parametrize("value", ["INTERVAL 3 DAYS", "union_value(a := 1)"])
def test_a_type_that_parquet_does_not_hold_is_named(store: Store, value: str) -> None:
    table = run_query(store, f"SELECT 1 AS n, {value} AS odd")
    with pytest.raises(CosweepError, match=r"column odd is of type .*CAST\(odd AS VARCHAR\)"):
        to_parquet(table)
    assert len(json.loads(to_json(table))) == 1


def test_every_type_of_duckdb_is_written_or_named(store: Store) -> None:
    table = run_query(store, "SELECT * FROM test_all_types()")
    refused = set()
    for name in table.column_names:
        for write in (to_json, to_csv, to_parquet):
            try:
                write(table.select([name]))
            except CosweepError:
                refused.add(name)
    times = {name for name in table.column_names if name.startswith(("date", "timestamp"))}
    assert refused == times - {"timestamp_ns", "timestamp_tz_ns"} | {"interval", "empty_struct", "union"}


# --- columns of lists ------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.write_trial("s", broken_row("a"), measured_curve(), snapshot_rows(("before", 5), ("after", 24)))
    return made


LISTS = "SELECT step, delta_spectrum, ray_loss FROM curves ORDER BY step"
AS_TOLD = [
    {"step": 11, "delta_spectrum": None, "ray_loss": None},
    {"step": 22, "delta_spectrum": [0.5, 0.25, 0.25], "ray_loss": [0.1, 0.2]},
    {"step": 33, "delta_spectrum": [0.0, 0.0, 0.0], "ray_loss": [0.3, None]},
]


def test_lists_are_lists_in_json_with_null_for_nan(measured: Store) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = to_json(run_query(measured, LISTS))
    assert json.loads(text, parse_constant=refuse) == AS_TOLD


def test_lists_are_json_in_csv(measured: Store) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(run_query(measured, LISTS)).decode())))
    read = [{name: json.loads(cell) if cell else None for name, cell in row.items()} for row in rows]
    assert read == AS_TOLD


def test_lists_are_lists_in_parquet(measured: Store) -> None:
    table = run_query(measured, LISTS)
    again = pq.read_table(io.BytesIO(to_parquet(table)))
    assert again.schema.types == table.schema.types
    assert repr(again.to_pylist()) == repr(table.to_pylist())


def test_lists_may_be_queried_entry_by_entry(measured: Store) -> None:
    sql = "SELECT step, ray_loss[-1] AS at_the_end, len(delta_spectrum) AS n FROM curves WHERE curvature = 2.5"
    assert run_query(measured, sql).to_pylist() == [{"step": 22, "at_the_end": 0.2, "n": 3}]


def test_snapshots_are_a_view(measured: Store) -> None:
    sql = (
        "SELECT example, moment, s.step, list_max(delta) AS largest, t.co_step FROM snapshots s "
        "JOIN trials t USING (trial_id) ORDER BY example, s.step"
    )
    assert run_query(measured, sql).to_pylist() == [
        {"example": example, "moment": moment, "step": step, "largest": example / 4, "co_step": 20}
        for example in (7, 12)
        for moment, step in (("before", 5), ("after", 24))
    ]


def test_a_wrong_query_of_snapshots_names_their_columns(measured: Store) -> None:
    with pytest.raises(CosweepError, match=r"(?s)nosuch.*snapshots: trial_id, moment, step, example"):
        run_query(measured, "SELECT nosuch FROM snapshots")
