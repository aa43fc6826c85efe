"""Results in Python: relations over the tables, and the columns' documentation."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import cosweep
from cosweep.errors import CosweepError
from cosweep.results.compaction import compact_sweep
from cosweep.results.query import run_query
from cosweep.results.schema import TABLES, VIEW_COLUMNS, Column
from cosweep.results.store import Store
from cosweep.results.views import Results, described_columns
from tests.results.rows import broken_row, curve, snapshot_rows, trial_row

ALL_COLUMNS = [(kind, column) for kind, columns in TABLES.items() for column in (*columns, *VIEW_COLUMNS)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    made.write_sweep("planned", {"trial_ids": []})
    made.write_trial("s", trial_row("a", noise_scale=2.0), curve())
    made.write_trial("s", broken_row("b"), curve(), snapshot_rows(("before", 5)))
    made.write_trial("t", trial_row("c"), curve(1))
    return made


@pytest.fixture
def results(store: Store) -> Results:
    return cosweep.open_results(store.location)


def test_relations_give_frames_and_tables(results: Results) -> None:
    assert results.sweeps == ["planned", "s", "t"]
    assert sorted(results.trials.df()["trial_id"]) == ["a", "b", "c"]
    assert results.trials.filter("co").select("co_step").fetchall() == [(20,)]
    assert results.curves.aggregate("sweep, count(*) AS n").order("sweep").fetchall() == [("s", 6), ("t", 1)]
    assert results.snapshots.to_arrow_table().num_rows == 2


def test_times_can_be_fetched_as_python_times(results: Results) -> None:
    (started_at,) = results.trials.filter("trial_id = 'a'").select("started_at").fetchall()[0]
    assert started_at.isoformat() == "2026-01-01T00:00:00+00:00"


def test_one_sweep_alone(store: Store) -> None:
    results = cosweep.open_results(store.location, sweep="t")
    assert results.trials.select("trial_id").fetchall() == [("c",)]
    assert results.query("SELECT count(*) FROM curves").fetchall() == [(1,)]
    assert cosweep.open_results(store.location, sweep="planned").trials.to_arrow_table().num_rows == 0


def test_sql_over_the_views(results: Results) -> None:
    sql = "SELECT trial_id, count(*) FROM trials JOIN curves USING (trial_id) GROUP BY 1 ORDER BY 1"
    assert results.query(sql).fetchall() == [("a", 3), ("b", 3), ("c", 1)]
    results.query("CREATE VIEW broken AS SELECT * FROM trials WHERE co")
    assert results.query("SELECT trial_id FROM broken").fetchall() == [("b",)]


def test_relations_outlive_their_results_and_end_with_close(store: Store) -> None:
    relation = cosweep.open_results(store.location).trials
    assert len(relation) == 3
    results = cosweep.open_results(store.location)
    results.close()
    with pytest.raises(Exception, match=r"(?i)closed"):
        len(results.trials)


def test_results_stay_as_they_were_when_first_asked_for(store: Store, results: Results) -> None:
    assert len(results.trials) == 3
    compact_sweep(store, "s")
    store.write_trial("s", trial_row("d"), curve())
    assert len(results.trials) == 3
    assert len(cosweep.open_results(store.location).trials) == 4


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM read_text('{0}')", "COPY trials TO '{0}.csv'", "SET enable_external_access = true"]
)
def test_a_statement_reaches_no_file(results: Results, tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret").write_text("x")
    with pytest.raises(CosweepError, match=r"(?i)permission|disabled|locked"):
        results.query(sql.format(tmp_path / "secret"))
    assert not (tmp_path / "secret.csv").exists()


def test_a_wrong_statement_names_the_columns(results: Results) -> None:
    with pytest.raises(CosweepError, match=r"(?s)nosuch.*columns that exist:.*trials: trial_id, status"):
        results.query("SELECT nosuch FROM trials")


def test_a_missing_root_or_sweep_is_one_message(store: Store, tmp_path: Path) -> None:
    with pytest.raises(CosweepError, match=r"no results in .*nowhere"):
        cosweep.open_results(tmp_path / "nowhere")
    with pytest.raises(CosweepError, match=r"no sweep 'x' in .*; sweeps there: planned, s, t"):
        cosweep.open_results(store.location, sweep="x")


def test_damaged_files_are_named(store: Store, results: Results, tmp_path: Path) -> None:
    (tmp_path / "results/trials/sweep=s/a.parquet").write_bytes(b"")
    assert len(results.trials) == 2
    assert [Path(bad.path).name for bad in results.bad_files] == ["a.parquet"]


# --- one name, several definitions -----------------------------------------------------------------------------------


@pytest.fixture
def narrowed(store: Store) -> Store:
    """Sweep s, whose definition now has b alone."""
    store.write_sweep("s", {"trial_ids": ["b", "not yet"]})
    return store


def test_views_hold_the_present_definition_and_all_views_the_rest_too(narrowed: Store) -> None:
    results = cosweep.open_results(narrowed.location)
    for kind, count in {"trials": 1, "curves": 3, "snapshots": 2}.items():
        asked = "SELECT DISTINCT trial_id, in_definition FROM {} WHERE sweep = 's' ORDER BY 1"
        assert results.query(asked.format(kind)).fetchall() == [("b", True)]
        everyone = results.query(asked.format(f"all_{kind}")).fetchall()
        assert everyone == ([("b", True)] if kind == "snapshots" else [("a", False), ("b", True)])
        assert len(getattr(results, kind).filter("sweep = 's'")) == count
        assert getattr(results, f"all_{kind}").columns == getattr(results, kind).columns
    assert run_query(narrowed, "SELECT trial_id FROM trials ORDER BY 1")["trial_id"].to_pylist() == ["b", "c"]
    assert len(cosweep.open_results(narrowed.location, sweep="s").all_trials) == 2


def test_a_sweep_without_a_definition_is_shown_whole_and_a_damaged_one_is_named(narrowed: Store) -> None:
    narrowed.write_bytes("sweeps/s.json", b"{")
    found = cosweep.open_results(narrowed.location)
    assert found.trials.filter("in_definition IS NULL").order("trial_id").select("trial_id").fetchall() == [
        ("a",),
        ("b",),
        ("c",),  # of sweep t, which never had one
    ]
    (bad,) = found.bad_files
    assert (Path(bad.path).name, "is damaged" in bad.problem) == ("s.json", True)


def test_a_compacted_trial_keeps_its_place(narrowed: Store) -> None:
    compact_sweep(narrowed, "s")
    assert run_query(narrowed, "SELECT trial_id FROM all_trials WHERE NOT in_definition").to_pylist() == [
        {"trial_id": "a"}
    ]


def test_a_column_of_a_file_does_not_decide_it(narrowed: Store) -> None:
    narrowed.write_trial("s", trial_row("a", in_definition=True), curve())
    assert run_query(narrowed, "SELECT trial_id FROM trials WHERE sweep = 's'").to_pylist() == [{"trial_id": "b"}]


@pytest.mark.parametrize(("sql", "message"), [(" ", "got none"), ("SELECT 1; SELECT 2", "got 2")])
def test_one_statement_at_a_time(results: Results, sql: str, message: str) -> None:
    with pytest.raises(CosweepError, match=f"expected one statement.*{message}"):
        results.query(sql)


# --- documentation of the columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "column"), ALL_COLUMNS, ids=lambda part: getattr(part, "name", part))
def test_every_number_and_time_has_a_unit_and_every_column_a_meaning(kind: str, column: Column) -> None:
    inner = column.type.value_type if pa.types.is_list(column.type) else column.type
    measured = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_timestamp(inner)
    assert bool(column.unit) == measured, f"{kind}.{column.name}"
    assert column.meaning


def test_every_column_of_the_views_is_described_in_order(store: Store) -> None:
    rows = described_columns(store).to_pylist()
    results = Results(store)
    for kind in TABLES:
        relation = getattr(results, kind)
        told = {row["column"]: row["type"] for row in rows if row["view"] == kind}
        assert told == dict(zip(relation.columns, map(str, relation.types), strict=True))
    (option,) = [row for row in rows if row["column"] == "noise_scale"]
    assert option == {
        "view": "trials",
        "column": "noise_scale",
        "type": "DOUBLE",
        "unit": "",
        "meaning": "option of the spec",
    }
