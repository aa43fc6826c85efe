"""What MLflow is told of trials and sweeps; no MLflow here."""

from __future__ import annotations

import colorsys
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from cosweep.analysis.findings import Findings, make_findings
from cosweep.results.schema import TRIAL_COLUMNS
from cosweep.results.store import Store
from cosweep.tracking.entries import Entry, thinned, trial_entry
from cosweep.tracking.pages import VIEW_TAG, Summary, saved_views, sweep_links, sweep_note
from tests.results.rows import broken_row, curve, trial_row
from tests.results.sweeps import probes, write_sweep

AXES = ("epsilon", "beta", "seed")
FAILED = {"status": "failed", "state": None, "co": None, "error": "ValueError: no\nTraceback: here", "robust_acc": None}


def entry(row: dict[str, Any], axes: Sequence[str] = AXES, points: list[dict[str, Any]] | None = None) -> Entry:
    empty = {column.name: None for column in TRIAL_COLUMNS}
    return trial_entry(empty | row, curve() if points is None else points, axes, "/data/my results")


def values(found: Entry, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in found.points if point.key == key]


@pytest.mark.parametrize(
    ("axes", "name"),
    [
        (("epsilon", "beta", "seed"), "epsilon 64/255 beta 16/255 seed 0"),
        (("seed", "method", "epsilon"), "fgsm epsilon 64/255 seed 0"),
        (("method", "lr_max"), "fgsm lr_max 0.2"),
        (("lambda_", "epochs"), "epochs 2"),
        ((), "fgsm epsilon 64/255 seed 0"),
    ],
)
def test_a_name_tells_what_the_sweep_varies(axes: Sequence[str], name: str) -> None:
    assert entry(trial_row("a", beta=16 / 255), axes).name == name


def test_params_say_how_a_model_was_trained_and_are_numbers_where_they_can_be() -> None:
    row = trial_row("a", epsilon=64 / 255, clamp=False, probe_every=11, carriers=None)
    params = entry(row).params
    assert float(params["epsilon"]) == pytest.approx(64 / 255, rel=1e-5)
    assert (params["method"], params["epochs"], params["clamp"]) == ("fgsm", "2", "false")
    assert params.keys().isdisjoint({"carriers", "probe_every", "co", "spec_json", "sweep"})


def test_how_a_model_was_measured_is_a_param_if_the_sweep_varies_it() -> None:
    assert entry(trial_row("a", probe_every=11), ("probe_every",)).params["probe_every"] == "11"


def test_pixel_quantities_can_be_filtered_as_they_are_written() -> None:
    tags = entry(trial_row("a", beta=0.0, epsilon=8 / 255)).tags
    assert (tags["epsilon"], tags["beta"]) == ("8/255", "0")


def test_outcomes_are_metrics_at_step_0_and_curves_at_their_steps() -> None:
    found = entry(broken_row("a", 20))
    assert values(found, "co") == [(0, 1.0)]
    assert values(found, "co_step") == [(0, 20.0)]
    assert values(found, "pgd_acc") == [(11, 0.3), (22, 0.3), (33, 0.3)]


def test_a_trial_that_did_not_break_has_no_breaking_point() -> None:
    found = entry(trial_row("a"))
    assert values(found, "co") == [(0, 0.0)]
    assert values(found, "co_step") == []


def test_what_is_no_number_is_left_out() -> None:
    points = [{"step": 11, "pgd_acc": math.nan, "grad_cos": math.inf, "curvature": None, "clean_acc": 0.5}]
    found = entry(trial_row("a", robust_acc=math.nan), points=points)
    assert {point.key for point in found.points} == {"clean_acc", "co", "steps", "wall_seconds"}


def test_a_failed_trial_says_so_everywhere() -> None:
    found = entry(trial_row("a", **FAILED), points=[])
    assert found.failed
    assert (found.tags["state"], found.tags["error"]) == ("failed", "ValueError: no")
    assert "Traceback: here" in found.tags["mlflow.note.content"]
    assert values(found, "co") == []


def test_a_description_tells_when_and_why_training_broke() -> None:
    note = entry(broken_row("a", 46, co_reason="PGD fell")).tags["mlflow.note.content"]
    assert "Broke at step 46** (epoch 2.0)" in note
    assert "PGD fell" in note
    assert "WHERE trial_id = 'a'\" --root '/data/my results'`" in note
    assert "Not robust" in entry(trial_row("b", state="not_robust")).tags["mlflow.note.content"]


