"""Real MLflow on SQLite: a sweep's runs, whatever is logged twice, interrupted, changed or moved."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from cosweep.analysis.findings import make_findings
from cosweep.errors import CosweepError
from cosweep.results.store import Store
from cosweep.tracking.pages import VIEW_TAG, Summary
from cosweep.tracking.runs import SweepRuns
from cosweep.tracking.tracker import Tracker, stored_uri, sync_sweep, tracking_uri, uri_to_keep
from cosweep.tracking.ui import serve
from tests.integration.processes import wait_for
from tests.results.rows import START, trial_row
from tests.results.sweeps import write_sweep

SMALL: dict[str, Any] = {"epsilons": (64 / 255, 80 / 255), "betas": (0.0, 16 / 255), "seeds": 2}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make."""
    folder = tmp_path_factory.mktemp("empty")
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address from outside, and no figures, which take seconds to draw."""
    monkeypatch.setattr("cosweep.tracking.tracker.report_files", lambda findings: {"report.html": b"page"})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Store:
    """Results of 8 trials, of which 5 broke, and MLflow without runs."""
    store = Store(tmp_path / "results")
    write_sweep(store, **SMALL)
    shutil.copy(empty_database, tmp_path / "results")
    return store


def uri_of(store: Store) -> str:
    found = tracking_uri(store, None)
    assert found is not None
    return found


def all_runs(store: Store) -> list[Any]:
    client = MlflowClient(uri_of(store))
    experiment = client.get_experiment_by_name("made")
    found: list[Any] = client.search_runs([experiment.experiment_id], max_results=1000)
    return found


def parent(store: Store) -> Any:
    (found,) = [run for run in all_runs(store) if "mlflow.parentRunId" not in run.data.tags]
    return found


def children(store: Store) -> dict[str, Any]:
    """By name, those of the one parent."""
    found = [run for run in all_runs(store) if run.data.tags.get("mlflow.parentRunId") == parent(store).info.run_id]
    names = {run.info.run_name: run for run in found}
    assert len(names) == len(found)
    return names


def artifacts(store: Store) -> Path:
    assert store.local_path is not None
    run_id: str = parent(store).info.run_id
    return store.local_path / "mlartifacts" / "made" / run_id / "artifacts"


def test_a_sweep_becomes_a_parent_with_a_child_for_each_trial(store: Store) -> None:
    assert sync_sweep(store, "made") == (uri_of(store), 8, 0)
    found = children(store)
    assert len(found) == 8
    broken = found["epsilon 80/255 beta 16/255 seed 1"]
    assert (broken.data.tags["state"], broken.info.status) == ("co", "FINISHED")
    assert broken.data.metrics["co"] == 1
    assert broken.info.start_time == START.timestamp() * 1000
    curve = MlflowClient(uri_of(store)).get_metric_history(broken.info.run_id, "pgd_acc")
    assert [point.step for point in curve] == list(range(11, 133, 11))
    assert curve[-1].value == 0
    top = parent(store)
    assert (top.info.run_name, top.info.status) == ("made", "FINISHED")
    assert top.info.end_time == (START + timedelta(seconds=80)).timestamp() * 1000
    assert (top.data.metrics["trials"], top.data.metrics["co_trials"]) == (8, 5)
    assert top.data.tags["cosweep.progress"] == "8 of 8"
    assert {file.name for file in artifacts(store).iterdir()} == {"report.html", "definition.yaml"}


def test_filters_find_trials(store: Store) -> None:
    sync_sweep(store, "made")
    client = MlflowClient(uri_of(store))
    experiment = client.get_experiment_by_name("made").experiment_id
    counts = {
        "tags.state = 'co'": 5,
        "metrics.co_step > 60 and params.seed = '1'": 2,
        "tags.epsilon = '64/255' and params.method = 'fgsm'": 4,
        "tags.trial_id != ''": 8,
    }
    assert {query: len(client.search_runs([experiment], query)) for query in counts} == counts


def test_logging_again_changes_nothing_and_a_new_row_replaces_its_run(store: Store) -> None:
    sync_sweep(store, "made")
    assert sync_sweep(store, "made") == (uri_of(store), 0, 8)
    row = trial_row("000000000000", finished_at=START + timedelta(days=1))
    store.write_trial("made", row | {"status": "failed", "state": None, "co": None, "error": "KeyError: x"}, [])
    assert sync_sweep(store, "made") == (uri_of(store), 1, 7)
    found = children(store)
    assert len(found) == 8
    failed = found["epsilon 64/255 beta 0 seed 0"]
    assert (failed.info.status, failed.data.tags["error"]) == ("FAILED", "KeyError: x")
    assert parent(store).data.metrics["failed"] == 1


def test_an_interrupted_sweep_says_so_and_is_finished_later(store: Store) -> None:
    write_sweep(store, "part", keep=5, **SMALL)
    sync_sweep(store, "part")
    client = MlflowClient(uri_of(store))
    experiment = client.get_experiment_by_name("part").experiment_id

    def top() -> Any:
        (run,) = client.search_runs([experiment], "tags.`cosweep.sweep` = 'part'")
        return run

    assert (top().info.status, top().data.tags["cosweep.progress"]) == ("KILLED", "5 of 8")
    assert "Partial: 5 of 8" in top().data.tags["mlflow.note.content"]
    store.write_pulse("part", {"running": {"a": 0.5}, "ended": False})
    sync_sweep(store, "part")
    assert top().info.status == "RUNNING"
    store.write_pulse("part", {"running": {}, "ended": True})
    write_sweep(store, "part", **SMALL)
    assert sync_sweep(store, "part") == (uri_of(store), 3, 5)
    assert (top().info.status, top().data.metrics["trials"]) == ("FINISHED", 8)


def test_a_run_that_was_cut_off_is_logged_anew(store: Store) -> None:
    runs = SweepRuns(store, "made", uri_of(store))
    runs.begin(START)
    runs.log_trial("000000000003")
    (name,) = children(store)
    MlflowClient(uri_of(store)).update_run(children(store)[name].info.run_id, "RUNNING")
    again = SweepRuns(store, "made", uri_of(store))
    assert not again.has("000000000003")
    assert again.missing() == 8
    assert again.log_trial("000000000003")
    assert list(children(store)) == [name]
    assert again.has("000000000003")
    assert again.missing() == 7


def test_children_are_named_anew_when_the_sweep_varies_something_else(store: Store) -> None:
    sync_sweep(store, "made")
    write_sweep(store, **SMALL, record={"axes": ["epsilon", "beta", "lr_max", "seed"]})
    assert sync_sweep(store, "made") == (uri_of(store), 8, 0)
    assert "epsilon 64/255 beta 0 lr_max 0.2 seed 0" in children(store)
    assert len(children(store)) == 8


def test_results_of_earlier_definitions_are_told_apart(store: Store) -> None:
    client, told = MlflowClient(uri_of(store)), "tags.in_definition = '{}'"

    def names(value: str) -> list[str]:
        experiment = client.get_experiment_by_name("made").experiment_id
        return sorted(run.info.run_name for run in client.search_runs([experiment], told.format(value)))

    sync_sweep(store, "made")
    assert (len(names("true")), names("false")) == (8, [])
    record = store.sweep_record("made")
    changed = {"trial_ids": record["trial_ids"][:3], "overrides": ["space.seed.grid=[0]"]}
    store.write_sweep("made", record | changed)
    assert sync_sweep(store, "made") == (uri_of(store), 0, 3)
    assert (len(names("true")), len(names("false"))) == (3, 5)
    assert parent(store).data.metrics["trials"] == 3
    assert "# --set space.seed.grid=[0]" in parent(store).data.tags["mlflow.note.content"]
    assert (artifacts(store) / "definition.yaml").read_text().startswith("# --set space.seed.grid=[0]\n")
    client.delete_tag(children(store)[names("true")[0]].info.run_id, "in_definition")  # as of an older cosweep
    store.write_sweep("made", record)
    sync_sweep(store, "made")
    assert (len(names("true")), names("false")) == (8, [])


def test_what_was_deleted_in_mlflow_comes_back(store: Store) -> None:
    sync_sweep(store, "made")
    client = MlflowClient(uri_of(store))
    client.delete_run(parent(store).info.run_id)
    assert sync_sweep(store, "made")[1] == 8
    assert len(children(store)) == 8
    client.delete_experiment(client.get_experiment_by_name("made").experiment_id)
    sync_sweep(store, "made")
    assert len(children(store)) == 8


def test_a_view_that_a_person_changed_stays(store: Store) -> None:
    client = MlflowClient(uri_of(store))
    runs = SweepRuns(store, "made", uri_of(store))
    runs.begin(START)
    assert json.loads(client.get_experiment(runs.experiment_id).tags[f"{VIEW_TAG}trials"])["name"] == "Trials"
    client.set_experiment_tag(runs.experiment_id, f"{VIEW_TAG}trials", "mine")
    SweepRuns(store, "made", uri_of(store)).begin(START)
    assert client.get_experiment(runs.experiment_id).tags[f"{VIEW_TAG}trials"] == "mine"


def test_a_database_that_is_locked_misses_nothing_and_one_that_is_lost_is_told_and_filled_again(
    store: Store, empty_database: Path
) -> None:
    assert store.local_path is not None
    database = store.local_path / "mlflow.db"
    trials: list[str] = store.trials("made")["trial_id"].to_pylist()
    tracker = Tracker(store, "made", uri_of(store))
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        tracker.trial_finished(trials[0])
        tracker.trial_finished(trials[1])
        time.sleep(0.5)
        other.execute("ROLLBACK")
    wait_for(lambda: len(tracker._answers.found) == 3)
    assert tracker._answers.found == [""] * 3
    database.unlink()
    for trial_id in trials[2:]:
        tracker.trial_finished(trial_id)
    assert tracker.finish(make_findings(store, "made"), {"report.html": b"page"}, 30.0) == 6
    assert "attempt to write a readonly database" in tracker.problem
    shutil.copy(empty_database, database)
    assert sync_sweep(store, "made")[1] == 8
    assert len(children(store)) == 8


def test_a_database_that_is_none_is_one_message_that_says_what_to_do(store: Store) -> None:
    assert store.local_path is not None
    database = store.local_path / "mlflow.db"
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(CosweepError, match=rf"file is not a database\. If {database} is damaged, remove it: cosweep s"):
        sync_sweep(store, "made")
    elsewhere = shutil.copy(database, store.local_path / "other.db")
    with pytest.raises(CosweepError, match=r"file is not a database$"):
        sync_sweep(store, "made", f"sqlite:///{elsewhere}")


def test_a_results_folder_may_be_moved(store: Store, tmp_path: Path) -> None:
    sync_sweep(store, "made")
    shutil.move(tmp_path / "results", tmp_path / "moved")
    moved = Store(tmp_path / "moved")
    assert sync_sweep(moved, "made") == (f"sqlite:///{tmp_path / 'moved' / 'mlflow.db'}", 0, 8)
    assert (artifacts(moved) / "report.html").is_file()
    assert not (tmp_path / "results").exists()


def test_results_keep_an_address_but_neither_a_password_nor_their_own_folder(store: Store) -> None:
    assert uri_to_keep(store, None) is None
    assert uri_to_keep(store, uri_of(store)) is None
    assert uri_to_keep(store, "http://me:secret@host:5000") is None
    assert uri_to_keep(store, "http://host:5000") == "http://host:5000"


def test_mlflow_is_off_where_the_definition_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    own = uri_of(store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking_uri(store, "off") is None
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    write_sweep(store, "without", keep=0, record={"tracking": {"uri": "off"}})
    assert stored_uri(store, "without") == own  # sync and ui ask for it


def test_a_sweep_without_a_folder_of_its_own_needs_an_address(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "local_path", None)
    with pytest.raises(CosweepError, match=r"MLFLOW_TRACKING_URI=sqlite:///mlflow\.db cosweep sync made"):
        stored_uri(store, "made")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert stored_uri(store, "made") == "http://host:5000"


@pytest.mark.integration
def test_the_tracker_logs_from_a_process_of_its_own(store: Store) -> None:
    tracker = Tracker(store, "made", uri_of(store))
    report = make_findings(store, "made")
    tracker.catch_up(["000000000000", "000000000001"])
    tracker.trial_finished("000000000002")
    assert tracker.finish(report, {"report.html": b"page"}, 60) == 0
    assert tracker.problem == ""
    assert len(children(store)) == 8
    assert parent(store).data.metrics["trials"] == 8
    assert (artifacts(store) / "report.html").read_bytes() == b"page"


@pytest.mark.integration
def test_the_tracker_tells_what_it_missed(store: Store) -> None:
    tracker = Tracker(store, "made", uri_of(store))
    tracker.trial_finished("000000000000")
    tracker.trial_finished("nowhere")
    assert tracker.finish(make_findings(store, "made"), {}, 60) == 1
    assert "no row of trial nowhere" in tracker.problem


@pytest.mark.integration
def test_what_failed_is_tried_again_at_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Path(str(store.local_path)) / "mlflow.db"
    kept = database.read_bytes()
    database.write_bytes(b"not a database, " * 99)
    tracker = Tracker(store, "made", uri_of(store))
    tracker.trial_finished("000000000000")
    tracker.trial_finished("000000000001")
    wait_for(lambda: len(tracker._answers.found) == 3)
    assert "DatabaseError" in tracker._answers.found[1]
    database.write_bytes(kept)
    assert tracker.finish(make_findings(store, "made"), {}, 60) == 0
    assert tracker.problem == ""
    assert len(children(store)) == 8


def test_a_tracker_that_died_or_is_stuck_does_not_hold_the_sweep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_findings(store, "made")
    dead = Tracker(store, "made", uri_of(store))
    dead._writer.kill()
    dead._writer.wait()
    dead.catch_up(report.record["trial_ids"])
    assert dead.finish(report, {}, 60) == 8
    assert "died" in dead.problem
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        stuck = Tracker(store, "made", f"http://127.0.0.1:{silent.getsockname()[1]}")
        stuck.trial_finished("000000000000")
        before = datetime.now(UTC)
        assert stuck.finish(report, {"big": bytes(10**6)}, 0.5) == 8
        assert datetime.now(UTC) - before < timedelta(seconds=20)
        assert "nothing was logged for" in stuck.problem


def test_the_ui_says_what_it_cannot_open(store: Store, tmp_path: Path) -> None:
    console = Console(quiet=True)
    with pytest.raises(CosweepError, match=r"no sweeps in .* yet"):
        serve(Store(tmp_path / "nothing"), None, 5000, console)
    with pytest.raises(CosweepError, match="no sweep 'other'"):
        serve(store, "other", 5000, console)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CosweepError, match=r"port .* choose another with --port"):
            serve(store, "made", taken.getsockname()[1], console)
    write_sweep(store, "elsewhere", keep=0, record={"mlflow_uri": "http://host:5000"})
    with pytest.raises(CosweepError, match="different MLflow stores; say which to open, of: elsewhere, made"):
        serve(store, None, 5000, console)


def test_the_summary_can_be_logged_before_any_trial(store: Store) -> None:
    write_sweep(store, "none", keep=0)
    runs = SweepRuns(store, "none", uri_of(store))
    runs.begin(START)
    runs.log_summary(Summary.of(make_findings(store, "none")), {})
    assert MlflowClient(uri_of(store)).get_run(str(runs.parent_id)).info.status == "KILLED"
