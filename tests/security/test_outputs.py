"""Results by somebody else, shown: nothing in them commands a terminal, spreadsheet, browser or MLflow."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from rich.console import Console

from cosweep.analysis.findings import make_findings
from cosweep.report.files import report_files, write_report
from cosweep.results.query import to_csv
from cosweep.results.store import Store
from cosweep.terminal import SafeConsole
from cosweep.tracking.entries import fenced, literal, trial_entry
from tests.browser import chromium
from tests.results.rows import broken_row, curve, trial_row
from tests.results.sweeps import write_sweep
from tests.security.hostile import ESCAPES, SCRIPT


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


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of a sweep that has HTML wherever a text can stand."""
    folder = tmp_path_factory.mktemp("scripted")
    store = Store(folder)
    texts: dict[str, Any] = dict.fromkeys(
        ("method", "model", "intervention", "host", "device", "versions", "co_reason"), SCRIPT
    )
    rows = write_sweep(store, methods=("fgsm",), **texts)
    record = store.sweep_record("made")
    store.write_trial("made", trial_row("e" * 12, status="failed", state=None, co=None, error=SCRIPT, **texts), [])
    other = texts | {"method": f"other {SCRIPT}"}
    store.write_trial("made", broken_row("d" * 12, spec_json=json.dumps({"a": SCRIPT}), **other), curve())
    (folder / f"trials/sweep=made/{'c' * 12}.parquet").write_bytes(SCRIPT.encode())
    space = {SCRIPT: {SCRIPT: [SCRIPT]}}
    source = f"# Question: {SCRIPT}\n{SCRIPT}"
    ids = [*(str(row["trial_id"]) for row in rows), "e" * 12, "d" * 12]
    axes = ["method", *record["axes"]]
    store.write_sweep(
        "made", {**record, "axes": axes, "trial_ids": ids, "space": space, "source": source, "command": SCRIPT}
    )
    made = make_findings(store, "made")
    write_report(store, made, report_files(made))
    return folder / "reports/made/report.html"


@pytest.mark.integration
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
    row = broken_row("a", error=f"```\n{evil}", co_reason=evil)
    note = trial_entry(row, [], [], "results").tags["mlflow.note.content"]
    assert note.count("````") == 2
    assert "\n# head" not in note.split("````")[0]
