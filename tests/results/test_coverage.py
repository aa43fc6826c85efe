"""One name, several definitions: what belongs to the present one, what is missing of it, and what its report keeps."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cosweep.analysis.findings import Findings, definition_text, make_findings
from cosweep.report.files import report_files, write_report
from cosweep.report.page import page
from cosweep.results.compaction import compact_sweep
from cosweep.results.coverage import Coverage, covered, lost_trials
from cosweep.results.query import to_parquet
from cosweep.results.store import Store
from tests.results.sweeps import write_sweep

SMALL: dict[str, Any] = {"epsilons": (64 / 255, 80 / 255), "betas": (0.0, 16 / 255), "seeds": 2}
SEES_THEM = "SELECT * FROM all_trials WHERE sweep = 'made' AND NOT in_definition"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Eight finished trials, 0 to 7."""
    made = Store(tmp_path)
    write_sweep(made, **SMALL)
    return made


def narrow(store: Store, count: int, **changes: Any) -> list[str]:
    """Let the definition have the first trials alone; their ids."""
    record = store.sweep_record("made")
    ids: list[str] = record["trial_ids"][:count]
    store.write_sweep("made", {**record, "trial_ids": ids, **changes})
    return ids


def coverage(store: Store) -> Coverage:
    return covered(store, "made", store.sweep_record("made"))[1]


def remove(store: Store, number: int, *kinds: str) -> str:
    trial_id = f"{number:012x}"
    for kind in kinds:
        store.files.delete(f"{kind}/sweep=made/{trial_id}.parquet")
    return trial_id


# --- what is missing, and what is there besides ----------------------------------------------------------------------


def test_a_whole_sweep_has_nothing_to_tell(store: Store) -> None:
    found = coverage(store)
    assert [*found.missing_notes(), *found.earlier_notes(), *lost_trials(store)] == []


def test_earlier_results_are_counted_with_the_way_to_see_them(store: Store) -> None:
    narrow(store, 7)
    (one,) = coverage(store).earlier_notes()
    assert one.startswith("1 earlier result of this name is not part of this definition")
    narrow(store, 2)
    (note,) = coverage(store).earlier_notes()
    assert note.startswith("6 earlier results of this name are not part of this definition")
    assert note.endswith(SEES_THEM)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_finished_trial_whose_row_is_gone_is_named(store: Store, compacted: bool) -> None:
    gone = remove(store, 3, "trials")
    if compacted:
        compact_sweep(store, "made")
    (note,) = coverage(store).missing_notes()
    assert note.startswith(f"1 of 8 trials of made ({gone}) left results before")
    assert lost_trials(store) == [note]


def test_a_trial_of_which_nothing_is_left_is_named_if_a_driver_saw_it_finish(store: Store) -> None:
    record = store.sweep_record("made")
    store.write_sweep("made", {**record, "finished": record["trial_ids"]})
    gone = remove(store, 3, "trials", "curves")
    (note,) = lost_trials(store)
    assert f"({gone}) left results before" in note
    store.write_pulse("made", {"running": {}, "ended": False})  # it may be run again just now, and is missing still
    assert lost_trials(store) == [note]


def test_trials_that_have_not_run_are_named_unless_a_driver_is_at_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_sweep(store, keep=7, **SMALL)
    assert coverage(store).missing_notes() == [f"1 of 8 trials of made ({7:012x}) without a result yet"]
    assert lost_trials(store) == []
    store.write_pulse("made", {"running": {}, "ended": False})
    assert coverage(store).missing_notes() == []


def test_many_missing_trials_are_counted() -> None:
    found = Coverage("s", 30, [f"t{number:02}" for number in range(25)], frozenset())
    (note,) = found.missing_notes()
    assert note == f"25 of 30 trials of s ({', '.join(f't{n:02}' for n in range(10))} and 15 more) without a result yet"


def test_a_row_that_cannot_be_read_is_a_bad_file_and_not_missing(store: Store) -> None:
    store.write_bytes(f"trials/sweep=made/{3:012x}.parquet", b"no parquet")
    assert coverage(store).missing_notes() == []
    assert len(store.bad_files) == 1


