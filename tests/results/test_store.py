"""The Parquet store: whole rows or none, one row a trial, names that stay below the root."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosweep.errors import CosweepError
from cosweep.results.files import LocalFiles
from cosweep.results.query import run_query
from cosweep.results.schema import CURVE_COLUMNS, SCHEMA_VERSION, SNAPSHOT_COLUMNS, TRIAL_COLUMNS, VERSION_KEY
from cosweep.results.store import Store, check_name
from tests.results.rows import broken_row, curve, measured_curve, old_table, snapshot_rows, trial_row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    made.create()
    return made


def test_a_trial_reads_back_as_it_was_written(store: Store) -> None:
    store.write_trial("s", broken_row("a", co_step=17, noise_scale=2.0), curve())
    (row,) = store.trials("s").to_pylist()
    assert (row["trial_id"], row["sweep"], row["co_step"], row["noise_scale"]) == ("a", "s", 17, 2.0)
    assert [probe["step"] for probe in store.curves("s").to_pylist()] == [11, 22, 33]


def test_every_documented_column_is_there_with_its_type_even_without_a_value(store: Store) -> None:
    store.write_trial("s", {"trial_id": "a", "status": "failed"}, [])
    trials, curves = store.trials(), store.curves()
    assert {c.name: c.type for c in TRIAL_COLUMNS}.items() <= dict(
        zip(trials.schema.names, trials.schema.types)
    ).items()
    assert {c.name: c.type for c in CURVE_COLUMNS}.items() <= dict(
        zip(curves.schema.names, curves.schema.types)
    ).items()


def test_an_empty_store_gives_empty_tables_with_the_columns(store: Store) -> None:
    assert store.trials().num_rows == 0
    assert "co_step" in store.trials().column_names
    assert store.curves("none").num_rows == 0


def test_writing_a_trial_again_replaces_its_row(store: Store) -> None:
    store.write_trial("s", trial_row("a", status="failed"), [])
    store.write_trial("s", trial_row("a", status="completed"), curve())
    assert store.trials()["status"].to_pylist() == ["completed"]
    assert store.curves().num_rows == 3


def test_a_curve_without_its_row_is_not_shown(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a"), curve())
    store.write_trial("s", trial_row("b"), curve())
    os.remove(tmp_path / "results/trials/sweep=s/b.parquet")
    assert set(store.curves()["trial_id"].to_pylist()) == {"a"}


def test_a_write_that_fails_leaves_the_old_row_and_no_rest(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_trial("s", trial_row("a", steps=1), curve())

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        store.write_trial("s", trial_row("a", steps=2), curve())
    monkeypatch.undo()
    assert store.trials()["steps"].to_pylist() == [1]
    assert not list((tmp_path / "results").rglob("*.tmp"))


def test_a_half_written_file_aside_is_not_read(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a"), curve())
    (tmp_path / "results/trials/sweep=s/.b.parquet.123.tmp").write_bytes(b"PAR1")
    assert store.trials()["trial_id"].to_pylist() == ["a"]
    assert store.bad_files == []


def test_trials_of_different_methods_share_a_table(store: Store) -> None:
    store.write_trial("s", trial_row("a", noise_scale=2.0), [])
    store.write_trial("s", trial_row("b", method_steps=10), [])
    rows = {row["trial_id"]: row for row in store.trials().to_pylist()}
    assert rows["a"]["noise_scale"] == 2.0
    assert rows["a"]["method_steps"] is None
    assert rows["b"]["method_steps"] == 10


def test_a_column_of_two_types_becomes_text_instead_of_an_unreadable_folder(store: Store) -> None:
    store.write_trial("s", trial_row("a", some_option=100), [])
    store.write_trial("t", trial_row("b", some_option="never"), [])
    store.write_trial("t", trial_row("c", some_option=None), [])
    assert {r["trial_id"]: r["some_option"] for r in store.trials().to_pylist()} == {
        "a": "100",
        "b": "never",
        "c": None,
    }


def test_a_row_that_cannot_be_stored_leaves_nothing(store: Store) -> None:
    with pytest.raises(OverflowError, match=r"too large|too big"):
        store.write_trial("s", trial_row("a", seed=10**30), curve())
    assert store.trials().num_rows == 0
    assert store.files.names("curves/sweep=s") == {}


def test_a_folder_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cosweep.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(CosweepError, match="newer cosweep"):
        Store(tmp_path)


def test_an_older_file_without_a_column_still_reads(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "results/trials/sweep=s"
    folder.mkdir(parents=True)
    pq.write_table(old_table("old"), folder / "old.parquet")
    assert store.trials().to_pylist()[0]["box_low"] is None


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "a b", "x" * 101, "a\n"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(CosweepError, match="must start with a letter or digit"):
        check_name(name)


def test_a_location_below_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CosweepError, match="is not a folder"):
        Store(tmp_path / "file" / "results").check_writable()
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_an_unknown_sweep_is_refused_with_the_known_ones(store: Store) -> None:
    store.write_sweep("known", {"trial_ids": []})
    with pytest.raises(CosweepError, match="sweeps there: known"):
        store.sweep_record("other")


# --- diagnostics and snapshots ---------------------------------------------------------------------------------------


def test_diagnostics_read_back_as_numbers_and_lists_and_as_nothing_where_there_were_none(store: Store) -> None:
    store.write_trial("s", trial_row("a"), measured_curve())
    first, second, last = store.curves("s").to_pylist()
    assert (first["curvature"], first["delta_spectrum"], first["ray_loss"]) == (None, None, None)
    assert (second["curvature"], second["delta_spectrum"]) == (2.5, [0.5, 0.25, 0.25])
    assert math.isnan(last["curvature"])
    assert last["ray_loss"][0] == 0.3
    assert math.isnan(last["ray_loss"][1])


def test_curves_with_and_without_diagnostics_share_a_table(store: Store) -> None:
    store.write_trial("s", trial_row("a"), measured_curve())
    store.write_trial("s", trial_row("b"), curve())
    store.write_trial("t", trial_row("c"), [])
    assert store.curves().num_rows == 6
    assert dict(zip(store.curves().schema.names, store.curves().schema.types))["ray_loss"] == pa.list_(pa.float64())


def test_snapshots_read_back_as_they_were_written(store: Store) -> None:
    rows = snapshot_rows(("before", 5), ("after", 24))
    store.write_trial("s", broken_row("a"), curve(), rows)
    assert store.snapshots("s").to_pylist() == [{"trial_id": "a", **row, "sweep": "s"} for row in rows]
    types = dict(zip(store.snapshots().schema.names, store.snapshots().schema.types))
    assert types == {c.name: c.type for c in SNAPSHOT_COLUMNS} | {"sweep": pa.string()}


@pytest.mark.parametrize("snapshots", [None, []])
def test_a_trial_without_snapshots_leaves_no_file_of_them(
    store: Store, tmp_path: Path, snapshots: list[dict[str, object]] | None
) -> None:
    store.write_trial("s", trial_row("a"), curve(), snapshots)
    assert store.snapshots().num_rows == 0
    assert store.snapshots().column_names[:3] == ["trial_id", "moment", "step"]
    assert not (tmp_path / "results/snapshots").exists()


def test_writing_a_trial_again_replaces_its_snapshots(store: Store) -> None:
    store.write_trial("s", broken_row("a"), curve(), snapshot_rows(("before", 5), ("after", 24)))
    store.write_trial("s", trial_row("a"), curve(), snapshot_rows(("end", 24)))
    store.write_trial("s", trial_row("b"), curve(), snapshot_rows(("end", 12)))
    found = {(row["trial_id"], row["moment"]) for row in store.snapshots().to_pylist()}
    assert found == {("a", "end"), ("b", "end")}


def test_a_trial_written_again_without_snapshots_has_none(store: Store) -> None:
    store.write_trial("s", broken_row("a"), curve(), snapshot_rows(("before", 5), ("after", 24)))
    store.write_trial("s", trial_row("a"), curve())
    assert store.snapshots().num_rows == 0


def test_snapshots_without_their_row_are_not_shown(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        store.write_trial("s", trial_row(name), curve(), snapshot_rows(("end", 12)))
    os.remove(tmp_path / "results/trials/sweep=s/b.parquet")
    assert set(store.snapshots()["trial_id"].to_pylist()) == {"a"}


def test_a_trial_counts_when_all_its_tables_are_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = LocalFiles.write

    def recorded(self: LocalFiles, path: str, content: bytes) -> None:
        written.append(path)
        write(self, path, content)

    monkeypatch.setattr(LocalFiles, "write", recorded)
    store.write_trial("s", trial_row("a"), curve(), snapshot_rows(("end", 12)))
    assert len(written) == 3
    assert written[-1] == "trials/sweep=s/a.parquet"


# --- files that are not what they should be ---------------------------------------------------------------------------


def damaged(content: bytes, how: str) -> bytes:
    """A Parquet file after something happened to it."""
    table = pq.read_table(io.BytesIO(content))
    place = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).data_page_offset + 30
    changed: dict[str, Callable[[], bytes]] = {
        "empty": lambda: b"",
        "zeros": lambda: bytes(len(content)),
        "truncated": lambda: content[: len(content) // 2],
        "text": lambda: b"not parquet",
        "flipped": lambda: content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        "other table": lambda: parquet(pa.table({"x": [1]})),
        "other trial": lambda: parquet(table.set_column(0, "trial_id", pa.array(["b"] * len(table)))),
        "no trial": lambda: parquet(table.set_column(0, "trial_id", pa.nulls(len(table), pa.string()))),
        "other type": lambda: parquet(table.set_column(1, table.column_names[1], pa.array([["x"]] * len(table)))),
        "newer": lambda: parquet(table.replace_schema_metadata({VERSION_KEY: b"99"})),
        "no version": lambda: parquet(table.replace_schema_metadata({VERSION_KEY: b"new"})),
    }
    return changed[how]()


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


DAMAGES = ["empty", "zeros", "truncated", "text", "flipped", "other table", "other trial", "no trial", "other type"]


@pytest.mark.parametrize("how", [*DAMAGES, "newer", "no version"])
@pytest.mark.parametrize("kind", ["trials", "curves", "snapshots"])
def test_a_file_that_is_not_what_it_should_be_is_named_once_and_the_others_are_read(
    store: Store, tmp_path: Path, kind: str, how: str
) -> None:
    for name in ("a", "b"):
        store.write_trial("s", trial_row(name), curve(), snapshot_rows(("end", 12)))
    path = tmp_path / f"results/{kind}/sweep=s/a.parquet"
    path.write_bytes(damaged(path.read_bytes(), how))
    for _ in range(2):
        for other in ("trials", "curves", "snapshots"):
            rows = getattr(store, other)()
            assert set(rows["trial_id"].to_pylist()) == ({"b"} if kind in ("trials", other) else {"a", "b"})
            assert rows.schema == getattr(Store(tmp_path / "none"), other)().schema
    (bad,) = store.bad_files
    assert bad.path == str(path)
    assert bad.problem
    if how == "newer":
        assert "newer cosweep (schema 99" in bad.problem


def test_a_trial_keeps_its_row_when_its_curve_is_damaged(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a", steps=7), curve())
    (tmp_path / "results/curves/sweep=s/a.parquet").write_bytes(b"")
    row, probes = store.trial("s", "a")
    assert (row["steps"], probes) == (7, [])
    assert len(store.bad_files) == 1


def test_a_trial_whose_row_is_damaged_is_refused_alone(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a"), curve())
    (tmp_path / "results/trials/sweep=s/a.parquet").write_bytes(b"")
    with pytest.raises(CosweepError, match="no row of trial a of sweep s can be read"):
        store.trial("s", "a")


def test_a_file_without_permission_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_trial("s", trial_row("a"), curve())

    def refuse(self: LocalFiles, path: str, most: int) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(LocalFiles, "read", refuse)
    assert store.trials().num_rows == 0
    assert "Permission denied" in store.bad_files[0].problem


def test_other_files_beside_the_tables_do_not_matter(store: Store, tmp_path: Path) -> None:
    store.write_trial("s", trial_row("a"), curve())
    for name in ("notes.txt", ".hidden.parquet", "folder/x"):
        path = tmp_path / "results/trials/sweep=s" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (tmp_path / "results/trials/elsewhere").mkdir()
    assert store.trials()["trial_id"].to_pylist() == ["a"]
    assert store.bad_files == []


# --- stores of an earlier cosweep ------------------------------------------------------------------------------------

OLD_TRIALS = {
    pa.string(): "trial_id status state co_reason data_source data_hash intervention model method robust_attack device "
    "host error versions spec_json",
    pa.int64(): "co_step co_step_low co_step_high bandwidth seed epochs batch_size steps",
    pa.float64(): "co_epoch beta epsilon alpha lr_max clean_acc fgsm_acc pgd_acc box_low box_high robust_acc "
    "train_seconds probe_seconds eval_seconds wall_seconds",
    pa.bool_(): "co",
    pa.timestamp("us", tz="UTC"): "started_at finished_at",
}
OLD_CURVES = {
    pa.string(): "trial_id",
    pa.int64(): "step",
    pa.float64(): "epoch lr train_loss train_acc clean_acc fgsm_acc pgd_acc grad_cos",
}
"""Columns before there were diagnostics, ablations and snapshots; the schema's number is the same."""


