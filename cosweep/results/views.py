"""The tables as views of DuckDB, on a connection that reads them and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from cosweep.errors import CosweepError
from cosweep.results.schema import SWEEP_COLUMN, TABLES, Column
from cosweep.results.store import BadFile, Store


class Results:
    """Trials, curves and snapshots of a store, as they are when first asked for.

    Each is a DuckDB relation: ``.df()``, ``.to_arrow_table()``, ``.filter("co")``, ``.aggregate("beta, count(*)")``.
    The connection has no access to files, so a statement can read these views and nothing else.

    Args:
        store: Where they are.
        sweep: Only this one.

    Raises:
        CosweepError: If there is no such sweep.
    """

    def __init__(self, store: Store, sweep: str | None = None) -> None:
        self._store, self._sweep = store, sweep
        if sweep is not None and sweep not in self.sweeps:
            raise store.no_sweep(sweep, self.sweeps)
        self._tables: dict[str, pa.Table] = {}
        # One thread, so that the same rows give the same digits: sums over several differ in the last bit.
        self._connection = duckdb.connect(":memory:", config={"enable_external_access": False, "threads": 1})
        self._connection.execute("SET autoinstall_known_extensions = false")
        self._connection.execute("SET autoload_known_extensions = false")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET python_enable_replacements = false")
        self._connection.execute("SET lock_configuration = true")

    @property
    def sweeps(self) -> list[str]:
        """Names of the sweeps that were defined or have trials, sorted."""
        return sorted({*self._store.sweeps(), *self._store.swept()})

    @property
    def bad_files(self) -> list[BadFile]:
        """Files that could not be read; their rows are missing."""
        return self._store.bad_files

    @property
    def trials(self) -> duckdb.DuckDBPyRelation:
        """One row per trial."""
        return self._view("trials")

    @property
    def curves(self) -> duckdb.DuckDBPyRelation:
        """One row per probe."""
        return self._view("curves")

    @property
    def snapshots(self) -> duckdb.DuckDBPyRelation:
        """One row per image and moment."""
        return self._view("snapshots")

    def query(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Rows of a SQL statement over ``trials``, ``curves`` and ``snapshots``.

        As ``duckdb.sql``, it gives None for a statement without rows, such as ``CREATE VIEW``.

        Raises:
            CosweepError: If the statement is wrong; names the columns that exist.
        """
        try:
            # A view that is not there is a table that need not be read.
            for kind in [kind for kind in TABLES if kind in sql.lower()] or ["trials"]:
                self._load(kind)
            return self._connection.sql(sql)
        except duckdb.Error as error:
            raise self.explained(error) from error

    def explained(self, error: duckdb.Error) -> CosweepError:
        """A statement's error, with the columns that it could have named."""
        columns = "\n".join(f"  {name}: {', '.join(table.column_names)}" for name, table in self._tables.items())
        return CosweepError(f"{str(error).strip()}\ncolumns that exist:\n{columns}")

    def close(self) -> None:
        """Let go of the connection and the tables; relations made from them end too."""
        self._connection.close()
        self._tables.clear()

    def _view(self, kind: str) -> duckdb.DuckDBPyRelation:
        self._load(kind)
        return self._connection.view(kind)

    def _load(self, kind: str) -> None:
        if kind not in self._tables:
            self._tables[kind] = getattr(self._store, kind)(self._sweep)
            self._connection.register(kind, self._tables[kind])


def open_store(root: str | Path, sweep: str | None) -> Results:
    """See :func:`cosweep.open_results`."""
    store = Store(root)
    if not store.exists():
        raise CosweepError(f"no results in {root}; a sweep leaves them there: cosweep run FILE")
    return Results(store, sweep)


def described_columns(store: Store) -> pa.Table:
    """View, name, SQL type, unit and meaning of every column, options of the specs in the store included."""
    documented = {column.name for column in (*TABLES["trials"], SWEEP_COLUMN)}
    options = [
        Column(f.name, f.type, "", "option of the spec") for f in store.trials().schema if f.name not in documented
    ]
    rows = []
    for kind, columns in TABLES.items():
        described = (*columns, SWEEP_COLUMN, *(options if kind == "trials" else ()))
        types = duckdb.from_arrow(pa.schema([(c.name, c.type) for c in described]).empty_table()).types
        rows += [
            {"view": kind, "column": column.name, "type": str(type_), "unit": column.unit, "meaning": column.meaning}
            for column, type_ in zip(described, types, strict=True)
        ]
    return pa.Table.from_pylist(rows)