# --- the report ------------------------------------------------------------------------------------------------------


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without page and figures, which take seconds; the larger ones have effects."""

    def files(report: Findings) -> dict[str, bytes]:
        effects = {"effects.csv": b"effects"} if len(report.rows) > 2 else {}
        return {"report.html": b"page", "trials.parquet": to_parquet(report.trials), **effects}

    monkeypatch.setattr("tests.results.test_coverage.report_files", files)


def write(store: Store) -> Findings:
    report = make_findings(store, "made")
    write_report(store, report, report_files(report))
    return report


def ids_in(store: Store, folder: str) -> list[str]:
    content = store.files.read(f"reports/made/{folder}trials.parquet")
    return sorted(pq.read_table(io.BytesIO(content))["trial_id"].to_pylist())


@pytest.mark.usefixtures("plain")
def test_a_narrower_report_keeps_the_wider_one_beside_it(store: Store) -> None:
    wide = report_files(write(store))
    assert "effects.csv" in wide
    ids = narrow(store, 2)
    report = write(store)
    (kept,) = store.files.folders("reports/made")
    assert {name: store.files.read(f"reports/made/{kept}/{name}") for name in wide} == wide
    assert ids_in(store, "") == ids
    assert "effects.csv" not in store.files.names("reports/made")
    assert f"reports/made/{kept}" in report.earlier_notes[1]
    assert make_findings(store, "made").earlier_notes == report.earlier_notes


@pytest.mark.usefixtures("plain")
def test_a_report_that_grows_replaces_the_earlier_one(store: Store) -> None:
    record = store.sweep_record("made")
    narrow(store, 2)
    write(store)
    store.write_sweep("made", record)
    report = write(store)
    assert (report.earlier_notes, report.replaces) == ([], 0)
    assert store.files.folders("reports/made") == []
    assert len(ids_in(store, "")) == 8


@pytest.mark.usefixtures("plain")
def test_the_same_two_definitions_in_turn_keep_one_report_each(store: Store) -> None:
    record = store.sweep_record("made")
    ids = record["trial_ids"]
    for chosen in (ids[:5], ids[3:], ids[:5], ids[3:], ids[:5]):
        store.write_sweep("made", {**record, "trial_ids": chosen})
        write(store)
    assert len(store.files.folders("reports/made")) == 2
    (_, note) = make_findings(store, "made").earlier_notes
    assert note.count("reports/made/") == 1  # the other one is the report itself


def test_the_page_names_what_is_missing_left_out_and_in_doubt_and_shows_what_was_run(store: Store) -> None:
    narrow(store, 3, overrides=["space.seed.grid=[0]", "trial.seed=</pre>"])
    gone = remove(store, 1, "trials")
    remove(store, 2, "curves")
    text = page(make_findings(store, "made"), {}).decode()
    assert f"1 of 3 trials of made ({gone}) left results before" in text
    assert "5 earlier results of this name are not part of this definition" in text
    assert f"trial {2:012x}: the curve has 0 probes where 12 were written" in text
    assert "unreadable" not in text.split("<script")[0]
    assert "--set space.seed.grid=[0]\n--set trial.seed=&lt;/pre&gt;\n" in text


def test_a_definition_is_told_as_it_was_run() -> None:
    assert definition_text({"source": "name: s\n", "overrides": ["trial.seed=3", "name=a\nb"]}) == (
        "# --set trial.seed=3\n# --set name=a b\nname: s\n"
    )
    assert definition_text({"source": "name: s\n"}) == "name: s\n"
    assert definition_text({"overrides": ["a=b"]}) == ""


def test_a_report_tells_some_of_the_curves_in_doubt_and_counts_the_others(store: Store) -> None:
    for number in range(8):
        remove(store, number, "curves")
    report = make_findings(store, "made")
    *first, more = report.doubts
    assert ["the curve has 0 probes where 12 were written" in doubt for doubt in first] == [True] * 5
    assert more == "3 more curves are in doubt"
    assert report.unreadable == []
