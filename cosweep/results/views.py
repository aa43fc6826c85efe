"""The tables as views of DuckDB, on a connection that reads them and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from cosweep.errors import CosweepError
from cosweep.results.schema import IN_DEFINITION, TABLES, VIEW_COLUMNS, Column
from cosweep.results.store import BadFile, Store
from cosweep.results.tables import concatenate

ALL = "all_"
"""Before the name of a view that also has the results of earlier definitions."""


class Results:
    """Trials, curves and snapshots of a store, as they are when first asked for.

    ``trials``, ``curves`` and ``snapshots`` hold what belongs to the definition that each sweep was last run with;
    ``all_trials``, ``all_curves`` and ``all_snapshots`` hold earlier results of the same names too, and the column
    ``in_definition`` tells them apart.

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

    @property
    def all_trials(self) -> duckdb.DuckDBPyRelation:
        """``trials``, and those that are not part of the present definitions."""
        return self._view("trials", ALL)

    @property
    def all_curves(self) -> duckdb.DuckDBPyRelation:
        """Probes of ``all_trials``."""
        return self._view("curves", ALL)

    @property
    def all_snapshots(self) -> duckdb.DuckDBPyRelation:
        """Snapshots of ``all_trials``."""
        return self._view("snapshots", ALL)

    def query(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Rows of one SQL statement over the views.

        As ``duckdb.sql``, it gives None for a statement without rows, such as ``CREATE VIEW``.

        Raises:
            CosweepError: If the statement is wrong, with the columns that exist; if there is none or more than one.
        """
        self.load(sql)
        try:
            return self._connection.sql(sql)
        except duckdb.Error as error:
            raise self.explained(error) from error

    def load(self, sql: str) -> duckdb.Statement:
        """Read the tables that a statement names; the statement as DuckDB parses it.

        Raises:
            CosweepError: If there is no statement or more than one, or DuckDB cannot parse it.
        """
        try:
            statements = duckdb.extract_statements(sql)
        except duckdb.Error as error:
            self._load("trials")
            raise self.explained(error) from error
        if len(statements) != 1:
            raise CosweepError(f"expected one statement, such as SELECT * FROM trials, got {len(statements) or 'none'}")
        # A view that is not there is a table that need not be read.
        for kind in [kind for kind in TABLES if kind in sql.lower()] or ["trials"]:
            self._load(kind)
        return statements[0]

    def interrupt(self) -> None:
        """End the statement that runs in another thread."""
        self._connection.interrupt()

    def explained(self, error: duckdb.Error) -> CosweepError:
        """A statement's error, with the columns that it could have named."""
        columns = "\n".join(f"  {name}: {', '.join(table.column_names)}" for name, table in self._tables.items())
        return CosweepError(f"{str(error).strip()}\ncolumns that exist:\n{columns}")

    def close(self) -> None:
        """Let go of the connection and the tables; relations made from them end too."""
        self._connection.close()
        self._tables.clear()

    def _view(self, kind: str, prefix: str = "") -> duckdb.DuckDBPyRelation:
        self._load(kind)
        return self._connection.view(f"{prefix}{kind}")

    def _load(self, kind: str) -> None:
        if kind not in self._tables:
            names = self._store.swept() if self._sweep is None else [self._sweep]
            empty = pa.schema([(c.name, c.type) for c in (*TABLES[kind], *VIEW_COLUMNS)]).empty_table()
            self._tables[kind] = concatenate([empty, *(self._read(kind, name) for name in names)])
            self._connection.register(f"{ALL}{kind}", self._tables[kind])
            present = self._connection.view(f"{ALL}{kind}").filter(f"{IN_DEFINITION.name} IS NOT FALSE")
            present.create_view(kind)

    def _read(self, kind: str, sweep: str) -> pa.Table:
        table: pa.Table = getattr(self._store, kind)(sweep)
        if IN_DEFINITION.name in table.column_names:  # of another hand
            table = table.drop_columns([IN_DEFINITION.name])
        definition = self._store.definition(sweep)
        if definition is None:
            belongs = pa.nulls(len(table), IN_DEFINITION.type)
        else:
            belongs = pc.is_in(table["trial_id"], pa.array(definition["trial_ids"], pa.string()))
        return table.append_column(IN_DEFINITION.name, belongs)


def open_store(root: str | Path, sweep: str | None) -> Results:
    """See :func:`cosweep.open_results`."""
    store = Store(root)
    if not store.exists():
        raise CosweepError(f"no results in {root}; a sweep leaves them there: cosweep run FILE")
    return Results(store, sweep)


def described_columns(store: Store) -> pa.Table:
    """View, name, SQL type, unit and meaning of every column, options of the specs in the store included."""
    documented = {column.name for column in (*TABLES["trials"], *VIEW_COLUMNS)}
    options = [
        Column(f.name, f.type, "", "option of the spec") for f in store.trials().schema if f.name not in documented
    ]
    rows = []
    for kind, columns in TABLES.items():
        described = (*columns, *VIEW_COLUMNS, *(options if kind == "trials" else ()))
        types = duckdb.from_arrow(pa.schema([(c.name, c.type) for c in described]).empty_table()).types
        rows += [
            {"view": kind, "column": column.name, "type": str(type_), "unit": column.unit, "meaning": column.meaning}
            for column, type_ in zip(described, types, strict=True)
        ]
    return pa.Table.from_pylist(rows)