def write_old(root: Path, kind: str, columns: dict[pa.DataType, str], rows: list[dict[str, Any]]) -> None:
    """A file as that version wrote it."""
    types = {name: type_ for type_, names in columns.items() for name in names.split()}
    table = pa.table({name: pa.array([row.get(name) for row in rows], type_) for name, type_ in types.items()})
    folder = root / kind / "sweep=old"
    folder.mkdir(parents=True)
    pq.write_table(table.replace_schema_metadata({VERSION_KEY: b"1"}), folder / "old.parquet", compression="zstd")


def test_a_store_without_the_new_columns_still_reads_beside_new_trials(store: Store, tmp_path: Path) -> None:
    write_old(tmp_path / "results", "trials", OLD_TRIALS, [broken_row("old")])
    write_old(tmp_path / "results", "curves", OLD_CURVES, [{"trial_id": "old", **probe} for probe in curve()])
    old_row, old_curve = store.trial("old", "old")
    assert old_row["co_step"] == 20
    assert "curvature" not in old_curve[0]
    assert store.snapshots().num_rows == 0
    store.write_trial(
        "new", broken_row("new", clean_acc_on_clean=0.5), measured_curve(), snapshot_rows(("end", 12))
    )  # fmt: skip
    rows = {row["trial_id"]: row for row in store.trials().to_pylist()}
    assert (rows["old"]["clean_acc_on_clean"], rows["new"]["clean_acc_on_clean"]) == (None, 0.5)
    assert rows["old"]["diagnostic_seconds"] is None
    assert {name: rows["old"][name] for name in old_row} == old_row
    probes = store.curves().to_pylist()
    assert [p["delta_spectrum"] for p in probes if p["trial_id"] == "old"] == [None] * 3
    assert [p["step"] for p in probes if p["trial_id"] == "old"] == [11, 22, 33]
    assert [p["delta_spectrum"] for p in probes if p["trial_id"] == "new"][1] == [0.5, 0.25, 0.25]
    assert store.bad_files == []
    sql = (
        "SELECT t.trial_id, max(c.curvature) AS k FROM trials t JOIN curves c USING (trial_id) "
        "WHERE NOT isnan(coalesce(c.curvature, 0)) GROUP BY 1 ORDER BY 1"
    )
    assert run_query(store, sql).to_pylist() == [{"trial_id": "new", "k": 2.5}, {"trial_id": "old", "k": None}]
