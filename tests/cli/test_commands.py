"""The command line: what it prints, its exit codes, and every kind of bad input."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from cosweep.analysis.values import PIXEL_COLUMNS
from cosweep.cli.app import console
from cosweep.cli.commands import app
from cosweep.cli.menu_commands import MENUS
from cosweep.cli.tables import menu_table
from cosweep.definition.search_space import load_sweep
from cosweep.results.store import Store
from cosweep.units import format_pixels
from tests.data.image_files import images, write_folder
from tests.results.rows import broken_row, curve, measured_curve, snapshot_rows, trial_row
from tests.security.hostile import ESCAPES

GOOD = "trial: {interventions: [{kind: inject}]}\nspace: {method.epsilon: {grid: [48/255, 64/255]}}\n"


def cosweep(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a good definition in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "s.yaml").write_text(GOOD)
    return tmp_path


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial: [1, 2", "line 1, column"),
        ("trial: {seed: 1}\ntrial: {seed: 2}", "appears twice"),
        ("tiral: {}", "did you mean 'trial'?"),
        ("trial: {optimizer: {epoch: 3}}", "did you mean 'epochs'?"),
        ("trial: {optimizer: {epochs: many}}", "expected a whole number, got 'many'"),
        ("trial: {method: {name: fgsm, epsilon: 8}}", "write 8/255 for 8 grey levels"),
        ("space: {seed: {grid: []}}", "grid is empty"),
        ("space: {method.nothing: {grid: [1]}}", "no such place in the trial"),
        ("space: {interventions.0.beta: {grid: [0]}}", "the trial has no interventions"),
        ("trial: {data: {source: mnist}}", "did you mean 'fashion_mnist'?"),
        ("trial: {data: {source: image_parquet, root: nowhere}}", "no file train.parquet"),
        ("resources: {cpu: 4096}", "asks for 4096 CPUs and 0 GPUs"),
        ("resources: {gpu: 512}", "asks for 1 CPU and 512 GPUs"),
        ("trial: {probe: {every: 9999}}", "leaves 1 probe in 575 steps"),
        ("results: {root: s.yaml/results}", "is not a folder"),
        ("- a list", "expected a mapping"),
    ],
)
def test_a_bad_definition_gives_one_message_and_leaves_nothing(
    folder: Path, command: str, text: str, message: str
) -> None:
    (folder / "s.yaml").write_text(text)
    result = cosweep(command, "s.yaml")
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert [p.name for p in folder.iterdir()] == ["s.yaml"]


def test_more_classes_than_carriers_are_refused_before_anything_is_written(folder: Path) -> None:
    from PIL import Image

    for split in ("train", "test"):
        for label in range(20):
            target = folder / "images" / split / f"{label:02d}"
            target.mkdir(parents=True)
            Image.new("L", (4, 4), label).save(target / "a.png")
    (folder / "s.yaml").write_text(
        "trial: {data: {source: image_folder, root: images}, interventions: [{kind: inject}]}"
    )
    result = cosweep("run", "s.yaml")
    assert result.exit_code == 2
    assert "20 classes need as many patterns, images of 4x4 have 15" in result.output
    assert not (folder / "results").exists()


def test_validate_tells_the_images_what_was_left_out_and_how_many_are_measured_on(folder: Path) -> None:
    for split, count in (("train", 40), ("test", 6)):
        for name in ("cat", "dog"):
            write_folder(folder / "images", split, images(count, channels=1), [name] * count)
    (folder / "images/train/cat/Thumbs.db").write_bytes(b"no image")
    (folder / "s.yaml").write_text(
        "trial: {data: {source: image_folder, root: images}, probe: {examples: 8}, optimizer: {batch_size: 8}}"
    )
    result = cosweep("validate", "s.yaml")
    assert result.exit_code == 0
    assert (
        "image_folder images: 80 images to train on and 12 held out, 1x8x8 (channels x height x width), 2 classes; "
        "probes on 8, final evaluation on 12 (1,000 asked for)"
    ) in result.output
    assert "note       left out, since neither name nor content says an image: 1 file" in result.output
    assert "images/train/cat/Thumbs.db" in result.output


@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_damaged_image_is_one_message_and_nothing_is_written(folder: Path, command: str) -> None:
    for split in ("train", "test"):
        write_folder(folder / "images", split, images(2), ["cat", "dog"])
    (folder / "images/train/cat/x.ppm").write_bytes(b"P6 x 8 255")
    (folder / "s.yaml").write_text("trial: {data: {source: image_folder, root: images}}")
    result = cosweep(command, "s.yaml")
    assert result.exit_code == 2
    assert "images/train/cat/x.ppm: not a readable image (" in result.output
    assert "Traceback" not in result.output
    assert not (folder / "results").exists()


def test_a_missing_file_and_a_wrong_override_are_usage_errors(folder: Path) -> None:
    for arguments, message in [
        (("run", "none.yaml"), "none.yaml: cannot be read"),
        (("run", "s.yaml", "--set", "trial.seed"), "expected path=value"),
        (("frobnicate",), "No such command"),
        (("query", "SELECT 1", "--format", "xml"), "Invalid value"),
    ]:
        result = cosweep(*arguments)
        assert (result.exit_code, message in result.output) == (2, True), result.output


def test_validate_tells_trials_resources_and_cost(folder: Path) -> None:
    result = cosweep("validate", "s.yaml", "--set", "trial.optimizer.epochs=1")
    assert result.exit_code == 0
    assert "2, of which 0 are done and 2 left" in result.output
    assert "1 CPU and 0 GPUs a trial" in result.output
    assert "about" in result.output
    assert not (folder / "results").exists()


def test_validate_prints_every_spec_as_a_line_of_json(folder: Path) -> None:
    result = cosweep("validate", "s.yaml", "--specs")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.output.splitlines()]
    specs = load_sweep(folder / "s.yaml").trials
    assert rows == [{"trial_id": spec.trial_id, **spec.flat()} for spec in specs]


@pytest.fixture
def store(folder: Path) -> Store:
    made = Store(folder / "results")
    made.create()
    ids = ["aaa", "bbb", "ccc", "ddd"]
    made.write_sweep("s", {"name": "s", "trial_ids": ids, "axes": ["epsilon", "beta"], "tracking": {"uri": None}})
    made.write_trial("s", trial_row("old", epsilon=0.5), curve())
    made.write_trial("s", trial_row("aaa"), curve())
    made.write_trial("s", broken_row("bbb", co_step=123, beta=24 / 255), curve())
    made.write_trial("s", trial_row("ccc", status="failed", state=None, co=None, error="ValueError: x"), [])
    return made


@pytest.mark.usefixtures("store")
def test_status_counts_trials_by_status_and_state() -> None:
    result = cosweep("status")
    assert result.exit_code == 0
    for text in ("2 of 4", "1 completed, 1 failed, 1 stopped", "1 co, 1 healthy"):
        assert text in result.output
    assert "1 of 4 trials of s (ddd) without a result yet" in result.stderr
    assert "s: 1 earlier result of this name is not part of this definition" in result.stderr
    assert "SELECT * FROM all_trials WHERE sweep = 's' AND NOT in_definition" in result.stderr


def test_what_is_lost_or_in_doubt_is_named_by_status_report_and_query(store: Store, folder: Path) -> None:
    (folder / "results/trials/sweep=s/bbb.parquet").unlink()
    (folder / "results/curves/sweep=s/aaa.parquet").unlink()
    lost = "1 of 4 trials of s (bbb) left results before and have no row now"
    doubt = "in doubt: results/curves/sweep=s, trial aaa: the curve has 0 probes where 3 were written"
    for command in (["status"], ["report", "s"], ["query", "SELECT count(*) FROM curves"]):
        result = cosweep(*command)
        assert (result.exit_code, lost in result.output) == (0, True)
        assert (doubt in result.stderr.replace(f"{folder}/", "")) == (command != ["status"])
        assert "could not be read" not in result.stderr


@pytest.mark.usefixtures("store")
def test_query_prints_rows_in_each_format(folder: Path) -> None:
    sql = "SELECT trial_id, co_step, beta FROM trials WHERE co"
    assert "24/255" in cosweep("query", sql).output
    assert json.loads(cosweep("query", sql, "--format", "json").output)[0]["co_step"] == 123
    assert cosweep("query", sql, "--format", "csv").output.splitlines()[0] == "trial_id,co_step,beta"
    assert cosweep("query", sql, "--format", "parquet").stdout_bytes.startswith(b"PAR1")


def test_query_prints_lists_in_each_format(store: Store) -> None:
    store.write_trial("s", broken_row("bbb"), measured_curve(), snapshot_rows(("end", 12)))
    sql = "SELECT step, delta_spectrum, ray_loss FROM curves WHERE curvature IS NOT NULL ORDER BY step"
    table = cosweep("query", sql).output
    assert "[0.5, 0.25, 0.25]" in table
    assert "[0.3, None]" in table
    assert [row["ray_loss"] for row in json.loads(cosweep("query", sql, "--format", "json").output)] == [
        [0.1, 0.2],
        [0.3, None],
    ]
    assert '22,"[0.5, 0.25, 0.25]","[0.1, 0.2]"' in cosweep("query", sql, "--format", "csv").output
    parquet = pq.read_table(io.BytesIO(cosweep("query", sql, "--format", "parquet").stdout_bytes))
    assert parquet["delta_spectrum"].to_pylist() == [[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]
    pixels = cosweep("query", "SELECT example, shape, delta FROM snapshots ORDER BY example").output
    assert "[1, 1, 2]" in pixels
    assert "[1.75, -0.25]" in pixels


WIDTHS = (40, 80, 120, 160)


def lines_at(width: int, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    """What a command prints on a terminal of this width; no line is longer, none but between tables is blank."""
    monkeypatch.setattr(console, "width", width)
    result = cosweep(*arguments)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= width
    return lines


def told(row: dict[str, object]) -> dict[str, str]:
    """The values of a row of JSON as a table of the terminal shows them; those that are null are left out."""
    digits = {name: f"{value:.4g}" for name, value in row.items() if isinstance(value, float)}
    pixels = {name: format_pixels(float(digits[name])) for name in PIXEL_COLUMNS & digits.keys()}
    texts = {name: str(value) for name, value in row.items() if value not in (None, "")}
    return texts | digits | pixels


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", ["trials", "curves"])
def test_a_wide_table_shows_the_columns_that_fit_and_counts_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch, view: str, width: int
) -> None:
    for number in range(12):
        store.write_trial("s", trial_row(f"many{number:02d}"), curve())
    sql = f"SELECT * FROM all_{view} ORDER BY trial_id"
    rows = json.loads(cosweep("query", sql, "--format", "json").output)
    head, _, *lines = lines_at(width, monkeypatch, "query", sql)
    shown = head.split()
    assert len(shown) >= 3
    assert [line.split() for line in lines[: len(rows)]] == [
        [told(row)[name] for name in shown if name in told(row)] for row in rows
    ]
    note = " ".join(" ".join(lines[len(rows) :]).split())
    assert note.startswith(f"{len(rows[0]) - len(shown)} of {len(rows[0])} columns left out: SELECT fewer, --format")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("width", WIDTHS)
def test_one_trial_stands_on_end_with_all_its_columns(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    sql = "SELECT * FROM trials WHERE trial_id = 'bbb'"
    (row,) = json.loads(cosweep("query", sql, "--format", "json").output)
    lines = lines_at(width, monkeypatch, "query", sql)
    assert "left out" not in "".join(lines)
    squeezed = "".join("".join(lines).split())
    assert not [name for name in row if name[:14] not in squeezed]
    for text in told(row).values():  # a long one is folded over lines, beside which there is none
        assert re.sub(r"\s", "", text)[:14] in squeezed
    assert all(line.strip() for line in lines)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("width", WIDTHS)
def test_status_shows_every_number_at_any_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = "".join(lines_at(width, monkeypatch, "status"))
    for part in ("2 of 4", "1 co", "1 healthy", "1 failed", "trials/hour", "time left"):
        assert part in text


@pytest.mark.parametrize("width", WIDTHS)
def test_detect_shows_every_verdict_at_any_width(folder: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    rows = [f"t{n},{10 * i},0.8,0.9,{0.01 if i > n else 0.5}" for n in range(1, 9) for i in range(1, 12)]
    (folder / "c.csv").write_text("\n".join(["trial_id,step,clean_acc,fgsm_acc,pgd_acc", *rows]))
    lines = lines_at(width, monkeypatch, "detect", "c.csv")
    assert all(line.strip() for line in lines)
    for number in range(1, 9):
        assert any(line.split()[:4] == [f"t{number}", "co", "True", f"{10 * (number + 1)}"] for line in lines)
    assert ("left out: --format csv" in " ".join(lines)) == (width < 80)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("arguments", [("report", "s"), ("list",), ("query", "--schema"), ("compact",)])
def test_no_table_of_any_command_is_wider_than_the_terminal_or_blank(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], width: int
) -> None:
    monkeypatch.setattr(console, "width", width)
    lines = [line for line in cosweep(*arguments).stdout.splitlines() if not line.startswith(("report ", "beside "))]
    assert max(map(len, lines)) <= width
    assert not [pair for pair in itertools.pairwise(lines) if not "".join(pair).strip()]


@pytest.mark.usefixtures("store")
def test_query_schema_prints_every_column_in_each_format() -> None:
    rows = json.loads(cosweep("query", "--schema", "--format", "json").output)
    told = {(row["view"], row["column"]): row for row in rows}
    assert told["trials", "co_step"] == {
        "view": "trials",
        "column": "co_step",
        "type": "BIGINT",
        "unit": "steps",
        "meaning": "breaking point",
    }
    table = cosweep("query", "--schema").output
    assert [name for _, name in told if name not in table] == []
    assert cosweep("query", "--schema", "--format", "csv").output.splitlines()[0] == "view,column,type,unit,meaning"
    parquet = cosweep("query", "--schema", "--format", "parquet").stdout_bytes
    assert pq.read_table(io.BytesIO(parquet)).to_pylist() == rows


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", [("query",), ("query", "SELECT 1", "--schema")])
def test_query_wants_a_statement_or_the_schema(arguments: tuple[str, ...]) -> None:
    result = cosweep(*arguments)
    assert result.exit_code == 2
    assert "give a statement" in result.output


@pytest.mark.usefixtures("folder")
def test_query_schema_needs_no_results() -> None:
    result = cosweep("query", "--schema")
    assert result.exit_code == 0
    assert "co_step" in result.output


@pytest.mark.usefixtures("store")
def test_a_wrong_query_names_the_columns() -> None:
    result = cosweep("query", "SELECT nothing FROM trials")
    assert result.exit_code == 2
    assert "columns that exist" in result.output
    assert "co_step" in result.output


ENDLESS = "SELECT count(*) FROM range(1000000000000)"
QUERY_ERRORS = [sys.executable, "-m", "cosweep", "query", "SELECT error FROM trials"]


@pytest.mark.usefixtures("store")
def test_ctrl_c_ends_a_long_query_with_a_word() -> None:
    began = time.monotonic()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    result = cosweep("query", ENDLESS)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")
    assert time.monotonic() - began < 30


def test_a_csv_commands_no_terminal_and_is_data_elsewhere(store: Store) -> None:
    store.write_trial("s", trial_row("bbb", error=ESCAPES), curve())
    command = [*QUERY_ERRORS, "--format", "csv"]
    near, far = pty.openpty()
    with open(near, "rb") as terminal, open(far, "wb") as output:
        subprocess.run(command, stdout=output, check=True)
        shown = os.read(terminal.fileno(), 10_000).decode()
    assert r"\x1b[2J\x1b]0;owned" in shown
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\u2028]", shown)
    assert "\x1b[2J" in cosweep(*command[3:]).output


@pytest.mark.usefixtures("store")
def test_report_writes_page_figures_and_tables_says_that_it_is_partial_and_shows_the_phase_table(folder: Path) -> None:
    result = cosweep("report", "s")
    assert result.exit_code == 0
    assert "1/1 @123" in result.output
    assert "partial: 3 of 4 trials so far" in result.output
    written = {p.name for p in (folder / "results/reports/s").iterdir()}
    figures = {f"{name}.{kind}" for name in ("phase", "onset", "curves") for kind in ("png", "svg")}
    tables = {
        f"{name}.{kind}" for name in ("trials", "phase", "breaking_points", "onset") for kind in ("csv", "parquet")
    }
    assert written == {"report.html"} | figures | tables
    text = (folder / "results/reports/s/report.html").read_text()
    assert "3 of 4 trials so far" in text
    assert "ValueError: x" in text


def test_a_damaged_record_is_named_and_a_damaged_pulse_says_nothing(store: Store, folder: Path) -> None:
    store.write_bytes("pulses/s.json", b"")
    assert cosweep("status", "s").exit_code == 0
    store.write_bytes("sweeps/s.json", b"{bad")
    result = cosweep("status", "s")
    assert (result.exit_code, "s.json is damaged" in result.output) == (2, True)


def test_a_new_report_removes_what_an_earlier_one_left(store: Store, folder: Path) -> None:
    for name in ("examples.png", "mine.txt"):
        store.write_bytes(f"reports/s/{name}", b"old")
    assert cosweep("report", "s").exit_code == 0
    left = {p.name for p in (folder / "results/reports/s").iterdir()}
    assert ("examples.png" in left, "mine.txt" in left) == (False, True)


def test_a_report_of_no_finished_trial_says_so(folder: Path) -> None:
    made = Store(folder / "results")
    made.write_sweep("s", {"name": "s", "trial_ids": ["a"], "axes": ["beta"], "tracking": {"uri": None}})
    result = cosweep("report", "s")
    assert (result.exit_code, "no trial has finished yet" in result.output) == (0, True)
    assert "0 of 1 trial so far" in (folder / "results/reports/s/report.html").read_text()


def test_a_damaged_file_is_named_in_the_report_and_by_the_command(store: Store, folder: Path) -> None:
    (folder / "results/trials/sweep=s/ddd.parquet").write_bytes(b"no parquet")
    result = cosweep("report", "s")
    assert result.exit_code == 0
    assert "ddd.parquet" in result.stderr
    text = (folder / "results/reports/s/report.html").read_text()
    assert "1 unreadable file" in text
    assert "ddd.parquet" in text


def test_status_tells_what_runs_and_watch_ends_when_all_is_done(store: Store) -> None:
    store.write_pulse("s", {"running": {"1": 0.4, "2": 0.85}, "ended": False})
    assert "2 (40%, 85%)" in cosweep("status").output
    for trial in ("ccc", "ddd"):
        store.write_trial("s", trial_row(trial), curve())
    result = cosweep("status", "s", "--watch")
    assert (result.exit_code, "4 of 4" in result.output) == (0, True)


@pytest.mark.usefixtures("store")
def test_compact_tells_files_and_megabytes_before_and_after(folder: Path) -> None:
    before = cosweep("query", "SELECT * FROM trials ORDER BY trial_id", "--format", "csv").output
    result = cosweep("compact", "s")
    assert result.exit_code == 0
    told = [line.split()[:5] for line in result.output.splitlines()]
    assert [line for line in told if line[:1] == ["s"]] == [
        ["s", kind, "4", "->", "2"] for kind in ("curves", "trials")
    ]
    assert len(list((folder / "results/trials/sweep=s").iterdir())) == 2
    assert cosweep("query", "SELECT * FROM trials ORDER BY trial_id", "--format", "csv").output == before
    assert cosweep("status").exit_code == 0


def test_compact_goes_over_all_sweeps_and_names_what_it_skips(store: Store, folder: Path) -> None:
    store.write_trial("t", trial_row("e"), curve())
    for name in ("f", "g"):
        (folder / f"results/trials/sweep=t/{name}.parquet").write_bytes(b"")
    result = cosweep("compact")
    assert result.exit_code == 0
    assert {"s", "t"} <= {word for line in result.stdout.splitlines() for word in line.split()[:1]}
    assert result.stderr.count("skipped") == 2
    assert "2 files could not be read" in result.stderr


def test_a_compacted_trial_is_not_run_again(folder: Path) -> None:
    specs = load_sweep(folder / "s.yaml").trials
    store = Store(folder / "results")
    for spec in specs:
        store.write_trial("s", trial_row(spec.trial_id, data_hash=spec.data.load().fingerprint()), curve())
    assert cosweep("compact").exit_code == 0
    assert f"{len(specs)}, of which {len(specs)} are done and 0 left" in cosweep("validate", "s.yaml").output


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("command", ["compact", "report", "status", "sync", "ui"])
def test_an_unknown_sweep_is_refused_with_the_known_ones(command: str) -> None:
    result = cosweep(command, "t")
    assert result.exit_code == 2
    assert "sweeps there: s" in result.output


def test_commands_on_an_empty_folder_say_so(folder: Path) -> None:
    assert "no sweeps in results yet" in cosweep("status").output
    assert cosweep("ui").exit_code == 2
    assert "no trials in results yet" in cosweep("compact").output
    assert cosweep("query", "SELECT count(*) AS n FROM trials", "--format", "csv").stdout == "n\n0\n"
    assert "no sweeps in results" in cosweep("query", "SELECT 1").stderr


def test_results_of_a_newer_schema_are_refused(folder: Path) -> None:
    (folder / "results").mkdir()
    (folder / "results/cosweep.json").write_text('{"schema_version": 99}')
    for arguments in (("run", "s.yaml"), ("status",), ("query", "SELECT 1")):
        result = cosweep(*arguments)
        assert (result.exit_code, "newer cosweep (schema 99" in result.output) == (2, True)


@pytest.mark.parametrize("what", MENUS)
def test_list_shows_every_name_with_a_line(what: str) -> None:
    result = cosweep("list", what)
    assert result.exit_code == 0
    table = menu_table(what)
    assert table.rows
    for name, line, *_ in table.rows:
        assert name in result.output
        assert line


def test_list_shows_options_with_defaults_and_those_of_all_once() -> None:
    output = cosweep("list", "methods").output
    assert "noise_scale: 2.0" in output
    assert output.count("warmup_epochs: 0.0") == 1
    assert "attack_mode: eval" in output  # where a method's default is another


def test_detect_prints_verdicts_as_json(folder: Path) -> None:
    rows = [f"a,{10 * i},0.8,0.9,{0.01 if i > 3 else 0.5}" for i in range(1, 9)]
    (folder / "c.csv").write_text("\n".join(["trial_id,step,clean_acc,fgsm_acc,pgd_acc", *rows]))
    result = cosweep("detect", "c.csv", "--format", "json")
    (verdict,) = json.loads(result.output)
    keys = ["trial_id", "state", "co", "co_step", "co_step_low", "co_step_high", "co_reason"]
    assert list(verdict) == keys
    assert (verdict["state"], verdict["co_step_low"], verdict["co_step_high"]) == ("co", 30, 40)
    assert cosweep("detect", "c.csv", "--detector", "colapse").exit_code == 2


def test_detect_takes_the_chance_that_accuracies_are_to_exceed(folder: Path) -> None:
    (folder / "c.csv").write_text("trial_id,step,clean_acc,fgsm_acc,pgd_acc\na,1,0.23,0.23,0.23\n")
    for options, state in (
        ((), "healthy"),
        (("--chance", "0.23"), "not_robust"),
        (("--chance", "0.196", "--examples", "256"), "not_robust"),
        (("--classes", "2"), "not_robust"),
    ):
        assert f",{state}," in cosweep("detect", "c.csv", "--format", "csv", *options).output
    result = cosweep("detect", "c.csv", "--classes", "4", "--chance", "0.2")
    assert result.exit_code == 2
    assert "--chance: the largest of 4 classes has a share from 0.25 to 1, got 0.2" in result.output


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("command", "redirection", "code"),
    [
        ("status s --watch", "| true", 0),
        ("query 'SELECT 1 AS a'", ">/dev/full", 2),
        ("query 'SELECT 1 AS a' --format csv", ">/dev/full", 2),
        ("query 'SELECT 1 AS a' --format csv", ">&-", 2),
    ],
)
def test_a_command_whose_output_cannot_be_written_ends_and_tells_it_by_its_exit_code(
    folder: Path, command: str, redirection: str, code: int
) -> None:
    script = f'"$0" -m cosweep {command} {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("standard output cannot be written (")
    assert len(done.stderr.splitlines()) == 1
