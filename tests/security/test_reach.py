"""What results by somebody else, and questions to them, may reach: no other server, place or file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cosweep.errors import CosweepError
from cosweep.results.query import run_query
from cosweep.results.store import Store
from cosweep.tracking.runs import SweepRuns
from cosweep.tracking.tracker import stored_uri, sync_sweep
from tests.security.hostile import good_record

# --- where results may send what --------------------------------------------------------------------------------------


def test_a_password_goes_to_no_server_that_only_the_results_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_sweep("made", {**good_record(store), "mlflow_uri": "http://evil:5000"})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert stored_uri(store, "made") == "http://evil:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "x")
    with pytest.raises(CosweepError, match=r"would be sent MLFLOW_TRACKING_PASSWORD; if it is yours, set"):
        stored_uri(store, "made")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://evil:5000")
    assert stored_uri(store, "made") == "http://evil:5000"


@pytest.mark.integration
def test_no_database_of_mlflow_names_a_place_outside_for_the_report(store: Store, tmp_path: Path) -> None:
    uri = f"sqlite:///{store.local_path}/mlflow.db"
    sync_sweep(store, "made", uri)
    for place in ("mlflow-artifacts:/../../outside", "mlflow-artifacts://../../outside", f"{tmp_path}/outside"):
        with sqlite3.connect(f"{store.local_path}/mlflow.db") as database:
            database.execute("UPDATE runs SET artifact_uri = ?", (place,))
        with pytest.raises(CosweepError, match="wants the report in"):
            sync_sweep(store, "made", uri)
        assert not (tmp_path / "outside").exists()
        assert SweepRuns(store, "made", uri).missing() == 0


# --- SQL -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{file}')",
        "COPY trials TO '{folder}/out.csv'",
        "COPY trials TO '/dev/stdout'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{folder}/evil.duckdb_extension'",
        "SELECT * FROM sqlite_scan('{file}', 'x')",
        "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
        "SELECT getenv('HOME')",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "SET lock_configuration = false",
        "SET python_enable_replacements = true",
        "SET autoinstall_known_extensions = true",
        "SET temp_directory = '{folder}'",
        "PRAGMA enable_profiling = 'json'",
        "PRAGMA profiling_output = '{folder}/p.json'",
        "PRAGMA log_query_path = '{folder}/q.log'",
        "CALL enable_logging(storage = 'file', storage_path = '{folder}/logs')",
        "CREATE MACRO f() AS TABLE FROM read_text('{file}'); FROM f()",
        "SELECT * FROM query('COPY trials TO ''{folder}/z.csv''')",
        "SELECT 1; COPY trials TO '{folder}/out.csv'",
        "SELECT * FROM store",
        "SELECT * FROM table",
    ],
)
def test_no_statement_leaves_the_views(store: Store, tmp_path: Path, sql: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    refused = "(?i)permission|disabled|locked|cannot|does not exist|expected|syntax|not in the catalog"
    with pytest.raises(CosweepError, match=refused):
        run_query(store, sql.format(file=file, folder=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before
