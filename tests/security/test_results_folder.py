"""A results folder by somebody else: nothing in it runs, leads out, or commands a terminal, browser or spreadsheet."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cosweep.analysis.findings import make_findings
from cosweep.cli.commands import app
from cosweep.errors import CosweepError
from cosweep.report.files import report_files, write_report
from cosweep.results.compaction import compact_sweep
from cosweep.results.query import run_query
from cosweep.results.schema import TABLES, table_from_rows
from cosweep.results.store import Store
from cosweep.results.tables import concatenate
from tests.results.rows import START, curve, snapshot_rows, trial_row
from tests.security.hostile import ESCAPES, SCRIPT, good_record


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def cosweep(store: Store, *arguments: str) -> str:
    """Output of a command that ended as commands do: done, or with one message."""
    result = CliRunner().invoke(app, [*arguments, "--root", store.location])
    assert result.exit_code in (0, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


LOOKS = [["status"], ["query", "SELECT * FROM trials"], ["report", "made"], ["compact"]]


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folders", [["trials"], ["trials/sweep=made", "curves/sweep=made", "sweeps", "reports", "pulses"]]
)
def test_nothing_is_written_through_links_out_of_the_folder(store: Store, tmp_path: Path, folders: list[str]) -> None:
    outside = tmp_path / "outside"
    for folder in folders:
        target, inside = outside / folder, tmp_path / "results" / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        if inside.exists():
            shutil.move(inside, target)
        else:
            target.mkdir()
            inside.parent.mkdir(parents=True, exist_ok=True)
        inside.symlink_to(target)
    before = sorted(outside.rglob("*"))
    for folder in folders:
        with pytest.raises(CosweepError, match="is a link out of the results folder"):
            store.write_bytes(f"{folder}/new", b"")
        with pytest.raises(CosweepError, match="is a link out of the results folder"):
            store.files.delete(f"{folder}/new")
    for command in LOOKS:
        cosweep(store, *command)
    assert sorted(outside.rglob("*")) == before


def test_a_linked_file_is_replaced_not_followed(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    page = tmp_path / "results/reports/made/report.html"
    page.parent.mkdir(parents=True)
    page.symlink_to(mine)
    made = make_findings(store, "made")
    write_report(store, made, report_files(made))
    assert mine.read_text() == "mine"
    assert not page.is_symlink()


def test_the_lock_of_a_compaction_is_no_link(store: Store, tmp_path: Path) -> None:
    (tmp_path / "results/.compaction.lock").symlink_to(tmp_path / "made-by-lock")
    with pytest.raises(CosweepError, match="cannot be locked"):
        compact_sweep(store, "made", lambda *_: None)
    assert not (tmp_path / "made-by-lock").exists()


# --- names -----------------------------------------------------------------------------------------------------------


def test_files_of_impossible_names_are_left_out_and_named(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "results"
    (root / "trials/sweep=made").rename(tmp_path / "trials")
    row = next((tmp_path / "trials").glob("*.parquet"))
    shutil.copytree(tmp_path / "trials", root / "trials/sweep=made")
    made: set[str] = set()
    for name in ("..x", "a b", ESCAPES.replace("/", "_"), "é", "sweep=x", "-x", "a\nb"):
        shutil.copytree(tmp_path / "trials", root / f"trials/sweep={name}")
        shutil.copy(root / "sweeps/made.json", root / f"sweeps/{name}.json")
        shutil.copy(row, root / f"trials/sweep=made/{name}.parquet")
        made.add(str(root / f"trials/sweep={name}"))
        if not name.startswith("."):  # hidden files are nobody's
            made |= {str(root / f"sweeps/{name}.json"), str(root / f"trials/sweep=made/{name}.parquet")}
    assert store.swept() == store.sweeps() == ["made"]
    assert len(store.trials()) == 4
    assert {bad.path for bad in store.bad_files} == made
    for command in LOOKS:
        output = cosweep(store, *command)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", output)
    assert "skipped" in cosweep(store, "query", "SELECT 1")
    assert len(run_query(store, "SELECT * FROM trials")) == 4


def test_an_id_in_the_compacted_file_names_no_file_outside(store: Store, tmp_path: Path) -> None:
    with pytest.raises(CosweepError, match="must start with a letter or digit"):
        store.trial("made", "../../../outside")
    with pytest.raises(CosweepError, match="must start with a letter or digit"):
        store.write_trial("made", trial_row("../../outside"), curve())
    assert not list(tmp_path.glob("outside*"))


# --- tables ----------------------------------------------------------------------------------------------------------


def test_no_pickle_in_a_table_is_loaded(store: Store, tmp_path: Path) -> None:
    trap, sprung = pickle.dumps(Trap(tmp_path / "sprung")), tmp_path / "sprung"
    extension = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": trap}
    table = table_from_rows([trial_row("f" * 12)], TABLES["trials"])
    hostile = pa.field("evil", pa.binary(), metadata=extension)
    table = table.append_column(hostile, pa.array([trap]))
    pandas = {
        b"pandas": b'{"columns": [], "index_columns": ["evil"], "creator": {"library": "pickle"}}',
        b"pickle": trap,
    }
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **pandas})
    pq.write_table(table, tmp_path / "results/trials/sweep=made" / f"{'f' * 12}.parquet")
    for command in LOOKS:
        cosweep(store, *command)
    assert run_query(store, "SELECT count(*) AS n FROM all_trials").to_pylist() == [{"n": 5}]
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists()  # the trap works


NAN, FAR = float("nan"), pa.scalar(2**62, pa.timestamp("us", tz="UTC"))
BAD_VALUES: list[dict[str, object]] = [
    {"status": None},
    {"status": "owned"},
    {"status": ["list"]},
    {"state": None},
    {"state": ESCAPES},
    {"finished_at": None},
    {"finished_at": FAR},
    {"started_at": "yesterday"},
    {"co": None},
    {"co": True},
    {"co": "maybe"},
    {"epsilon": "64/255"},
    {"epsilon": NAN},
    {"epsilon": None},
    {"beta": float("inf")},
    {"some_option": NAN},
    {"some_option": {"a": 1}},
    {"some_option": START},
    {"steps": None},
    {"steps": 2.5},
    {"trial_id": None},
    {"seed": {"a": 1}},
    {"sweep": "made"},
]
"""What no trial leaves in its row."""


def table_of(values: dict[str, object], trial_id: str = "f" * 12) -> pa.Table:
    """A row with all columns and these values, whatever their types."""
    row = {column.name: None for column in TABLES["trials"]} | trial_row(trial_id) | values
    return pa.table({name: pa.array([value]) for name, value in row.items()})


def test_rows_that_no_trial_leaves_are_left_out_and_named(store: Store, tmp_path: Path) -> None:
    files = [tmp_path / "results/trials/sweep=made" / f"f{number:011x}.parquet" for number in range(len(BAD_VALUES))]
    for file, values in zip(files, BAD_VALUES, strict=True):
        pq.write_table(table_of(values, file.stem), file)
    assert len(store.trials("made")) == 4
    assert [bad.path for bad in store.bad_files] == [str(file) for file in files]
    for command in LOOKS[:3]:
        output = cosweep(store, *command)
        named = files[:20]  # of more, only the number
        assert [values for file, values in zip(named, BAD_VALUES) if f"skipped {file}" not in output] == []
        assert f"{len(files)} files could not be read" in output
    compact_sweep(store, "made")
    assert len(store.trials("made")) == 4
    assert all(file.exists() for file in files)


@pytest.mark.parametrize("values", BAD_VALUES, ids=str)
def test_rows_of_the_compacted_file_are_checked_as_single_files_are(
    store: Store, tmp_path: Path, values: dict[str, object]
) -> None:
    compact_sweep(store, "made")
    path = tmp_path / "results/trials/sweep=made/compacted.parquet"
    good = pq.read_table(path, partitioning=None)
    pq.write_table(concatenate([good.replace_schema_metadata(None), table_of(values)]), path)
    content = path.read_bytes()
    again = Store(store.location)
    # A row is left out alone; a column that no trial has makes the file another one.
    assert "f" * 12 not in again.trials("made")["trial_id"].to_pylist()
    assert [bad.path for bad in again.bad_files] == [str(path)]
    again.write_trial("made", trial_row("e" * 12), curve())
    compact_sweep(again, "made")
    assert path.read_bytes() == content
    assert f"skipped {path}" in cosweep(store, "status")


def test_rows_that_are_doubled_in_the_compacted_file_count_for_none(store: Store, tmp_path: Path) -> None:
    compact_sweep(store, "made")
    path = tmp_path / "results/trials/sweep=made/compacted.parquet"
    good = pq.read_table(path, partitioning=None).replace_schema_metadata(None)
    pq.write_table(pa.concat_tables([good, good.slice(0, 2)]), path)
    again = Store(store.location)
    assert again.trials().num_rows == 2
    (bad,) = again.bad_files
    assert bad.problem == f"trial {0:012x}: holds several rows of a trial; 1 others are wrong too"
    again.write_trial("made", trial_row(f"{0:012x}"), curve())  # its own file wins
    assert Store(store.location).trials().num_rows == 3


@pytest.mark.parametrize("name", ["compacted", f"{0:012x}"])
def test_the_files_of_two_tables_are_no_files_of_each_other(store: Store, tmp_path: Path, name: str) -> None:
    if name == "compacted":
        compact_sweep(store, "made")
    first, second = (tmp_path / f"results/{kind}/sweep=made/{name}.parquet" for kind in ("trials", "curves"))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    again = Store(store.location)
    left = 0 if name == "compacted" else 3
    assert (again.trials().num_rows, again.curves().num_rows) == (left, left * 12)
    assert str(first) in [bad.path for bad in again.bad_files]
    assert f"skipped {first}: is no table of trials" in cosweep(store, "status")


@pytest.mark.parametrize("number", range(4))
def test_probes_and_pictures_that_no_trial_leaves_are_left_out(store: Store, tmp_path: Path, number: int) -> None:
    picture = {**snapshot_rows(("end", 5))[0], "trial_id": f"{0:012x}"}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("curves", {"step": None}),
        ("snapshots", {"shape": [1, 2]}),
        ("snapshots", {"shape": [1, 1, 2**40]}),
        ("snapshots", {"delta": None}),
    ]
    kind, values = cases[number]
    probe = {column.name: None for column in TABLES["curves"]} | {"trial_id": f"{0:012x}", "step": 1}
    folder = tmp_path / f"results/{kind}/sweep=made"
    folder.mkdir(parents=True, exist_ok=True)
    row = {**(picture if kind == "snapshots" else probe), **values}
    pq.write_table(table_from_rows([row], TABLES[kind]), folder / f"{0:012x}.parquet")
    assert f"{0:012x}" not in getattr(store, kind)()["trial_id"].to_pylist()
    assert [bad.path for bad in store.bad_files] == [str(folder / f"{0:012x}.parquet")]


def test_texts_of_a_row_are_only_texts(store: Store, tmp_path: Path) -> None:
    row = trial_row("f" * 12, spec_json="{not json", host=ESCAPES, versions=None, method=SCRIPT, seed=None)
    store.write_trial("made", row, curve())
    record = json.loads((tmp_path / "results/sweeps/made.json").read_text())
    store.write_sweep("made", {**record, "trial_ids": [*record["trial_ids"], "f" * 12]})
    for command in LOOKS:
        cosweep(store, *command)


@pytest.mark.parametrize(
    "change",
    [
        {"trial_ids": 5},
        {"trial_ids": [1, 2]},
        {"trial_ids": None},
        {"axes": [["x"]]},
        {"axes": "beta"},
        {"axes": ["\ud800"]},
        {"search": {"x": 1e400}},
        {"search": {"x": 10**400}},
        {"space": []},
        {"space": {"a": [1]}},
        {"space": {"a": {"grid": 5}}},
        {"source": 5},
        {"command": ["rm"]},
        {"tracking": None},
        {"tracking": {"uri": 5}},
        {"mlflow_uri": {}},
    ],
    ids=str,
)
def test_a_record_of_other_types_is_damaged(store: Store, change: dict[str, Any]) -> None:
    store.write_sweep("made", {**good_record(store), **change})
    with pytest.raises(CosweepError, match=r"made\.json is damaged .*cosweep run"):
        store.sweep_record("made")
    for command in (["status"], ["report", "made"], ["sync"], ["ui"]):
        assert "is damaged" in cosweep(store, *command)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "5", "{}", '{"schema_version": 1e400}', f'{{"schema_version": 1{"0" * 400}}}', "\ud800"]
)
def test_a_mark_of_the_store_that_says_no_version_is_one_message(store: Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "results/cosweep.json").write_bytes(text.encode(errors="surrogatepass"))
    for command in LOOKS:
        assert "cosweep.json cannot be read" in cosweep(store, *command)


@pytest.mark.parametrize("axis", ["finished_at", "robust_acc", "error", "trial_id", "nowhere"])
def test_an_axis_of_a_record_that_no_space_has_is_passed_over(store: Store, axis: str) -> None:
    store.write_sweep("made", {**good_record(store), "axes": [axis, "beta"]})
    report = make_findings(store, "made")
    assert [found.name for found in report.space] == ["beta"]
    assert len(report.diagrams) == 1


@pytest.mark.parametrize(
    "interventions", [{"a": 1}, [{"kind": {}}], [{"kind": "inject", "beta": []}], [{"kind": "inject", "beta": 1e400}]]
)
def test_interventions_of_other_types_have_no_effects(store: Store, interventions: Any) -> None:
    spec = json.dumps({"interventions": interventions})
    for row in store.trials().to_pylist():
        own = {name: value for name, value in row.items() if name != "sweep"}
        store.write_trial("made", {**own, "spec_json": spec}, curve())
    assert make_findings(store, "made").effects == []


@pytest.mark.parametrize("text", ["[]", "5", "null", "[" * 100_000, '{"trial_ids": [}', '"\\ud800"'])
def test_a_file_that_is_no_record_is_damaged(store: Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "results/sweeps/made.json").write_text(text)
    with pytest.raises(CosweepError, match="is damaged"):
        store.sweep_record("made")


@pytest.mark.parametrize(
    "pulse",
    [
        [],
        {"running": {"a": 1e400}},
        {"running": {"a": 10**400}},
        {"at": 5},
        {"at": "now"},
        {"at": "2026-01-01"},
        {"running": {"a": "x"}},
        {"running": [1]},
    ],
    ids=str,
)
def test_a_pulse_of_other_types_says_nothing(store: Store, tmp_path: Path, pulse: Any) -> None:
    said = {"at": "2026-01-01T00:00:00+00:00", **pulse} if isinstance(pulse, dict) else pulse
    (tmp_path / "results/pulses").mkdir()
    (tmp_path / "results/pulses/made.json").write_text(json.dumps(said))
    assert store.pulse("made") == {}
    cosweep(store, "status")
