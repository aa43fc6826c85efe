"""Figures over the steps: what is drawn from which rows."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from cosweep.report.curve_figures import ablations_figure, curves_figure
from cosweep.results.schema import CURVE_COLUMNS, table_from_rows
from tests.results.rows import broken_row, curve, trial_row


def curves(trials: list[Any], rows: list[Any], axes: list[str]) -> Figure:
    figure = curves_figure(trials, table_from_rows(rows, CURVE_COLUMNS), axes, "title")
    assert figure is not None
    return figure


def ablations(trials: list[Any], axes: list[str]) -> Figure:
    figure = ablations_figure(trials, axes, "title")
    assert figure is not None
    return figure


def numbers(data: Any) -> list[float]:
    return [float(value) for value in data]


def probes(trial_id: str, level: float, **columns: object) -> list[dict[str, Any]]:
    return [{"trial_id": trial_id, **row, "pgd_acc": level, **columns} for row in curve()]


def test_a_line_is_the_median_of_a_places_trials_and_a_triangle_a_breaking_point() -> None:
    trials = [
        trial_row("a", seed=0),
        trial_row("b", seed=1),
        trial_row("c", seed=2),
        broken_row("d", 20, beta=0.1),
        trial_row("e", status="failed", state=None, co=None, beta=0.2),
    ]
    rows = [*probes("a", 0.1), *probes("b", 0.2), *probes("c", 0.6), *probes("d", 0.0)]
    figure = curves(trials, rows, ["beta", "seed"])
    panel = next(axes for axes in figure.axes if axes.get_title() == "pgd_acc")
    healthy, no_break, broken, break_ = panel.get_lines()
    assert [line.get_label() for line in (healthy, broken)] == ["beta 0", "beta 25.5/255"]
    assert numbers(healthy.get_xdata()) == [11, 22, 33]
    assert numbers(healthy.get_ydata()) == [0.2, 0.2, 0.2]
    assert numbers(broken.get_ydata()) == [0.0, 0.0, 0.0]
    assert (numbers(no_break.get_xdata()), numbers(break_.get_xdata())) == ([], [20])


def test_trials_that_were_probed_at_other_steps_count_between_their_probes() -> None:
    """One trial's own probes once stood between the medians as spikes."""
    levels = {"a": {10: 0.0, 30: 0.4}, "b": {10: 0.2, 20: 0.8, 30: 0.6}, "c": {20: 0.6, 40: 1.0}}
    rows = [
        {"trial_id": trial_id, **curve()[0], "step": step, "pgd_acc": level}
        for trial_id, curve_ in levels.items()
        for step, level in curve_.items()
    ]
    figure = curves([trial_row(trial_id, seed=number) for number, trial_id in enumerate(levels)], rows, ["seed"])
    line = next(axes for axes in figure.axes if axes.get_title() == "pgd_acc").get_lines()[0]
    assert numbers(line.get_xdata()) == [10, 20, 30, 40]
    assert numbers(line.get_ydata()) == pytest.approx([0.1, 0.6, 0.6, 1.0])  # of 0 0.2; 0.2 0.8 0.6; 0.4 0.6 0.8; 1


def test_a_column_that_was_not_measured_has_no_panel() -> None:
    figure = curves([trial_row("a")], probes("a", 0.1, curvature=3.0, grad_cos=float("nan")), [])
    assert [axes.get_title() for axes in figure.axes] == ["clean_acc", "fgsm_acc", "pgd_acc", "curvature"]


def test_lists_are_drawn_before_and_after_the_breaking_point_and_at_the_end_of_others() -> None:
    trials = [broken_row("a", 20), trial_row("b"), trial_row("c")]
    rows = [
        *({"trial_id": "a", **row, "delta_spectrum": [row["step"], 0.0]} for row in curve()),  # 11, 22, 33
        *({"trial_id": "b", **row, "delta_spectrum": [1.0, 2.0]} for row in curve()),
        *({"trial_id": "c", **row, "delta_spectrum": [3.0, 4.0]} for row in curve()),
    ]
    panel = curves(trials, rows, []).axes[-1]
    assert panel.get_title() == "delta_spectrum"
    assert {line.get_label(): numbers(line.get_ydata()) for line in panel.get_lines()} == {
        "before CO (1)": [11, 0],
        "after CO (1)": [33, 0],
        "no CO, end (2)": [2, 3],
    }


def test_ablations_are_drawn_by_place_as_means_over_trials() -> None:
    trials = [
        trial_row(str(i), beta=beta, seed=i, clean_acc_on_injected=1.0, robust_acc_on_injected=0.5,
                  clean_acc_on_carrier_only=value, robust_acc_on_carrier_only=0.0)
        for i, (beta, value) in enumerate([(0.0, 0.1), (0.0, 0.3), (0.1, 0.9)])
    ]  # fmt: skip
    figure = ablations(trials, ["beta", "seed"])
    clean = figure.axes[0]
    assert {line.get_label(): numbers(line.get_ydata()) for line in clean.get_lines()} == {
        "injected": [1.0, 1.0],
        "carrier_only": [0.2, 0.9],
    }
    assert [tick.get_text() for tick in clean.get_xticklabels()] == ["beta 0", "beta 25.5/255"]


def test_no_line_joins_places_that_differ_in_more_than_the_last_axis() -> None:
    both = {f"{kind}_on_{name}": 0.5 for kind in ("clean_acc", "robust_acc") for name in ("injected", "clean")}
    trials = [
        trial_row(f"{method}{beta}", method=method, beta=beta, **both)
        for method in ("fgsm", "pgd")
        for beta in (0.0, 0.1, 0.2)
    ]
    figure = ablations(trials, ["method", "beta"])
    lines = [numbers(line.get_xdata()) for line in figure.axes[0].get_lines()]
    assert lines == [[0, 1, 2], [3, 4, 5]] * 2


def test_nothing_measured_gives_no_figure() -> None:
    nothing = table_from_rows([], CURVE_COLUMNS)
    assert curves_figure([], nothing, ["beta"], "title") is None
    assert curves_figure([trial_row("a")], nothing, ["beta"], "title") is None
    assert ablations_figure([trial_row("a", clean_acc_on_injected=1.0)], ["beta"], "title") is None