def test_colours_tell_states_apart_and_trials_within_one() -> None:
    def hue(row: dict[str, object]) -> float:
        colour = entry(row).tags["mlflow.runColor"]
        return colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0]

    states = ("co", "recovered", "healthy", "diverged", "not_robust")
    assert len({round(hue(trial_row("a", state=state)), 2) for state in states}) == len(states)
    assert len({entry(trial_row(name)).tags["mlflow.runColor"] for name in "abcdefgh"}) > 3


def test_a_hundred_points_of_every_column_are_kept() -> None:
    points = probes(100, None)
    assert len(values(entry(trial_row("a"), points=points), "pgd_acc")) == 100


def test_of_a_long_curve_the_ends_and_the_breaking_point_are_kept() -> None:
    points = probes(5000, 30_000)
    row = broken_row("a", 30_002, co_step_low=29_997, co_step_high=30_008)
    steps = [probe["step"] for probe in thinned(points, row)]
    assert len(steps) * 6 <= 2020
    assert (steps[0], steps[-1]) == (11, 55_000)
    assert {29_997, 30_008} <= set(steps)
    assert max(b - a for a, b in itertools.pairwise(steps)) < 2.1 * 55_000 / len(steps)


def test_saved_views_fit_into_a_tag_and_show_all_axes() -> None:
    axes = [f"a_rather_long_option_name_{number}" for number in range(30)]
    views = saved_views(axes, created=7)
    assert [key.removeprefix(VIEW_TAG) for key in views] == ["trials", "charts"]
    for text in views.values():
        assert len(text) < 20_000
        view = json.loads(text)
        assert (view["createdAt"], view["updatedAt"]) == (7, 7)
        assert all(axis in view["state"] for axis in axes)
        assert json.loads(view["state"])["searchFilter"] == "tags.in_definition = 'true'"


def test_links_open_the_views_and_the_report() -> None:
    links = sweep_links("http://localhost:5000/", "3", "abc")
    assert links["trials"].startswith("http://localhost:5000/#/experiments/3/runs?viewStateShareKey=trials&")
    assert "compareRunsMode=CHART" in links["charts"]
    assert "/runs/abc/artifacts/report.html" in links["report"]
    assert sweep_links("http://localhost:5000", "3", None).keys() == {"trials"}
    assert "viewStateShareKey" not in sweep_links("http://localhost:5000", "3", None)["trials"]


def report(store: Store, **options: Any) -> Findings:
    write_sweep(store, **options)
    return make_findings(store, "made")


def test_the_summary_counts_and_names_the_end(tmp_path: Any) -> None:
    summary = Summary.of(report(Store(tmp_path)))
    assert (summary.status, summary.progress) == ("FINISHED", "24 of 24")
    assert summary.numbers["co_trials"] == 9
    assert "co" not in summary.numbers
    assert "9 of 24 trials broke: P(CO) 0.38, between 0.21 and 0.57" in summary.found
    assert "Partial" not in summary.found


@pytest.mark.parametrize(
    ("options", "status"),
    [({"keep": 17}, "KILLED"), ({"keep": 0}, "KILLED"), (FAILED, "FAILED"), ({}, "FINISHED")],
)
def test_a_sweep_without_all_trials_was_killed(tmp_path: Any, options: dict[str, Any], status: str) -> None:
    summary = Summary.of(report(Store(tmp_path), **options))
    assert summary.status == status
    assert ("Partial" in summary.found) == (status == "KILLED")


def test_the_sweeps_description_says_what_was_asked_and_how_to_ask_again() -> None:
    record = {
        "name": "s",
        "axes": ["epsilon"],
        "source": "# Question: why?\nname: s\n",
        "command": "cosweep run s.yaml",
    }
    note = sweep_note(record, "/data/my results", "3 of 4 trials broke.")
    for part in ("**Why?**", "3 of 4", "`cosweep run s.yaml`", "/data/my results/reports/s"):
        assert part in note
    assert "WHERE sweep = 's'\" --root '/data/my results'`" in note
    assert "```yaml\n# Question: why?\nname: s\n```" in note
    long = sweep_note(record | {"source": "x" * 9000}, "results", "")
    assert len(long) < 8000
