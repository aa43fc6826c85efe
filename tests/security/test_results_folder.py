"""A results folder by somebody else: nothing in it runs, leads out, or commands a terminal, browser or spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cosweep.cli import app
from cosweep.errors import CosweepError
from cosweep.results.compaction import compact_sweep
from cosweep.results.query import run_query, to_csv
from cosweep.results.report import make_report, write_report
from cosweep.results.schema import TABLES, table_from_rows
from cosweep.results.store import Store
from cosweep.sweep.mlflow_entry import fenced, literal, trial_entry
from cosweep.sweep.mlflow_runs import SweepRuns
from cosweep.sweep.tracking import stored_uri, sync_sweep
from cosweep.terminal import SafeConsole
from tests.browser import chromium
from tests.results.rows import broken_row, curve, trial_row
from tests.results.sweeps import write_sweep

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\b\u202eback\u2028[bold red]not[/] [link=http://evil]x[/link]"
SCRIPT = "</script></pre><script>window.owned=1</script><img src=x onerror=window.owned=1>\"'`{{7*7}}"


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


@pytest.fixture(autouse=True)
def _no_server_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    write_sweep(made, epsilons=(64 / 255,), betas=(0.0, 16 / 255))
    return made


def cosweep(store: Store, *arguments: str) -> str:
    """Output of a command that ended as commands do: done, or with one message."""
    result = CliRunner().invoke(app, [*arguments, "--root", store.location])
    assert result.exit_code in (0, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


LOOKS = [["status"], ["query", "SELECT * FROM trials"], ["report", "made"], ["compact"]]


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["trials", "trials/sweep=made", "curves/sweep=made", "sweeps", "reports", "pulses"])
def test_nothing_is_written_through_a_link_out_of_the_folder(store: Store, tmp_path: Path, folder: str) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "results" / folder
    if inside.exists():
        shutil.move(inside, outside)
    else:
        outside.mkdir()
        inside.parent.mkdir(parents=True, exist_ok=True)
    inside.symlink_to(outside)
    before = sorted(outside.rglob("*"))
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
    write_report(store, make_report(store, "made"))
    assert mine.read_text() == "mine"
    assert not page.is_symlink()


def test_the_lock_of_a_compaction_is_no_link(store: Store, tmp_path: Path) -> None:
    (tmp_path / "results/.compaction.lock").symlink_to(tmp_path / "made-by-lock")
    with pytest.raises(CosweepError, match="cannot be locked"):
        compact_sweep(store, "made", lambda *_: None)
    assert not (tmp_path / "made-by-lock").exists()


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..x", "a b", ESCAPES.replace("/", "_"), "é", "sweep=x", "-x", "a\nb"])
def test_a_file_of_an_impossible_name_is_left_out_and_named(store: Store, tmp_path: Path, name: str) -> None:
    root = tmp_path / "results"
    shutil.copytree(root / "trials/sweep=made", root / f"trials/sweep={name}")
    shutil.copy(root / "sweeps/made.json", root / f"sweeps/{name}.json")
    shutil.copy(next((root / "trials/sweep=made").glob("*.parquet")), root / f"trials/sweep=made/{name}.parquet")
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
    assert run_query(store, "SELECT count(*) AS n FROM trials").to_pylist() == [{"n": 5}]
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists()  # the trap works


@pytest.mark.parametrize(
    "values",
    [
        {"status": None},
        {"status": "owned"},
        {"status": ["list"]},
        {"finished_at": None},
        {"started_at": "yesterday"},
        {"co": True},
        {"co": "maybe"},
        {"epsilon": "64/255"},
        {"steps": 2.5},
        {"trial_id": None},
        {"seed": {"a": 1}},
    ],
    ids=str,
)
def test_a_row_that_no_trial_leaves_is_left_out_and_named(
    store: Store, tmp_path: Path, values: dict[str, object]
) -> None:
    row = {**trial_row("f" * 12), **values}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "results/trials/sweep=made" / f"{'f' * 12}.parquet")
    for command in LOOKS[:3]:
        assert f"skipped {store.location}" in cosweep(store, *command)


def test_texts_of_a_row_are_only_texts(store: Store, tmp_path: Path) -> None:
    row = trial_row(
        "f" * 12, spec_json="{not json", host=ESCAPES, versions=None, state=ESCAPES, method=SCRIPT, seed=None
    )
    store.write_trial("made", row, curve())
    record = json.loads((tmp_path / "results/sweeps/made.json").read_text())
    store.write_sweep("made", {**record, "trial_ids": [*record["trial_ids"], "f" * 12]})
    for command in LOOKS:
        cosweep(store, *command)


def good_record(store: Store) -> dict[str, Any]:
    return store.sweep_record("made")


@pytest.mark.parametrize(
    "change",
    [
        {"trial_ids": 5},
        {"trial_ids": [1, 2]},
        {"trial_ids": None},
        {"axes": [["x"]]},
        {"axes": "beta"},
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


@pytest.mark.parametrize("text", ["[]", "5", "null", "[" * 100_000, '{"trial_ids": [}', '"\\ud800"'])
def test_a_file_that_is_no_record_is_damaged(store: Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "results/sweeps/made.json").write_text(text)
    with pytest.raises(CosweepError, match="is damaged"):
        store.sweep_record("made")


@pytest.mark.parametrize(
    "pulse",
    [[], {"at": 5}, {"at": "now"}, {"at": "2026-01-01"}, {"running": {"a": "x"}}, {"running": [1]}],
    ids=str,
)
def test_a_pulse_of_other_types_says_nothing(store: Store, tmp_path: Path, pulse: Any) -> None:
    said = {"at": "2026-01-01T00:00:00+00:00", **pulse} if isinstance(pulse, dict) else pulse
    (tmp_path / "results/pulses").mkdir()
    (tmp_path / "results/pulses/made.json").write_text(json.dumps(said))
    assert store.pulse("made") == {}
    cosweep(store, "status")


# --- terminal, spreadsheet, browser, MLflow ---------------------------------------------------------------------------


def test_a_console_writes_out_what_would_command_the_terminal() -> None:
    def printed(console: Console) -> str:
        console.print(ESCAPES, markup=False)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    wide: dict[str, Any] = {"width": 300, "force_terminal": True, "color_system": None, "highlight": False}
    assert "\x1b[2J" in printed(Console(file=io.StringIO(), **wide))
    safe = printed(SafeConsole(file=io.StringIO(), **wide))
    assert r"\x1b[2J\x1b]0;owned" in safe
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", safe)
    assert "[bold red]not[/]" in safe


def test_colours_of_cosweep_itself_stay() -> None:
    console = SafeConsole(file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print("[red]error:[/] x")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "\x1b[31merror:\x1b[0m x\n"


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|' /C calc'!A0",
        "+cmd|' /C calc'!A0",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(1)",
        "\t=1+1",
        "\r=1+1",
        " =1+1",
        "\n=1",
    ],
)
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    table = pa.table({"error": [text], text: ["x"]})
    head, row = csv.reader(io.StringIO(to_csv(table).decode(), newline=""))
    assert head == ["error", row[0]]
    assert row[0].replace("\n", "\r").removeprefix("'") == text.replace("\n", "\r")
    assert row[0].startswith("'")


def test_numbers_stay_numbers_in_csv() -> None:
    table = pa.table({"a": [-0.5], "b": [-3], "c": ["-1"], "d": ["+2e-3"], "e": ["a=b"], "f": ["2026-01-01"]})
    assert to_csv(table) == b"a,b,c,d,e,f\n-0.5,-3,-1,+2e-3,a=b,2026-01-01\n"


@pytest.fixture
def scripted(tmp_path: Path) -> Path:
    """Report of a sweep that has HTML wherever a text can stand."""
    store = Store(tmp_path / "scripted")
    texts: dict[str, Any] = dict.fromkeys(
        ("method", "model", "intervention", "host", "device", "versions", "co_reason"), SCRIPT
    )
    rows = write_sweep(store, methods=("fgsm",), **texts)
    record = store.sweep_record("made")
    store.write_trial("made", trial_row("e" * 12, status="failed", state=None, co=None, error=SCRIPT, **texts), [])
    other = texts | {"method": f"other {SCRIPT}"}
    store.write_trial("made", broken_row("d" * 12, spec_json=json.dumps({"a": SCRIPT}), **other), curve())
    (tmp_path / f"scripted/trials/sweep=made/{'c' * 12}.parquet").write_bytes(SCRIPT.encode())
    space = {SCRIPT: {SCRIPT: [SCRIPT]}}
    source = f"# Question: {SCRIPT}\n{SCRIPT}"
    ids = [*(str(row["trial_id"]) for row in rows), "e" * 12, "d" * 12]
    axes = ["method", *record["axes"]]
    store.write_sweep(
        "made", {**record, "axes": axes, "trial_ids": ids, "space": space, "source": source, "command": SCRIPT}
    )
    write_report(store, make_report(store, "made"))
    return tmp_path / "scripted/reports/made/report.html"


def test_no_text_of_the_results_runs_in_the_report(scripted: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        requests: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(scripted.as_uri())
        page.wait_for_selector("body[data-ready=true]", timeout=60_000)
        for menu in ("axes", "slice", "groups", "which"):
            for number in range(page.locator(f"#{menu} option").count()):
                page.select_option(f"#{menu}", index=number)
        assert page.evaluate("window.owned") is None
        assert page.locator("img[src=x]").count() == 0
        assert "<script>" in page.locator("#asked pre").inner_text()
        assert "{{7*7}}" in page.locator("#failures").inner_text() or "{{7*7}}" in page.content()
        assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert faults == []


def test_pictures_of_the_report_hold_no_script(scripted: Path) -> None:
    pictures = list(scripted.parent.glob("*.svg"))
    assert pictures
    for picture in pictures:
        elements = list(ElementTree.parse(picture).iter())
        assert [e.tag for e in elements if re.search("(script|foreignObject|}a)$", e.tag)] == []
        attributes = [item for e in elements for item in e.attrib.items()]
        assert [name for name, _ in attributes if name.startswith("on")] == []
        assert [
            to for name, to in attributes if name.endswith("href") and not to.startswith(("#", "data:image/"))
        ] == []


def test_notes_for_mlflow_show_texts_as_they_are() -> None:
    evil = "![x](http://evil/x.png) <img src=x> **b** [a](javascript:x) http://evil\n# head"
    assert not re.search(r"(?<!\\)[!\[\]():*#]|<|\n", literal(evil))
    assert fenced(f"a\n```\n{evil}\n````", "yaml").splitlines()[0] == "`````yaml"
    note = trial_entry(broken_row("a", error=f"```\n{evil}", co_reason=evil), [], []).tags["mlflow.note.content"]
    assert note.count("````") == 2
    assert "\n# head" not in note.split("````")[0]


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


@pytest.mark.parametrize(
    "place", ["mlflow-artifacts:/../../outside", "mlflow-artifacts://../../outside", "{folder}/outside"]
)
def test_no_database_of_mlflow_names_a_place_outside_for_the_report(store: Store, tmp_path: Path, place: str) -> None:
    uri = f"sqlite:///{store.local_path}/mlflow.db"
    sync_sweep(store, "made", uri)
    with sqlite3.connect(f"{store.local_path}/mlflow.db") as database:
        database.execute("UPDATE runs SET artifact_uri = ?", (place.format(folder=tmp_path),))
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
